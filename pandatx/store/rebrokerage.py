"""What is asked before jobs are taken back from queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from attrs import frozen

from pandatx.domain.sweep_rebrokerage import INACTIVE_PRIORITY, NOT_RECENT, Group, Load
from pandatx.store.archive import guard
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(
    __file__,
    wanted="""prodsourcelabel IN ('user', 'panda') AND lockedby = 'jedi' AND jeditaskid IS NOT NULL
                AND computingsite IS NOT NULL AND creationtime <= %(before)s
              GROUP BY 1, 2, 3, 4, 5, 6""",
)
PAGE: Final = 5000
GROUPS_PAGE: Final = 1000
"""Jobs of users in one page: each may be a group of its own."""


@frozen(kw_only=True)
class KeptWaiting:
    """A page of active jobs: the queues at which urgent jobs wait, and the jobs at some of these queues."""

    last: int
    more: bool
    queues: tuple[str, ...]
    ids: tuple[int, ...]


@frozen(kw_only=True)
class Groups:
    """A page of jobs: groups that wait, each with its first PandaID and the time its last job was made."""

    last: int
    more: bool
    groups: tuple[tuple[Group, int, datetime], ...]


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


async def kept_waiting(tx: Transaction, last: int, before: datetime, queues: Sequence[str] = ()) -> KeptWaiting:
    """Look at the active jobs after PandaID ``last`` for urgent ones that have waited since before a time."""
    await guard(tx)
    result = await tx.run(
        SQL.kept_waiting, last=last, before=before, priority=INACTIVE_PRIORITY, queues=list(queues) or None
    )
    end, n, found, ids = result.rows[0]
    return KeptWaiting(last=end or last, more=n == PAGE, queues=tuple(found or ()), ids=tuple(ids or ()))


async def waiting_groups(tx: Transaction, active: bool, last: int, before: datetime) -> Groups:
    """Look at the jobs of a table after PandaID ``last`` for those of users' tasks, made before a time, that wait."""
    await guard(tx)
    rows = (await tx.run(SQL.groups_active if active else SQL.groups_defined, last=last, before=before)).rows
    end, n = rows[0][:2]
    groups = tuple(
        (Group(task=task, definition=definition, queue=queue, owner=owner, working_group=group, vo=vo), first, made)
        for task, definition, queue, owner, group, vo, first, made in (row[2:] for row in rows if row[2] is not None)
    )
    return Groups(last=end or last, more=n == GROUPS_PAGE, groups=groups)


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
