"""Reading jobs wherever they are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from attrs import evolve

from pandatx.domain.job import Job, JobFile
from pandatx.domain.lifecycle import TERMINAL
from pandatx.store import columns
from pandatx.store.columns import FILE, JOB
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import load
from pandatx.store.results import Result

SQL = load(
    __file__,
    columns=columns.names(JOB),
    file_columns=columns.names(FILE),
    wanted="(%(status)s::text IS NULL OR jobstatus = %(status)s) AND (%(queue)s::text IS NULL OR computingsite = "
    "%(queue)s) AND (%(owner)s::text IS NULL OR produsername = %(owner)s)",
)


async def statuses(database: Database, ids: Sequence[int]) -> list[tuple[int, str, int]]:
    """PandaID, status and attempt number of those that are there, in any order."""
    return (await database.statement("jobs.statuses", SQL.statuses, ids=list(ids))).rows


async def commands(database: Database, ids: Sequence[int], since: datetime) -> dict[int, tuple[str, str | None]]:
    """Status and command of jobs that are active or were archived after ``since``."""
    result = await database.statement("jobs.commands", SQL.commands, ids=list(ids), since=since)
    return {panda_id: (status, command) for panda_id, status, command in result.rows}


async def describe(tx: Transaction, ids: Sequence[int], archive: bool) -> dict[int, Job]:
    """Whole jobs, with files, parameters and metadata; with ``archive`` those of the archive's schema too."""
    found = _jobs(await tx.run(SQL.live, ids=list(ids)))
    missing = [panda_id for panda_id in ids if panda_id not in found]
    if archive and missing:
        found |= _jobs(await tx.run(SQL.old, ids=missing))
    return await _whole(tx, found)


async def find(database: Database, status: str | None, queue: str | None, owner: str | None, limit: int) -> list[Job]:
    """The newest jobs, without their files; those of the archive's schema where the others are not enough."""
    wanted: dict[str, Any] = {"status": status, "queue": queue, "owner": owner}
    found = _jobs(await database.statement("jobs.find", SQL.find, **wanted, limit=limit))
    if len(found) < limit and (status is None or status in TERMINAL):
        old = _jobs(await database.statement("jobs.find_old", SQL.find_old, **wanted, limit=limit))
        found = old | found
    return sorted(found.values(), key=lambda job: job.panda_id, reverse=True)[:limit]


def _jobs(result: Result) -> dict[int, Job]:
    return {job.panda_id: job for job in columns.jobs(result.columns, result.rows)}


async def _whole(tx: Transaction, jobs: dict[int, Job]) -> dict[int, Job]:
    if not jobs:
        return {}
    ids = list(jobs)
    found = await tx.run(SQL.files, ids=ids)
    files: dict[int, list[JobFile]] = {panda_id: [] for panda_id in ids}
    for each in columns.files(found.columns, found.rows):
        files[each.panda_id].append(each)
    texts: dict[int, dict[str, str]] = {panda_id: {} for panda_id in ids}
    for panda_id, parameters, metadata in (await tx.run(SQL.texts, ids=ids)).rows:
        if parameters is not None:
            texts[panda_id]["job_parameters"] = parameters
        if metadata is not None:
            texts[panda_id]["metadata"] = metadata
    return {
        panda_id: evolve(job, files=tuple(files[panda_id]), **texts[panda_id])  # type: ignore[arg-type]
        for panda_id, job in jobs.items()
    }
