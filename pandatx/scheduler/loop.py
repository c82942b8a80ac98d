"""The scheduler: all daemons on their clocks (design.md 9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta

from attrs import define, evolve, field
from twisted.internet.defer import DeferredList, DeferredLock, ensureDeferred
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.config import LeftOut
from pandatx.domain.daemons import DaemonCondition, DaemonState
from pandatx.scheduler.daemon import Daemon
from pandatx.scheduler.locks import LockStore, SyncLock
from pandatx.scheduler.timed import Held, TimedDaemon

STOP_LIMIT = 20.0
APART = 1.0

log = Logger()


class _Alone:
    """Of a server that shares its machine with nobody."""

    def release(self) -> None:
        """Nothing was held."""


def _alone(daemon: Daemon) -> Held | None:
    return _Alone()


def _no_jitter() -> float:
    return 0.0


@define(eq=False)
class Scheduler:
    """Runs daemons at their times.

    ``holder`` is host-instance-pid: the lockedBy of sync daemons, at most 56 characters. ``jitter`` gives the part of a
    second by which first starts are spread, so that servers that start together do not ask for the locks together.
    ``faults`` are the entries of the operator's file that could not be read. ``hold`` as in TimedDaemon.
    """

    _clock: Clock
    _locks: LockStore
    _holder: str
    _daemons: tuple[Daemon, ...]
    faults: tuple[LeftOut, ...] = ()
    _jitter: Callable[[], float] = _no_jitter
    _hold: Callable[[Daemon], Held | None] = _alone
    _paused: frozenset[str] = frozenset()
    _timed: dict[str, TimedDaemon] = field(init=False, factory=dict)
    _started: bool = field(init=False, default=False)
    _reloading: DeferredLock = field(init=False, factory=DeferredLock)

    def start(self) -> None:
        """Start all, a second apart (R35); a sync daemon that is not due waits for its time."""
        self._started = True
        for fault in self.faults:
            log.error("{fault}", fault=fault)
        self._add(self._daemons)

    async def stop(self, seconds: float = STOP_LIMIT) -> None:
        """Start nothing more. Scripts get ``seconds`` to end, then SIGKILL; native daemons end between two batches."""
        self._started = False
        await self._stop(self._timed.values(), seconds)

    async def reload(self, daemons: tuple[Daemon, ...], faults: tuple[LeftOut, ...] = ()) -> None:
        """Take over a new configuration: what is gone or changed ends its run first, the rest goes on."""
        async with self._reloading:
            await self._reload(daemons, faults)

    async def _reload(self, daemons: tuple[Daemon, ...], faults: tuple[LeftOut, ...]) -> None:
        self.faults = faults
        for fault in faults:
            log.error("{fault}", fault=fault)
        wanted = {daemon.name: daemon for daemon in daemons}
        leaving = [timed for name, timed in self._timed.items() if wanted.get(name) != timed.daemon]
        staying = set(self._timed) - {timed.daemon.name for timed in leaving}
        self._daemons = daemons
        await self._stop(leaving, STOP_LIMIT)
        if self._started:
            for timed in leaving:
                del self._timed[timed.daemon.name]
            self._add([daemon for daemon in daemons if daemon.name not in staying])

    @property
    def states(self) -> tuple[DaemonState, ...]:
        """One record per daemon, by name; those left out too. One of ours whose entry is left out runs as built in."""
        faults = {fault.name: fault.why for fault in self.faults}
        known = {name: _left_out(name, why) for name, why in faults.items()}
        for name, timed in self._timed.items():
            state = timed.state
            if name in faults and state.last_error is None:
                state = evolve(state, last_error=f"it runs as built in, its entry is left out: {faults[name]}")
            known[name] = state
        return tuple(known[name] for name in sorted(known))

    @property
    def summary(self) -> str:
        """For the status line: `12 ok, 1 late`."""
        states = self.states
        counts = {
            "ok": sum(state.ok for state in states),
            "late": sum(state.late for state in states),
            "failed": sum(state.last_error is not None for state in states),
            "paused": sum(state.condition == "paused" for state in states),
        }
        return ", ".join(f"{count} {word}" for word, count in counts.items() if count or word == "ok")

    def pause(self, names: frozenset[str]) -> None:
        """Begin no more runs of these daemons, and of no others; one under way goes on."""
        self._paused = names
        for timed in self._timed.values():
            timed.paused = timed.daemon.name in names

    def _add(self, daemons: Iterable[Daemon]) -> None:
        for place, daemon in enumerate(daemons):
            timed = TimedDaemon(daemon, self._clock, self._lock_of, self._hold)
            timed.paused = daemon.name in self._paused
            self._timed[daemon.name] = timed
            timed.start(place * APART + self._jitter())

    def _lock_of(self, daemon: Daemon) -> SyncLock:
        period = timedelta(seconds=daemon.period)
        return SyncLock(self._locks, self._clock, daemon.name, self._holder, period)

    async def _stop(self, leaving: Iterable[TimedDaemon], seconds: float) -> None:
        await DeferredList([ensureDeferred(timed.stop(seconds)) for timed in leaving])


def _left_out(name: str, why: str) -> DaemonState:
    return DaemonState(name=name, condition=DaemonCondition.LEFT_OUT, period=0, last_error=why)
