"""Whose name is whose (rule R27)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pandatx.store.database import Database, Transaction
from pandatx.store.queries import load

SQL = load(__file__)

Subjects = frozenset[str]
PATIENCE: Final = 1.0
"""Seconds for a session: pilots who report wait for this first."""


async def bind(tx: Transaction, subjects: Mapping[str, str], now: datetime) -> dict[str, Subjects]:
    """Bind each owner name to its subject, unless it is bound already; the subjects that the names belong to."""
    bound: dict[str, Subjects] = {}
    while missing := sorted(subjects.keys() - bound.keys()):
        found = await tx.run(SQL.bind, names=missing, subjects=[subjects[name] for name in missing], now=now)
        bound.update((name, frozenset(owners)) for name, owners in found.rows)
    return bound


async def subjects(database: Database, name: str) -> Subjects:
    """Whom a name belongs to; nobody if it was not seen yet."""
    found = (await database.statement("owners.subjects", SQL.subjects, patience=PATIENCE, owner=name)).scalar()
    return frozenset(found or ())


async def owner(database: Database, name: str) -> dict[str, Any] | None:
    """All that is known of a name."""
    found = (await database.statement("owners.show", SQL.owner, owner=name)).dicts()
    return found[0] if found else None


async def release(tx: Transaction, name: str) -> str | None:
    """Unbind a name; the subject that it belonged to, None where it was not bound."""
    found = (await tx.run(SQL.release, owner=name)).scalar()
    return None if found is None else str(found)


async def admit(tx: Transaction, name: str, subject: str) -> bool:
    """Let one more subject use a name; False where the name is not bound."""
    return bool((await tx.run(SQL.admit, owner=name, subject=subject)).rows)
