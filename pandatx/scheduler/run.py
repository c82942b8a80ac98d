"""One run of a daemon, from its start to whatever ends it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred

from pandatx import metrics
from pandatx.clock import Clock
from pandatx.errors import PandaError
from pandatx.scheduler.context import Context, RunStopped
from pandatx.scheduler.daemon import Daemon
from pandatx.workers.calls import CallError

# No transaction lives longer (rule R5), so a daemon that has not yielded by then waits for something else.
BATCH_LIMIT = 60.0
SHORTEST_TURN = 0.1


@frozen
class Outcome:
    """How a run ended: whether its code wants to go on (loop mode), and what went wrong, if anything."""

    again: bool = False
    error: str | None = None
    traceback: str = ""


@define(eq=False)
class Run:
    """A run under way.

    In loop mode the code is begun again until its period has passed, it returns false, or it is not ``wanted`` to.
    """

    _daemon: Daemon
    _clock: Clock
    _wanted: Callable[[], bool] = lambda: True
    context: Context = field(init=False)
    began: float = field(init=False)
    late: bool = field(init=False, default=False)
    _work: Deferred[bool] | None = field(init=False, default=None)
    _timers: list[Any] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        daemon, self.began = self._daemon, self._clock.seconds()
        self.context = Context(self._clock, daemon.name, daemon.arguments, deadline=self.began + daemon.timeout)

    @property
    def lasted(self) -> float:
        """Seconds since the run began."""
        return self._clock.seconds() - self.began

    async def go(self) -> Outcome:
        """Run the code to its end. Raises nothing: this is the edge where a daemon's faults stop."""
        if not self._daemon.loop:
            self._timers.append(self._clock.reactor.callLater(self._daemon.period, self._outlast))
        if self._daemon.kill is None:
            self._timers.append(self._clock.reactor.callLater(self._daemon.timeout, self._time_out))
        self._work = work = Deferred.fromCoroutine(self._repeat())
        try:
            outcome = Outcome(again=await work)
        except (RunStopped, CancelledError) as ended:
            outcome = Outcome(error=self._why_cut_short(ended))
        except PandaError as fault:  # such as no database: nothing in the code is to be mended
            outcome = Outcome(error=str(fault))
        except CallError as fault:
            outcome = Outcome(error=str(fault), traceback=getattr(fault, "traceback", ""))
        except (Exception, SystemExit) as fault:
            outcome = Outcome(error=self._why_cut_short(fault), traceback=traceback.format_exc())
        finally:
            for timer in self._timers:
                if timer.active():
                    timer.cancel()
        self._measure(outcome)
        return outcome

    def stop(self, why: str) -> None:
        """Have the run end: a native one between its batches, a script at once, by SIGKILL."""
        self.context.stop(why)
        if self._daemon.kill is not None:
            self._daemon.kill(self.context.why_stopping)

    def cut(self, why: str) -> None:
        """End the run without waiting for its next batch."""
        self.stop(why)
        if self._daemon.kill is None and self._work is not None:
            self._work.cancel()

    async def _repeat(self) -> bool:
        while True:
            begun = self._clock.seconds()
            again = bool(await self._daemon.code.run(self.context))
            if not (again and self._daemon.loop and self._wanted()):
                return again
            if self.context.stopping or self.lasted >= self._daemon.period:
                return again
            if self._clock.seconds() - begun < SHORTEST_TURN:
                # Code that has nothing to do and says "again" must not spin the reactor.
                await self._clock.wait(SHORTEST_TURN)
            await self.context.breathe()

    def _time_out(self) -> None:
        why = f"it took more than its limit of {self._daemon.timeout:g} s"
        self.stop(why)
        self._timers.append(self._clock.reactor.callLater(BATCH_LIMIT, self.cut, why))

    def _outlast(self) -> None:
        self.late = True
        metrics.DAEMON_LATE.labels(self._daemon.name).set(1)

    def _measure(self, outcome: Outcome) -> None:
        name = self._daemon.name
        metrics.DAEMON_LATE.labels(name).set(0)
        metrics.DAEMON_SECONDS.labels(name).observe(self.lasted)
        metrics.DAEMON_RUNS.labels(name, "failed" if outcome.error else "done").inc()

    def _why_cut_short(self, fault: BaseException) -> str:
        why = self.context.why_stopping
        return f"stopped: {why}" if why else f"{type(fault).__name__}: {fault}"
