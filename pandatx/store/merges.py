"""Jobs whose outputs others merge."""

from __future__ import annotations

from collections.abc import Sequence

from pandatx.domain.merges import Outcome
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def makers(tx: Transaction, ids: Sequence[int]) -> list[int]:
    """The jobs whose outputs these merge jobs have read."""
    return (await tx.run(SQL.makers, ids=list(ids))).column("outpandaid")


async def outcomes(tx: Transaction, ids: Sequence[int]) -> dict[int, Outcome]:
    """Of those of the jobs that are in merging, how it has ended, where it has."""
    rows = (await tx.run(SQL.outcomes, ids=list(ids))).rows
    return {panda_id: Outcome(merged=merged, ended=ended) for panda_id, merged, ended in rows}
