"""The servers on this database (rule R4)."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from pandatx.store.database import Database
from pandatx.store.queries import load

SQL = load(__file__)


@frozen(kw_only=True)
class Instance:
    """A server: when it was last seen, the final reports in its spool, when it last got the database back."""

    name: str
    seen: datetime
    spooled: int
    outage_ended: datetime | None


async def start(database: Database, instance: str, host: str, spooled: int, now: datetime) -> datetime | None:
    """Enter a server; when any was last seen before, None for never."""
    result = await database.statement(
        "instances.start", SQL.start, instance=instance, host=host, spooled=spooled, now=now
    )
    last: datetime | None = result.scalar()
    return last


async def beat(
    database: Database, instance: str, host: str, spooled: int, outage: datetime | None, now: datetime
) -> None:
    """Say that a server lives; ``outage``: when it got the database back, if it had lost it since the last beat."""
    await database.statement(
        "instances.beat", SQL.beat, instance=instance, host=host, spooled=spooled, outage=outage, now=now
    )


async def everybody(database: Database) -> list[Instance]:
    """All that have a row."""
    rows = (await database.statement("instances.all", SQL.all)).rows
    return [Instance(name=name, seen=seen, spooled=spooled, outage_ended=end) for name, seen, spooled, end in rows]


async def forget(database: Database, before: datetime) -> None:
    """Forget servers that were not seen since."""
    await database.statement("instances.forget", SQL.forget, before=before)
