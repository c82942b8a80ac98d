"""Time, handed in everywhere: the database's UTC clock and the reactor's seconds (rule R44)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from attrs import define, field

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ReactorTime(Protocol):
    """What of a reactor keeps time; a task.Clock will do."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> Any: ...


@define
class Clock:
    """``now()`` is this machine's time put right by the measured offset to the database; ``reactor`` keeps delays."""

    reactor: ReactorTime
    _wall: Callable[[], datetime] = _utc_now
    offset: timedelta = field(default=timedelta(0))

    def now(self) -> datetime:
        """The database's time, aware UTC."""
        return self._wall() + self.offset

    def seconds(self) -> float:
        """The reactor's seconds, for durations only."""
        return self.reactor.seconds()

    @classmethod
    def manual(cls, reactor: ReactorTime, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> Clock:
        """A clock that a test moves by moving ``reactor``, a task.Clock."""
        zero = reactor.seconds()
        return cls(reactor, lambda: start + timedelta(seconds=reactor.seconds() - zero))
