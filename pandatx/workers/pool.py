"""A pool of processes for what blocks or may have to be killed: plugins and daemon scripts."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pandatx import metrics
from pandatx.workers import family
from pandatx.workers.calls import Call, CallDied, CallError, CallFailed, CallOutgrew, CallTimedOut
from pandatx.workers.grants import Grants
from pandatx.workers.output import Budget
from pandatx.workers.process import Child
from pandatx.workers.user import ChildUser

__all__ = ["CallDied", "CallError", "CallFailed", "CallTimedOut", "PoolSettings", "PoolStatus", "ProcessPool"]

KILL_CONFIRMATION = 5.0
WEIGH_EVERY, WEIGH_FAMILY = 0.25, 8
"""Seconds between two looks at the memory of children at work; each eighth time at all that they have started."""
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0

log = Logger()


async def _nothing_to_clear(application: str) -> None:
    """For a pool whose calls have no database sessions."""


@frozen(kw_only=True)
class PoolSettings:
    """How many children, for how long (seconds), and up to which resident size (MB) they are kept.

    A child over ``memory_mark`` after a call is replaced; one over ``memory_limit`` in a call is killed.
    ``environment`` is all that children get of one. ``instance`` makes the names of their database sessions unique
    among servers on one database: pids of containers are alike.
    """

    size: int = 1
    lifetime: float = 28800.0
    memory_mark: float = 512.0
    memory_limit: float = 1024.0
    user: ChildUser | None = None
    environment: Mapping[str, str] = field(factory=dict, repr=False)
    instance: str = ""
    log_level: str = "info"


@frozen
class PoolStatus:
    """For the status line: children that are up, children at work, calls that wait."""

    size: int
    busy: int
    waiting: int


@define(eq=False)
class ProcessPool:
    """Runs functions by name in children; one call at a time in each, the others wait in the order they came.

    ``on_kill`` is awaited, at most 5 s, with the application name of a call whose child is dead, before the call is
    reported dead (R38): its place to end what the call left in the database. ``name`` is its label in the metrics.
    """

    _reactor: Any
    _settings: PoolSettings
    _on_kill: Callable[[str], Awaitable[None]] = _nothing_to_clear
    _name: str = "pool"
    grants: Grants = field(init=False, factory=Grants)
    """What scripts are given. Set it before the start: the services behind it stand on a pool themselves."""
    _open: bool = field(init=False, default=False)
    _children: list[Child] = field(init=False, factory=list)
    _waiting: deque[Call] = field(init=False, factory=deque)
    _timers: set[Any] = field(init=False, factory=set)
    _burials: set[Deferred[None]] = field(init=False, factory=set)
    _failed_starts: int = field(init=False, default=0)
    _budgets: dict[str, Budget] = field(init=False, factory=dict)
    _weighed: int = field(init=False, default=0)
    _up: Deferred[None] | None = field(init=False, default=None)
    _emptied: Deferred[None] | None = field(init=False, default=None)

    async def start(self) -> None:
        """Start the children; done when all are ready, or when one could not be started (it is tried again)."""
        self._open = True
        metrics.CHILDREN.labels(self._name, "busy").set_function(lambda: self.status.busy)
        metrics.CHILDREN.labels(self._name, "idle").set_function(lambda: self.status.size - self.status.busy)
        up: Deferred[None] = Deferred()
        self._up = up
        self._fill()
        self._later(WEIGH_EVERY, self._weigh)
        await up

    def reload(self, size: int, lifetime: float, connections: int) -> None:
        """Other figures for children, and new children for all: they import their scripts afresh. Running calls end."""
        self._settings = evolve(self._settings, size=size, lifetime=lifetime)
        self.grants = evolve(self.grants, connections=connections)
        for child in list(self._children):
            child.old = True
            if child.idle:
                self._renew(child, "reload")
        if self._open:
            self._fill()

    async def stop(self, seconds: float = 20.0) -> None:
        """Begin no more calls, give the running ones ``seconds``, then SIGKILL. Callers get CallDied."""
        self._open = False
        self._clear_timers()
        self._are_up()
        while self._waiting:
            self._waiting.popleft().outcome.errback(CallDied("the server is stopping, the call was not begun"))
        for child in list(self._children):
            if child.call is None:
                child.retire()
        if self._children:
            emptied: Deferred[None] = Deferred()
            self._emptied = emptied
            self._later(seconds, self._kill_all)
            await emptied
        self._clear_timers()
        await DeferredList(list(self._burials))

    async def call(self, name: str, *args: Any, timeout: float, context: str = "", script: str = "") -> Any:
        """Run the function "package.module:function" in a child and give its result; all values are JSON.

        ``timeout`` counts in seconds from when a child takes the call; ``context`` stands before each line it prints.
        ``script`` names a daemon: the function is then given ``parent`` too, for its task buffer, and its log a file.
        Raises CallFailed with the exception's text, CallTimedOut, or CallDied. Cancelling the call kills its child.
        """
        if not self._open:
            raise CallDied("the pool is not running")
        call = Call(name, orjson.dumps(args, option=orjson.OPT_NON_STR_KEYS), timeout, context, script)
        call.outcome = Deferred(lambda _: self._cancel(call))
        self._waiting.append(call)
        self._assign()
        begun, outcome = self._reactor.seconds(), "cancelled"
        try:
            result = await call.outcome
            outcome = "done"
        except CallError as fault:
            outcome = fault.outcome
            raise
        finally:
            metrics.CALLS.labels(name, outcome).inc()
            metrics.CALL_SECONDS.labels(name).observe(self._reactor.seconds() - begun)
        return result

    def kill(self, context: str, why: str) -> None:
        """End the calls of a context; their callers get CallDied(why) once what they left is cleared."""
        for call in [call for call in self._waiting if call.context == context]:
            self._waiting.remove(call)
            call.outcome.errback(CallDied(why))
        for child in list(self._children):
            if child.call is not None and child.call.context == context:
                child.kill(CallDied(why))

    @property
    def status(self) -> PoolStatus:
        """What the pool is doing now."""
        up = [child for child in self._children if child.ready]
        return PoolStatus(len(up), sum(child.call is not None for child in up), len(self._waiting))

    @property
    def calls(self) -> tuple[tuple[int, str, str], ...]:
        """Child, name and context of each running call, for the manhole."""
        return tuple((child.pid, child.call.name, child.call.context) for child in self._children if child.call)

    # What children tell.

    def child_ready(self, child: Child) -> None:
        self._failed_starts = 0
        if not self._open:
            child.retire()
            return
        child.ageing = self._later(self._settings.lifetime, self._grow_old, child)
        if sum(child.ready for child in self._children) >= self._settings.size:
            self._are_up()
        self._assign()

    def child_free(self, child: Child) -> None:
        if not self._open:
            child.retire()
        elif child.old:
            self._renew(child, "lifetime")
        elif child.memory_mb > self._settings.memory_mark:
            log.info("child {pid} holds {memory:.0f} MB: replaced", pid=child.pid, memory=child.memory_mb)
            self._renew(child, "memory")
        self._assign()

    def child_gone(self, child: Child, call: Call | None, fault: CallError) -> None:
        self._children.remove(child)
        if child.ageing is not None and child.ageing.active():
            self._timers.discard(child.ageing)
            child.ageing.cancel()
        if call is not None:
            metrics.CHILDREN_REPLACED.labels(fault.outcome).inc()
            self._bury(call, fault)
        if self._open:
            self._replace(child, fault)
        elif not self._children and self._emptied is not None:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    def budget_of(self, script: str) -> Budget:
        """What a daemon's script may say; plugins share one."""
        return self._budgets.setdefault(script, Budget(self._reactor.seconds))

    # Own.

    def _fill(self) -> None:
        for _ in range(self._settings.size - len(self._children)):
            self._spawn()

    def _spawn(self) -> None:
        child = Child(self._reactor, self, self._settings.instance, lambda: self.grants)
        self._children.append(child)
        try:
            child.start(self._settings.environment, self._settings.user, self._settings.log_level)
        except OSError as fault:
            self.child_gone(child, None, CallDied(str(fault)))

    def _replace(self, child: Child, fault: CallError) -> None:
        if child.ready:
            self._fill()
            return
        delay = min(FIRST_DELAY * 2**self._failed_starts, LONGEST_DELAY)
        self._failed_starts += 1
        log.error("a child did not start: {fault}; the next try is in {delay:g} s", fault=fault, delay=delay)
        self._later(delay, self._fill)
        self._are_up()

    def _are_up(self) -> None:
        up, self._up = self._up, None
        if up is not None:
            up.callback(None)

    def _assign(self) -> None:
        idle = [child for child in self._children if child.idle]
        while self._waiting and idle and self._open:
            idle.pop(0).begin(self._waiting.popleft())

    def _weigh(self) -> None:
        """Look at the memory of the children at work: a script may eat all there is within one call."""
        self._weighed += 1
        limit = self._settings.memory_limit
        busy = [child for child in self._children if child.call is not None and not child.leaving]
        known = family.census() if busy and self._weighed % WEIGH_FAMILY == 0 else {}
        for child in busy:
            held = family.family_mb(child.pid, known, limit)
            if held > limit and child.call is not None:
                why = f"{child.call.label} held {held:.0f} MB, more than its limit of {limit:.0f} MB, and was killed"
                log.warn("{why}", why=why, pid=child.pid)
                child.kill(CallOutgrew(why))
        self._later(WEIGH_EVERY, self._weigh)

    def _grow_old(self, child: Child) -> None:
        child.old = True
        if child.idle:
            self._renew(child, "lifetime")

    def _renew(self, child: Child, why: str) -> None:
        metrics.CHILDREN_REPLACED.labels(why).inc()
        child.retire()

    def _cancel(self, call: Call) -> None:
        if call in self._waiting:
            self._waiting.remove(call)
        for child in self._children:
            if child.call is call:
                child.kill(CallDied("cancelled"))

    def _kill_all(self) -> None:
        for child in list(self._children):
            child.kill(CallDied("killed, since the server is stopping"))

    def _bury(self, call: Call, fault: CallError) -> None:
        clearing: Deferred[None] = ensureDeferred(_awaited(self._on_kill(call.application)))
        clearing.addTimeout(KILL_CONFIRMATION, self._reactor)
        self._burials.add(clearing)

        def unclear(failure: Failure) -> None:
            log.failure("{label}: its database sessions may live on", failure, label=call.label)

        def report(_: object) -> None:
            self._burials.discard(clearing)
            call.outcome.errback(fault)

        clearing.addErrback(unclear)
        clearing.addCallback(report)

    def _later(self, seconds: float, work: Callable[..., None], *args: Any) -> Any:
        def due() -> None:
            self._timers.discard(timer)
            work(*args)

        timer = self._reactor.callLater(seconds, due)
        self._timers.add(timer)
        return timer

    def _clear_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


async def _awaited(work: Awaitable[None]) -> None:
    await work
