"""Failing the jobs whose pilots have gone silent (reference/lifecycle.md 2.8, rule R4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

import psycopg2
from attrs import define, field, fields
from twisted.logger import Logger

from pandatx import metrics
from pandatx.clock import Clock
from pandatx.domain.effort import hs06_seconds
from pandatx.domain.job import Job
from pandatx.domain.retry_rules import errors_of_server, errors_of_silence
from pandatx.domain.watch import Failure, JobFacts, Limits, LimitsByVO, limit_of, verdict
from pandatx.errors import PandaError
from pandatx.services.builds import BUILD, Builds
from pandatx.services.closer import Closer
from pandatx.services.facts import Facts
from pandatx.services.groups import Groups
from pandatx.services.instances import Instances
from pandatx.services.retry_rules import Failed, RetryRules
from pandatx.store import archive as jobs_store
from pandatx.store import watching as store
from pandatx.store.archive import Change
from pandatx.store.database import Database, Transaction, in_batches

log = Logger()

TOGETHER: Final = 100
"""Jobs that are failed in one transaction."""
_OF_QUEUE: Final = frozenset(("has_report", "workflow", "queue_paused"))
_OF_JOB: Final = tuple(each.name for each in fields(JobFacts) if each.name not in _OF_QUEUE)


async def _no_pause() -> None:
    """For a caller that does not mind."""


@define(eq=False)
class Watcher:
    """Fail jobs that have said nothing for longer than their status, label and queue allow.

    It ends jobs in merging too, where nobody has told them of the end of their merge jobs.
    """

    _database: Database
    _clock: Clock
    _facts: Facts
    _instances: Instances
    _closer: Closer
    _builds: Builds = field(init=False)
    _rules: RetryRules = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._builds = Builds(self._database, self._clock)
        self._rules = RetryRules(self._facts)

    async def run_once(self, pause: Callable[[], Awaitable[None]] = _no_pause) -> int:
        """Look at every active job once, page by page with a ``pause`` between two; how many were failed.

        Nothing is failed while silence may be the servers' own. A job that the database refuses to end stops no other.
        """
        if not await self._instances.silence_counts():
            log.info("no job is failed for its silence: pilots could not report for some time")
            return 0
        limits, last, groups, more = self.limits(), 0, Groups(), True

        async def fail(ids: Sequence[int]) -> int:
            return await self._fail(ids, limits)

        async def end(ids: Sequence[int]) -> int:
            await self._closer.end_merged(ids)
            return 0

        while more:
            now = self._clock.now()
            page = await self._database.transaction(
                "watcher.page", store.page, last, now - limits.others.sent, now - limits.shortest
            )
            for some in in_batches(page.silent, TOGETHER):
                await groups.apart(some, fail)
                await pause()
            for some in in_batches(page.merging, TOGETHER):
                await groups.apart(some, end)
                await pause()
            last, more = page.last, page.more
            await pause()
        return groups.end()

    async def fail(self, ids: Sequence[int], limits: Limits) -> int:
        """Fail those of the jobs that were silent for longer than ``limits``, with the same reserve; how many."""
        return await self._fail(ids, LimitsByVO(limits)) if await self._instances.silence_counts() else 0

    def limits(self) -> LimitsByVO:
        """The limits in force, by CONFIG."""
        known = self._facts.known
        workflows = {"analysis", "production", *(queue.workflow for queue in known.queues.values() if queue.workflow)}
        keys = [("watcher", f"HEARTBEAT_TIMEOUT_{name}") for name in workflows] + [("job_timeout", "TIMEOUT_holding")]
        hours: dict[str, dict[tuple[str, str], float]] = {}
        for key in keys:
            for vo, number in known.parameters.by_vo(*key).items():
                hours.setdefault(vo, {})[key] = number
        return LimitsByVO(Limits(), {vo: Limits.of_tunables(found) for vo, found in hours.items()})

    def silence(self, job: Job, has_report: bool) -> timedelta | None:
        """For how long the job may be silent as it is now; None where it may be for ever."""
        return limit_of(self._facts_of(job, has_report), self.limits().of(job.vo))

    async def _fail(self, ids: Sequence[int], limits: LimitsByVO) -> int:
        ended = await self._database.transaction("watcher.fail", self._fail_silent, ids, limits)
        for job in ended:
            metrics.JOBS_ENDED.labels(job.job_status).inc()
        if ended:
            try:
                await self._closer.close(ended)
                await self._builds.failed([job for job in ended if job.prod_source_label == BUILD])
            except (PandaError, psycopg2.Error) as error:
                log.warn("the blocks of silent jobs are not closed: {error}", error=error)
        return len(ended)

    async def _fail_silent(self, tx: Transaction, ids: Sequence[int], limits: LimitsByVO) -> list[Job]:
        """Judge the jobs as they are by now, locked; a report may just have come."""
        await jobs_store.guard(tx)
        now = self._clock.now()
        jobs = await jobs_store.lock(tx, ids)
        if not jobs:
            return []
        reported, workers = await store.reported(tx, list(jobs)), await store.workers(tx, list(jobs))
        changes = []
        for job in jobs.values():
            facts = self._facts_of(job, job.panda_id in reported)
            failure = verdict(facts, workers.get(job.panda_id), now, limits.of(job.vo))
            if failure is not None:
                log.info(
                    "job {id}: failed after {time} of silence in {status}",
                    id=job.panda_id,
                    time=str(failure.silent_for),
                    status=job.job_status,
                )
                changes.append(
                    Change(
                        job=job,
                        changes=failure.changes | {"job_status": "failed", "hs06sec": self._effort(job, failure)},
                        file_changes=jobs_store.outputs_failed(job),
                    )
                )
        ended = await jobs_store.archive(tx, changes, now)
        heard = [change.after for change in ended if change.told]
        failed = [Failed(job=job, rounds=(errors_of_silence(job), errors_of_server(job))) for job in heard]
        tx.at_end(self._rules.apply, failed, now)
        return [change.after for change in ended]

    def _effort(self, job: Job, failure: Failure) -> int | None:
        queue = self._facts.queue(job.computing_site or "")
        end = failure.changes.get("end_time", job.end_time)
        return hs06_seconds(job, end, queue.core_power if queue is not None else 0.0)

    def _facts_of(self, job: Job, has_report: bool) -> JobFacts:
        queue = self._facts.queue(job.computing_site or "")
        return JobFacts(
            has_report=has_report,
            workflow=queue.workflow if queue is not None else None,
            queue_paused=queue is not None and queue.status == "paused",
            **{name: getattr(job, name) for name in _OF_JOB},
        )
