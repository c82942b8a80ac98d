"""One daemon on its clock: due, locked, run, never doubled, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.daemons import DaemonCondition, DaemonState
from pandatx.scheduler.daemon import Daemon
from pandatx.scheduler.locks import SyncLock
from pandatx.scheduler.run import Outcome, Run

SERVER_STOPS = "the server is stopping"

log = Logger()


class Held(Protocol):
    """A daemon that nobody else on this machine may run meanwhile."""

    def release(self) -> None: ...


@define(eq=False)
class TimedDaemon:
    """A daemon, its LoopingCall and its state. ``make_lock`` gives the lock of a sync daemon.

    ``hold`` keeps others on this machine from running it, or is None while one does (`pandatx daemon run`).
    """

    daemon: Daemon
    _clock: Clock
    _make_lock: Callable[[Daemon], SyncLock]
    _hold: Callable[[Daemon], Held | None]
    paused: bool = field(init=False, default=False)
    last_start: datetime | None = field(init=False, default=None)
    last_duration: float | None = field(init=False, default=None)
    last_error: str | None = field(init=False, default=None)
    runs: int = field(init=False, default=0)
    failures: int = field(init=False, default=0)
    _closed: bool = field(init=False, default=True)
    _first: Any = field(init=False, default=None)
    _looping: LoopingCall | None = field(init=False, default=None)
    _busy: Deferred[None] | None = field(init=False, default=None)
    _run: Run | None = field(init=False, default=None)
    _nap: Any = field(init=False, default=None)

    def start(self, delay: float) -> None:
        """Be due for the first time in ``delay`` seconds, then every period."""
        self._closed = False
        self._first = self._clock.reactor.callLater(delay, self._begin)

    async def stop(self, seconds: float) -> None:
        """No more runs. One under way gets up to ``seconds`` to end: a native one ends after its batch."""
        self._closed = True
        self._end_timers()
        if self._busy is None:
            return
        timer = self._clock.reactor.callLater(seconds, self._cut)
        if self._run is not None and self.daemon.kill is None:
            self._run.stop(SERVER_STOPS)
        await self._busy
        if timer.active():
            timer.cancel()

    @property
    def state(self) -> DaemonState:
        """What is known of it now."""
        return DaemonState(
            name=self.daemon.name,
            condition=self._condition(),
            period=self.daemon.period,
            sync=self.daemon.sync,
            loop=self.daemon.loop,
            last_start=self.last_start,
            last_duration=self.last_duration,
            next_start=None if self.paused or self._closed else self._next_start(),
            runs=self.runs,
            failures=self.failures,
            last_error=self.last_error,
            late=self._run is not None and self._run.late,
        )

    # The clock's side.

    def _begin(self) -> None:
        self._looping = looping = self._clock.looping(self._tick)
        looping.start(self.daemon.period, now=True)

    def _tick(self) -> Deferred[None] | None:
        if self.paused or self._closed or self._busy is not None:
            return None
        return self._alone(self._in_time())

    def _alone(self, work: Coroutine[Any, Any, None]) -> Deferred[None]:
        """The one thing this daemon does now. A fault is logged here: it would stop the LoopingCall for good."""
        done: Deferred[None] = Deferred()
        self._busy = done

        async def whole() -> None:
            try:
                await work
            except Exception as fault:
                self._failed(Outcome(error=f"{type(fault).__name__}: {fault}"))
            finally:
                self._busy = None
                done.callback(None)

        return Deferred.fromCoroutine(whole())

    async def _in_time(self) -> None:
        due = await self._attempt()
        if due is None or self._closed:
            return
        # The period counts from the last start anywhere, which need not fall on our ticks.
        wait = max((due - self._clock.now()).total_seconds(), 0.0)
        if wait < self.daemon.period:
            self._end_nap()
            self._nap = self._clock.reactor.callLater(wait, self._tick)

    async def _attempt(self) -> datetime | None:
        """Run, unless somebody else does: then when to try again, if that is known."""
        held = self._hold(self.daemon)
        if held is None:
            log.info("daemon {name}: another process of this machine is running it", name=self.daemon.name)
            return None
        try:
            return await self._run_on()
        finally:
            held.release()

    async def _run_on(self) -> datetime | None:
        """Run; in loop mode, run after run."""
        while True:
            start = self._clock.now()
            lock = self._make_lock(self.daemon) if self.daemon.sync else None
            if lock is not None and (due := await lock.take(start)) is not None:
                return due
            if self._closed:  # stopped while the database was asked
                if lock is not None:
                    await lock.give_up()
                return None
            self.last_start = start
            self._end_nap()
            outcome, lasted = await self._locked(lock)
            if not (self.daemon.loop and outcome.again and lasted >= self.daemon.period):
                return None
            if self._closed or self.paused:
                return None

    async def _locked(self, lock: SyncLock | None) -> tuple[Outcome, float]:
        self._run = run = Run(self.daemon, self._clock, lambda: not self.paused)
        if lock is not None:
            lock.keep(lambda: run.stop("its lock was lost to another server"))
        outcome = await run.go()
        lasted, self._run = run.lasted, None
        self._tell(run, outcome, lasted)
        if lock is not None:
            await lock.give_back()
        return outcome, lasted

    # What became of it.

    def _tell(self, run: Run, outcome: Outcome, lasted: float) -> None:
        self.runs += 1
        self.last_duration = lasted
        if outcome.error and not self._closed:
            self._failed(outcome)
        elif not outcome.error:
            if self.last_error:
                log.info("daemon {name}: well again", name=self.daemon.name)
            self.last_error = None
        if done := {word: count for word, count in run.context.counts.items() if count}:
            told = ", ".join(f"{word} {count}" for word, count in done.items())
            log.info("daemon {name}: {told} in {lasted:.1f} s", name=self.daemon.name, told=told, lasted=lasted)
        if lasted > self.daemon.period and not self.daemon.loop:
            log.warn(
                "daemon {name}: took {lasted:.0f} s, exceeding its period of {period:g} s",
                name=self.daemon.name,
                lasted=lasted,
                period=self.daemon.period,
            )

    def _failed(self, outcome: Outcome) -> None:
        """Once per fault: a daemon that fails alike every minute does not fill the log."""
        self.failures += 1
        if outcome.error == self.last_error:
            return
        self.last_error = outcome.error
        trace = f"\n{outcome.traceback}" if outcome.traceback else ""
        log.error("daemon {name}: {why}{trace}", name=self.daemon.name, why=outcome.error, trace=trace)

    def _condition(self) -> DaemonCondition:
        if self._run is not None:
            return DaemonCondition.STOPPING if self._run.context.stopping else DaemonCondition.RUNNING
        return DaemonCondition.PAUSED if self.paused else DaemonCondition.WAITING

    def _next_start(self) -> datetime | None:
        looping: Any = self._looping
        calls = (self._first, self._nap, looping.call if looping is not None else None)
        times = [call.getTime() for call in calls if call is not None and call.active()]
        return self._clock.now() + timedelta(seconds=min(times) - self._clock.seconds()) if times else None

    def _end_nap(self) -> None:
        nap, self._nap = self._nap, None
        if nap is not None and nap.active():
            nap.cancel()

    def _end_timers(self) -> None:
        self._end_nap()
        first, self._first = self._first, None
        looping, self._looping = self._looping, None
        if first is not None and first.active():
            first.cancel()
        if looping is not None and looping.running:
            looping.stop()

    def _cut(self) -> None:
        if self._run is not None:
            self._run.cut(SERVER_STOPS)
