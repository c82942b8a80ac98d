"""Attempts that the inputs of tasks have left."""

from __future__ import annotations

from collections import Counter

from pandatx.store import jedi
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def increase(tx: Transaction, task_id: int, n: int) -> tuple[int, int]:
    """Give the inputs that wait so many attempts more; how many there are, and how many of them had none left."""
    rows = (await tx.run(SQL.increase, task=task_id, n=n)).rows
    again = {(task_id, dataset): Counter(nfilesused=-spent, nfilesfailed=-spent) for dataset, _, spent in rows}
    await jedi.count(tx, again)
    await tx.identify()
    return sum(each for _, each, _ in rows), sum(spent for _, _, spent in rows)


async def reactivate(tx: Transaction, task_id: int, keep_attempt_nr: bool) -> int:
    """Have a task begin again with all its inputs; how many these are."""
    rows = (await tx.run(SQL.reset, task=task_id, keep=keep_attempt_nr)).rows
    if rows:
        datasets, numbers, used, failed = (list(column) for column in zip(*rows, strict=True))
        await tx.run(SQL.reset_datasets, task=task_id, datasets=datasets, used=used, failed=failed)
    else:
        numbers = []
    await tx.run(SQL.reactivate, task=task_id)
    return sum(numbers)
