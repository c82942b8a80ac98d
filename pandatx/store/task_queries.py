"""Reading tasks, their datasets, files and jobs. Nothing here changes a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from pandatx.domain.task_listing import COLUMNS, DatasetRead, Filters, Progress, TaskRead
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import load

SQL = load(
    __file__,
    columns=", ".join(COLUMNS),
    ended="(%(statuses)s::text[] IS NULL OR jobstatus = ANY (%(statuses)s::text[]))",
)


async def status(database: Database, task_id: int) -> dict[str, Any] | None:
    """``status``, ``username`` and ``parent_tid`` of a task."""
    return (await database.statement("task_queries.status", SQL.statuses, task_id=task_id)).one()


async def parameters(database: Database, task_id: int) -> str | None:
    """The JSON text of a task's parameters."""
    found = await database.statement("task_queries.parameters", SQL.parameters, ids=[task_id])
    return None if not found.rows else found.rows[0][1]


async def find(database: Database, filters: Filters, since: datetime | None, n: int, *, long: bool) -> list[int]:
    """The newest tasks that a user's filters let through, as far as they are equalities.

    ``long``: so much has changed since then that it is quicker to go through all tasks of the user.
    """
    wanted: dict[str, Any] = {
        "username": filters.user,
        "since": since,
        "equal": orjson.dumps(filters.equal).decode(),
        "filled": list(filters.filled),
        "n": n,
    }
    if long and filters.task_id is None and filters.req_id is None:
        found = await database.statement("task_queries.find_ever", SQL.found_ever, **wanted)
    else:
        wanted |= {"task_id": filters.task_id, "req_id": filters.req_id}
        found = await database.statement("task_queries.find", SQL.found, **wanted)
    return found.column("jeditaskid")


async def read(tx: Transaction, ids: Sequence[int], room: int) -> list[TaskRead]:
    """Whole tasks, the newest first; their parameters as far as there is ``room`` for them, and their templates."""
    wanted = list(ids)
    rows = (await tx.run(SQL.tasks, ids=wanted)).dicts()
    texts = await parameters_of(tx, ids, room)
    templates = dict((await tx.run(SQL.templates, ids=wanted, room=room)).rows)
    progress = {row.pop("jeditaskid"): Progress(**row) for row in (await tx.run(SQL.progress, ids=wanted)).dicts()}
    return [
        TaskRead(
            row=row,
            parameters=texts.get(row["jeditaskid"]),
            template=templates.get(row["jeditaskid"]),
            progress=progress.get(row["jeditaskid"], Progress()),
        )
        for row in rows
    ]


async def modified(
    database: Database, user: str, since: datetime, label: str, after: int | None, n: int | None
) -> list[int]:
    """The tasks of a user that have changed since a time, the oldest first."""
    wanted: dict[str, Any] = {"username": user, "since": since, "label": label, "after": after, "n": n}
    ids: list[int] = (await database.statement("task_queries.modified", SQL.modified, **wanted)).scalar()
    return ids


async def brief(tx: Transaction, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Some columns of some tasks, the oldest first."""
    return (await tx.run(SQL.brief, ids=list(ids))).dicts()


async def datasets(tx: Transaction, ids: Sequence[int]) -> dict[int, list[DatasetRead]]:
    """The datasets of each task."""
    found: dict[int, list[DatasetRead]] = {task_id: [] for task_id in ids}
    for row in (await tx.run(SQL.datasets, ids=list(ids))).dicts():
        found[row.pop("jeditaskid")].append(DatasetRead(**row))
    return found


async def file_states(tx: Transaction, ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """How many files of the main inputs of each task are in which state."""
    found: dict[int, dict[str, int]] = {}
    for task_id, state, n in (await tx.run(SQL.file_states, ids=list(ids))).rows:
        found.setdefault(task_id, {})[state] = n
    return found


async def parameters_of(tx: Transaction, ids: Sequence[int], room: int) -> Mapping[int, str]:
    """The JSON texts of the parameters of tasks, the newest first, up to so many bytes."""
    return dict((await tx.run(SQL.texts, ids=list(ids), room=room)).rows)


async def jobs_of_files(tx: Transaction, task_id: int, dataset_ids: Sequence[int]) -> list[int]:
    """The jobs that have files of some datasets of a task."""
    ids: list[int] = (await tx.run(SQL.jobs_of_files, task_id=task_id, datasets=list(dataset_ids))).scalar()
    return ids


async def files_of_living_jobs(tx: Transaction, task_id: int, dataset_ids: Sequence[int]) -> dict[str, int]:
    """How many files of some datasets are in jobs that have not ended, by their status, but for those that merge."""
    return dict((await tx.run(SQL.files_of_living_jobs, task_id=task_id, datasets=list(dataset_ids))).rows)


async def files(database: Database, task_id: int, dataset: int, after: int, n: int) -> list[dict[str, Any]]:
    """Up to ``n`` files of a dataset after one of them, as the wire has them."""
    found = await database.statement(
        "task_queries.files", SQL.files, task_id=task_id, dataset=dataset, after=after, n=n
    )
    return [{"lfn": lfn, "scope": scope, "id": file_id, "status": state} for lfn, scope, file_id, state in found.rows]


async def job_ids(database: Database, task_id: int, statuses: Sequence[str] | None = None) -> list[int]:
    """The jobs of a task wherever they are, or those that ended in one of some statuses."""
    wanted = None if statuses is None else list(statuses)
    return (await database.statement("task_queries.job_ids", SQL.job_ids, task_id=task_id, statuses=wanted)).column(
        "pandaid"
    )


async def jumbo_datasets(database: Database, since: datetime, until: datetime) -> list[tuple[int, str, str]]:
    """Task, its status and an output dataset of it."""
    return (await database.statement("task_queries.jumbo_datasets", SQL.jumbo_datasets, since=since, until=until)).rows
