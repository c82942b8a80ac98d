"""Ending jobs by their final reports (reference/lifecycle.md 2.7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import psycopg2
from attrs import Factory, define, field
from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from pandatx import metrics
from pandatx.clock import Clock
from pandatx.domain.conclusion import Conclusion, PluginResult, conclude
from pandatx.domain.effort import hs06_seconds
from pandatx.domain.event_leases import is_clone
from pandatx.domain.job import Job
from pandatx.domain.report import WITHDRAWN, ReportOutcome, inconsistent, interpret, stale
from pandatx.domain.retry_rules import errors_of_report, errors_of_server
from pandatx.errors import PandaError
from pandatx.services.builds import BUILD, Builds
from pandatx.services.facts import Facts
from pandatx.services.registering import Item, Pool, ask
from pandatx.services.retry_rules import Failed, RetryRules
from pandatx.services.rounds import Rounds
from pandatx.store import archive as jobs_store
from pandatx.store import closing as blocks_store
from pandatx.store import events
from pandatx.store import reports as store
from pandatx.store.archive import Change
from pandatx.store.database import Database, Transaction
from pandatx.store.reports import FREE_AFTER, Report
from pandatx.workers.calls import CallDied, CallError, CallFailed

log = Logger()

TOGETHER: Final = 100
"""Reports in one batch."""
LARGE: Final = 1 << 19
"""Characters of a report: to read more would hold up others."""
RENEWAL: Final = 180.0
"""Seconds between renewals of the locks while a plugin runs (rule R8)."""
CAME_SECOND: Final = "failed to lock semaphore for job cloning"
"""What is said of a clone that finished although another has run, or stored its outputs, in its place."""
_RETRY_HELD: Final = timedelta(seconds=2)
_RETRY_REFUSED: Final = timedelta(minutes=1)


class Closing(Protocol):
    """services.closer, as far as it is called here."""

    async def close(self, jobs: Sequence[Job]) -> None: ...


@define
class _Ending:
    """How the reports of a batch ended."""

    concluded: list[tuple[Item, Conclusion, Change]] = Factory(list)
    later: list[tuple[Report, datetime]] = Factory(list)
    dropped: list[Report] = Factory(list)


@define(eq=False)
class Adder:
    """Judge final reports, with the plugin of the job's VO, and archive their jobs in batches.

    ``target_of`` gives the plugin "module:Class" for (VO, cloud); ``owner`` names this server in the reports' locks.
    ``noted`` is told of the nodes that job reports describe.
    """

    _database: Database
    _clock: Clock
    _facts: Facts
    _pool: Pool
    _target_of: Callable[[str, str], str]
    _plugin_settings: Mapping[str, Any]
    _closer: Closing
    _owner: str
    _noted: Callable[[Job, ReportOutcome], Awaitable[None]] | None = None
    _builds: Builds = field(init=False)
    _rules: RetryRules = field(init=False)
    _rounds: Rounds = field(init=False)
    _taking: DeferredLock = field(factory=DeferredLock)
    _working: set[int] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self._builds = Builds(self._database, self._clock)
        self._rules = RetryRules(self._facts)
        self._rounds = Rounds(self._clock, self.run_once, TOGETHER)

    def start(self) -> None:
        """Begin to look by itself."""
        self._rounds.start()

    async def stop(self) -> None:
        """Begin no more batches, and wait for those that run."""
        await self._rounds.stop()

    def wake(self) -> None:
        """A final report was stored: look at once."""
        self._rounds.wake()

    async def adopt(self, owners: Sequence[str]) -> None:
        """Go on at once with what these servers, which are known to be gone, had in hand."""
        n = await self._database.transaction("adder.adopt", store.adopt, owners)
        if n:
            log.info("{n} final reports are adopted from {owners}", n=n, owners=" ".join(owners))
            self.wake()

    async def run_once(self, limit: int = TOGETHER) -> int:
        """Work on up to ``limit`` free reports; how many were taken. Raises DatabaseAway, Busy."""
        taken, items = await self._taking.run(self._take_some, limit)
        renewal = self._renew_later([item.report.panda_id for item in items])
        try:
            await _all(self._work(target, group) for target, group in self._by_target(items).items())
        finally:
            renewal()
            self._working.difference_update(item.report.panda_id for item in items)
        return taken

    def _renew_later(self, ids: Sequence[int]) -> Callable[[], None]:
        """Renew the locks of reports until what is returned is called."""
        timers: list[Any] = []

        def due() -> None:
            timers[:] = [self._clock.reactor.callLater(RENEWAL, due)]
            renewing = Deferred.fromCoroutine(
                self._database.transaction("adder.renew", store.renew, ids, self._owner, self._clock.now())
            )
            renewing.addErrback(lambda failure: log.warn("locks not renewed: {f}", f=failure.getErrorMessage()))

        def end() -> None:
            timers.pop().cancel()

        timers.append(self._clock.reactor.callLater(RENEWAL, due))
        return end

    # Taking

    async def _take_some(self, limit: int) -> tuple[int, list[Item]]:
        """One at a time, since a report of ours that is not in ``_working`` counts as left over."""
        taken, items = await self._database.transaction("adder.take", self._take, limit)
        self._working.update(item.report.panda_id for item in items)
        return taken, items

    async def _take(self, tx: Transaction, limit: int) -> tuple[int, list[Item]]:
        await jobs_store.guard(tx)
        reports = await store.take(tx, self._owner, list(self._working), self._clock.now(), limit)
        if not reports:
            return 0, []
        ids = sorted({report.panda_id for report in reports})
        jobs = await jobs_store.read(tx, ids)
        metadata = await store.metadata(tx, list(jobs)) if jobs else {}
        wrong = await self._wrong(tx, jobs, reports)
        items, useless = [], []
        for report in reports:
            job = jobs.get(report.panda_id)
            why = stale(job, report.attempt_nr)
            if job is None or why is not None:
                log.info("job {id}: its final report has no effect: {why}", id=report.panda_id, why=why)
                useless.append(report)
            else:
                outcome = await _interpreted(job, report, metadata.get(job.panda_id), wrong.get(job.panda_id))
                queue = self._facts.queue(job.computing_site or "")
                power = queue.core_power if queue is not None else 0.0
                items.append(Item(report=report, job=job, outcome=outcome, core_power=power))
        await store.drop(tx, useless)
        return len(reports), items

    async def _wrong(self, tx: Transaction, jobs: Mapping[int, Job], reports: Iterable[Report]) -> dict[int, str]:
        """Why jobs have failed whatever their reports say: inputs that are not theirs, clones that came second."""
        wrong = {panda_id: inconsistent(text) for panda_id, text in (await store.mismatches(tx, jobs.values())).items()}
        done = (jobs.get(report.panda_id) for report in reports if report.status == "finished")
        clones = [
            (job.panda_id, job.jedi_task_id, job.jobset_id)
            for job in done
            if job is not None
            and job.jedi_task_id
            and job.job_status not in WITHDRAWN
            and is_clone(job.special_handling)
        ]
        if clones:
            wrong = dict.fromkeys(await events.losers(tx, clones), CAME_SECOND) | wrong
        return wrong

    def _by_target(self, items: Iterable[Item]) -> dict[str, list[Item]]:
        groups: dict[str, list[Item]] = {}
        for item in items:
            target = "" if item.outcome.fatal else self._target_of(item.job.vo or "", item.job.cloud or "")
            groups.setdefault(target, []).append(item)
        return groups

    # Working

    async def _work(self, target: str, items: Sequence[Item]) -> None:
        """Ask the plugin, and write how the jobs end. When it was killed, each job is tried alone."""
        answers: dict[int, PluginResult] = {}
        if target:
            try:
                answers = await ask(self._pool, self._plugin_settings, target, items)
            except CallError as fault:
                if isinstance(fault, CallDied) and self._rounds.stopped:
                    return
                if len(items) > 1 and not isinstance(fault, CallFailed):
                    log.warn(
                        "adder plugin {target}: {fault}; its jobs are tried one by one", target=target, fault=fault
                    )
                    await self._one_by_one(target, items)
                    return
                answers = {item.job.panda_id: PluginResult.crashed(str(fault)) for item in items}
        await self._finish([(item, answers.get(item.job.panda_id)) for item in items])

    async def _one_by_one(self, target: str, items: Sequence[Item]) -> None:
        await _all(self._work(target, [item]) for item in items)

    async def _finish(self, answered: Sequence[tuple[Item, PluginResult | None]]) -> None:
        try:
            ending = await self._database.transaction("adder.conclude", self._conclude, answered)
        except psycopg2.Error as error:
            if len(answered) > 1:  # a row that is refused fails alone
                for one in answered:
                    await self._finish([one])
                return
            item = answered[0][0]
            log.error("job {id}: its end is refused: {error}", id=item.job.panda_id, error=error)
            await self._database.transaction(
                "adder.release", store.release, [(item.report, self._free_in(_RETRY_REFUSED))], self._owner
            )
            return
        await self._follow(ending)

    async def _conclude(self, tx: Transaction, answered: Sequence[tuple[Item, PluginResult | None]]) -> _Ending:
        await jobs_store.guard(tx)
        ending, now = _Ending(), self._clock.now()
        before = {item.job.panda_id: item.job for item, _ in answered}
        rows = await jobs_store.lock_again(tx, before)
        held = frozenset[int]()
        if len(rows) < len(before):
            held = await jobs_store.alive(tx, [panda_id for panda_id in before if panda_id not in rows])
        ours = await store.still_ours(tx, list(before), self._owner)
        for item, answer in answered:
            if item.report.key not in ours:
                log.warn("job {id}: another server works on its report", id=item.job.panda_id)
            elif item.job.panda_id in held:
                ending.later.append((item.report, self._free_in(_RETRY_HELD)))
            else:
                _judge(ending, item, rows.get(item.job.panda_id), answer, now)
        await self._write(tx, ending, now)
        failed = [_failed(item, change) for item, end, change in ending.concluded if end.archives]
        tx.at_end(self._rules.apply, filter(None, failed), now)
        return ending

    async def _write(self, tx: Transaction, ending: _Ending, now: datetime) -> None:
        archived = [change for _, end, change in ending.concluded if end.archives]
        made = {change.job.panda_id: change for change in await jobs_store.archive(tx, archived, now)}
        ending.concluded = [(item, end, made.get(item.job.panda_id, change)) for item, end, change in ending.concluded]
        await jobs_store.keep(tx, [change for _, end, change in ending.concluded if not end.archives], now)
        await jobs_store.wire_builds(
            tx, [(change.job, end.library) for _, end, change in ending.concluded if end.library]
        )
        await store.drop(tx, ending.dropped)
        await store.release(tx, ending.later, self._owner)
        await blocks_store.register(tx, sum((end.registered for _, end, _ in ending.concluded), Counter[str]()))

    async def _follow(self, ending: _Ending) -> None:
        """What comes after the commit: nothing of it can undo the jobs' ends."""
        ended = []
        for item, conclusion, change in ending.concluded:
            after = change.after
            log.info("job {id}: {status}", id=after.panda_id, status=after.job_status)
            if conclusion.archives:
                metrics.JOBS_ENDED.labels(str(after.job_status)).inc()
            ended.append(after)
            if self._noted is not None and (item.outcome.worker_node or item.outcome.worker_node_gpus):
                await self._try(self._noted(after, item.outcome))
        if ended:
            await self._try(self._closer.close(ended))
        broken = [job for job in ended if job.prod_source_label == BUILD and job.job_status == "failed"]
        await self._try(self._builds.failed(broken))

    async def _try(self, work: Awaitable[Any]) -> None:
        try:
            await work
        except (PandaError, psycopg2.Error) as error:
            log.warn("after the end of jobs: {error}", error=error)

    def _free_in(self, time: timedelta) -> datetime:
        """The lockedTime of a report that is to be taken again after ``time``."""
        return self._clock.now() - FREE_AFTER + time


async def _interpreted(job: Job, report: Report, metadata: str | None, wrong: str | None) -> ReportOutcome:
    """What a report says; a large one is read in a thread."""
    if len(report.data) + len(metadata or "") < LARGE:
        return interpret(job, report.status, report.data, metadata, wrong)
    return await deferToThread(interpret, job, report.status, report.data, metadata, wrong)


def _judge(ending: _Ending, item: Item, job: Job | None, answer: PluginResult | None, now: datetime) -> None:
    why = stale(job, item.report.attempt_nr)
    if job is None or why is not None:
        log.info("job {id}: its final report has no effect: {why}", id=item.job.panda_id, why=why)
        ending.dropped.append(item.report)
        return
    conclusion = conclude(job, item.outcome, answer, item.report.stored_at, now)
    if conclusion.retry_locked_time is not None:
        text = answer.error if answer is not None else None
        log.info("job {id}: the adder plugin asks to come again: {text}", id=job.panda_id, text=text)
        ending.later.append((item.report, conclusion.retry_locked_time))
        return
    changes = conclusion.changes | {"job_status": conclusion.status}
    # Of a job that goes over to merging too: nobody asks for its effort when that is over.
    changes["hs06sec"] = hs06_seconds(job, changes.get("end_time", job.end_time), item.core_power)
    change = Change(
        job=job,
        changes=changes,
        file_changes=conclusion.file_changes,
        new_files=conclusion.new_files,
        logged=conclusion.changed,
        n_events=item.outcome.n_events,
        last_attempt=conclusion.last_attempt,
    )
    ending.concluded.append((item, conclusion, change))


def _failed(item: Item, change: Change) -> Failed | None:
    """What the retry rules look at; one that failed since it was killed counts by what it reported itself."""
    after = change.after
    if item.outcome.closed or item.job.job_status in WITHDRAWN or after.job_status == "finished" or not change.told:
        return None
    rounds = [errors_of_report(after)]
    if after.job_status == "failed":
        rounds.append(errors_of_server(after))
    return Failed(job=after, rounds=rounds)


async def _all(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of them at once, and raise the first fault when all are done."""
    done: list[tuple[bool, Any]] = await DeferredList(
        [Deferred.fromCoroutine(work) for work in works], consumeErrors=True
    )
    for _, result in done:
        if isinstance(result, Failure):
            result.raiseException()
