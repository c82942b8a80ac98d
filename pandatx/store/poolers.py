"""Whether a pooler stands between us and PostgreSQL that gives each transaction another backend (rule R9)."""

from __future__ import annotations

from twisted.logger import Logger

from pandatx.store.database import Database, Session

log = Logger()

_BACKEND = "SELECT pg_backend_pid()"


async def by_transaction(database: Database) -> bool:
    """True where sessions do not keep their backends, and with them settings and prepared statements."""
    one = await database.connect()
    try:
        if one.backend == one.announced:
            return False
        other = await database.connect()
        try:
            return await _changes(one, other)
        finally:
            other.close()
    finally:
        one.close()


async def _changes(one: Session, other: Session) -> bool:
    """Two sessions by turns: each must have a backend of its own, and keep it."""
    seen = [(await session.execute(_BACKEND)).scalar() for session in (one, other) * 3]
    if len(set(seen[::2])) == len(set(seen[1::2])) == 1 and seen[0] != seen[1]:
        log.warn("a pooler is between this server and PostgreSQL; it gives each session its own backend")
        return False
    return True
