"""Saying why a job is where it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from attrs import evolve, frozen

from pandatx.clock import Clock
from pandatx.domain.asks import Asked
from pandatx.domain.caller import Caller
from pandatx.domain.job import Job
from pandatx.domain.lifecycle import JobStatus
from pandatx.domain.why import MOST_AHEAD, Evidence, Explanation, explain
from pandatx.errors import NotFound, NotPermitted
from pandatx.services.facts import Facts
from pandatx.store import jobs
from pandatx.store import why as store
from pandatx.store.database import Database, Transaction


@frozen
class Why:
    """``asked`` tells what pilots asked of a queue, ``silence`` after how long the Watcher fails a job."""

    _database: Database
    _clock: Clock
    _facts: Facts
    _asked: Callable[[str], Awaitable[Sequence[Asked]]]
    _silence: Callable[[Job, bool], timedelta | None]

    async def of(self, caller: Caller, panda_id: int) -> Explanation:
        """Why the job is in its status; for its owner and for the production role.

        Raises NotFound for a job that is in none of the tables, NotPermitted.
        """
        found = await self._database.transaction("why.evidence", self._evidence, caller, panda_id)
        if found.job.job_status == JobStatus.ACTIVATED and found.job.computing_site:
            found = evolve(found, asked=await self._asked(found.job.computing_site))
        return explain(found)

    async def _evidence(self, tx: Transaction, caller: Caller, panda_id: int) -> Evidence:
        job = (await jobs.describe(tx, [panda_id], True)).get(panda_id)
        if job is None:
            raise NotFound(f"no job has PandaID {panda_id}")
        if not caller.production and (not caller.name or caller.name != job.prod_user_name):
            raise NotPermitted("the job is somebody else's")
        known, report = self._facts.known, await store.report(tx, panda_id)
        activated = job.job_status == JobStatus.ACTIVATED
        return Evidence(
            job=job,
            now=self._clock.now(),
            queue=self._facts.queue(job.computing_site or ""),
            ahead=await store.ahead(tx, job, MOST_AHEAD + 1) if activated else 0,
            ranks=known.ranks,
            blocks=await store.blocks(tx, sorted({f.dispatch_dblock for f in job.files if f.dispatch_dblock})),
            report=report,
            workers=await store.workers(tx, panda_id),
            silence=self._silence(job, report is not None),
        )
