"""The statuses of a job and the changes between them that this server makes."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class JobStatus(StrEnum):
    """The statuses of reference/lifecycle.md 1.1 that a row can have."""

    PENDING = "pending"
    WAITING = "waiting"
    DEFINED = "defined"
    ASSIGNED = "assigned"
    ACTIVATED = "activated"
    SENT = "sent"
    STARTING = "starting"
    STAGEIN = "stagein"
    STAGEOUT = "stageout"
    RUNNING = "running"
    HOLDING = "holding"
    TRANSFERRING = "transferring"
    MERGING = "merging"
    THROTTLED = "throttled"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CLOSED = "closed"


TERMINAL: Final = frozenset((JobStatus.FINISHED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.CLOSED))
BEFORE_ACTIVATION: Final = frozenset((JobStatus.PENDING, JobStatus.WAITING, JobStatus.DEFINED, JobStatus.ASSIGNED))
REPORTABLE: Final = frozenset(("running", "failed", "finished", "holding", "starting", "transferring"))

_ENDS = TERMINAL
_S = JobStatus
TRANSITIONS: Final[dict[JobStatus, frozenset[JobStatus]]] = {
    _S.PENDING: frozenset((_S.DEFINED, _S.WAITING)) | _ENDS,
    _S.WAITING: frozenset((_S.DEFINED, _S.ASSIGNED, _S.ACTIVATED)) | _ENDS,
    _S.DEFINED: frozenset((_S.ASSIGNED, _S.ACTIVATED, _S.WAITING)) | _ENDS,
    _S.ASSIGNED: frozenset((_S.ACTIVATED, _S.DEFINED, _S.WAITING)) | _ENDS,
    # A report that arrives for any active job ends it through holding (1.2).
    _S.ACTIVATED: frozenset((_S.SENT, _S.DEFINED, _S.THROTTLED, _S.HOLDING)) | _ENDS,
    _S.THROTTLED: frozenset((_S.ACTIVATED, _S.HOLDING)) | _ENDS,
    # sent -> activated is ours: an answer that never left the server (rule R3).
    _S.SENT: frozenset((_S.STARTING, _S.RUNNING, _S.HOLDING, _S.TRANSFERRING, _S.ACTIVATED)) | _ENDS,
    _S.STARTING: frozenset((_S.RUNNING, _S.HOLDING, _S.TRANSFERRING)) | _ENDS,
    _S.STAGEIN: frozenset((_S.RUNNING, _S.HOLDING, _S.TRANSFERRING)) | _ENDS,
    _S.STAGEOUT: frozenset((_S.RUNNING, _S.HOLDING, _S.TRANSFERRING)) | _ENDS,
    _S.RUNNING: frozenset((_S.HOLDING, _S.TRANSFERRING)) | _ENDS,
    _S.HOLDING: frozenset((_S.TRANSFERRING, _S.MERGING)) | _ENDS,
    _S.TRANSFERRING: frozenset((_S.HOLDING,)) | _ENDS,
    _S.MERGING: _ENDS,
    _S.FINISHED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.CLOSED: frozenset(),
}


def may_change(old: str, new: str) -> bool:
    """Whether this server may change a job from one status to another; a status found that is not ours may end (R8)."""
    try:
        return JobStatus(new) in TRANSITIONS[JobStatus(old)]
    except ValueError:
        return new == JobStatus.HOLDING or new in TERMINAL
