"""Counters of requests (rule R13)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final, Literal

from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)

What = Literal["get_job", "no_job", "update_job"]
WHAT: Final[tuple[What, ...]] = ("get_job", "no_job", "update_job")


async def add(tx: Transaction, instance: str, minute: datetime, counts: Mapping[tuple[str, What], int]) -> None:
    """Add what was counted, by queue and kind."""
    queues = sorted({queue for queue, _ in counts})
    columns = {what: [counts.get((queue, what), 0) for queue in queues] for what in WHAT}
    await tx.run(SQL.add, instance=instance, minute=minute, queues=queues, **columns)
    await tx.identify()


async def set_last_start(tx: Transaction, queues: Collection[str], now: datetime) -> None:
    """Say in SITEDATA, as far as it has rows of these queues, that jobs have begun to run there."""
    await tx.run(SQL.set_last_start, queues=sorted(queues), now=now)


async def forget(tx: Transaction, before: datetime) -> None:
    """Delete what is older."""
    await tx.run(SQL.forget, before=before)
