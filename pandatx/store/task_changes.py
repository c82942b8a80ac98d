"""Changes of tasks that take effect at once, and of the jobs that they have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from attrs import frozen

from pandatx.domain.job import Job
from pandatx.store import columns
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(
    __file__,
    changes="currentpriority = coalesce(%(priority)s, j.currentpriority), gshare = coalesce(%(share)s, j.gshare)",
    told="j.pandaid, j.jobstatus, j.computingsite, j.prodsourcelabel, j.gshare, j.resource_type, j.minramcount, "
    "j.maxdiskcount, j.maxwalltime, j.currentpriority",
)


@frozen(kw_only=True)
class JobChange:
    """What becomes of the jobs of tasks: None leaves as it is, no statuses means all jobs."""

    tasks: Sequence[int]
    priority: int | None = None
    share: str | None = None
    statuses: Sequence[str] | None = None


async def lock(tx: Transaction, task_id: int) -> tuple[str | None] | None:
    """The split rules of a task, in a tuple, None where there is no such task; it is locked."""
    rows: list[tuple[Any, ...]] = (await tx.run(SQL.lock, task=task_id)).rows
    return (rows[0][0],) if rows else None


async def set_split_rule(tx: Transaction, task_id: int, rules: str) -> None:
    await tx.run(SQL.set_split_rule, task=task_id, rules=rules)


async def set_jumbo(tx: Transaction, task_id: int, rules: str, flag: str) -> None:
    await tx.run(SQL.set_jumbo, task=task_id, rules=rules, flag=flag)


async def set_cloning(tx: Transaction, task_id: int, rules: str, service: int) -> None:
    await tx.run(SQL.set_cloning, task=task_id, rules=rules, service=service)


async def set_attribute(tx: Transaction, task_id: int, name: str, value: int) -> tuple[Any, ...] | None:
    """Cores, memory, base memory and its unit after that; None where there is no such task."""
    rows: list[tuple[Any, ...]] = (await tx.run(SQL.set_attribute, task=task_id, name=name, value=value)).rows
    return rows[0] if rows else None


async def set_resource_type(tx: Transaction, task_id: int, resource_type: str) -> None:
    await tx.run(SQL.set_resource_type, task=task_id, type=resource_type)


async def set_modification_time(tx: Transaction, task_id: int, at: datetime) -> int:
    """How many tasks that were."""
    return (await tx.run(SQL.set_modification_time, task=task_id, at=at)).count


async def set_priority(tx: Transaction, task_id: int, priority: int, now: datetime) -> int:
    """How many tasks that were; their jobs come after."""
    return (await tx.run(SQL.set_priority, task=task_id, priority=priority, now=now)).count


async def set_share(tx: Transaction, tasks: Sequence[int], share: str) -> list[int]:
    """The tasks that have got the share."""
    return (await tx.run(SQL.set_share, tasks=list(tasks), share=share)).column("jeditaskid")


async def change_jobs(tx: Transaction, change: JobChange, active: bool, last: int, n: int) -> list[Job]:
    """The next ``n`` jobs after one are changed; as much of them as decides which pilots they fit."""
    result = await tx.run(
        SQL.jobs_active if active else SQL.jobs_defined,
        tasks=list(change.tasks),
        statuses=None if change.statuses is None else list(change.statuses),
        last=last,
        n=n,
        priority=change.priority,
        share=change.share,
    )
    return sorted(columns.jobs(result.columns, result.rows), key=lambda job: job.panda_id)
