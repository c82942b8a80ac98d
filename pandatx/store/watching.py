"""Finding jobs that were silent for long."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from attrs import frozen

from pandatx.domain.watch import WorkerFacts
from pandatx.store.archive import guard
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)

PAGE: Final = 5000


@frozen(kw_only=True)
class Page:
    """Some active jobs in the order of PandaIDs: the last of them, the silent ones, those in merging, and whether more
    follow.
    """

    last: int
    silent: tuple[int, ...]
    merging: tuple[int, ...]
    more: bool


async def page(tx: Transaction, last: int, sent_before: datetime, before: datetime) -> Page:
    """The jobs after PandaID ``last`` whose last word is older: from before ``sent_before`` for those in sent."""
    await guard(tx)
    result = await tx.run(SQL.page, last=last, sent_before=sent_before, before=before)
    end, n, silent, merging = result.rows[0]
    return Page(last=end or last, silent=tuple(silent or ()), merging=tuple(merging or ()), more=n == PAGE)


async def reported(tx: Transaction, ids: Sequence[int]) -> frozenset[int]:
    """Those of the jobs whose final reports wait for the Adder."""
    return frozenset((await tx.run(SQL.reported, ids=list(ids))).column("pandaid"))


async def workers(tx: Transaction, ids: Sequence[int]) -> dict[int, WorkerFacts]:
    """The newest worker of each job that has one."""
    rows = (await tx.run(SQL.workers, ids=list(ids))).rows
    return {panda_id: WorkerFacts(status=status, diag=diag) for panda_id, status, diag in rows}
