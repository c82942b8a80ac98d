"""Workflows, their steps and their data."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from attrs import frozen

from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


@frozen(kw_only=True)
class NewWorkflow:
    """A workflow as it is submitted: ``raw``, as JSON, is what its user wrote, ``definition`` what the engine reads."""

    label: str
    owner: str
    name: str | None = None
    raw: str | None = None
    definition: str | None = None


async def insert(tx: Transaction, workflow: NewWorkflow, now: datetime) -> int:
    """Store a workflow; its id."""
    stored = await tx.run(
        SQL.insert,
        name=workflow.name,
        label=workflow.label,
        owner=workflow.owner,
        now=now,
        raw=workflow.raw,
        definition=workflow.definition,
    )
    workflow_id, tx.xid = stored.rows[0]
    return int(workflow_id)


async def find(tx: Transaction, workflow_id: int) -> dict[str, Any] | None:
    """A workflow."""
    return (await tx.run(SQL.find, id=workflow_id)).one()


async def steps(tx: Transaction, workflow_id: int) -> list[dict[str, Any]]:
    """The steps of a workflow, in the order in which they were made."""
    return (await tx.run(SQL.steps, id=workflow_id)).dicts()


async def data(tx: Transaction, workflow_id: int) -> list[dict[str, Any]]:
    """The data of a workflow."""
    return (await tx.run(SQL.data, id=workflow_id)).dicts()


async def progress(tx: Transaction, tasks: Sequence[int]) -> dict[int, tuple[int, int, int]]:
    """The files of tasks: how many there are, have finished and have failed."""
    rows = (await tx.run(SQL.progress, tasks=list(tasks))).rows
    return {task_id: (n, finished, failed) for task_id, n, finished, failed in rows}
