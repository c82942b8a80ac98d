"""A pool of database sessions with a bounded waiting line, quick reconnects and no dead session handed out."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from attrs import define, field
from twisted.internet import defer
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.errors import Busy, DatabaseAway
from pandatx.metrics import POOL_REFUSED

log = Logger()

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
"""Seconds between attempts to connect again; short, since pilots wait."""


class Poolable(Protocol):
    """What the pool must know of a session."""

    @property
    def usable(self) -> bool: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=Poolable)


@define(eq=False)
class Pool(Generic[S]):
    """``size`` sessions; the one used last is used next, so that an idle server keeps few of them warm."""

    name: str
    size: int
    max_waiting: int
    _clock: Clock
    _connect: Callable[[], Awaitable[S]]
    _idle: list[S] = field(factory=list)
    _all: set[S] = field(factory=set)
    _waiting: deque[defer.Deferred[S]] = field(factory=deque)
    _stopped: bool = True
    _drained: defer.Deferred[None] | None = None
    down_since: float | None = None
    last_fault: str = ""
    last_outage_end: float | None = None

    def start(self) -> None:
        """Begin to connect; ``acquire`` waits for the first session."""
        self._stopped = False
        for _ in range(self.size):
            self._keep_connected()

    async def stop(self) -> None:
        """Close idle sessions now and the others as they come back."""
        self._stopped = True
        while self._waiting:
            self._waiting.popleft().errback(DatabaseAway("the server is stopping"))
        for session in self._idle:
            self._forget(session)
        self._idle.clear()
        if self._all:
            self._drained = defer.Deferred()
            await self._drained

    @property
    def busy(self) -> int:
        return len(self._all) - len(self._idle)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def up(self) -> bool:
        return bool(self._all)

    @property
    def sessions(self) -> frozenset[S]:
        return frozenset(self._all)

    def acquire(self, patience: float) -> defer.Deferred[S]:
        """A session, at once or within ``patience`` seconds; else DatabaseAway or Busy."""
        if self._stopped:
            return defer.fail(DatabaseAway("the server is stopping"))
        if self._idle:
            return defer.succeed(self._idle.pop())
        if not self._all and self.down_since is not None and patience <= 0:
            return defer.fail(DatabaseAway())
        if len(self._waiting) >= self.max_waiting:
            POOL_REFUSED.labels(self.name).inc()
            return defer.fail(Busy())
        waiter: defer.Deferred[S] = defer.Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        deadline = self._clock.reactor.callLater(max(patience, 0.001), self._give_up, waiter)

        def served(result: S) -> S:
            if deadline.active():
                deadline.cancel()
            return result

        return waiter.addBoth(served)

    def release(self, session: S) -> None:
        """Take a session back; one that is not usable any more is replaced."""
        if not session.usable or self._stopped:
            self._forget(session)
            if not self._stopped:
                self._keep_connected()
        elif self._waiting:
            self._waiting.popleft().callback(session)
        else:
            self._idle.append(session)

    def discard_idle(self) -> None:
        """Replace every idle session, for instance after the server behind them was seen to go away."""
        idle, self._idle = self._idle, []
        for session in idle:
            self._forget(session)
            self._keep_connected()

    def _give_up(self, waiter: defer.Deferred[S]) -> None:
        self._waiting.remove(waiter)
        waiter.errback(DatabaseAway() if not self._all else Busy("the database is busy"))

    def _forget(self, session: S) -> None:
        self._all.discard(session)
        session.close()
        if not self._all and not self._stopped and self.down_since is None:
            self.down_since = self._clock.seconds()
            log.warn("{pool}: no database session is left", pool=self.name)
        if self._stopped and not self._all and self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def _keep_connected(self) -> None:
        defer.Deferred.fromCoroutine(self._connect_until_up()).addErrback(
            lambda failure: log.failure("connecting to the database", failure)
        )

    async def _connect_until_up(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopped:
            try:
                session = await self._connect()
            except DatabaseAway as error:
                self.last_fault = str(error)
                if not self._all and self.down_since is None:
                    self.down_since = self._clock.seconds()
                    log.warn("{pool}: {error}", pool=self.name, error=str(error))
                await self._clock.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._add(session)
                return

    def _add(self, session: S) -> None:
        self._all.add(session)
        if self.down_since is not None:
            log.info("{pool}: the database is back", pool=self.name)
            self.down_since, self.last_outage_end = None, self._clock.seconds()
        self.release(session)
