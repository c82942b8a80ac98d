"""What decides how many workers a queue gets: those it has, and the jobs that wait there."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from pandatx.domain.pilot_streaming import Waiting, Workers
from pandatx.store.database import Database
from pandatx.store.queries import load

SQL = load(__file__)


async def workers(database: Database, since: datetime) -> dict[tuple[str, str], list[Workers]]:
    """The workers that were reported since ``since``, by queue and Harvester."""
    found: defaultdict[tuple[str, str], list[Workers]] = defaultdict(list)
    for row in (await database.statement("pilot_streaming.workers", SQL.workers, since=since)).rows:
        queue, harvester, resource_type, status, number = row
        found[queue, harvester].append(Workers(resource_type=resource_type, status=status, number=number or 0))
    return found


async def waiting(database: Database, queue: str) -> list[Waiting]:
    """The activated jobs of a queue."""
    result = await database.statement("pilot_streaming.waiting", SQL.waiting, queue=queue)
    return [Waiting(**row) for row in result.dicts()]
