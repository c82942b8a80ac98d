"""Taking what Harvesters report on their workers (reference/wire.md 4.8 and 4.9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg2
from attrs import frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.harvester_requests import WorkerReport, WorkerStatistics, counts
from pandatx.domain.workers import Effect, Worker, WorkersJob, effect, may_concern_jobs, merged, together
from pandatx.errors import BadRequest, Busy
from pandatx.services.harvester import check_speaker
from pandatx.store import heartbeats
from pandatx.store import workers as store
from pandatx.store.database import UNSTORABLE, Database, Transaction

log = Logger()

TOGETHER: Final = 500
"""Workers in one transaction."""
MOST_JOBS: Final = 5000
"""Jobs that are named in one transaction, or those of one worker."""
LOCK_WAIT: Final = 5.0
"""Seconds that a report waits for others that hold jobs or workers."""
FRESH: Final = timedelta(hours=4)
"""How old a Harvester's word on the number of its workers may be."""
STORED: Final = "OK"
LOCKED: Final = "rows locked by another update"


@frozen
class Workers:
    """Store reports on workers. ``report_stored`` is called when jobs have ended with theirs: the Adder wakes up.

    For a Harvester speaks its owner, or who has the pilot or production role (services.harvester). Jobs of others are
    not touched by an owner without a role.
    """

    _database: Database
    _clock: Clock
    _report_stored: Callable[[], None]

    async def update(self, caller: Caller, harvester_id: str, reports: Sequence[WorkerReport]) -> dict[int, bool]:
        """Store reports; for each worker whether it was stored. Raises NotPermitted, Busy."""
        found: dict[int, bool] = {}
        for some in _portions(together(reports).values()):
            found |= await self._some(caller, harvester_id, some)
        return found

    async def count(self, caller: Caller, said: WorkerStatistics) -> str:
        """Store how many workers a Harvester has at a queue; ``OK``, or that another report on it is being stored.

        Raises NotPermitted, and BadRequest for what are no counts.
        """
        try:
            numbers = counts(said.statistics)
        except ValueError as wrong:
            raise BadRequest("statistics", str(wrong)) from None
        try:
            await self._database.transaction("workers.count", self._count, caller, said, numbers)
        except psycopg2.errors.LockNotAvailable:
            return LOCKED
        except UNSTORABLE as error:
            raise BadRequest("request", "it has a value that cannot be stored") from error
        return STORED

    async def statistics(self) -> dict[str, dict[str, dict[str, dict[str, dict[str, int]]]]]:
        """Numbers of workers by queue, Harvester, job type, resource type and status."""
        found: dict[str, Any] = {}
        for *path, status, number in await store.statistics(self._database, self._clock.now() - FRESH):
            level = found
            for name in path:
                level = level.setdefault(name, {})
            level[status] = number or 0
        return found

    async def highest(self, harvester_id: str) -> int | None:
        """The highest workerID that a Harvester has given, None for one without workers."""
        return await store.highest(self._database, harvester_id)

    async def _some(self, caller: Caller, harvester_id: str, reports: Sequence[WorkerReport]) -> dict[int, bool]:
        try:
            stored, ended = await self._database.transaction(
                "workers.update", self._update, caller, harvester_id, reports
            )
        except psycopg2.errors.LockNotAvailable:
            raise Busy("the workers, or their jobs, are locked by others") from None
        except UNSTORABLE as error:
            if (half := len(reports) // 2) > 0:  # one that is refused fails alone
                first = await self._some(caller, harvester_id, reports[:half])
                return first | await self._some(caller, harvester_id, reports[half:])
            worker = reports[0].worker_id
            log.warn(
                "worker {id} of {harvester} is refused: {e}", id=worker, harvester=harvester_id, e=str(error).strip()
            )
            return {worker: False}
        for panda_id in ended:
            log.info("job {id} ends with its worker of {harvester}", id=panda_id, harvester=harvester_id)
        if ended:
            self._report_stored()
        return {report.worker_id: report.worker_id in stored for report in reports}

    # Transactions

    async def _update(
        self, tx: Transaction, caller: Caller, harvester_id: str, reports: Sequence[WorkerReport]
    ) -> tuple[frozenset[int], list[int]]:
        """Jobs are locked first, then workers (rule R1). The workers stored, and the jobs that end with theirs."""
        now = self._clock.now()
        await store.wait_at_most(tx, LOCK_WAIT)
        await check_speaker(tx, caller, harvester_id)
        listed = {report.worker_id: frozenset(report.pandaid_list) for report in reports if report.pandaid_list}
        if listed and not caller.reports:
            listed = await store.owned(tx, harvester_id, caller.name, listed)
        jobs = await self._jobs(tx, harvester_id, reports, listed)
        every = {panda_id for of_worker in jobs.values() for panda_id in of_worker}
        rows = await store.lock_jobs(tx, every) if every else {}
        known = await store.lock(tx, harvester_id, sorted(report.worker_id for report in reports))
        found = [merged(report, known.get(report.worker_id), now) for report in reports]
        workers = [worker for worker in found if worker is not None]
        ended = await self._tell(tx, caller, workers, jobs, rows, now)
        stored = frozenset(worker.report.worker_id for worker in workers)
        if workers:
            related = {worker: listed[worker] for worker in listed if worker in stored}
            await store.save(tx, harvester_id, workers, related, now)
        return stored, ended

    async def _jobs(
        self,
        tx: Transaction,
        harvester_id: str,
        reports: Sequence[WorkerReport],
        listed: dict[int, frozenset[int]],
    ) -> dict[int, frozenset[int]]:
        """The jobs that may hear something, by worker: those that the report names, else those that are known; an empty
        list says nothing."""
        ids = sorted(report.worker_id for report in reports if may_concern_jobs(report))
        others = sorted(report.worker_id for report in reports if not may_concern_jobs(report))
        known = await store.related(tx, harvester_id, ids, others)
        return {worker: listed.get(worker) or of_worker for worker, of_worker in known.items()}

    async def _tell(
        self,
        tx: Transaction,
        caller: Caller,
        workers: Sequence[Worker],
        jobs: dict[int, frozenset[int]],
        rows: dict[int, WorkersJob],
        now: datetime,
    ) -> list[int]:
        effects: dict[int, Effect] = {}
        for worker in workers:
            for panda_id in sorted(jobs.get(worker.report.worker_id, ())):
                job = rows.get(panda_id)
                if job is None or not (caller.reports or job.owner == caller.name):
                    continue
                told = effect(worker, job, now)
                if told is not None:
                    before = effects.get(panda_id, Effect(changes={}))
                    effects[panda_id] = Effect(changes=before.changes | told.changes, fails=before.fails or told.fails)
        if not effects:
            return []
        await store.tell_jobs(tx, effects)
        ended = [rows[panda_id] for panda_id, told in effects.items() if told.fails]
        if ended:
            await heartbeats.add_reports(tx, map(_failed, ended), now)
        return [job.panda_id for job in ended]

    async def _count(
        self, tx: Transaction, caller: Caller, said: WorkerStatistics, numbers: Sequence[tuple[str, str, str, int]]
    ) -> None:
        await check_speaker(tx, caller, said.harvester_id)
        await store.count(tx, said.harvester_id, said.panda_queue, numbers, self._clock.now())


def _portions(reports: Iterable[WorkerReport]) -> Iterator[list[WorkerReport]]:
    """Reports for one transaction each."""
    portion: list[WorkerReport] = []
    jobs = 0
    for report in reports:
        named = len(report.pandaid_list or ())
        if portion and (len(portion) >= TOGETHER or jobs + named > MOST_JOBS):
            yield portion
            portion, jobs = [], 0
        portion.append(report)
        jobs += named
    if portion:
        yield portion


def _failed(job: WorkersJob) -> dict[str, Any]:
    """An empty report, by which the Adder ends a job."""
    return {
        "pandaid": job.panda_id,
        "prodsourcelabel": job.label,
        "jobstatus": "failed",
        "attemptnr": job.attempt_nr,
        "data": "",
    }
