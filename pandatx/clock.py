"""Time, handed in everywhere: the database's UTC clock and the reactor's seconds (rule R44)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import CLOCK_BOOTTIME, clock_gettime
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
A_LEAP = timedelta(seconds=1)


def machine_time() -> datetime:
    """What this machine's clock says, which somebody may set at any time."""
    return datetime.now(UTC)


def free_running(
    machine: Callable[[], datetime] = machine_time, seconds: Callable[[], float] = lambda: clock_gettime(CLOCK_BOOTTIME)
) -> Callable[[], datetime]:
    """This machine's time from now on, whatever its clock is set to; what it sleeps through counts."""
    began, zero = machine(), seconds()
    return lambda: began + timedelta(seconds=seconds() - zero)


class ReactorTime(Protocol):
    """What of a reactor keeps time; a task.Clock will do."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> Any: ...


@define
class Clock:
    """``now()`` is this machine's time put right by the measured offset to the database; ``reactor`` keeps delays.

    When somebody sets the machine's clock, ``now()`` goes on as before: a job is not silent for hours because of that.
    ``difference`` is the database's clock less this machine's, as it was last seen.
    """

    reactor: ReactorTime
    _wall: Callable[[], datetime] = field(factory=free_running)
    offset: timedelta = field(default=timedelta(0))
    difference: timedelta = field(default=timedelta(0))

    def now(self) -> datetime:
        """The database's time, aware UTC."""
        return self._wall() + self.offset

    def was_set(self, machine_time: Callable[[], datetime] = machine_time) -> bool:
        """Whether this machine's clock has leapt since it was measured: somebody set it, or the machine stood still."""
        return abs(self._wall() - machine_time() - (self.difference - self.offset)) > A_LEAP

    def seconds(self) -> float:
        """The reactor's seconds, for durations only."""
        return self.reactor.seconds()

    def wait(self, seconds: float) -> Deferred[None]:
        """Fires after so many seconds; with 0, once others have had the reactor. Cancelling it ends the wait."""
        return deferLater(self.reactor, seconds)  # type: ignore[arg-type]  # Twisted asks for the whole IReactorTime

    def looping(self, work: Callable[..., object], *args: Any) -> LoopingCall:
        """A LoopingCall by this clock, to be started. An exception of ``work`` would stop it for good."""
        looping = LoopingCall(work, *args)
        looping.clock = self.reactor  # type: ignore[assignment]  # as above
        return looping

    @classmethod
    def manual(cls, reactor: ReactorTime, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> Clock:
        """A clock that a test moves by moving ``reactor``, a task.Clock."""
        zero = reactor.seconds()
        return cls(reactor, lambda: start + timedelta(seconds=reactor.seconds() - zero))
