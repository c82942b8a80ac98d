"""The statements that older servers queue, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pandatx.domain.queued_updates import TOPIC, QueuedUpdates
from pandatx.store import jedi
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def find(tx: Transaction, before: datetime, without: Sequence[int], limit: int) -> list[int]:
    """Jobs whose statements were queued before then, less those that are not understood."""
    result = await tx.run(SQL.find, topic=TOPIC, before=before, without=list(without), limit=limit)
    return result.column("pandaid")


async def take(tx: Transaction, jobs: Sequence[int]) -> dict[int, list[tuple[int, str]]]:
    """The statements of the jobs, locked: place and text of each, in their order."""
    found: dict[int, list[tuple[int, str]]] = {}
    for panda_id, place, text in (await tx.run(SQL.take, topic=TOPIC, jobs=list(jobs))).rows:
        found.setdefault(panda_id, []).append((place, text or ""))
    return found


async def apply(tx: Transaction, updates: QueuedUpdates, done: Sequence[tuple[int, int]], now: datetime) -> None:
    """Count, and take what was counted, by job and place, out of the queue."""
    if done:
        await tx.run(SQL.drop, topic=TOPIC, jobs=[job for job, _ in done], orders=[place for _, place in done])
    await jedi.count(tx, updates.datasets)
    await jedi.wait(tx, updates.queued, now)
