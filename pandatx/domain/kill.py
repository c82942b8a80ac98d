"""Who may end a job, what becomes of it, and commands for pilots (reference/lifecycle.md 1.6 and 6.7)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from attrs import field, frozen

from pandatx.domain.caller import Caller
from pandatx.domain.heartbeat import KILL
from pandatx.domain.lifecycle import BEFORE_ACTIVATION, TERMINAL, JobStatus

COMMAND_LIMIT: Final = 250
_DIAG_LIMIT: Final = 300

_USER_LABELS: Final = frozenset(("user", "panda"))
_GROUP_LABELS: Final = frozenset(("managed", "test"))
_PRODUCTION_LABELS: Final = frozenset(("managed", "rc_alrb", "install"))
_TEST: Final = "test"
_CLOSED_LABELS: Final = frozenset(("user", "managed", "test"))
# With one of these the production role ends users' jobs too.
_CODES_FOR_USERS_JOBS: Final = frozenset((2, 4, 7, 8, 9, 10, 50, 51, 52, 91, 99))
_FORCE: Final = frozenset((2, 9, 10, 51, 52, 60, 99))
_FORCE_RUNNING: Final = frozenset((9, 52))
RETRIED: Final = 7
REASSIGNED: Final = 51
# Event service and jumbo jobs, not cloning.
_EVENT_SERVICE: Final = frozenset((1, 4, 5))


@frozen
class _End:
    """How a job ends for a kill code; the texts follow ``killed by NAME`` or stand for themselves."""

    status: str
    error_code: int
    diag: str = "killed by {name}"
    sub_status: str | None = None
    clears_command: bool = False


_KILLED: Final = _End("cancelled", 100)
_ENDS: Final = {
    2: _End("closed", 102, "expired", "toreassign"),
    4: _End("closed", 102, "expired", "toreassign"),
    3: _End("cancelled", 103, "aborted by {name}"),
    8: _End("cancelled", 105, "reassigned to another site by rebrokerage", clears_command=True),
    9: _KILLED,
    10: _End("closed", 130, "fast rebrokerage due to an overloaded queue"),
    50: _End("cancelled", 100, "{name}"),
    51: _End("closed", 100, "reassigned by JEDI", "toreassign"),
    52: _End("cancelled", 100, "{name}"),
    55: _End("closed", 100, "the task is almost done", "taskdone"),
    60: _End("closed", 100, "the pilot had no work"),
}


@frozen(kw_only=True)
class KillRow:
    """The columns of a job, from jobsdefined4 or jobsactive4, that a kill is judged by."""

    panda_id: int
    job_status: str
    active: bool
    command_to_pilot: str | None = None
    prod_source_label: str | None = None
    prod_user_name: str | None = None
    working_group: str | None = None
    vo: str | None = None
    processing_type: str | None = None
    event_service: int | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None


@frozen(kw_only=True)
class KillOrder:
    """What is asked; ``name`` is the requester's compact name, or the text of JEDI for codes 50 and 52. ``groups``:
    where he produces, in one of ``vos``.
    """

    name: str
    production: bool = False
    groups: tuple[str, ...] = ()
    vos: frozenset[str] = frozenset()
    code: int | None = None
    keep_unmerged: bool = False

    @classmethod
    def of(cls, caller: Caller, code: int | None, options: tuple[str, ...] = ()) -> KillOrder:
        return cls(
            name=caller.name,
            production=caller.production,
            groups=caller.working_groups,
            vos=frozenset(fqan.split("/")[1] for fqan in caller.fqans if fqan.startswith("/")),
            code=code,
            keep_unmerged="keepUnmerged" in options,
        )


class KillAction(StrEnum):
    """REFUSE: not allowed. NOTHING: no such job, or it is being killed. FLAG: the pilot will be told. ARCHIVE: now."""

    REFUSE = "refuse"
    NOTHING = "nothing"
    FLAG = "flag"
    ARCHIVE = "archive"


@frozen(kw_only=True)
class KillVerdict:
    """What a kill does to one job.

    ``changes`` are attributes of Job, here None means NULL; ``status`` is the final one of an archived job, a row in
    jobs_statuslog where it is another than before. ``fails_outputs``: output and log files become failed.
    """

    action: KillAction
    reason: str = ""
    status: str | None = None
    changes: dict[str, Any] = field(factory=dict)
    fails_outputs: bool = False
    ends_merge: bool = False
    closes_datasets: bool = False

    @property
    def done(self) -> bool:
        """What the caller is told."""
        return self.action in (KillAction.FLAG, KillAction.ARCHIVE)


def decide(row: KillRow | None, order: KillOrder, now: datetime) -> KillVerdict:
    """Judge a kill by the row of the job, which the caller has locked; None where no table of live jobs has it."""
    if row is None:
        return KillVerdict(action=KillAction.NOTHING, reason="no such job, or it has ended")
    refusal = refuse(row, order)
    if refusal is not None:
        return KillVerdict(action=KillAction.REFUSE, reason=refusal)
    if row.job_status in TERMINAL:
        return _archive_ended(row, order, now)
    if not row.active and row.job_status not in BEFORE_ACTIVATION:
        return KillVerdict(action=KillAction.NOTHING, reason=f"a job in {row.job_status} is not to be killed here")
    if row.command_to_pilot == KILL and not _is_unconditional(row, order):
        return KillVerdict(action=KillAction.NOTHING, reason="the job is being killed")
    if row.job_status == JobStatus.RUNNING and not _ends_running(row, order):
        return KillVerdict(action=KillAction.FLAG, changes=_flag(order))
    return _archive(row, order, now)


def refuse(row: KillRow, order: KillOrder) -> str | None:
    """Why the requester may not end this job, None where he may; owners always may."""
    if order.name and row.prod_user_name == order.name:
        return None
    label = row.prod_source_label
    if order.production:
        if label not in _USER_LABELS or order.code in _CODES_FOR_USERS_JOBS:
            return None
        codes = ", ".join(map(str, sorted(_CODES_FOR_USERS_JOBS)))
        return f"a job of label {label} is ended by its owner, or by the production role with a code of {codes}"
    of_vo = not row.vo or row.vo in order.vos  # groups of several VOs have one name
    if label in _GROUP_LABELS and of_vo and _is_of_group(row.working_group or "", order.groups):
        return None
    return f"{order.name or 'the caller'} is not the owner of job {row.panda_id}"


def _is_of_group(working_group: str, groups: Iterable[str]) -> bool:
    """Whether a working group is one of these, with or without what stands before its last ``_``: GP_SUSY is susy."""
    name = f"_{working_group.lower()}"
    return any(group and name.endswith(f"_{group.lower()}") for group in groups)


def _is_event_service(row: KillRow) -> bool:
    return row.event_service in _EVENT_SERVICE


def _is_unconditional(row: KillRow, order: KillOrder) -> bool:
    """Whether the kill is carried out although the job is being killed already."""
    return order.code in _FORCE or _is_event_service(row) or row.job_status == JobStatus.MERGING


def _ends_running(row: KillRow, order: KillOrder) -> bool:
    """Whether a running job is ended without waiting for its pilot."""
    label = row.prod_source_label or _TEST
    if order.code in _FORCE_RUNNING and (label in _PRODUCTION_LABELS or _TEST in label):
        return True
    return (order.code == 99 and order.production) or _is_event_service(row)


def _flag(order: KillOrder) -> dict[str, Any]:
    return {"command_to_pilot": KILL, "task_buffer_error_diag": f"killed by {order.name}"[:_DIAG_LIMIT]}


def _archive(row: KillRow, order: KillOrder, now: datetime) -> KillVerdict:
    end = _ENDS.get(order.code, _KILLED) if order.code is not None else _KILLED
    ended = row.end_time or now
    changes = _flag(order) | {
        "task_buffer_error_code": end.error_code,
        "task_buffer_error_diag": end.diag.format(name=order.name)[:_DIAG_LIMIT],
        "end_time": ended,
    }
    if end.sub_status is not None:
        changes["job_sub_status"] = end.sub_status
    if end.clears_command:
        changes["command_to_pilot"] = None
    if row.job_status == JobStatus.STARTING:
        changes["start_time"] = ended
    return _archived(row, order, now, end.status, changes)


def _archive_ended(row: KillRow, order: KillOrder, now: datetime) -> KillVerdict:
    """A job that has its final status keeps it with its error codes; it only leaves the table of active jobs."""
    changes: dict[str, Any] = {}
    if order.code == RETRIED and row.job_status == JobStatus.FAILED:
        changes = {
            "task_buffer_error_code": 106,
            "task_buffer_error_diag": "retried by the server",
            "command_to_pilot": None,
        }
    if row.end_time is None:
        changes["end_time"] = now
    return _archived(row, order, now, row.job_status, changes)


def _archived(row: KillRow, order: KillOrder, now: datetime, status: str, changes: dict[str, Any]) -> KillVerdict:
    return KillVerdict(
        action=KillAction.ARCHIVE,
        status=status,
        changes=changes | {"modification_time": now, "state_change_time": now},
        fails_outputs=status != JobStatus.FINISHED,
        ends_merge=row.processing_type == "pmerge" and not order.keep_unmerged and order.code != REASSIGNED,
        closes_datasets=row.prod_source_label in _CLOSED_LABELS,
    )


@frozen(kw_only=True)
class CommandVerdict:
    """The answer to a text for a pilot, and whether it is stored in command_to_pilot."""

    reply: str
    stored: bool = False


def command(panda_id: int, text: str, *, found: bool, pending: str | None) -> CommandVerdict:
    """Judge a text for a job's pilot; ``found``: jobsdefined4 or jobsactive4 has the job, ``pending``: its command."""
    if len(text) > COMMAND_LIMIT:
        return CommandVerdict(reply=f"the command is longer than {COMMAND_LIMIT} characters")
    if not found:
        return CommandVerdict(reply=f"no active job with PandaID={panda_id}")
    if pending == KILL:
        return CommandVerdict(reply="job is being killed")
    return CommandVerdict(reply="command received", stored=True)
