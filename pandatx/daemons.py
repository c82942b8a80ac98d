"""The scheduler of a state directory, in whichever of its processes has the lock (rule R33)."""

from __future__ import annotations

from collections.abc import Mapping
from random import random

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.config import DaemonSettings
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
SCRIPTS_END = 1.0
"""Seconds for children that the scheduler has left without a call."""


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
    scheduler: Scheduler | None = field(default=None, init=False)
    _lock: Lock | None = field(default=None, init=False)
    _waiting: LoopingCall | None = field(default=None, init=False)
    _pool_open: bool = field(default=False, init=False)

    async def start(self) -> None:
        """Begin at once if the lock is free, else as soon as it is."""
        if await self._take_over():
            return
        log.info("the daemons run in {holder}; this process waits for them", holder=self._state.holder(LOCK))
        self._waiting = waiting = LoopingCall(self._look)
        waiting.clock = self._clock.reactor  # type: ignore[assignment]
        waiting.start(LOCK_EVERY, now=False)

    async def stop(self) -> None:
        """End all runs, and let another process have the daemons."""
        if self._waiting is not None and self._waiting.running:
            self._waiting.stop()
        if self.scheduler is not None:
            await self.scheduler.stop()
        if self._pool_open:
            await self._scripts.stop(SCRIPTS_END)
        if self._lock is not None:
            self._lock.release()

    async def reload(self, settings: DaemonSettings) -> None:
        """Take over another [daemon] section, now or when the lock is ours."""
        self._settings = settings
        if self.scheduler is not None:
            planned = await self._plan()
            await self.scheduler.reload(planned.daemons, planned.faults)

    async def _take_over(self) -> bool:
        self._lock = self._state.lock(LOCK)
        if self._lock is None:
            return False
        planned = await self._plan()
        self.scheduler = Scheduler(
            self._clock, self._locks, self._state.instance, planned.daemons, planned.faults, random
        )
        self.scheduler.start()
        return True

    async def _plan(self) -> Plan:
        planned = plan(self._settings, self._natives, self._scripts)
        if planned.absent:
            log.warn("daemons that this version does not have: {names}", names=", ".join(planned.absent))
        if not self._pool_open and any(daemon.kill is not None for daemon in planned.daemons):
            self._pool_open = True
            await self._scripts.start()
        return planned

    def _look(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._wait_on()).addErrback(lambda f: log.failure("the daemons", f))

    async def _wait_on(self) -> None:
        if await self._take_over() and self._waiting is not None and self._waiting.running:
            self._waiting.stop()
