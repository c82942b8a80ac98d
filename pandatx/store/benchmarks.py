"""Scores of CPUs."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from attrs import asdict

from pandatx.domain.benchmarks import Score
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def put(tx: Transaction, scores: Iterable[Score], source: str) -> int | None:
    """Store scores that are newer than all that are stored; how many, None where the database lacks the table."""
    if not (await tx.run(SQL.table)).scalar():
        return None
    await tx.run(SQL.lock)
    rows = orjson.dumps([asdict(one) for one in scores]).decode()
    return (await tx.run(SQL.put, rows=rows, source=source)).count
