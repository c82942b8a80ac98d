"""Final reports on their way to the Adder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import frozen

from pandatx.domain.event_leases import is_clone
from pandatx.domain.job import Job
from pandatx.domain.report import WITHDRAWN
from pandatx.domain.task_files import MERGE
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)

FREE_AFTER: Final = timedelta(minutes=10)
"""The age of a lock that anybody may break; older servers keep to it too."""
DEAD_AFTER: Final = timedelta(minutes=2)
"""A server that was not seen for so long has nothing in hand any more."""


@frozen(kw_only=True)
class Report:
    """A final report as the heartbeat stored it; ``stored_at`` is its timeStamp."""

    panda_id: int
    attempt_nr: int
    status: str
    stored_at: datetime
    data: str

    @property
    def key(self) -> tuple[int, int]:
        return self.panda_id, self.attempt_nr


async def take(tx: Transaction, owner: str, working: Sequence[int], now: datetime, limit: int) -> list[Report]:
    """Lock up to ``limit`` free reports for ``owner``; ``working`` are the PandaIDs that it has in hand."""
    result = await tx.run(
        SQL.take,
        owner=owner,
        working=list(working),
        free_before=now - FREE_AFTER,
        dead_before=now - DEAD_AFTER,
        now=now,
        n=limit,
    )
    return [
        Report(panda_id=panda_id, attempt_nr=attempt, status=status, stored_at=stored_at, data=data or "")
        for panda_id, attempt, status, stored_at, data in sorted(result.rows)
    ]


async def metadata(tx: Transaction, ids: Sequence[int]) -> dict[int, str]:
    """The job reports of payloads."""
    return dict((await tx.run(SQL.metadata, ids=list(ids))).rows)


async def mismatches(tx: Transaction, jobs: Iterable[Job]) -> dict[int, str]:
    """What of the inputs of these jobs JEDI sees otherwise, by PandaID; no query where none belongs to a task."""
    of_tasks = [job for job in jobs if job.jedi_task_id and job.job_status not in WITHDRAWN]
    if not of_tasks:
        return {}
    result = await tx.run(
        SQL.mismatches,
        ids=[job.panda_id for job in of_tasks],
        tasks=[job.jedi_task_id for job in of_tasks],
        merges=[job.processing_type == MERGE for job in of_tasks],
        clones=[is_clone(job.special_handling) for job in of_tasks],
    )
    found: dict[int, str] = {}
    for panda_id, lfn, attempt, missing, status, now_at, taken_by in result.rows:
        text = (
            "is not there" if missing else f"is {status} at attempt {now_at} of job {taken_by}, not {attempt} of this"
        )
        found.setdefault(panda_id, f"{lfn[:200]} {text}")
    return found


async def still_ours(tx: Transaction, ids: Sequence[int], owner: str) -> frozenset[tuple[int, int]]:
    """The keys of those reports that ``owner`` still holds (rule R8), locked."""
    result = await tx.run(SQL.check, ids=list(ids), owner=owner)
    return frozenset((panda_id, attempt) for panda_id, attempt in result.rows)


async def renew(tx: Transaction, ids: Sequence[int], owner: str, now: datetime) -> None:
    """Keep reports locked while a plugin works on them."""
    await tx.run(SQL.renew, ids=list(ids), owner=owner, now=now)


async def release(tx: Transaction, reports: Iterable[tuple[Report, datetime]], owner: str) -> None:
    """Leave reports for later: each is free ten minutes after its time."""
    if rows := list(reports):
        await tx.run(
            SQL.release,
            ids=[report.panda_id for report, _ in rows],
            attempts=[report.attempt_nr for report, _ in rows],
            times=[time for _, time in rows],
            owner=owner,
        )


async def drop(tx: Transaction, reports: Iterable[Report]) -> None:
    """Delete reports that have no effect."""
    if rows := list(reports):
        ids, attempts = [report.panda_id for report in rows], [report.attempt_nr for report in rows]
        await tx.run(SQL.drop, ids=ids, attempts=attempts)


async def adopt(tx: Transaction, owners: Sequence[str]) -> int:
    """Free the reports that these servers, which are gone, had in hand; how many."""
    return (await tx.run(SQL.adopt, owners=list(owners))).count
