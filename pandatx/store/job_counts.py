"""Reading how many jobs there are."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


COLUMNS: Final = ("site", "status", "label", "resource_type", "share", "cloud", "processing_type", "n")
"""What a row holds, in order: the fields of a Count."""


async def alive(tx: Transaction) -> list[tuple[Any, ...]]:
    """Rows of jobs that have not ended, as the daemon share_statistics counted them last."""
    return (await tx.run(SQL.alive)).rows


async def ended(tx: Transaction, since: datetime) -> list[tuple[Any, ...]]:
    """Rows of jobs that have ended since, as far as they are not in the archive's schema yet."""
    return (await tx.run(SQL.ended, since=since)).rows
