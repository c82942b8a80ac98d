"""The lock rows of sync daemons, which older servers read too."""

from __future__ import annotations

from datetime import datetime

from pandatx.store import queries
from pandatx.store.database import Transaction

_queries = queries.load(__file__)


def component(daemon: str) -> str:
    """The name of a daemon's lock row."""
    return f"pandaD.{daemon}"


async def take(
    tx: Transaction, daemon: str, holder: str, start: datetime, free_before: datetime
) -> tuple[bool, datetime | None]:
    """Whether the lock is the holder's now, and its time; no time when somebody took it at this very moment."""
    result = await tx.run(
        _queries.take,
        component=component(daemon),
        holder=holder,
        start=start,
        free_before=free_before,
    )
    if not result.rows:
        return False, None
    ours, locked_time = result.rows[0]
    return ours, locked_time


async def move(tx: Transaction, daemon: str, holder: str, locked_time: datetime) -> bool:
    """Set the time of a lock; False when it is not the holder's."""
    result = await tx.run(_queries.move, component=component(daemon), holder=holder, locked_time=locked_time)
    return result.count > 0


async def take_by_hand(
    tx: Transaction, daemon: str, holder: str, start: datetime, free_before: datetime, settled: datetime
) -> tuple[bool, datetime | None, str | None]:
    """Whether the lock is the holder's now; its time and its holder before, None where there was no lock.

    ``settled``: a run that began before that is known to others by now.
    """
    result = await tx.run(
        _queries.take_by_hand,
        component=component(daemon),
        daemon=daemon,
        holder=holder,
        start=start,
        free_before=free_before,
        settled=settled,
    )
    ours, locked_time, before = result.rows[0]
    return ours, locked_time, before


async def hand_back(tx: Transaction, daemon: str, holder: str, locked_time: datetime, to: str | None) -> None:
    """Set the time of a lock that is still the holder's, and give it to whom it belonged before."""
    await tx.run(
        _queries.hand_back, component=component(daemon), holder=holder, locked_time=locked_time, next_holder=to
    )
