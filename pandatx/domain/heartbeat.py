"""What a pilot's report changes in its job, and what the pilot is told (reference/lifecycle.md 1.4 and 6.6)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final

from attrs import frozen

from pandatx.domain.lifecycle import BEFORE_ACTIVATION, TERMINAL, JobStatus, may_change
from pandatx.domain.requests import Heartbeat

KILL: Final = "tobekilled"
ALREADY_DONE: Final = "alreadydone"
DEBUG: Final = "debug"
DEBUG_TAG: Final = "dm"
_QUEUED_TAG: Final = "tq="
INVALID_BATCH_ID: Final = 1


@frozen(kw_only=True)
class ActiveRow:
    """The columns of a row in jobsactive4 that a report is judged by, and those that its status log row needs."""

    panda_id: int
    attempt_nr: int = 0
    job_status: str = "sent"
    job_sub_status: str | None = None
    batch_id: str | None = None
    command_to_pilot: str | None = None
    special_handling: str | None = None
    job_dispatcher_error_diag: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    prod_user_id: str | None = None
    prod_user_name: str | None = None
    prod_source_label: str | None = None
    computing_site: str | None = None
    cloud: str | None = None
    modification_host: str | None = None
    scheduler_id: str | None = None
    jedi_task_id: int | None = None
    locked_by: str | None = None


@frozen(kw_only=True)
class Verdict:
    """What to do with one report.

    ``changes`` are attributes of Job with the values to write, never None; an empty ``job_dispatcher_error_diag``
    is written as NULL. None: the row stays as it is. ``new_status`` is None where the status stays; a new one is a row
    in jobs_statuslog. ``rule`` is the number in the table of 6.6. ``foreign``: the status found is none of ours (R8).
    """

    rule: int
    command: str
    changes: dict[str, Any] | None = None
    new_status: str | None = None
    stores_report: bool = False
    stores_metadata: bool = False
    stores_stdout: bool = False
    stores_pilot_log: bool = False
    first_running: bool = False
    foreign: bool = False


# What a report carries straight into a column; the dialects have cut and bounded it (requests.Heartbeat).
_SAME: Final = (
    *("scheduler_id", "pilot_id", "batch_id", "start_time", "end_time", "job_sub_status"),
    *("cpu_consumption_time", "cpu_consumption_unit", "cpu_architecture_level", "mean_core_count"),
    *("n_events", "n_input_files", "pilot_error_code", "pilot_error_diag", "exe_error_code", "exe_error_diag"),
    *("pilot_timing", "job_metrics", "grid", "source_site", "destination_site"),
    *(f"{kind}_{what}" for kind in ("max", "avg") for what in ("rss", "vmem", "swap", "pss")),
    *(f"{kind}_{what}" for kind in ("tot", "rate") for what in ("rchar", "wchar", "rbytes", "wbytes")),
)
_RENAMED: Final = {
    "node": "modification_host",
    "cpu_conversion_factor": "cpu_conversion",
    "core_count": "actual_core_count",
}
_COLUMNS: Final = (*_SAME, *_RENAMED.values())
_values_of: Final[Callable[[Heartbeat], tuple[Any, ...]]] = attrgetter(*_SAME, *_RENAMED)

_METRIC: Final = re.compile(r"(?<![^\s,;])(leak|chi2)=([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,2})?)")
_METRIC_LIMIT: Final = 10**11 - 1
_PLAIN_NUMBER: Final = re.compile(r"[0-9]+\.*[0-9]+")

_NOT_DISPATCHED: Final = frozenset((*BEFORE_ACTIVATION, JobStatus.ACTIVATED, JobStatus.THROTTLED))
_STARTS: Final = ("sent", "starting")


def command_of(command_to_pilot: str | None, special_handling: str | None) -> str:
    """The command for a pilot whose report is in order, "" for none.

    A pending kill stands alone: Harvester compares the whole text (reference/wire.md 7, 30b).
    """
    if command_to_pilot and KILL in command_to_pilot:
        return KILL
    if special_handling and DEBUG_TAG in special_handling.split(","):
        return f"{DEBUG},{command_to_pilot}" if command_to_pilot else DEBUG
    return command_to_pilot or ""


def queued_since(special_handling: str | None) -> datetime | None:
    """When the task of a job with the tag tq began to wait, as its generator noted it (seconds since 1970)."""
    if not special_handling or _QUEUED_TAG not in special_handling:
        return None
    for item in special_handling.split(","):
        if item.startswith(_QUEUED_TAG):
            try:
                return datetime.fromtimestamp(float(item.removeprefix(_QUEUED_TAG)), UTC)
            except (ValueError, OverflowError, OSError):
                return None
    return None


def decide(row: ActiveRow | None, beat: Heartbeat, now: datetime) -> Verdict:
    """Judge a report by the row of its job, which the caller has locked; None where the job is not active.

    ``beat.job_status`` is one of lifecycle.REPORTABLE. The first rule of 6.6 that matches decides.
    """
    if row is None or (beat.attempt_nr is not None and beat.attempt_nr != row.attempt_nr):
        return Verdict(rule=0, command=KILL)
    new = "holding" if beat.final else beat.job_status
    refusal = _already_done(row, new, beat.final)
    if refusal is not None:
        return refusal
    if row.job_status in _NOT_DISPATCHED and not may_change(row.job_status, new):
        return Verdict(rule=0, command=KILL)  # nobody has been given this job: it will be dispatched again
    kept = _rule_that_keeps(row, new, beat.final)
    batch = None if kept in (3, 5, 6) else _strange_batch(row.batch_id, beat.batch_id)
    if batch is not None:
        return _answer(row, beat, rule=7, command=KILL, changes=batch, stores_report=beat.final)
    if kept is not None:
        return _answer(row, beat, rule=kept)
    return _accept(row, beat, new, now)


def _already_done(row: ActiveRow, new: str, final: bool) -> Verdict | None:
    """Rules 1, 2 and 4: the end of the job is known, this report comes late or for the second time."""
    old, diag = row.job_status, row.job_dispatcher_error_diag
    if old in TERMINAL:  # the table speaks of failed; no other end may be taken back either
        return Verdict(rule=1, command=ALREADY_DONE)
    if new == "holding" and not diag:
        if old == "transferring":
            return Verdict(rule=2, command=ALREADY_DONE)
        if old == "holding" and final:
            return Verdict(rule=4, command=ALREADY_DONE)
    return None


def _rule_that_keeps(row: ActiveRow, new: str, final: bool) -> int | None:
    """Rules 3, 5, 6 and 9: nothing changes, the pilot hears the usual command."""
    old = row.job_status
    if old == "holding" and new == "holding" and not final:
        return 3
    if old == "merging":
        return 5
    if old in ("holding", "transferring") and new in ("running", "starting"):
        return 6
    if old == new == "transferring" and not row.job_dispatcher_error_diag:
        return 6  # the Adder set it: a text here would let a second final report through rule 2
    if old == "holding" and new == "transferring":
        return 9
    return None


def _strange_batch(stored: str | None, sent: str | None) -> dict[str, Any] | None:
    """What to write when the report comes from another batch job than the one before it."""
    if not stored or not sent or stored == sent:
        return None
    if _PLAIN_NUMBER.fullmatch(stored) or _PLAIN_NUMBER.fullmatch(sent):
        return None
    text = f"the pilot came with batchID {sent}, the job belongs to {stored}"
    return {"sup_error_code": INVALID_BATCH_ID, "sup_error_diag": text}


def _accept(row: ActiveRow, beat: Heartbeat, new: str, now: datetime) -> Verdict:
    """Rule 8: the report is written."""
    old, final = row.job_status, beat.final
    changes = _values(beat)
    changes["modification_time"] = now
    changed = old != new and may_change(old, new)
    if changed or final:
        changes["state_change_time"] = now
    if final:
        changes["job_dispatcher_error_diag"] = ""
    elif new in ("holding", "transferring"):
        changes["job_dispatcher_error_diag"] = f"set to {new} by the pilot at {now:%Y-%m-%d %H:%M:%S}"
    first_running = changed and new == "running" and old in _STARTS
    if first_running and beat.start_time is None:
        changes["start_time"] = now
    ends = new == "holding" or (old == "running" and new == "transferring")
    if ends and row.end_time is None and beat.end_time is None:
        changes["end_time"] = now
    return _answer(
        row,
        beat,
        rule=8,
        changes=changes,
        new_status=new if changed else None,
        stores_report=final,
        first_running=first_running,
    )


_OURS: Final = frozenset(JobStatus) - BEFORE_ACTIVATION


def _answer(row: ActiveRow, beat: Heartbeat, *, rule: int, command: str | None = None, **rest: Any) -> Verdict:
    return Verdict(
        rule=rule,
        command=command_of(row.command_to_pilot, row.special_handling) if command is None else command,
        stores_metadata=beat.job_status != "failed" and beat.meta_data not in ("", "NULL"),
        stores_stdout=beat.stdout != "",
        stores_pilot_log=beat.pilot_log != "",
        foreign=row.job_status not in _OURS,
        **rest,
    )


def _values(beat: Heartbeat) -> dict[str, Any]:
    """The values that the report carries, by attribute of Job; an empty one is not written."""
    changes = {
        column: value
        for column, value in zip(_COLUMNS, _values_of(beat), strict=True)
        if value is not None and value != ""
    }
    if beat.trans_exit_code is not None:
        changes["trans_exit_code"] = str(beat.trans_exit_code)
    if beat.job_metrics:
        for name, number in _METRIC.findall(beat.job_metrics):
            held = max(-_METRIC_LIMIT, min(float(number), _METRIC_LIMIT))
            if name == "leak":
                changes["memory_leak"] = int(held)
            else:
                changes["memory_leak_x2"] = held
    return changes
