"""Storing the descriptions of queues."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def replace(tx: Transaction, documents: Mapping[str, str], now: datetime) -> tuple[list[str], list[str]]:
    """Make the stored descriptions those of ``documents``, JSON by name; the names that changed, and that are gone."""
    names = sorted(documents)
    changed = await tx.run(SQL.store, names=names, documents=[documents[name] for name in names], now=now)
    gone = await tx.run(SQL.remove, names=names)
    return changed.column("panda_queue"), gone.column("panda_queue")
