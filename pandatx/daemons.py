"""The scheduler of a state directory, in whichever of its processes has the lock (rule R33)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from random import random
from typing import Any, Protocol
from urllib.parse import quote

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pandatx import metrics
from pandatx.clock import Clock
from pandatx.config import DaemonSettings
from pandatx.domain.daemons import DaemonCondition, DaemonState
from pandatx.errors import Busy
from pandatx.scheduler.context import Native
from pandatx.scheduler.entries import Plan, plan
from pandatx.scheduler.locks import LockStore
from pandatx.scheduler.loop import Scheduler
from pandatx.store.statedir import Lock, StateDirectory
from pandatx.workers.pool import ProcessPool

log = Logger()

LOCK = "daemon"
LOCK_EVERY = 1.0
"""Seconds between two looks whether the process that runs the daemons is gone."""
TELL_EVERY = 2.0
"""Seconds between two looks at the board where servers write what their daemons do."""
SCRIPTS_END = 1.0
"""Seconds for children that the scheduler has left without a call."""


class Board(Protocol):
    """Where this server tells of its daemons, and learns which of them are paused: services/daemons.py."""

    async def tell(self, states: Iterable[DaemonState]) -> None: ...

    async def paused(self) -> frozenset[str]: ...

    async def forget(self) -> None: ...


def machine_lock(state: StateDirectory, daemon: str) -> Lock | None:
    """The daemon, for one run at a time on this machine; None while another process runs it (rule R33)."""
    return state.lock(f"{LOCK}-{quote(daemon, safe='')}")


@define(eq=False)
class Daemons:
    """One scheduler on a machine for each state directory: the other processes wait for the lock.

    ``scripts`` has children only once there is a daemon that runs in one.
    """

    _clock: Clock
    _settings: DaemonSettings
    _natives: Mapping[str, Native]
    _scripts: ProcessPool
    _locks: LockStore
    _state: StateDirectory
    _board: Board
    scheduler: Scheduler | None = field(default=None, init=False)
    _lock: Lock | None = field(default=None, init=False)
    _waiting: LoopingCall | None = field(default=None, init=False)
    _telling: LoopingCall | None = field(default=None, init=False)
    _told: tuple[DaemonState, ...] | None = field(default=None, init=False)
    _pool_open: bool = field(default=False, init=False)
    _stopped: bool = field(default=False, init=False)

    async def start(self) -> None:
        """Begin at once if the lock is free, else as soon as it is."""
        if await self._take_over() or self._stopped:
            return
        log.info("the daemons run in {holder}; this process waits for them", holder=self._state.holder(LOCK))
        self._waiting = self._every(LOCK_EVERY, self._wait_on)

    async def stop(self) -> None:
        """End all runs, and let another process have the daemons."""
        self._stopped = True
        for loop in (self._waiting, self._telling):
            if loop is not None and loop.running:
                loop.stop()
        if self.scheduler is not None:
            await self.scheduler.stop()
            await self._forget()
        if self._pool_open:
            await self._scripts.stop(SCRIPTS_END)
        if self._lock is not None:
            self._lock.release()

    async def reload(self, settings: DaemonSettings) -> None:
        """Take over another [daemon] section, now or when the lock is ours."""
        self._settings = settings
        self._scripts.reload(settings.n_proc, settings.proc_lifetime, settings.n_dbconn)
        if self.scheduler is not None:
            planned = await self._plan()
            await self.scheduler.reload(planned.daemons, planned.faults)

    async def _take_over(self) -> bool:
        self._lock = self._state.lock(LOCK)
        if self._lock is None:
            return False
        planned = await self._plan()
        self.scheduler = Scheduler(
            self._clock,
            self._locks,
            self._state.instance,
            planned.daemons,
            planned.faults,
            random,
            lambda daemon: machine_lock(self._state, daemon.name),
        )
        await self._forget()
        await self._learn()  # what is paused must not run once before we know
        if self._stopped:
            return False
        self.scheduler.start()
        await self._tell()
        self._telling = self._every(TELL_EVERY, self._tell)
        return True

    async def _plan(self) -> Plan:
        """What is to run, by the newest section: another may come while the children for scripts are started."""
        planned = plan(self._settings, self._natives, self._scripts)
        if not self._settings.enable:
            log.info("[daemon] enable is False: none of its daemons run, only those of our own")
        if not self._pool_open and any(daemon.kill is not None for daemon in planned.daemons):
            self._pool_open = True
            await self._scripts.start()
            return await self._plan()
        return planned

    def _every(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> LoopingCall:
        def once() -> Deferred[None]:
            return Deferred.fromCoroutine(work()).addErrback(lambda f: log.failure("the daemons", f))

        loop = self._clock.looping(once)
        loop.start(seconds, now=False)
        return loop

    async def _wait_on(self) -> None:
        if await self._take_over() and self._waiting is not None and self._waiting.running:
            self._waiting.stop()

    async def _learn(self) -> None:
        """Learn what is paused. Without a database what was known goes on."""
        assert self.scheduler is not None
        try:
            self.scheduler.pause(await self._board.paused())
        except Busy:
            log.debug("the board of daemons cannot be read")

    async def _tell(self) -> None:
        """Learn what is paused, and tell what has changed."""
        await self._learn()
        assert self.scheduler is not None
        states = self.scheduler.states
        _measure(states)
        told = tuple(_roughly(state) for state in states)
        if told == self._told:
            return
        try:
            await self._board.tell(states)
            self._told = told
        except Busy:
            self._told = None

    async def _forget(self) -> None:
        """This server runs none now, and what servers that died have told stays no longer."""
        try:
            await self._board.forget()
        except Busy:
            log.info("what ended servers have told stays on the board of daemons")


def _roughly(state: DaemonState) -> DaemonState:
    """The state as it is compared: the time of the next start is computed anew each time, and never quite alike."""
    due = state.next_start
    return state if due is None else evolve(state, next_start=due.replace(microsecond=0))


def _measure(states: Iterable[DaemonState]) -> None:
    for gauge in (metrics.DAEMON_LAST_START, metrics.DAEMON_NEXT_START, metrics.DAEMON_PAUSED, metrics.DAEMON_FAILED):
        gauge.clear()
    for state in states:
        if state.last_start is not None:
            metrics.DAEMON_LAST_START.labels(state.name).set(state.last_start.timestamp())
        if state.next_start is not None:
            metrics.DAEMON_NEXT_START.labels(state.name).set(state.next_start.timestamp())
        metrics.DAEMON_PAUSED.labels(state.name).set(state.condition is DaemonCondition.PAUSED)
        metrics.DAEMON_FAILED.labels(state.name).set(state.last_error is not None)
