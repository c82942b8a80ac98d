"""Reading how many jobs there are."""

from __future__ import annotations

from datetime import datetime

from pandatx.domain.job_counts import Count
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def alive(tx: Transaction) -> tuple[Count, ...]:
    """Jobs that have not ended, as the daemon share_statistics counted them last."""
    return tuple(Count(**row) for row in (await tx.run(SQL.alive)).dicts())


async def ended(tx: Transaction, since: datetime) -> tuple[Count, ...]:
    """Jobs that have ended since, as far as they are not in the archive's schema yet."""
    return tuple(Count(**row) for row in (await tx.run(SQL.ended, since=since)).dicts())
