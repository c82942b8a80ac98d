"""Batches of work that begin when there is something, and every few seconds for what others left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import psycopg2
from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.errors import PandaError

log = Logger()

LOOK: Final = 10.0
"""Seconds between looks for what others left (rule R17)."""
SLOW: Final = 1.0
"""Seconds after which a batch is left to itself, and the next one may begin beside it."""
MOST: Final = 8
"""Batches at once."""


@define(eq=False)
class Rounds:
    """Run ``work`` when woken, one batch at a time, but beside those that are slow.

    ``work`` says how much it found; ``full`` or more means that there is more to do.
    """

    _clock: Clock
    _work: Callable[[], Awaitable[int]]
    _full: int
    stopped: bool = False
    _woken: bool = False
    _looping: bool = False
    _timer: Any = None
    _running: set[Deferred[int]] = field(factory=set)

    def start(self) -> None:
        """Begin to look."""
        self._timer = self._clock.reactor.callLater(LOOK, self.start)
        self.wake()

    async def stop(self) -> None:
        """Begin no more, and wait for what runs."""
        self.stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        await DeferredList([_over(running) for running in self._running])

    def wake(self) -> None:
        """There is something to do."""
        self._woken = True
        if not self._looping and not self.stopped:
            self._looping = True
            Deferred.fromCoroutine(self._loop())

    async def _loop(self) -> None:
        try:
            while self._woken and not self.stopped and len(self._running) < MOST:
                self._woken = False
                running = Deferred.fromCoroutine(self._guarded())
                self._running.add(running)
                running.addCallback(self._ended, running)
                await self._soon(running)
        finally:
            self._looping = False

    async def _guarded(self) -> int:
        """A batch; what goes wrong is told, and tried again with the next look."""
        try:
            return await self._work()
        except (PandaError, psycopg2.Error) as error:
            log.warn("work waits: {error}", error=error)
        except Exception:
            log.failure("a batch failed")
        return 0

    def _ended(self, found: int, running: Deferred[int]) -> int:
        self._running.discard(running)
        if found >= self._full or self._woken:
            self.wake()
        return found

    def _soon(self, running: Deferred[int]) -> Deferred[None]:
        """Fires when the batch is over, or has become slow."""
        waited = _over(running)

        def slow() -> None:
            if not waited.called:
                waited.callback(None)

        timer = self._clock.reactor.callLater(SLOW, slow)
        waited.addCallback(lambda _: timer.cancel() if timer.active() else None)
        return waited


def _over(running: Deferred[int]) -> Deferred[None]:
    """Fires with the end of a batch, unless it was fired before."""
    over: Deferred[None] = Deferred()

    def ended(found: int) -> int:
        if not over.called:
            over.callback(None)
        return found

    running.addCallback(ended)
    return over
