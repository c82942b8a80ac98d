"""Destination blocks at the ends of their jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from attrs import frozen

from pandatx.store.archive import guard
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


@frozen(kw_only=True)
class Block:
    """A destination block; ``waiting``: a file of it is still unknown."""

    name: str
    status: str
    waiting: bool


async def blocks(tx: Transaction, names: Sequence[str]) -> dict[str, Block]:
    """Those of the blocks that have a row."""
    await guard(tx)
    result = await tx.run(SQL.blocks, names=list(names))
    return {name: Block(name=name, status=status or "", waiting=waiting) for name, status, waiting in result.rows}


async def close(tx: Transaction, statuses: Mapping[str, str], now: datetime) -> frozenset[str]:
    """Close blocks with these statuses; those that this call has closed, which is one call for each."""
    await guard(tx)
    names = sorted(statuses)
    await tx.run(SQL.lock_blocks, names=names)
    closed = await tx.run(SQL.close, names=names, statuses=[statuses[name] for name in names], now=now)
    return frozenset(closed.column("name"))


async def register(tx: Transaction, numbers: Mapping[str, int]) -> None:
    """Count files that blocks have got; after the jobs and files of the transaction (rule R1)."""
    if numbers:
        names = sorted(numbers)
        await tx.run(SQL.lock_blocks, names=names)
        await tx.run(SQL.register, names=names, numbers=[numbers[name] for name in names])


async def begin_merging(
    tx: Transaction, names: Sequence[str], datasets: Sequence[tuple[int, int]], now: datetime, again: bool = False
) -> bool:
    """The files of these blocks are there: JEDI may have them merged, as counted in their datasets (task, dataset).

    False where another process was first, or, but for ``again``, where the blocks are completed.
    """
    await guard(tx)
    await tx.run(SQL.lock_blocks, names=list(names))
    begun = ["tobeclosed"] if again else ["tobeclosed", "completed"]
    if not (await tx.run(SQL.merge_blocks, names=list(names), begun=begun, now=now)).count:
        return False
    tasks, ids = [task for task, _ in datasets], [dataset for _, dataset in datasets]
    await tx.run(SQL.lock_merged, tasks=tasks, datasets=ids)
    await tx.run(SQL.begin_merging, tasks=tasks, datasets=ids, now=now)
    return True


async def jobs_in_transfer(tx: Transaction, name: str) -> list[int]:
    """The jobs whose files are on their way to a block."""
    await guard(tx)
    return (await tx.run(SQL.jobs_in_transfer, name=name)).column("pandaid")


async def arrived(tx: Transaction, name: str, ids: Sequence[int], now: datetime) -> int:
    """The files of a block have arrived, those of the locked jobs: they are ready, and the block is cleaned up."""
    n = (await tx.run(SQL.arrived, name=name, ids=list(ids))).count
    await tx.run(SQL.set_cleanup, name=name, now=now)
    return n
