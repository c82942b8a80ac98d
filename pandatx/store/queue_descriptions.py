"""Storing the descriptions of queues."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def differing(tx: Transaction, digests: Mapping[str, str]) -> list[str]:
    """The names whose documents are stored otherwise, or not at all; ``digests`` are MD5 of documents by name."""
    found = await tx.run(SQL.differing, names=list(digests), digests=list(digests.values()))
    return found.column("name")


async def put(tx: Transaction, documents: Mapping[str, str], now: datetime) -> list[str]:
    """Store descriptions, JSON by name; the names of those that are new or have changed."""
    names = sorted(documents)
    changed = await tx.run(SQL.put, names=names, documents=[documents[name] for name in names], now=now)
    return changed.column("panda_queue")


async def lacking(tx: Transaction, names: Collection[str]) -> tuple[int, int]:
    """How many queues are stored, and how many of them are not among ``names``."""
    stored, gone = (await tx.run(SQL.lacking, names=list(names))).rows[0]
    return stored, gone


async def remove(tx: Transaction, names: Collection[str]) -> list[str]:
    """Remove all but ``names``; those removed."""
    return (await tx.run(SQL.remove, names=list(names))).column("panda_queue")
