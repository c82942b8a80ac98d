"""Reading what changes seldom: queues, shares, resource types, run-time parameters, bans."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pandatx.domain.queues import LARGEST
from pandatx.domain.shares import ResourceTypeRow, ShareRow
from pandatx.domain.tokens import TokenKey
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def queue_versions(tx: Transaction) -> dict[str, str]:
    """Every queue that is stored, with what changes when its description does."""
    return dict((await tx.run(SQL.queue_versions)).rows)


async def queues(tx: Transaction, names: Sequence[str]) -> dict[str, str | None]:
    """Some queues' descriptions by the names they are stored under; None for one that is too large."""
    return dict((await tx.run(SQL.queues, names=list(names), largest=LARGEST)).rows)


async def shares(tx: Transaction) -> list[ShareRow]:
    return [ShareRow(**row) for row in (await tx.run(SQL.shares)).dicts()]


async def share_use(tx: Transaction) -> dict[str, float]:
    """HS in use by each share."""
    return dict((await tx.run(SQL.share_use)).rows)


async def memory_per_core(tx: Transaction) -> dict[str, float]:
    """MB per core of the running jobs of each queue."""
    return {queue: memory or 0.0 for queue, memory in (await tx.run(SQL.memory_per_core)).rows}


async def resource_types(tx: Transaction) -> list[ResourceTypeRow]:
    return [
        ResourceTypeRow(name=name, min_core=a, max_core=b, min_ram_per_core=c, max_ram_per_core=d)
        for name, a, b, c, d in (await tx.run(SQL.resource_types)).rows
    ]


async def config(tx: Transaction) -> list[dict[str, Any]]:
    """The rows of CONFIG."""
    return (await tx.run(SQL.config)).dicts()


async def banned(tx: Transaction) -> frozenset[str]:
    """The compact names of disabled users."""
    return frozenset((await tx.run(SQL.banned)).column("name"))


async def banned_subjects(tx: Transaction) -> frozenset[str]:
    """Whom the names of disabled users belong to."""
    return frozenset((await tx.run(SQL.banned_subjects)).column("subject"))


async def letters(tx: Transaction) -> dict[str, str]:
    """The letters in GRIDPREF of users that are not disabled, by compact name."""
    return dict((await tx.run(SQL.letters)).rows)


async def token_keys(tx: Transaction, now: datetime) -> tuple[TokenKey, ...]:
    """Keys that hold, the longest-lived first."""
    return tuple(TokenKey(**row) for row in (await tx.run(SQL.token_keys, now=now)).dicts())


async def secret(tx: Transaction, owner: str) -> str | None:
    found = (await tx.run(SQL.secret, owner=owner)).scalar()
    return None if found is None else str(found)
