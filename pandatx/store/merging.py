"""What is asked about jobs that wait for their outputs to be merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pandatx.store.archive import guard
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def log_blocks(tx: Transaction, ids: Sequence[int]) -> dict[str, int]:
    """The blocks that the logs of jobs go to, each with one of the jobs."""
    await guard(tx)
    return dict((await tx.run(SQL.log_blocks, ids=list(ids))).rows)


async def at_work(tx: Transaction, tasks: Mapping[str, int]) -> frozenset[str]:
    """Those of the blocks, given with their tasks, for which a job is still to do something."""
    await guard(tx)
    return frozenset((await tx.run(SQL.at_work, blocks=list(tasks), tasks=list(tasks.values()))).column("block"))


async def statuses(tx: Transaction, names: Sequence[str]) -> dict[str, str]:
    """The statuses of those blocks that have a row."""
    await guard(tx)
    return {name: status or "" for name, status in (await tx.run(SQL.statuses, names=list(names))).rows}


async def merging(tx: Transaction, task: int, block: str) -> list[int]:
    """The jobs of a task that wait for the merging of their files in a block."""
    await guard(tx)
    return (await tx.run(SQL.merging, task=task, block=block)).column("pandaid")


async def stuck(tx: Transaction, tasks: Sequence[int]) -> list[int]:
    """Of each of these tasks whose logs are all used up, a job whose log is still to be merged."""
    await guard(tx)
    return (await tx.run(SQL.stuck, tasks=list(tasks))).column("pandaid")
