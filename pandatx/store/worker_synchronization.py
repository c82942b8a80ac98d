"""Finding workers of which a pilot knows more than their Harvester."""

from __future__ import annotations

from datetime import datetime

from pandatx.domain.worker_synchronization import AGAIN, DISCOVERY, NEWEST, SUBMITTED, Stale
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def take(tx: Transaction, now: datetime, limit: int) -> list[Stale]:
    """The next workers that their Harvesters are to be told of, noted as told."""
    result = await tx.run(
        SQL.take,
        now=now,
        known=now - DISCOVERY,
        changed=now - NEWEST,
        submitted=now - SUBMITTED,
        told=now - AGAIN,
        limit=limit,
    )
    return [Stale(**row) for row in result.dicts()]
