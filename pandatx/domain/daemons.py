"""What is known of a daemon, here and on the other servers."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from attrs import frozen


class DaemonCondition(StrEnum):
    """What a daemon is doing."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"
    PAUSED = "paused"
    LEFT_OUT = "left out"
    """Its entry in the operator's file cannot be read."""


@frozen(kw_only=True)
class DaemonState:
    """What the status line, /readyz, metrics and `pandatx daemon list` tell of a daemon. Times in seconds."""

    name: str
    condition: DaemonCondition
    period: float
    sync: bool = False
    loop: bool = False
    last_start: datetime | None = None
    last_duration: float | None = None
    next_start: datetime | None = None
    runs: int = 0
    failures: int = 0
    last_error: str | None = None
    late: bool = False

    @property
    def ok(self) -> bool:
        """Whether an operator need not look."""
        return self.last_error is None and not self.late and self.condition is not DaemonCondition.PAUSED


@frozen(kw_only=True)
class DaemonSeen:
    """A daemon as a living server has told of it, and who holds its lock until when (sync daemons, rule R7)."""

    server: str
    state: DaemonState
    lock_holder: str | None = None
    locked_until: datetime | None = None
