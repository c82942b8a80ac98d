"""When datasets are closed, frozen and deleted, and how long transfers may take (reference/lifecycle.md 3.4)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from attrs import field, frozen

from pandatx.domain.job import Job, JobFile
from pandatx.domain.report import OUTPUTS

_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


@frozen
class Window:
    """How long ago a dataset was last changed, if it is to be looked at; both ends belong to it."""

    least: timedelta
    most: timedelta

    def at(self, now: datetime) -> tuple[datetime, datetime]:
        """The first and the last time of change that count."""
        return now - self.most, now - self.least


CLOSE: Final = Window(_MINUTE, 3 * _DAY)
FREEZE: Final = Window(6 * _HOUR, 14 * _DAY)
RESET: Final = Window(3 * _HOUR, 12 * _HOUR)
"""For sub blocks in ``doing``: back to ``running``, and frozen by the same run."""
DELETE_DISPATCH: Final = Window(30 * _MINUTE, 3 * _DAY)
DELETE_SUB: Final = Window(30 * _MINUTE, 14 * _DAY)
LOCKED_AHEAD: Final = 90 * _MINUTE
"""The row lock of datasets: the time of change is so far in the future that nobody's window has it."""
OLD_ENOUGH: Final = 30 * _DAY
"""How far back it is looked for the end of a job in the archive, and for blocks that were left open."""
LEFT_IN_TRANSFER: Final = 10 * _MINUTE
"""A transferring job whose outputs are all settled for so long was left by a server that died."""

URGENT: Final = 800
UNTOUCHED: Final = 2 * _HOUR
UNTOUCHED_URGENT: Final = _HOUR
TRANSFER_LIMIT: Final = 6 * _DAY
TRANSFER_LIMIT_URGENT: Final = 2 * _DAY
TRANSFER_TIMEOUT: Final = 101
"""taskBufferErrorCode of a job whose outputs did not arrive in time."""
ASSIGNED: Final = _HOUR
"""How long the inputs of an assigned job are not asked for again."""

_NOT_IN_STORAGE: Final = ("user.", "group.", "hc_test.", "panda.um.")
_SUB: Final = re.compile(r"_sub\d+\Z")
_DISPATCH: Final = re.compile(r"_dis\d+\Z")
# A file that may be missing, nooutput, is as settled as one that failed; else its block would be looked at for ever.
_FROZEN: Final = frozenset(("ready", "failed", "skipped", "merging", "finished", "nooutput"))
_SETTLED: Final = frozenset(("ready", "failed", "nooutput"))
_THERE: Final = frozenset(("ready", "cached"))
_DISTRIBUTED: Final = ("dst:", "ddd:")
_DIAG_LIMIT: Final = 300


def is_only_a_name(name: str) -> bool:
    """Whether a dataset is kept in Datasets only, so that no storage needs to be asked."""
    return name.startswith(_NOT_IN_STORAGE)


def is_unmerged(name: str) -> bool:
    """Whether the files of a block are to be merged."""
    return name.startswith("panda.um.")


def is_sub(name: str) -> bool:
    return _SUB.search(name) is not None


def is_dispatch(name: str) -> bool:
    return _DISPATCH.search(name) is not None


def has_dispatch_blocks(name: str) -> bool:
    """Whether the dispatch blocks behind a closed block are done with: those of production."""
    return is_sub(name) and not name.startswith(("user", "group"))


def is_frozen(statuses: Iterable[str | None]) -> bool:
    """Whether nothing will happen to files with these statuses; a block without files has none to wait for."""
    return all(status in _FROZEN for status in statuses)


def last_status(n_failed: int) -> str:
    """What becomes of a dispatch block whose jobs have read it; ``n_failed`` of them may be tried again."""
    return "deleting" if n_failed == 0 else "shortening"


class Transfer(StrEnum):
    """What becomes of a transferring job."""

    FINISH = "finish"
    FAIL = "fail"
    WAIT = "wait"


@frozen(kw_only=True)
class TransferVerdict:
    """``changes`` and ``file_changes`` (by row_id) are those of a job that fails; ``arrived`` are files now ready."""

    action: Transfer
    changes: dict[str, Any] = field(factory=dict)
    file_changes: dict[int, dict[str, Any]] = field(factory=dict)
    arrived: tuple[int, ...] = ()


def awaited_outputs(job: Job) -> tuple[JobFile, ...]:
    """The files that a transferring job waits for; where a destination is distributed nobody asks."""
    return tuple(
        each
        for each in job.files
        if each.type in OUTPUTS
        and each.status not in _SETTLED
        and not (each.destination_dblock_token or "").startswith(_DISTRIBUTED)
    )


def transfer(job: Job, there: Collection[int], now: datetime) -> TransferVerdict:
    """Decide for a transferring job when a storage has said which of its files (row_id) are ``there``.

    A file of which no report has come yet is not there, whatever lies in the storage.
    """
    outputs = [each for each in job.files if each.type in OUTPUTS]
    moving = [each for each in outputs if each.status == "transferring"]
    open_ended = [each for each in outputs if each.status not in _SETTLED and each.status != "transferring"]
    late = [each for each in awaited_outputs(job) if each.row_id not in there]
    if outputs and not late and not open_ended:
        return TransferVerdict(action=Transfer.FINISH, arrived=tuple(each.row_id for each in moving))
    since = job.end_time or job.start_time
    if since is None or now - since < _transfer_limit(job):
        return TransferVerdict(action=Transfer.WAIT)
    changes = {
        "modification_time": now,
        "state_change_time": now,
        "task_buffer_error_code": TRANSFER_TIMEOUT,
        "task_buffer_error_diag": f"transfer timeout for {' '.join(each.lfn for each in late or open_ended)}"[
            :_DIAG_LIMIT
        ],
    }
    if job.end_time is None:
        changes["end_time"] = now
    failed = {
        each.row_id: {"status": "failed"} for each in job.files if each.type in OUTPUTS or each.status == "transferring"
    }
    return TransferVerdict(action=Transfer.FAIL, changes=changes, file_changes=failed)


def _transfer_limit(job: Job) -> timedelta:
    urgent = job.current_priority >= URGENT and job.prod_source_label != "user"
    return TRANSFER_LIMIT_URGENT if urgent else TRANSFER_LIMIT


def missing_inputs(job: Job) -> tuple[JobFile, ...]:
    """What an assigned job waits for."""
    return tuple(each for each in job.files if each.type == "input" and each.status not in _THERE)
