"""Moving jobs that ended long ago to the archive's schema."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from attrs import frozen

from pandatx.store import columns
from pandatx.store.columns import FILE, JOB
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import load

SQL = load(
    __file__,
    columns=columns.names(JOB),
    file_columns=columns.names(FILE),
    of_file=columns.names(FILE, prefix="f."),
)
_PAIRS: Final = {
    "jobsarchived4": "jobsarchived",
    "filestable4": "filestable_arch",
    "jobparamstable": "jobparamstable_arch",
    "metatable": "metatable_arch",
}


@frozen(kw_only=True)
class Ended:
    """A job that is to be moved, and when it ended."""

    panda_id: int
    at: datetime


@frozen(kw_only=True)
class Moved:
    """How many rows a batch has moved, by kind."""

    jobs: int
    files: int
    parameters: int
    metadata: int


async def is_ours(database: Database) -> bool:
    """Whether pandatx made the tables of this database (rule R10)."""
    return bool((await database.statement("archiver.ours", SQL.ours)).scalar())


async def would_be_lost(database: Database) -> list[str]:
    """Columns of a later schema that this code does not move, as ``table.column``; none is as it should be."""
    names = database.schemas
    known = {
        "jobsarchived4": {column for column, _ in JOB.values()},
        "filestable4": {"modificationtime", *(column for column, _ in FILE.values())},
        "jobparamstable": {"pandaid", "modificationtime", "jobparameters"},
        "metatable": {"pandaid", "modificationtime", "metadata"},
    }
    rows = (await database.statement("archiver.columns", SQL.columns, panda=names.panda, arch=names.arch)).rows
    there = {(table, column) for archived, table, column in rows if archived}
    return sorted(
        f"{table}.{column}"
        for archived, table, column in rows
        if not archived and (column not in known[table] or (_PAIRS[table], column) not in there)
    )


async def oldest(tx: Transaction, since: datetime, before: datetime, limit: int, but: Collection[int]) -> list[Ended]:
    """The next jobs that ended from ``since`` on and before ``before``, by the time of their end, locked.

    ``but`` are PandaIDs of jobs that stay where they are.
    """
    await tx.run(SQL.in_background)
    result = await tx.run(SQL.oldest, since=since, before=before, limit=limit, but=sorted(but))
    return [Ended(panda_id=panda_id, at=at) for panda_id, at in result.rows]


async def move(tx: Transaction, ids: Sequence[int]) -> Moved:
    """Move locked jobs with their files, parameters and metadata."""
    row = (await tx.run(SQL.move, ids=list(ids))).one()
    assert row is not None
    return Moved(**row)


async def waiting(database: Database, before: datetime) -> int:
    """How many jobs ended before ``before`` and are not moved yet."""
    return int((await database.statement("archiver.waiting", SQL.waiting, before=before)).scalar())
