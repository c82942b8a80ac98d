"""The lag gauge: what the reactor's thread is held up by."""

from __future__ import annotations

from collections import deque
from typing import Any

from attrs import define, field

from pandatx.clock import Clock
from pandatx.metrics import LAG_EXCEEDED, LAG_SECONDS
from pandatx.ops.health import Finding

INTERVAL = 0.05
LIMIT = 0.05
"""Seconds; a timer that is later is a defect (design.md 5)."""
WINDOW = 10.0


@define(eq=False)
class LagGauge:
    """How late a timer of 50 ms fires."""

    _clock: Clock
    _late: deque[tuple[float, float]] = field(factory=deque, init=False)
    _due: float = field(default=0.0, init=False)
    _timer: Any = field(default=None, init=False)

    def start(self) -> None:
        """Begin to measure."""
        self._due = self._clock.seconds() + INTERVAL
        self._timer = self._clock.reactor.callLater(INTERVAL, self._tick)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    @property
    def worst(self) -> float:
        """Seconds: the latest of the last ten seconds."""
        return self._late[0][1] if self._late else 0.0

    async def check(self) -> Finding:
        """For /readyz: shown only, since a slow server is better than none."""
        return Finding(name="lag", ok=self.worst <= LIMIT, text=f"{self.worst * 1000:.0f} ms", vital=False)

    def _tick(self) -> None:
        now = self._clock.seconds()
        late = max(0.0, now - self._due)
        if late > LIMIT:
            LAG_EXCEEDED.inc()
        while self._late and self._late[-1][1] <= late:
            self._late.pop()
        self._late.append((now, late))
        while self._late[0][0] < now - WINDOW:
            self._late.popleft()
        LAG_SECONDS.set(self.worst)
        self.start()
