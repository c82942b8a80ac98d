"""What a pilot's report changes in its job, and what the pilot is told (reference/lifecycle.md 1.4 and 6.6)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from attrs import frozen

from pandatx.domain.lifecycle import BEFORE_ACTIVATION, TERMINAL, JobStatus, may_change
from pandatx.domain.requests import Heartbeat

KILL: Final = "tobekilled"
ALREADY_DONE: Final = "alreadydone"
DEBUG: Final = "debug"
DEBUG_TAG: Final = "dm"
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
    in jobs_statuslog. ``rule`` is the number in the table of 6.6. ``left_out`` names values that no column holds.
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
    left_out: tuple[str, ...] = ()


_INTEGER: Final = 2**31 - 1
_BIGINT: Final = 2**63 - 1
_KILOBYTES: Final = 10**10 - 1
_CHI2_LIMIT: Final = 10**11 - 1

# Attribute of Heartbeat, attribute of Job, width of the column.
_TEXTS: Final = (
    ("node", "modification_host", 128),
    ("scheduler_id", "scheduler_id", 128),
    ("pilot_id", "pilot_id", 200),
    ("batch_id", "batch_id", 80),
    ("job_sub_status", "job_sub_status", 80),
    ("cpu_consumption_unit", "cpu_consumption_unit", 128),
    ("cpu_architecture_level", "cpu_architecture_level", 20),
    ("pilot_error_diag", "pilot_error_diag", 500),
    ("exe_error_diag", "exe_error_diag", 500),
    ("pilot_timing", "pilot_timing", 100),
    ("job_metrics", "job_metrics", 500),
    ("grid", "grid", 50),
    ("source_site", "source_site", 36),
    ("destination_site", "destination_site", 36),
)
# Attribute of Heartbeat, attribute of Job, largest magnitude that the column holds.
_NUMBERS: Final = (
    ("cpu_consumption_time", "cpu_consumption_time", _BIGINT),
    ("cpu_conversion_factor", "cpu_conversion", 99_999),
    ("core_count", "actual_core_count", _INTEGER),
    ("mean_core_count", "mean_core_count", 999_999),
    ("n_events", "n_events", _BIGINT),
    ("n_input_files", "n_input_files", _INTEGER),
    ("pilot_error_code", "pilot_error_code", _INTEGER),
    ("exe_error_code", "exe_error_code", _INTEGER),
    *((name, name, _BIGINT) for name in ("max_rss", "max_vmem", "max_swap", "max_pss")),
    *((name, name, _BIGINT) for name in ("avg_rss", "avg_vmem", "avg_swap", "avg_pss")),
)
# I/O totals and rates are capped, not left out.
_CAPPED: Final = tuple(f"{kind}_{what}" for kind in ("tot", "rate") for what in ("rchar", "wchar", "rbytes", "wbytes"))

_texts_of: Final[Callable[[Heartbeat], tuple[Any, ...]]] = attrgetter(*(source for source, _, _ in _TEXTS))
_numbers_of: Final[Callable[[Heartbeat], tuple[Any, ...]]] = attrgetter(*(source for source, _, _ in _NUMBERS))
_capped_of: Final[Callable[[Heartbeat], tuple[Any, ...]]] = attrgetter(*_CAPPED)
_TEXT_COLUMNS: Final = tuple((target, width) for _, target, width in _TEXTS)
_NUMBER_COLUMNS: Final = tuple((target, limit) for _, target, limit in _NUMBERS)

_METRIC: Final = re.compile(r"(?<![^\s,;])(leak|chi2)=([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,2})?)")
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
    kept = _rule_that_keeps(row.job_status, new, beat.final)
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


def _rule_that_keeps(old: str, new: str, final: bool) -> int | None:
    """Rules 3, 5, 6 and 9: nothing changes, the pilot hears the usual command."""
    if old == "holding" and new == "holding" and not final:
        return 3
    if old == "merging":
        return 5
    if old in ("holding", "transferring") and new in ("running", "starting"):
        return 6
    if old == "holding" and new == "transferring":
        return 9
    return None


def _strange_batch(stored: str | None, sent: str | None) -> dict[str, Any] | None:
    """What to write when the report comes from another batch job than the one before it."""
    if not stored or not sent or stored == (cut := sent[:80]):
        return None
    if _PLAIN_NUMBER.fullmatch(stored) or _PLAIN_NUMBER.fullmatch(cut):
        return None
    text = f"the pilot came with batchID {cut}, the job belongs to {stored}"
    return {"sup_error_code": INVALID_BATCH_ID, "sup_error_diag": text[:250].replace("\0", "")}


def _accept(row: ActiveRow, beat: Heartbeat, new: str, now: datetime) -> Verdict:
    """Rule 8: the report is written."""
    old, final = row.job_status, beat.final
    changes, left_out = _values(beat)
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
        left_out=left_out,
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


def _values(beat: Heartbeat) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values that the report carries, cut to their columns, and the names of those that do not fit."""
    changes: dict[str, Any] = {}
    left_out: tuple[str, ...] = ()
    for (target, width), text in zip(_TEXT_COLUMNS, _texts_of(beat), strict=True):
        if text and (fitting := _fit(text, width)):
            changes[target] = fitting
    for (target, limit), number in zip(_NUMBER_COLUMNS, _numbers_of(beat), strict=True):
        if number is not None:
            if -limit <= number <= limit:  # false for NaN as well
                changes[target] = number
            else:
                left_out += (target,)
    for target, number in zip(_CAPPED, _capped_of(beat), strict=True):
        if number is not None:
            changes[target] = max(-_KILOBYTES, min(number, _KILOBYTES))
    if beat.start_time is not None:
        changes["start_time"] = beat.start_time
    if beat.end_time is not None:
        changes["end_time"] = beat.end_time
    if beat.trans_exit_code is not None:
        changes["trans_exit_code"] = str(beat.trans_exit_code)[:128]
    if beat.job_metrics:
        _read_metrics(beat.job_metrics, changes)
    return changes, left_out


def _fit(text: str, width: int) -> str:
    """The text as a column takes it: PostgreSQL stores no NUL character."""
    return text[:width] if "\0" not in text else text.replace("\0", "")[:width]


def _read_metrics(text: str, changes: dict[str, Any]) -> None:
    """Take ``leak=`` (kB/s) and ``chi2=`` out of the pilot's metrics."""
    for name, number in _METRIC.findall(text):
        if name == "leak":
            changes["memory_leak"] = int(max(-_CHI2_LIMIT, min(float(number), _CHI2_LIMIT)))
        else:
            changes["memory_leak_x2"] = max(-_CHI2_LIMIT, min(float(number), _CHI2_LIMIT))
