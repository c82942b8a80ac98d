"""Storing tasks as they are submitted, and new parameters of those that are there."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import orjson
from twisted.internet.threads import deferToThread

from pandatx.domain.task_submission import COUNTED, NewTask
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)

_LONG: Final = 1 << 18
"""Characters of parameters that are read off the reactor's thread."""


async def parent(tx: Transaction, owner: str, name: str) -> int | None:
    """The newest task of a user by its name."""
    found = (await tx.run(SQL.parent, owner=owner, name=name)).scalar()
    return None if found is None else int(found)


async def same(tx: Transaction, task: NewTask) -> tuple[int, str | None] | None:
    """The newest task of the same name, and its status: None for one that the engine has not taken yet.

    Nobody else can submit one until the end of the transaction.
    """
    await tx.run(SQL.hold_name, name=f"{task.vo} {task.label} {task.name}")
    what = {"name": task.name, "vo": task.vo, "label": task.label, "owner": task.user, "crew": task.group}
    found = (await tx.run(SQL.same, **what, anyone=task.official)).one()
    if found is not None:
        return int(found["jeditaskid"]), str(found["status"])
    waiting = (await tx.run(SQL.same_waiting, **what, anyone=task.official)).scalar()
    return None if waiting is None else (int(waiting), None)


async def active(tx: Transaction, task: NewTask) -> int:
    """How many tasks of the user, of the same label, are under way."""
    return int((await tx.run(SQL.active, statuses=list(COUNTED), label=task.label, owner=task.user)).scalar())


async def insert(tx: Transaction, task: NewTask, document: str, parent: int | None, now: datetime) -> int:
    """Store a task; its jediTaskID."""
    stored = await tx.run(
        SQL.insert,
        now=now,
        vo=task.vo,
        label=task.label,
        owner=task.user,
        name=task.name,
        parameters=document,
        priority=task.priority,
        parent=parent,
    )
    task_id, tx.xid = stored.rows[0]
    return int(task_id)


async def submitted(tx: Transaction, task_id: int) -> dict[str, Any] | None:
    """The parameters that a task was submitted with; of one that another server has forgotten, those in use."""
    text = (await tx.run(SQL.submitted, task=task_id)).scalar()
    return await parameters(tx, task_id) if text is None else await _object(text)


async def parameters(tx: Transaction, task_id: int) -> dict[str, Any] | None:
    """The parameters that the engine goes by, locked."""
    return await _object((await tx.run(SQL.parameters, task=task_id)).scalar())


async def write_parameters(tx: Transaction, task_id: int, document: str) -> None:
    """Have the engine go by other parameters."""
    await tx.run(SQL.write_parameters, task=task_id, parameters=document)


async def lower_memory(tx: Transaction, task_id: int, ram: int) -> None:
    """Have a task need so much memory, and none of its inputs more than that."""
    await tx.run(SQL.lower_memory_of_files, task=task_id, ram=ram)
    await tx.run(SQL.set_memory, task=task_id, ram=ram)


async def _object(text: str | None) -> dict[str, Any] | None:
    if text is not None and len(text) > _LONG:
        return await deferToThread(_read, text)
    return _read(text or "")


def _read(text: str) -> dict[str, Any] | None:
    try:
        found = orjson.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
