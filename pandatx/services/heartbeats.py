"""Taking what pilots and Harvester report on their jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

import psycopg2
from attrs import Factory, define, evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.event_leases import runs_once
from pandatx.domain.heartbeat import DEBUG, KILL, ActiveRow, Verdict, decide, queued_since
from pandatx.domain.lifecycle import REPORTABLE
from pandatx.domain.requests import Heartbeat, Reply
from pandatx.errors import NO_ROLE, BadRequest, Busy, PandaError, RoleRequired
from pandatx.metrics import STATES_FOREIGN
from pandatx.services.batching import Batcher
from pandatx.services.facts import Facts
from pandatx.store import events, jedi, killing
from pandatx.store import heartbeats as store
from pandatx.store.database import UNSTORABLE, Database, Transaction
from pandatx.store.job_metrics import Queued, add_queuing_times

log = Logger()

INVALID: Final = 50
"""StatusCode for a state that is not reported."""
FINAL_PATIENCE: Final = 3.0
"""Seconds that a final report waits for the database before it goes to the spool (rule R4)."""
FINAL_LIMIT: Final = 6.0
"""Seconds after which a final report goes to the spool whatever the database is doing with it."""
OUTAGE: Final = 300.0
"""Seconds in which no report could be stored that are an outage, although the database may be there."""
LOCK_WAIT: Final = 5.0
"""Seconds that a report waits for others that hold its job."""
ALONE: Final = 2
"""Reports at once that wait for others, each in a session."""
TOGETHER: Final = 100
"""Reports of one call that are in the line at once; Harvester sends as many. The line is for others too."""
HEAVIEST: Final = 4 * 2**20
"""Characters of the texts that are stored together: to make a statement of so many takes 30 ms."""
SECOND: Final = "killed by job cloning"
"""Of a clone that was to run although another one runs."""


class Spool(Protocol):
    """Where final reports stand until the database is back."""

    def add(self, caller: Caller, beat: Heartbeat) -> Deferred[None]:
        """Fires when the report is on disk; raises Busy when there is no room for it."""


@frozen(kw_only=True)
class _Report:
    """A report in the line."""

    caller: Caller
    beat: Heartbeat


@define
class _Effects:
    """What a batch writes beside the rows of its jobs."""

    changes: dict[int, dict[str, Any]] = Factory(dict)
    reports: list[dict[str, Any]] = Factory(list)
    metadata: dict[int, str] = Factory(dict)
    stdout: dict[int, str] = Factory(dict)
    pilot_logs: dict[int, str] = Factory(dict)
    moves: list[jedi.Move] = Factory(list)
    started: set[str] = Factory(set)
    queued: list[Queued] = Factory(list)
    corrupted: dict[int, str] = Factory(dict)
    clones: list[int] = Factory(list)


_HELD: Final = Busy("others are working on the job")
"""The answer for a row that somebody else holds: it leaves the batch and is done alone."""


@define(eq=False)
class Heartbeats:
    """Store reports by the rules of reference/lifecycle.md 6.6; each is answered after its commit.

    ``report_stored`` is called when a final report was committed, so that the Adder wakes up; ``outage_over`` when
    reports are stored again after minutes without one, for which nobody can blame the pilots (rule R4); ``started``
    with the queue of a job that has begun to run.
    """

    _database: Database
    _clock: Clock
    _facts: Facts
    _spool: Spool
    _report_stored: Callable[[], None]
    _hot_timeout: float = 10.0
    _outage_over: Callable[[], None] = lambda: None
    _started: Callable[[str], None] = lambda queue: None
    _vain_since: float | None = None
    _line: Batcher[_Report, Reply] = field(init=False)
    _lane: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(ALONE))

    def __attrs_post_init__(self) -> None:
        self._line = Batcher(
            self._flush, key=lambda report: report.beat.job_id, largest=200, weigh=_weight, heaviest=HEAVIEST
        )

    async def report(self, caller: Caller, beat: Heartbeat) -> Reply:
        """Store one report and say what the pilot is to do.

        Taken from the pilot or production role and from the job's owner (rule R16), else RoleRequired. A state that
        is not reported gives code 50 and changes nothing. A final report is never refused for want of a database.
        """
        if beat.job_status not in REPORTABLE:
            log.warn("job {id}: {state} is no state that is reported", id=beat.job_id, state=beat.job_status)
            return Reply(code=INVALID)
        if not caller.authenticated:
            raise RoleRequired(NO_ROLE, caller.why_not_secure)
        report = _Report(caller=caller, beat=beat)
        if not beat.final:
            try:
                return await self._line.submit(report)
            except UNSTORABLE as error:
                log.error("job {id}: a report is refused: {e}", id=beat.job_id, e=str(error).strip())
                raise BadRequest("report", "it has a value that cannot be stored") from error
        try:
            return await self._soon(report)
        except (Busy, psycopg2.Error, *UNSTORABLE) as error:
            # One that the database refuses is set aside when it is played.
            await self._spool.add(caller, beat)
            log.info("job {id}: {state} report spooled: {why}", id=beat.job_id, state=beat.job_status, why=str(error))
            return Reply()

    async def report_many(self, caller: Caller, beats: Sequence[Heartbeat]) -> list[Reply | PandaError]:
        """``report`` for each, in order; a refusal of one is its own.

        Of one job a single report is in the line, and no more than ``TOGETHER`` in all, whoever sends thousands.
        """

        async def one(beat: Heartbeat) -> Reply | PandaError:
            try:
                return await self.report(caller, beat)
            except PandaError as error:
                return error
            except psycopg2.Error:
                log.failure("job {id}: a report is not stored", id=beat.job_id)
                return Busy("the report could not be stored")

        answers: list[Reply | PandaError] = []
        for some in _portions(beats):
            answers += await gatherResults([Deferred.fromCoroutine(one(beat)) for beat in some])
        return answers

    async def play(self, caller: Caller, beat: Heartbeat) -> Reply:
        """Store a report from the spool: the same rules, but without a database it stays in the spool."""
        return await self._line.submit(_Report(caller=caller, beat=beat))

    def _soon(self, report: _Report) -> Deferred[Reply]:
        """The answer to a report; Busy when it takes too long, though it may be stored all the same: it counts once."""
        first: Deferred[Reply] = Deferred()
        running = self._line.submit(report)

        def give_up() -> None:
            if not first.called:
                first.errback(Busy("the database takes too long"))

        timer = self._clock.reactor.callLater(FINAL_LIMIT, give_up)

        def ended(outcome: Any) -> None:
            if timer.active():
                timer.cancel()
            if not first.called:
                first.callback(outcome)  # a Failure too

        running.addBoth(ended)
        return first

    async def _flush(self, reports: list[_Report]) -> list[Reply | Exception | Deferred[Reply]]:
        """Those whose jobs others hold are answered later: the next batch does not wait for them."""
        try:
            answers = await self._write(reports, waiting=False)
        except psycopg2.errors.LockNotAvailable:  # rows of a task
            return [self._lane.run(self._behind, report) for report in reports]
        except (psycopg2.Error, *UNSTORABLE) as error:
            if len(reports) == 1:
                return [error]
            return [await self._alone(report) for report in reports]  # a row that is refused fails alone
        return [
            self._lane.run(self._behind, report) if answer is _HELD else answer
            for report, answer in zip(reports, answers, strict=True)
        ]

    def _behind(self, report: _Report) -> Deferred[Reply]:
        async def alone() -> Reply:
            answer = await self._alone(report)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return Deferred.fromCoroutine(alone())

    async def _alone(self, report: _Report) -> Reply | Exception:
        try:
            return (await self._write([report], waiting=True))[0]
        except psycopg2.errors.LockNotAvailable:
            return Busy("the job, or its task, is locked by others")
        except (psycopg2.Error, PandaError, *UNSTORABLE) as error:
            return error

    async def _write(self, reports: Sequence[_Report], waiting: bool) -> list[Reply | Exception]:
        try:
            answers, started = await self._database.limited(
                "heartbeats.store", self._hot_timeout, FINAL_PATIENCE, self._store, reports, waiting
            )
        except Busy:
            if self._vain_since is None:
                self._vain_since = self._clock.seconds()
            raise
        vain, self._vain_since = self._vain_since, None
        if vain is not None and self._clock.seconds() - vain >= OUTAGE:
            self._outage_over()
        if any(report.beat.final for report in reports):
            self._report_stored()
        for queue in started:
            self._started(queue)
        return answers

    async def _store(
        self, tx: Transaction, reports: Sequence[_Report], waiting: bool
    ) -> tuple[list[Reply | Exception], set[str]]:
        """The answers, and the queues where jobs have begun to run."""
        now, effects = self._clock.now(), _Effects()
        ids = sorted({report.beat.job_id for report in reports})
        rows = await (store.lock_waiting(tx, ids, LOCK_WAIT) if waiting else store.lock(tx, ids))
        held = frozenset[int]()
        if not waiting and len(rows) < len(ids):
            held = await store.active(tx, [panda_id for panda_id in ids if panda_id not in rows])
        answers: list[Reply | Exception] = []
        for report in reports:
            if report.beat.job_id in held:
                answers.append(_HELD)
            elif not _may_report(report.caller, row := rows.get(report.beat.job_id)):
                answers.append(RoleRequired(NO_ROLE, report.caller.why_no_role))
            else:
                verdict = decide(row, report.beat, now)
                if verdict.foreign:
                    STATES_FOREIGN.inc()
                _note(effects, report.beat, row, verdict)
                answers.append(self._reply(verdict, report.caller))
        await self._apply(tx, effects)
        if effects.clones:
            lost = await self._contend(tx, effects.clones)
            answers = [_told_to_end(answer) if report.beat.job_id in lost else answer
                       for report, answer in zip(reports, answers, strict=True)]  # fmt: skip
        return answers, effects.started

    async def _contend(self, tx: Transaction, ids: Sequence[int]) -> frozenset[int]:
        """Those of clones that begin to run after another has; they are killed."""
        clones = (job for jobs in (await events.jobs(tx, [(0, one) for one in ids], False)).values() for job in jobs)
        lost = await events.losers(tx, ((one.panda_id, one.jedi_task_id or 0, one.jobset_id) for one in clones))
        if lost:
            await killing.flag(tx, sorted(lost), SECOND)
        return lost

    async def _apply(self, tx: Transaction, effects: _Effects) -> None:
        now = self._clock.now()
        if effects.changes:
            await store.update(tx, effects.changes, now)
        if effects.reports:
            await store.add_reports(tx, effects.reports, now)
        if effects.metadata:
            await store.add_metadata(tx, effects.metadata)
        if effects.stdout:
            await store.set_stdout(tx, effects.stdout)
        if effects.pilot_logs:
            await store.add_pilot_logs(tx, effects.pilot_logs, now)
        if effects.corrupted:
            await store.add_corrupted(tx, effects.corrupted)
        if effects.queued:
            await add_queuing_times(tx, effects.queued, now)
        if effects.moves:
            await jedi.move(tx, effects.moves)

    def _reply(self, verdict: Verdict, caller: Caller) -> Reply:
        """Who reports on a job of his own without a role is not entrusted with what pilots are."""
        secrets = self._facts.known.pilot_secrets if caller.reports and DEBUG in verdict.command else None
        return Reply(command=verdict.command, pilot_secrets=secrets)


def _weight(report: _Report) -> int:
    return len(report.beat.job_output_report) + len(report.beat.meta_data)


def _portions(beats: Sequence[Heartbeat]) -> Iterator[list[Heartbeat]]:
    portion: dict[int, Heartbeat] = {}
    for beat in beats:
        if len(portion) == TOGETHER or beat.job_id in portion:
            yield list(portion.values())
            portion = {}
        portion[beat.job_id] = beat
    if portion:
        yield list(portion.values())


def _told_to_end(answer: Reply | Exception) -> Reply | Exception:
    return evolve(answer, command=KILL) if isinstance(answer, Reply) else answer


def _may_report(caller: Caller, row: ActiveRow | None) -> bool:
    """Rule R16. Who was given a job without a role is its owner: such callers are given no others.

    Of a job that is not active anybody may hear that it is over: the pilot of a job that was ended must.
    """
    return caller.reports or row is None or row.prod_user_name == caller.name


def _note(effects: _Effects, beat: Heartbeat, row: ActiveRow | None, verdict: Verdict) -> None:
    """Collect what one verdict writes; ``row`` is there whenever anything is."""
    if row is None:
        return
    changes = dict(verdict.changes or {})
    if verdict.new_status is not None:
        changes["job_status"] = verdict.new_status
        if row.jedi_task_id is not None:
            effects.moves.append(jedi.Move(panda_id=row.panda_id, old=row.job_status, new=verdict.new_status))
    if verdict.first_running:
        effects.started.add(row.computing_site or "")
        if row.jedi_task_id is not None and runs_once(row.special_handling):
            effects.clones.append(row.panda_id)
        if row.jedi_task_id is not None and (since := queued_since(row.special_handling)) is not None:
            queued = Queued(panda_id=row.panda_id, task_id=row.jedi_task_id, since=since, status="running")
            effects.queued.append(queued)
    if changes:
        effects.changes[row.panda_id] = changes
        if beat.corrupted_files:
            effects.corrupted[row.panda_id] = beat.corrupted_files
    if verdict.stores_report:
        effects.reports.append(
            {
                "pandaid": row.panda_id,
                "prodsourcelabel": row.prod_source_label,
                "jobstatus": beat.job_status,
                "attemptnr": row.attempt_nr,
                "data": beat.job_output_report,
            }
        )
    if verdict.stores_metadata:
        effects.metadata[row.panda_id] = beat.meta_data
    if verdict.stores_stdout:
        effects.stdout[row.panda_id] = beat.stdout
    if verdict.stores_pilot_log:
        effects.pilot_logs[row.panda_id] = beat.pilot_log
