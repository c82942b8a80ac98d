"""Workers of Harvesters, their jobs, and how many there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pandatx.domain.workers import Effect, Stored, Worker, WorkersJob
from pandatx.store.columns import JOB, json_rows
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import load

_COLUMNS: Final = {
    "status": ("status", "text"),
    "batch_id": ("batchid", "text"),
    "queue_name": ("queuename", "text"),
    "computing_site": ("computingsite", "text"),
    "n_core": ("ncore", "integer"),
    "node_id": ("nodeid", "text"),
    "submit_time": ("submittime", "timestamp"),
    "start_time": ("starttime", "timestamp"),
    "end_time": ("endtime", "timestamp"),
    "job_type": ("jobtype", "text"),
    "resource_type": ("resourcetype", "text"),
    "native_exit_code": ("nativeexitcode", "integer"),
    "native_status": ("nativestatus", "text"),
    "diag_message": ("diagmessage", "text"),
    "n_jobs": ("njobs", "integer"),
    "computing_element": ("computingelement", "text"),
    "submission_host": ("submissionhost", "text"),
    "harvester_host": ("harvesterhost", "text"),
    "error_code": ("errorcode", "integer"),
    "min_ram_count": ("minramcount", "integer"),
    "std_out": ("stdout", "text"),
    "std_err": ("stderr", "text"),
    "batch_log": ("batchlog", "text"),
    "jdl": ("jdl", "text"),
}
"""The column of each field of a report, and its type."""

SQL = load(
    __file__,
    columns=", ".join(column for column, _ in _COLUMNS.values()),
    typed=", ".join(f"{column} {kind}" for column, kind in _COLUMNS.values()),
    assignments=", ".join(f"{column} = coalesce(v.{column}, w.{column})" for column, _ in _COLUMNS.values()),
)


async def related(
    tx: Transaction, harvester: str, ids: Sequence[int], others: Sequence[int]
) -> dict[int, frozenset[int]]:
    """The jobs of workers: of ``ids``, and of those of ``others`` of which the table knows an error or an end."""
    found: defaultdict[int, set[int]] = defaultdict(set, {worker: set() for worker in ids})
    for worker, panda_id in (await tx.run(SQL.related, harvester=harvester, ids=list(ids), others=list(others))).rows:
        found[worker].update(() if panda_id is None else (panda_id,))
    return {worker: frozenset(jobs) for worker, jobs in found.items()}


async def owned(
    tx: Transaction, harvester: str, owner: str, jobs: Mapping[int, Iterable[int]]
) -> dict[int, frozenset[int]]:
    """Of the jobs of workers those that are active and this user's, or known already as jobs of their worker."""
    workers, ids = _pairs(jobs)
    found: dict[int, set[int]] = {worker: set() for worker in jobs}
    rows = (await tx.run(SQL.owned, harvester=harvester, owner=owner, workers=workers, jobs=ids)).rows
    for worker, panda_id in rows:
        found[worker].add(panda_id)
    return {worker: frozenset(of_worker) for worker, of_worker in found.items()}


async def wait_at_most(tx: Transaction, seconds: float) -> None:
    """Wait no longer than this for any row that others hold; LockNotAvailable then."""
    await tx.run(SQL.limit_lock_wait, milliseconds=str(int(seconds * 1000)))


async def lock_jobs(tx: Transaction, ids: Iterable[int]) -> dict[int, WorkersJob]:
    """Those of the jobs that are active, locked."""
    names = ("panda_id", "status", "attempt_nr", "label", "owner", "modification_time")
    rows = (await tx.run(SQL.lock_jobs, ids=sorted(ids))).rows
    return {row[0]: WorkersJob(**dict(zip(names, row, strict=True))) for row in rows}


async def lock(tx: Transaction, harvester: str, ids: Sequence[int]) -> dict[int, Stored]:
    """The workers that are known, locked; rows that a newer one has replaced are gone."""
    rows = (await tx.run(SQL.lock, harvester=harvester, ids=list(ids))).rows
    names = ("worker_id", "last_update", "status", "error_code", "diag")
    found = {row[0]: Stored(**dict(zip(names, row, strict=True))) for row in rows}
    if len(found) < len(rows):
        newest = [stored.last_update for stored in found.values()]
        await tx.run(SQL.drop_older, harvester=harvester, ids=list(found), newest=newest)
    return found


async def save(
    tx: Transaction, harvester: str, workers: Sequence[Worker], jobs: Mapping[int, Iterable[int]], now: datetime
) -> None:
    """Write workers, which the caller has locked, as their reports leave them; of those in ``jobs`` these are all jobs.

    The last of a transaction: what comes behind would be planned as these are.
    """
    await tx.run(SQL.by_hash)
    ids = [worker.report.worker_id for worker in workers]
    await tx.run(SQL.save, harvester=harvester, ids=ids, rows=json_rows(map(_row, workers)), now=now)
    if jobs:
        await _relate(tx, harvester, jobs, now)


async def _relate(tx: Transaction, harvester: str, jobs: Mapping[int, Iterable[int]], now: datetime) -> None:
    workers, ids = _pairs(jobs)
    await tx.run(SQL.relate, harvester=harvester, listed=list(jobs), workers=workers, jobs=ids, now=now)


def _pairs(jobs: Mapping[int, Iterable[int]]) -> tuple[list[int], list[int]]:
    """Workers and their jobs, each pair once."""
    pairs = [(worker, panda_id) for worker, of_worker in jobs.items() for panda_id in set(of_worker)]
    return [worker for worker, _ in pairs], [panda_id for _, panda_id in pairs]


async def tell_jobs(tx: Transaction, effects: Mapping[int, Effect]) -> None:
    """Write what workers' ends and errors mean for jobs, which the caller has locked."""
    await tx.run(SQL.tell_jobs, rows=json_rows(_told(panda_id, effect) for panda_id, effect in effects.items()))


async def highest(database: Database, harvester: str) -> int | None:
    """The highest workerID of a Harvester."""
    found: int | None = (await database.statement("workers.highest", SQL.highest, harvester=harvester)).scalar()
    return found


async def count(
    tx: Transaction, harvester: str, queue: str, numbers: Iterable[tuple[str, str, str, int]], now: datetime
) -> None:
    """Write how many workers there are: job type, resource type, status, number. Raises LockNotAvailable."""
    rows = sorted(numbers)  # in one order, so that two first reports on a queue do not block each other
    await tx.run(SQL.lock_statistics, harvester=harvester, queue=queue)
    await tx.run(
        SQL.count,
        harvester=harvester,
        queue=queue,
        job_types=[row[0] for row in rows],
        resource_types=[row[1] for row in rows],
        statuses=[row[2] for row in rows],
        numbers=[row[3] for row in rows],
        now=now,
    )


async def statistics(database: Database, since: datetime) -> list[tuple[str, str, str, str, str, int]]:
    """Queue, Harvester, job type, resource type, status and number of what was counted since then."""
    return (await database.statement("workers.statistics", SQL.statistics, since=since)).rows


def _row(worker: Worker) -> dict[str, Any]:
    row = {
        column: value for name, (column, _) in _COLUMNS.items() if (value := getattr(worker.report, name)) is not None
    }
    return {**row, "workerid": worker.report.worker_id, "was": worker.was, "status": worker.status}


def _told(panda_id: int, effect: Effect) -> dict[str, Any]:
    changes = dict(effect.changes)
    row: dict[str, Any] = {"pandaid": panda_id, "unstarted": "start_time" in changes}
    changes.pop("start_time", None)
    return row | {JOB[name][0]: value for name, value in changes.items()}
