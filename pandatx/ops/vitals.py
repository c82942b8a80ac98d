"""The watch over the database's health: a finding for /readyz, gauges, and a warning of snapshots that grow old."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import define, field
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.metrics import DATABASE_UP, OLDEST_SNAPSHOT_SECONDS
from pandatx.ops.health import Finding
from pandatx.store.vitals import Vitals

log = Logger()

LOOK_EVERY = 15.0
OLD_SNAPSHOT = 300.0
"""Seconds; older ones fill the head of the dispatch index with dead entries (rule R5)."""


@define(eq=False)
class DatabaseWatch:
    """Looks by ``look``, every quarter of a minute and when /readyz asks."""

    _clock: Clock
    _look: Callable[[], Awaitable[Vitals]]
    _loop: LoopingCall | None = field(default=None, init=False)
    _warned: bool = field(default=False, init=False)

    def start(self) -> None:
        """Begin to look."""
        self._loop = self._clock.looping(self._tick)
        self._loop.start(LOOK_EVERY)

    def stop(self) -> None:
        """Look no more."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()

    async def check(self) -> Finding:
        """Reachable and writable; raises when it is not reachable."""
        try:
            vitals = await self._look()
        except Exception:
            DATABASE_UP.set(0)
            raise
        DATABASE_UP.set(1)
        self._heed(vitals.oldest_snapshot)
        text = f"oldest snapshot {vitals.oldest_snapshot:.0f} s" if vitals.writable else "cannot be written"
        return Finding(name="database", ok=vitals.writable, text=text)

    def _heed(self, age: float) -> None:
        OLDEST_SNAPSHOT_SECONDS.set(age)
        if age > OLD_SNAPSHOT and not self._warned:
            log.warn(
                "the oldest snapshot in the database is {age} s old; dispatch slows down while it stays", age=int(age)
            )
        self._warned = age > OLD_SNAPSHOT

    def _tick(self) -> Deferred[None]:
        return ensureDeferred(self._once())

    async def _once(self) -> None:
        try:
            await self.check()
        except Exception as fault:  # the edge of a periodic loop
            log.warn("the database does not answer: {fault}", fault=str(fault))
