"""Counting jobs for the ranks of shares and the priorities of users."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from pandatx.domain.queues import ANALYSIS_LABELS
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)

USUAL_POWER: Final = 10.0
"""HS of a core at a queue whose description says nothing."""
FOREIGN_AGE: Final = timedelta(minutes=10)
"""How old rows of others may be that spare us the counting."""


async def counted_by_others(tx: Transaction, now: datetime) -> bool:
    """Whether something else than our servers, pg_cron on a found database, keeps the share statistics."""
    found = (await tx.run(SQL.newest)).one() or {}
    written, ours = found.get("written"), found.get("ours")
    return written is not None and written != ours and written > now - FOREIGN_AGE


async def count(tx: Transaction, powers: Mapping[str, float], now: datetime) -> int:
    """Replace the share statistics; ``powers`` is HS of a core by queue. How many rows there are."""
    result = await tx.run(
        SQL.count,
        user_labels=sorted(ANALYSIS_LABELS),
        queues=list(powers),
        powers=list(powers.values()),
        usual_power=USUAL_POWER,
        now=now,
    )
    return result.count
