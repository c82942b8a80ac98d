"""Giving event ranges to jobs, and hearing how they ended (reference/wire.md 2.10, 4.5, 4.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.event_requests import RangeCountRequest, RangeRequest
from pandatx.domain.events import EventJob, Judged, Read, ids_of, judge
from pandatx.errors import TooLarge
from pandatx.store import events as store
from pandatx.store.database import Database, Transaction
from pandatx.store.events import Range, Told, Wanted

log = Logger()

SHORT: Final = 2000
"""Ranges of an update that are judged at once; of more it is done in a thread."""
MOST_TOLD: Final = 30_000
"""Ranges whose statuses are told at once; more would hold up others."""
_EARLY: Final = 2
"""The version of updates that may speak of ranges before their job was dispatched."""


@frozen
class Events:
    """A range is with one job at a time; what a job is told of was committed first."""

    _database: Database
    _clock: Clock

    async def take(self, request: RangeRequest) -> list[Range]:
        """Ranges for a job of an event service, none if it is not at work or is being killed; they are then ``sent``.

        They are of the jobset that is asked for, by default the job's own; for a jumbo job of any of its task.
        """
        found = await self._database.transaction("events.take", self._take, request)
        if found:
            log.info("job {id}: {n} event ranges", id=request.job_id, n=len(found))
        return found

    async def _take(self, tx: Transaction, request: RangeRequest) -> list[Range]:
        job = await store.job(tx, request.job_id)
        task_id = request.task_id if job is None or job.jedi_task_id is None else job.jedi_task_id
        if job is None or task_id is None or not job.may_take(request.task_id) or not request.n:
            return []
        jobset = request.jobset_id if request.jobset_id is not None else job.jobset_id
        if jobset is None and not job.jumbo:
            return []
        wanted = Wanted(
            panda_id=job.panda_id,
            task_id=task_id,
            jobset_id=jobset,
            n=request.n,
            jumbo=job.jumbo,
            scattered=request.scattered,
            dataset_id=request.segment_id,
        )
        return await store.take(tx, wanted)

    async def ready(self, request: RangeCountRequest) -> int:
        """How many ranges a job could get."""
        return await self._database.transaction(
            "events.ready", store.ready, request.job_id, request.jobset_id, request.task_id
        )

    async def update(self, read: Sequence[Read], version: int) -> Judged:
        """Store how ranges ended, and say what becomes of each and what the jobs' pilots are told."""
        judged = await self._database.transaction("events.update", self._update, read, version)
        if judged.accepted:
            log.info(
                "{n} event ranges have ended, of jobs {jobs}",
                n=len(judged.accepted),
                jobs=" ".join(map(str, sorted({each.id.job_id for each in judged.accepted})[:20])),
            )
        return judged

    async def _update(self, tx: Transaction, read: Sequence[Read], version: int) -> Judged:
        pairs, early = ids_of(read), version == _EARLY
        found = await store.jobs(tx, pairs, early) if pairs else {}
        jobs = {name: _foremost(some, early) for name, some in found.items()}
        judged = judge(read, jobs, early) if len(read) <= SHORT else await deferToThread(judge, read, jobs, early)
        if judged.accepted:
            await store.write(tx, judged.accepted, version, self._clock.now())
        await store.count(
            tx,
            (
                (job, owner, task_id)
                for task_id, owner in pairs
                if owner in judged.counted
                for job in found.get(owner, ())
            ),
        )
        return judged

    async def statuses(self, pairs: Sequence[tuple[int, int]]) -> list[Told]:
        """All ranges of some jobs, by pairs of task and job. Raises TooLarge."""
        found = await self._database.transaction("events.statuses", store.statuses, pairs, MOST_TOLD + 1)
        if len(found) > MOST_TOLD:
            raise TooLarge("jobs", f"have more than {MOST_TOLD} event ranges: name fewer")
        return found


def _foremost(jobs: Sequence[EventJob], early: bool) -> EventJob:
    """Of several jobs of a jobset one that may report, if there is any."""
    return next((job for job in jobs if job.may_report(early)), jobs[0])
