"""The secrets of users: one JSON text for each owner."""

from __future__ import annotations

from datetime import datetime

from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def lock(tx: Transaction, owner: str, now: datetime) -> str:
    """What an owner has, locked; "" where that is nothing."""
    await tx.run(SQL.make, owner=owner, now=now)
    return (await tx.run(SQL.lock, owner=owner)).scalar() or ""


async def read(tx: Transaction, owner: str) -> str:
    """What an owner has, "" where that is nothing."""
    return (await tx.run(SQL.read, owner=owner)).scalar() or ""


async def write(tx: Transaction, owner: str, data: str, now: datetime) -> None:
    """Replace all that an owner has, which is locked."""
    await tx.run(SQL.write, owner=owner, data=data, now=now)
