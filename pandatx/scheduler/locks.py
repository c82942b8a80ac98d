"""The lock of a sync daemon: one server of the cluster runs it per period (rule R7)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from pandatx.clock import Clock

log = Logger()


class LockStore(Protocol):
    """Where the lock rows are. Each method is one short transaction."""

    async def take(self, name: str, holder: str, start: datetime, period: timedelta) -> datetime | None:
        """Take the lock for a run from ``start``: None when it is ours now, else when it may be tried again."""

    async def extend(self, name: str, holder: str, now: datetime) -> bool:
        """Move the lock's time to ``now``; False when it is no longer ours."""

    async def give_back(self, name: str, holder: str, start: datetime) -> None:
        """Set the lock's time back to the start of the run, if it is still ours."""


@define(eq=False)
class SyncLock:
    """The lock of one daemon, as one server sees it. ``holder`` names the server among all that share the database."""

    _store: LockStore
    _clock: Clock
    name: str
    holder: str
    period: timedelta
    _start: datetime | None = field(init=False, default=None)
    _renewal: LoopingCall | None = field(init=False, default=None)
    _first: Any = field(init=False, default=None)
    _renewing: Deferred[Any] | None = field(init=False, default=None)

    async def take(self, start: datetime) -> datetime | None:
        """None when the run may start; else when it may be tried again: a period after the last start anywhere."""
        due = await self._store.take(self.name, self.holder, start, self.period)
        self._start = start if due is None else None
        return due

    async def give_up(self) -> None:
        """The run does not begin after all: whoever is next may have the lock at once."""
        if self._start is not None:
            self._start -= self.period
        await self.give_back()

    def keep(self, lost: Callable[[], None]) -> None:
        """Hold the lock while the run lasts; ``lost`` is called once when somebody else has it.

        A run of less than two thirds of its period is over before anybody could take the lock, so it writes nothing.
        """
        third = self.period.total_seconds() / 3
        self._renewal = renewal = self._clock.looping(self._renew, lost)

        def begin() -> None:
            self._first = None
            self._renewing = renewal.start(third, now=True)

        self._first = self._clock.reactor.callLater(2 * third, begin)

    async def give_back(self) -> None:
        """The run is over: the lock says again when it started, so that the period counts from there."""
        self._release_timers()
        renewing, self._renewing = self._renewing, None
        if renewing is not None:
            # A renewal that is on its way must not come after what follows.
            await renewing
        start, self._start = self._start, None
        if start is not None:
            await self._store.give_back(self.name, self.holder, start)

    def _renew(self, lost: Callable[[], None]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._extend(lost)).addErrback(self._not_renewed)

    async def _extend(self, lost: Callable[[], None]) -> None:
        if not await self._store.extend(self.name, self.holder, self._clock.now()) and self._start is not None:
            self._start = None
            lost()

    def _not_renewed(self, failure: Failure) -> None:
        # While the database is away nobody can take the lock either; the next third of the period tries again.
        log.warn("daemon {name}: its lock was not renewed: {why}", name=self.name, why=failure.getErrorMessage())

    def _release_timers(self) -> None:
        first, self._first = self._first, None
        renewal, self._renewal = self._renewal, None
        if first is not None:
            first.cancel()
        if renewal is not None and renewal.running:
            renewal.stop()
