"""What the database says of its own health."""

from __future__ import annotations

from attrs import frozen

from pandatx.store import queries
from pandatx.store.database import Database

_SQL = queries.load(__file__)


@frozen(kw_only=True)
class Vitals:
    """``oldest_snapshot`` in seconds, 0 where nobody else holds one."""

    writable: bool
    oldest_snapshot: float


async def look(database: Database) -> Vitals:
    """One round trip; raises what Database.statement does when the database is away."""
    row = (await database.statement("health.vitals", _SQL.vitals, patience=2.0)).one()
    if row is None:
        raise LookupError("the database says nothing of its health")
    return Vitals(writable=row["writable"], oldest_snapshot=float(row["oldest_snapshot"] or 0.0))
