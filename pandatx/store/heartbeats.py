"""Storing what pilots report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import fields

from pandatx.domain.heartbeat import ActiveRow
from pandatx.store.columns import JOB, JOB_ATTRIBUTE, json_rows
from pandatx.store.database import Transaction
from pandatx.store.queries import load
from pandatx.store.results import Result

MOST_CORRUPTED: Final = 1000
_LFN_LIMIT: Final = 4000
_ROW: Final = tuple(attribute.name for attribute in fields(ActiveRow))
WRITTEN: Final = (
    "job_status modification_time state_change_time start_time end_time modification_host scheduler_id pilot_id "
    "batch_id job_sub_status cpu_consumption_time cpu_consumption_unit cpu_conversion cpu_architecture_level "
    "actual_core_count mean_core_count n_events n_input_files trans_exit_code pilot_error_code pilot_error_diag "
    "exe_error_code exe_error_diag sup_error_code sup_error_diag pilot_timing job_metrics memory_leak memory_leak_x2 "
    "max_rss max_vmem max_swap max_pss avg_rss avg_vmem avg_swap avg_pss tot_rchar tot_wchar tot_rbytes tot_wbytes "
    "rate_rchar rate_wchar rate_rbytes rate_wbytes grid source_site destination_site"
).split()
"""The attributes of a job that a report can change, but for its dispatcher's diagnostic, which can be emptied too."""

_WRITABLE: Final = {name: JOB[name][0] for name in (*WRITTEN, "job_dispatcher_error_diag")}

SQL = load(
    __file__,
    row=", ".join(JOB[name][0] for name in _ROW),
    typed=", ".join(f"{JOB[name][0]} {JOB[name][1]}" for name in _WRITABLE),
    assignments=", ".join(f"{JOB[name][0]} = coalesce(v.{JOB[name][0]}, j.{JOB[name][0]})" for name in WRITTEN),
)


async def lock(tx: Transaction, ids: Sequence[int]) -> dict[int, ActiveRow]:
    """The rows of these jobs that nobody else holds, locked."""
    return _rows(await tx.run(SQL.lock, ids=list(ids)))


async def lock_waiting(tx: Transaction, ids: Sequence[int], seconds: float) -> dict[int, ActiveRow]:
    """The rows of these jobs, locked, after waiting at most so long for those that hold them."""
    await tx.run(SQL.limit_lock_wait, milliseconds=str(int(seconds * 1000)))
    return _rows(await tx.run(SQL.lock_waiting, ids=list(ids)))


async def active(tx: Transaction, ids: Sequence[int]) -> frozenset[int]:
    """Those of the jobs that have a row."""
    return frozenset((await tx.run(SQL.active, ids=list(ids))).column("pandaid"))


async def update(tx: Transaction, changes: Mapping[int, Mapping[str, Any]], now: datetime) -> None:
    """Write the changes of each job, which the caller has locked; a new status is logged."""
    await tx.run(SQL.update, rows=json_rows(_change(panda_id, what) for panda_id, what in changes.items()), now=now)


async def add_reports(tx: Transaction, rows: Iterable[Mapping[str, Any]], now: datetime) -> None:
    """Queue final reports for the Adder: pandaid, prodsourcelabel, jobstatus, attemptnr, data."""
    await tx.run(SQL.reports, rows=json_rows(rows), now=now)


async def add_metadata(tx: Transaction, texts: Mapping[int, str]) -> None:
    await tx.run(SQL.metadata, rows=json_rows({"pandaid": i, "metadata": text} for i, text in texts.items()))


async def set_stdout(tx: Transaction, texts: Mapping[int, str]) -> None:
    """Keep the tails of the payloads' output; the column holds 2048 characters."""
    await tx.run(SQL.stdout, rows=json_rows({"pandaid": i, "stdout": text[-2048:]} for i, text in texts.items()))


async def add_pilot_logs(tx: Transaction, texts: Mapping[int, str], now: datetime) -> None:
    rows = json_rows({"pandaid": i, "message": text[:4000]} for i, text in texts.items())
    await tx.run(SQL.pilot_logs, rows=rows, now=now)


async def add_corrupted(tx: Transaction, texts: Mapping[int, str]) -> None:
    """Note the zip files that merge jobs of the event service could not read, not more than ``MOST_CORRUPTED`` of each
    job; of other jobs nothing is noted."""
    rows = [
        {"pandaid": panda_id, "lfn": lfn}
        for panda_id, text in texts.items()
        for lfn in dict.fromkeys(each.strip() for each in text.split(",", MOST_CORRUPTED)[:MOST_CORRUPTED])
        if 0 < len(lfn) <= _LFN_LIMIT
    ]
    await tx.run(SQL.corrupted, rows=json_rows(rows))


def _rows(result: Result) -> dict[int, ActiveRow]:
    names = [JOB_ATTRIBUTE[column] for column in result.columns]
    return {row[0]: ActiveRow(**dict(zip(names, row, strict=True))) for row in result.rows}


def _change(panda_id: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    row = {_WRITABLE[name]: value for name, value in changes.items()}
    row["pandaid"] = panda_id
    if row.get("jobdispatchererrordiag") == "":
        row["clear_diag"] = True
    return row
