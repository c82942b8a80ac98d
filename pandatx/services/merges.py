"""Ending the jobs that have waited for the merging of their outputs (reference/lifecycle.md 1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen
from twisted.logger import Logger

from pandatx import metrics
from pandatx.clock import Clock
from pandatx.domain.job import Job
from pandatx.domain.merges import changes_of, file_changes_of
from pandatx.domain.task_files import MERGE
from pandatx.store import archive as jobs_store
from pandatx.store import merges as store
from pandatx.store.archive import Change
from pandatx.store.database import Database, Transaction, in_batches

log = Logger()

TOGETHER: Final = 100


@frozen
class Merges:
    """What JEDI's rows say of the outputs decides, so whoever looks, and however often, finds the same end."""

    _database: Database
    _clock: Clock

    async def follow(self, ended: Sequence[Job]) -> int:
        """These jobs have ended: end what the merge jobs among them have merged, or have given up; how many."""
        ids = [job.panda_id for job in ended if job.processing_type == MERGE and job.jedi_task_id]
        return await self.end(await self._database.transaction("merges.makers", store.makers, ids)) if ids else 0

    async def end(self, ids: Sequence[int]) -> int:
        """End those of the jobs in merging for which it is over; how many. What others hold is left for later."""
        n = 0
        for some in in_batches(ids, TOGETHER):
            for job in await self._database.transaction("merges.end", self._end, some):
                metrics.JOBS_ENDED.labels(job.job_status).inc()
                log.info("job {id}: {status}, as its merging", id=job.panda_id, status=job.job_status)
                n += 1
        return n

    async def _end(self, tx: Transaction, ids: Sequence[int]) -> list[Job]:
        await jobs_store.guard(tx)
        outcomes = await store.outcomes(tx, ids)
        if not outcomes:
            return []
        now = self._clock.now()
        jobs = await jobs_store.lock(tx, sorted(outcomes))
        changes = [
            Change(
                job=job,
                changes=changes_of(job, outcomes[panda_id], now),
                file_changes=file_changes_of(job, outcomes[panda_id]),
            )
            for panda_id, job in jobs.items()
            if job.job_status == "merging"
        ]
        await jobs_store.archive(tx, changes, now)
        return [change.after for change in changes]
