"""The metadata of jobs of users."""

from __future__ import annotations

from collections.abc import Sequence

from pandatx.store.database import Database
from pandatx.store.queries import load

SQL = load(__file__)


async def finished(database: Database, task_id: int) -> list[int]:
    """The jobs of a task of a user that finished."""
    return (await database.statement("user_metadata.finished", SQL.finished, task_id=task_id)).column("pandaid")


async def texts(database: Database, ids: Sequence[int]) -> list[tuple[int, str]]:
    """Job, and the text of its metadata."""
    return (await database.statement("user_metadata.texts", SQL.texts, ids=list(ids))).rows
