"""Dropping what is past its retention."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pandatx.domain.retention import JOBS, KEPT
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import load

_TIMES: Final = {
    "pandalog": "bintime",
    "datasets": "modificationdate",
    "harvester_dialogs": "creationtime",
    "harvester_metrics": "creation_time",
    "harvester_workers": "lastupdate",
    "harvester_rel_jobs_workers": "lastupdate",
    "task_attempts": "starttime",
    "request_counts": "minute",
}
_OWN: Final = frozenset(("request_counts",))
_NOTE: Final = "retention "
"""What the notes on tables that a server has gone through begin with; their names follow."""


def _of(table: str) -> dict[str, str]:
    schema = "own" if table in _OWN else "panda"
    return {"table": f"{{{schema}}}.{table}", "time": _TIMES.get(table, "modificationtime")}


SQL = load(__file__, **_of("jobs_statuslog"))
_BY_TABLE: Final = {table: load(__file__, **_of(table)) for table in sorted(KEPT - {JOBS})}


async def pages(database: Database, table: str) -> int | None:
    """How many pages a table has; None where it is partitioned, so that its retention is pg_partman's."""
    schema = database.schemas.own if table in _OWN else database.schemas.panda
    row = (await database.statement("retention.shape", SQL.shape, schema=schema, table=table)).one()
    if row is None or row["kind"] != "r":
        return None
    return int(row["pages"])


async def drop_pages(tx: Transaction, table: str, first: int, end: int, before: datetime) -> int:
    """Drop what is older than ``before`` in the pages from ``first`` up to ``end``; how many rows that were."""
    query = _BY_TABLE[table].drop_pages
    return (await tx.run(query, first=f"({first},0)", end=f"({end},0)", before=before)).count


async def count_pages(tx: Transaction, table: str, first: int, end: int, before: datetime) -> int:
    """How many rows ``drop_pages`` would drop."""
    query = _BY_TABLE[table].count_pages
    return int((await tx.run(query, first=f"({first},0)", end=f"({end},0)", before=before)).scalar())


async def drop_jobs(tx: Transaction, before: datetime, limit: int) -> int:
    """Drop the archived jobs that ended first, with their files, parameters and metadata; how many."""
    return int((await tx.run(SQL.drop_jobs, before=before, limit=limit)).scalar())


async def count_jobs(tx: Transaction, before: datetime) -> int:
    """How many archived jobs ``drop_jobs`` would drop in all."""
    return int((await tx.run(SQL.count_jobs, before=before)).scalar())


async def last(database: Database) -> dict[str, datetime]:
    """When a server last went through each table."""
    return dict((await database.statement("retention.last", SQL.last, what=_NOTE)).rows)


async def done(tx: Transaction, table: str, now: datetime) -> None:
    """Note that a server has gone through a table."""
    await tx.run(SQL.done, what=_NOTE + table, now=now)
