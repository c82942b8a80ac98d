"""Storing what setup decides: activation, assignment, early ends, datasets; and finding jobs it never reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import evolve, frozen

from pandatx.domain.job import Job, JobFile
from pandatx.domain.setup import SETUP_FAILED, Change, End
from pandatx.store import archive, columns, jedi
from pandatx.store.columns import FILE, FILE_ATTRIBUTE, JOB, json_rows
from pandatx.store.database import Transaction
from pandatx.store.queries import load

KEYS: Final = (
    "panda_id computing_site prod_source_label processing_type gshare resource_type current_priority min_ram_count "
    "max_disk_count max_walltime prod_user_name jedi_task_id job_execution_id core_count"
).split()
"""The attributes of a job that dispatch looks at."""
LARGEST: Final = 250
_FILE_COLUMNS: Final = [column for column in FILE_ATTRIBUTE if column not in ("row_id", "pandaid")]

SQL = load(
    __file__,
    columns=columns.names(JOB),
    keys=", ".join(JOB[name][0] for name in KEYS),
    activated=columns.renamed(
        JOB,
        jobstatus="'activated'",
        modificationtime="%(now)s",
        statechangetime="CASE WHEN jobstatus = 'assigned' THEN statechangetime ELSE %(now)s END",
        gshare="coalesce(gshare, 'Undefined')",
        resource_type="coalesce(resource_type, 'Undefined')",
    ),
    assignments=", ".join(f"{column} = coalesce(v.{column}, f.{column})" for column in _FILE_COLUMNS),
    file_typed=columns.typed(FILE),
    file_columns=columns.names(FILE),
)


@frozen(kw_only=True)
class Waiting:
    """A job that waits for a dispatch block."""

    panda_id: int
    owner: str | None
    label: str | None


async def activate(tx: Transaction, ids: Sequence[int], now: datetime) -> list[Job]:
    """Move these jobs to the active table, as far as they wait and nobody wants them killed.

    The jobs that were moved, with the attributes in ``KEYS`` only.
    """
    moved: list[Job] = []
    ordered = sorted(ids)
    for start in range(0, len(ordered), LARGEST):
        result = await tx.run(SQL.activate, ids=ordered[start : start + LARGEST], now=now)
        moved += columns.jobs(result.columns, result.rows)
    await jedi.follow(tx, [job.panda_id for job in moved if job.jedi_task_id is not None], "activated")
    return moved


async def lock(tx: Transaction, ids: Sequence[int]) -> frozenset[int]:
    """Those of the jobs that are not yet activated, locked."""
    return frozenset((await tx.run(SQL.lock, ids=list(ids))).column("pandaid"))


async def change(tx: Transaction, changes: Iterable[Change], now: datetime) -> None:
    rows = (
        {"pandaid": one.panda_id, "jobstatus": one.job_status, "dispatchdblock": one.dispatch_dblock}
        for one in sorted(changes, key=lambda one: one.panda_id)
    )
    await tx.run(SQL.change, rows=json_rows(rows), now=now)


async def end(tx: Transaction, ends: Iterable[End], now: datetime) -> list[tuple[int, str]]:
    """Archive these jobs, locked by the caller, as failed or cancelled; PandaID and status of those that were."""
    said = {one.panda_id: one for one in ends}
    jobs = await archive.lock_defined(tx, sorted(said))
    await archive.archive(tx, [_ended(job, said[panda_id], now) for panda_id, job in jobs.items()], now)
    return [(panda_id, said[panda_id].job_status) for panda_id in jobs]


def _ended(job: Job, end: End, now: datetime) -> archive.Change:
    changes = {
        "job_status": end.job_status,
        "modification_time": now,
        "state_change_time": now,
        "end_time": job.end_time or now,
        "ddm_error_code": SETUP_FAILED,
        "ddm_error_diag": end.diag,
    }
    return archive.Change(job=job, changes=changes, file_changes=archive.outputs_failed(job))


async def change_files(tx: Transaction, files: Iterable[Mapping[str, Any]]) -> None:
    """Store changed attributes of files, each with its ``row_id``."""
    ordered = sorted(files, key=lambda file: file["row_id"])
    for start in range(0, len(ordered), 4 * LARGEST):
        some = ordered[start : start + 4 * LARGEST]
        rows = json_rows({FILE[name][0]: value for name, value in file.items()} for file in some)
        await tx.run(SQL.files, rows=rows)


async def add_datasets(tx: Transaction, datasets: Iterable[Mapping[str, Any]], now: datetime) -> None:
    """Insert rows of DATASETS with their vuid; those that are there already stay."""
    await tx.run(SQL.add_datasets, rows=json_rows(datasets), now=now)


async def set_dataset(tx: Transaction, name: str, kind: str, status: str, now: datetime) -> int:
    """Give a dataset a status; how many rows there were."""
    return (await tx.run(SQL.set_dataset, name=name, type=kind, status=status, now=now)).count


async def datasets(tx: Transaction, name: str) -> list[tuple[str, str]]:
    """Type and status of the rows of a name."""
    return (await tx.run(SQL.datasets, name=name)).rows


async def jobs_of_block(tx: Transaction, name: str) -> list[Waiting]:
    """The jobs that wait for a dispatch block, by PandaID."""
    rows = (await tx.run(SQL.jobs_of_block, name=name)).rows
    return [Waiting(panda_id=panda_id, owner=owner, label=label) for panda_id, owner, label in rows]


async def owners_of_block(tx: Transaction, name: str) -> frozenset[str]:
    """The owners of the jobs that have yet to bring files to a block."""
    return frozenset(owner or "" for owner in (await tx.run(SQL.owners_of_block, name=name)).column("owner"))


async def files_there(tx: Transaction, name: str, ids: Sequence[int]) -> None:
    """The files of a dispatch block are at the jobs' queue."""
    await tx.run(SQL.files_there, name=name, ids=list(ids))


async def complete_jobs(tx: Transaction, ids: Sequence[int]) -> list[int]:
    """Those of the jobs whose inputs are all there."""
    return (await tx.run(SQL.complete_jobs, ids=list(ids))).column("pandaid")


async def claim_left(
    tx: Transaction, status: str, before: datetime, busy: Sequence[int], limit: int, now: datetime
) -> list[Job]:
    """Jobs in ``status`` and untouched since ``before``, with their files, less those that are ``busy``."""
    result = await tx.run(SQL.claim_left, status=status, before=before, busy=list(busy), limit=limit, now=now)
    found = sorted(columns.jobs(result.columns, result.rows), key=lambda job: job.panda_id)
    if not found:
        return []
    rows = await tx.run(SQL.files_of, ids=[job.panda_id for job in found])
    files: dict[int, list[JobFile]] = {job.panda_id: [] for job in found}
    for file in columns.files(rows.columns, rows.rows):
        files[file.panda_id].append(file)
    return [evolve(job, files=tuple(files[job.panda_id])) for job in found]
