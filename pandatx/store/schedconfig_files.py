"""What the files of the schedconfig cache are made of."""

from __future__ import annotations

from typing import Any

from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def page(tx: Transaction, after: str, limit: int) -> list[tuple[str, str]]:
    """Name and JSON of the next queues."""
    return [(name, data) for name, data in (await tx.run(SQL.page, after=after, limit=limit)).rows]


async def pilot_config(tx: Transaction) -> list[dict[str, Any]]:
    return (await tx.run(SQL.pilot_config)).dicts()
