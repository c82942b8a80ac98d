"""What stands around a job that explains where it is."""

from __future__ import annotations

from collections.abc import Sequence

from pandatx.domain.fit import key_of, mark_of
from pandatx.domain.job import Job
from pandatx.domain.why import Report, Worker
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def ahead(tx: Transaction, job: Job, limit: int) -> int:
    """How many activated jobs of its class come before an activated job, at most ``limit``."""
    key, mark = key_of(job), mark_of(job)
    result = await tx.run(
        SQL.ahead,
        queue=job.computing_site,
        gshare=key.gshare,
        rtype=key.resource_type,
        fit=key.fit,
        priority=mark.priority,
        panda_id=mark.panda_id,
        limit=limit,
    )
    return int(result.scalar())


async def report(tx: Transaction, panda_id: int) -> Report | None:
    """The newest report of a job that waits for the Adder."""
    for status, since, locked_by, locked_at in (await tx.run(SQL.report, panda_id=panda_id)).rows:
        return Report(status=status, since=since, locked_by=locked_by, locked_at=locked_at)
    return None


async def blocks(tx: Transaction, names: Sequence[str]) -> dict[str, str]:
    """The statuses of dispatch blocks."""
    return dict((await tx.run(SQL.blocks, names=list(names))).rows)


async def workers(tx: Transaction, panda_id: int) -> list[Worker]:
    """The newest workers of a job."""
    return [
        Worker(harvester_id=harvester, worker_id=worker, status=status, diag=diag, seen=seen)
        for harvester, worker, status, diag, seen in (await tx.run(SQL.workers, panda_id=panda_id)).rows
    ]
