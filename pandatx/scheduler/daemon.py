"""A daemon as it is scheduled, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

from attrs import field, frozen
from attrs.validators import gt

from pandatx.scheduler.context import Native


@frozen(kw_only=True)
class Daemon:
    """A timed script: what runs, and when. Times in seconds.

    Blocking code runs in the process pool, keeps its limit there, and ends early only by ``kill(why)``; native code
    ends between its batches.
    """

    name: str
    period: float = field(validator=gt(0))
    timeout: float = field(validator=gt(0))
    code: Native
    sync: bool = False
    loop: bool = False
    # Not compared: bound methods are equal only on the same object, and a reread entry makes a new one.
    kill: Callable[[str], None] | None = field(default=None, eq=False)
    arguments: tuple[object, ...] = ()


class DaemonCondition(StrEnum):
    """What a daemon is doing."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"
    PAUSED = "paused"


@frozen(kw_only=True)
class DaemonState:
    """What the status line, /readyz, metrics and `pandatx daemon list` tell of a daemon."""

    name: str
    condition: DaemonCondition
    period: float
    sync: bool
    loop: bool
    last_start: datetime | None
    last_duration: float | None
    next_start: datetime | None
    runs: int
    failures: int
    last_error: str | None
    late: bool

    @property
    def ok(self) -> bool:
        """Whether an operator need not look."""
        return self.last_error is None and not self.late and self.condition is not DaemonCondition.PAUSED


def default_timeout(period: float) -> float:
    """The limit of a run where none is given (the PanDA daemon guide's)."""
    return min(3 * period, period + 3600)
