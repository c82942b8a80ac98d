"""Emissions of regions, and how much of the computing is done in each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pandatx.domain.carbon import Emission
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def put(tx: Transaction, emissions: Sequence[Emission]) -> int:
    """Store emissions; how many are new."""
    done = await tx.run(
        SQL.put,
        regions=[one.region for one in emissions],
        times=[one.at for one in emissions],
        measured=[one.value for one in emissions],
    )
    return done.count


async def remove_old(tx: Transaction, before: datetime) -> None:
    await tx.run(SQL.remove_old, before=before)


async def used(tx: Transaction) -> tuple[dict[str, float], float]:
    """HS in use by region, and of all."""
    rows = dict((await tx.run(SQL.used)).rows)
    total = rows.pop(None)
    return rows, total


async def latest(tx: Transaction) -> dict[str, int]:
    """The last value of each region."""
    return dict((await tx.run(SQL.latest)).rows)
