"""Commands that wait for the engine of tasks, and who may give them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pandatx.domain.caller import Caller
from pandatx.domain.task_commands import NotTaskOwner, TaskRow
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)

_LONGEST_COMMENT: Final = 128


async def owned(tx: Transaction, caller: Caller, task_id: int, *, lock: bool = True) -> TaskRow | None:
    """A task that is the caller's, or any for the production role, which gets None where there is none.

    One that is only submitted yet has the status ``waiting``. Raises NotTaskOwner for others.
    """
    found = await task(tx, task_id, lock=lock)
    if caller.production:
        return found
    if found is None or not caller.name or found.owner != caller.name:
        raise NotTaskOwner(task_id, known=found is not None)
    return found


async def task(tx: Transaction, task_id: int, *, lock: bool = True) -> TaskRow | None:
    """A task, or what is known of it before the engine has taken it."""
    row = (await tx.run(SQL.lock if lock else SQL.read, task=task_id)).one()
    row = row or (await tx.run(SQL.waiting, task=task_id)).one()
    return None if row is None else TaskRow(**row)


async def register(
    tx: Transaction,
    task_id: int,
    command: str,
    now: datetime | None = None,
    *,
    comment: str | None = None,
    parameters: str | None = None,
) -> None:
    """Give a task a command; of several the newest counts. One without a time comes after those that have one."""
    await tx.run(SQL.drop, task=task_id)
    await tx.run(
        SQL.register,
        task=task_id,
        command=command,
        at=None if now is None else int(now.timestamp()),
        comment=None if comment is None else comment[:_LONGEST_COMMENT],
        parameters=parameters,
    )


async def failed_jobs(tx: Transaction, task_id: int) -> list[int]:
    """Failed jobs of a task that are not archived, and whose inputs may be tried again."""
    return (await tx.run(SQL.failed_jobs, task=task_id)).column("pandaid")


async def unfinished(tx: Transaction, task_id: int) -> list[int]:
    """The jobs of a task that have not ended."""
    return (await tx.run(SQL.unfinished, task=task_id)).column("pandaid")
