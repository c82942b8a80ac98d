"""What is asked before jobs are taken back from queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from pandatx.domain.sweep_rebrokerage import NOT_RECENT, Group, Load
from pandatx.store.archive import guard
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def loads(tx: Transaction, since: datetime) -> list[Load]:
    """The load of each share at each queue, from statistics that are not older than ``since``."""
    rows = (await tx.run(SQL.loads, since=since)).dicts()
    waiting: Counter[tuple[str, str]] = Counter()
    for row in rows:
        waiting[row["share"], row["vo"]] += row["queued"]
    return [Load(share_queued=waiting[row["share"], row["vo"]], **row) for row in rows]


async def queued(tx: Transaction, load: Load, last: int, n: int) -> list[int]:
    """The next ``n`` jobs of JEDI after PandaID ``last`` that wait in a share at a queue."""
    await guard(tx)
    found = await tx.run(SQL.queued, queue=load.queue, share=load.share, vo=load.vo, last=last, n=n)
    return found.column("pandaid")


async def last_starts(tx: Transaction, queues: Sequence[str], since: datetime) -> dict[str, datetime]:
    """When a job last began at each of the queues; of those that say nothing, nothing is known before ``since``."""
    await guard(tx)
    return {queue: started for queue, started in (await tx.run(SQL.last_starts, queues=list(queues), since=since)).rows}


async def activated_at(tx: Transaction, ids: Sequence[int]) -> dict[int, datetime]:
    """When jobs were activated, as the status log has it."""
    await guard(tx)
    return dict((await tx.run(SQL.activated_at, ids=list(ids))).rows)


async def lively(tx: Transaction, groups: Sequence[Group], since: datetime) -> frozenset[Group]:
    """Those of the groups of which a job has changed since a time."""
    await guard(tx)
    result = await tx.run(
        SQL.lively,
        tasks=[group.task for group in groups],
        definitions=[group.definition for group in groups],
        queues=[group.queue for group in groups],
        owners=[group.owner for group in groups],
        since=since,
        ignored=list(NOT_RECENT),
    )
    return frozenset(groups[place - 1] for place in result.column("place"))


async def waiting(tx: Transaction, group: Group) -> list[int]:
    """The jobs of a group that wait."""
    await guard(tx)
    result = await tx.run(SQL.waiting, task=group.task, definition=group.definition, queue=group.queue)
    return result.column("pandaid")
