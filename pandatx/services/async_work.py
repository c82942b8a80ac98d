"""Working through asynchronous requests: claim, run in a child, write how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import psycopg2
from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from pandatx import metrics
from pandatx.clock import Clock
from pandatx.domain import async_work as rules
from pandatx.domain.async_work import RETENTION, Claim, Ending, Status
from pandatx.errors import Busy, PandaError
from pandatx.store import async_requests as store
from pandatx.store.database import Database
from pandatx.workers.calls import CallDied, CallFailed, CallTimedOut

log = Logger()

MOST: Final = 2
"""Calls at once: one that hangs does not hold up the rest."""
RENEWAL: Final = store.LEASE / 3
HEED: Final = 30.0
"""Seconds after a run of the daemon for which a new request is begun at once."""
AGAIN: Final = 5.0
"""Seconds until it is tried again to write how a call ended."""
TOGETHER: Final = 500

Work = Callable[[Claim], Awaitable[Any]]
"""Does what a request asks for, and gives a handler's answer (domain.async_work.answered)."""


class Pool(Protocol):
    """workers.pool, as far as it is called here."""

    async def start(self) -> None: ...

    async def stop(self, seconds: float = ...) -> None: ...

    async def call(self, name: str, *args: Any, timeout: float, context: str = "") -> Any: ...


@define(eq=False)
class OnDemand:
    """A pool that has no children until something is to run in one."""

    _pool: Pool
    _open: bool = field(init=False, default=False)
    _closed: bool = field(init=False, default=False)

    async def call(self, name: str, *args: Any, timeout: float, context: str = "") -> Any:
        """As the pool's."""
        if self._closed:
            raise CallDied("the server is stopping, the call was not begun")
        if not self._open:
            self._open = True
            await self._pool.start()
        return await self._pool.call(name, *args, timeout=timeout, context=context)

    async def stop(self, seconds: float) -> None:
        """Give what runs ``seconds``, and begin nothing more."""
        self._closed = True
        if self._open:
            await self._pool.stop(seconds)


@frozen
class InChild:
    """A handler "package.module:function" that is run in a child with the request and ``settings``."""

    _pool: OnDemand
    _target: str
    _settings: Mapping[str, Any]

    async def __call__(self, claim: Claim) -> Any:
        """The handler's answer. Raises CallError."""
        request = {
            **claim.parameters,
            "request_id": claim.request_id,
            "request_type": claim.kind.name,
            "attempt": claim.attempts,
        }
        return await self._pool.call(
            self._target, request, dict(self._settings), timeout=claim.kind.limit, context=f"request {claim.request_id}"
        )


@define(eq=False)
class Missing:
    """Stands for a handler that is not configured; ``why`` names what is missing, and is logged once."""

    why: str
    _told: bool = False

    async def __call__(self, claim: Claim) -> Any:
        """Refuse."""
        self.tell()
        return {"status": "failed", "error": self.why}

    def tell(self) -> None:
        """Say it, once."""
        if not self._told:
            self._told = True
            log.warn("{why}", why=self.why)


@define(eq=False)
class AsyncWork:
    """Runs requests of the kinds in ``works`` on this ``host``; ``instance`` tells this server from all others.

    What is woken begins at once while the daemon runs here.
    """

    _database: Database
    _clock: Clock
    _pool: OnDemand
    _works: Mapping[str, Work]
    _host: str
    _instance: str
    _running: dict[tuple[str, str, int], tuple[Claim, Deferred[None]]] = field(init=False, factory=dict)
    _looks: set[Deferred[Any]] = field(init=False, factory=set)
    _heed_until: float = field(init=False, default=0.0)
    _taking: bool = field(init=False, default=False)
    _woken: bool = field(init=False, default=False)
    _stopped: bool = field(init=False, default=False)
    _renewal: Any = field(init=False, default=None)

    async def beat(self) -> None:
        """Say that this machine takes requests. The daemon calls it, and for a while new ones are begun at once."""
        self._heed_until = self._clock.seconds() + HEED
        await self._database.transaction("async.beat", store.beat, self._host, self._clock.now())

    async def run_once(self) -> int:
        """Begin what there is, as far as there is room; how many. Raises DatabaseAway, Busy."""
        room = MOST - len(self._running)
        if self._stopped or self._taking or room <= 0:
            self._woken = self._taking
            return 0
        self._taking, self._woken = True, False
        try:
            claims = await self._database.transaction(
                "async.claim", store.claim, list(self._works), self._host, self._instance, self._clock.now(), room
            )
        finally:
            self._taking = False
        for claim in claims:
            self._begin(claim)
        if self._woken:
            self.wake()
        return len(claims)

    def wake(self) -> None:
        """There is something to do: begin it at once, if the daemon runs here."""
        if self._stopped or self._clock.seconds() > self._heed_until:
            return
        look: Deferred[Any] = Deferred.fromCoroutine(self.run_once())
        self._looks.add(look)
        look.addErrback(lambda failure: log.warn("requests wait: {f}", f=failure.getErrorMessage()))
        look.addBoth(lambda _: self._looks.discard(look))

    async def adopt(self, owners: Sequence[str]) -> None:
        """Go on at once with what these servers, which are known to be gone, had in hand."""
        if await self._database.transaction("async.adopt", store.adopt, owners, self._clock.now()):
            self.wake()

    async def forget(self) -> int:
        """Drop a batch of requests past their retention; how many."""
        return await self._database.transaction("async.forget", store.forget, self._clock.now() - RETENTION, TOGETHER)

    async def idle(self) -> None:
        """Wait for all that runs, and for what is begun after it."""
        while waited := [*(running for _, running in self._running.values()), *self._looks]:
            await DeferredList(waited)

    async def stop(self, seconds: float) -> None:
        """Begin no more, and give what runs ``seconds``; what is cut short then does not count."""
        self._stopped = True
        await self._pool.stop(seconds)
        await self.idle()
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None

    # One attempt.

    def _begin(self, claim: Claim) -> None:
        key = (
            claim.request_id,
            claim.machine,
            claim.attempts,
        )  # an attempt of ours may have lost its lease to the next
        over: Deferred[None] = Deferred()
        self._running[key] = (claim, over)
        self._renew_later()

        def ended(_: Any) -> None:
            del self._running[key]
            self.wake()
            over.callback(None)

        Deferred.fromCoroutine(self._perform(claim)).addErrback(
            lambda failure: log.failure("request {id}", failure, id=claim.request_id)
        ).addCallback(ended)

    async def _perform(self, claim: Claim) -> None:
        log.info(
            "request {id}: {kind}, attempt {n}, begins", id=claim.request_id, kind=claim.kind.name, n=claim.attempts
        )
        ending = await self._ending(claim)
        while not await self._written(claim, ending):
            if self._stopped:
                return
            await self._clock.wait(AGAIN)

    async def _ending(self, claim: Claim) -> Ending:
        if self._stopped:
            return rules.given_back("the server stopped")
        try:
            answer = await self._works[claim.kind.name](claim)
        except CallTimedOut as fault:
            return rules.timed_out(claim, str(fault))
        except CallDied as fault:
            return rules.given_back(str(fault)) if self._stopped else rules.died(claim, str(fault))
        except CallFailed as fault:
            log.warn("request {id}: {fault}{trace}", id=claim.request_id, fault=fault, trace=f"\n{fault.traceback}")
            return rules.failed(str(fault))
        except Busy as fault:
            answer = {"status": "later", "error": str(fault)}
        except (PandaError, psycopg2.Error) as fault:
            return rules.failed(str(fault))
        return rules.answered(claim, answer, self._clock.now())

    async def _written(self, claim: Claim, ending: Ending) -> bool:
        try:
            ours = await self._database.transaction(
                "async.end", store.end, claim, ending, self._instance, self._clock.now()
            )
        except Busy as error:
            log.warn("request {id}: its end is not stored yet: {error}", id=claim.request_id, error=error)
            return False
        metrics.ASYNC_REQUESTS.labels(claim.kind.name, ending.status.value if ours else "lost").inc()
        if not ours:
            log.warn("request {id}: another server has taken it over", id=claim.request_id)
        elif ending.status is Status.DONE:
            log.info("request {id}: done", id=claim.request_id)
        else:
            log.info("request {id}: {status}: {why}", id=claim.request_id, status=ending.status.value, why=ending.error)
        return True

    # Leases.

    def _renew_later(self) -> None:
        if self._renewal is None:
            self._renewal = self._clock.reactor.callLater(RENEWAL.total_seconds(), self._renew)

    def _renew(self) -> None:
        self._renewal = None
        claims = [claim for claim, _ in self._running.values()]
        if not claims:
            return
        self._renew_later()
        Deferred.fromCoroutine(
            self._database.transaction("async.renew", store.renew, claims, self._instance, self._clock.now())
        ).addErrback(lambda failure: log.warn("leases not renewed: {f}", f=failure.getErrorMessage()))
