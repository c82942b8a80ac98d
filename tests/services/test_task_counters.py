"""Whatever happens to the jobs of a task, its counters equal the rows that they count (promise 8).

Hypothesis drives reports, kills, silence, transfers, servers that die and commits whose end nobody hears of.
"""

import json
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
from endings import GUID, DirectPool, Told, make_adder, run
from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tasks_by_hand import counters, make_job, make_task, n_ready, recount
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import blockingCallFromThread, deferToThread

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.requests import Heartbeat
from pandatx.errors import PandaError
from pandatx.services.closer import Closer
from pandatx.services.facts import Facts
from pandatx.services.finisher import Finisher
from pandatx.services.heartbeats import Heartbeats
from pandatx.services.killing import Killing
from pandatx.services.watcher import Watcher
from pandatx.store.database import Database, Session

PILOT = Caller(dn="/CN=pilot", name="pilot", how="x509", pilot=True)
PRODUCTION = Caller(dn="/CN=prod", name="prod", how="x509", production=True)
ALICE = Caller(dn="/CN=alice", name="alice", how="x509")
CODES = (None, 2, 3, 4, 7, 8, 9, 10, 50, 51, 52, 55, 60, 91, 99)
ERRORS = (0, 1, 2, 3)
"""Of the pilot: with no rule, never tried again, tried twice, not the payload's fault."""
RULES = """
INSERT INTO {panda}.retryactions (retryaction_id, retry_action) VALUES (1, 'no_retry'), (2, 'limit_retry');
INSERT INTO {panda}.retryerrors (retryerror_id, errorsource, errorcode, retryaction, parameters)
VALUES (1, 'pilotErrorCode', 1, 1, NULL), (2, 'pilotErrorCode', 2, 2, 'maxAttempt=2'),
       (3, 'jobDispatcherErrorCode', 100, 2, 'maxAttempt=1');
INSERT INTO {panda}.error_classification (error_source, error_code, error_diag, error_class, active)
VALUES ('pilotErrorCode', 3, '.*', 'system', 'Y'), ('jobDispatcherErrorCode', 102, '.*', 'system', 'Y');
SELECT 1"""
STATUSES = ("pending", "defined", "assigned", "activated", "sent", "starting", "running")

ATTEMPTS = """
SELECT c.fileid, c.attemptnr, count(a.pandaid), coalesce(c.failedattempt, 0),
       count(a.pandaid) FILTER (WHERE a.jobstatus = 'failed'), c.status
  FROM {panda}.jedi_datasets d JOIN {panda}.jedi_dataset_contents c USING (jeditaskid, datasetid)
  LEFT JOIN {panda}.filestable4 f ON f.jeditaskid = d.jeditaskid AND f.datasetid = d.datasetid AND f.fileid = c.fileid
  LEFT JOIN {panda}.jobsarchived4 a ON a.pandaid = f.pandaid
 WHERE d.jeditaskid = %(task)s AND d.type = 'input'
 GROUP BY c.datasetid, c.fileid, c.attemptnr, c.failedattempt, c.status"""
ALIVE = """
SELECT c.fileid FROM {panda}.jedi_datasets d JOIN {panda}.jedi_dataset_contents c USING (jeditaskid, datasetid)
 WHERE d.jeditaskid = %(task)s AND d.type = 'input' AND (c.status = 'running') IS DISTINCT FROM EXISTS (
   SELECT 1 FROM {panda}.jobsactive4 j WHERE j.pandaid = c.pandaid
   UNION ALL SELECT 1 FROM {panda}.jobsdefined4 j WHERE j.pandaid = c.pandaid)"""
AGAIN = """
SELECT c.fileid FROM {panda}.jedi_dataset_contents c JOIN {panda}.jobsarchived4 j ON j.pandaid = c.pandaid
 WHERE j.jeditaskid = %(task)s AND c.type = 'input' AND c.maxattempt > c.attemptnr AND j.jobstatus = 'failed'
   AND j.piloterrorcode = 1 AND j.jobdispatchererrorcode = 0"""
DONE = """
SELECT t.total_done_jobs, (SELECT count(*) FROM {panda}.jobsarchived4
                            WHERE jeditaskid = %(task)s AND jobstatus = 'finished')
  FROM {deft}.t_task t WHERE t.taskid = %(task)s"""


class Loud:
    async def silence_counts(self) -> bool:
        return True


class NoSpool:
    """What cannot be stored now is lost here: the pilot comes again."""

    def add(self, caller, beat):
        return succeed(None)


class Plugin(DirectPool):
    """The dummy, or one that has files transferred, or one whose server dies."""

    mode = "ok"

    async def call(self, name: str, *args: Any, timeout: float, context: str = "") -> Any:
        if self.mode == "dies":
            raise RuntimeError("the server died")
        answers = await super().call(name, *args, timeout=timeout, context=context)
        if self.mode == "transfers":
            for answer, item in zip(answers, args[1], strict=True):
                answer["transferring"] = [f["lfn"] for f in item["job"]["files"] if f["type"] == "output"]
        return answers


class Commits:
    """What happens to the next commit: it is never asked for, or nobody hears of it."""

    def __init__(self, execute) -> None:
        self._execute, self.next = execute, ""

    async def __call__(self, session: Session, text: str, params=None):
        if text != "COMMIT" or not self.next:
            return await self._execute(session, text, params)
        what, self.next = self.next, ""
        if what == "lost":
            await self._execute(session, text, params)
        session.close()
        raise psycopg2.OperationalError("server closed the connection unexpectedly")


def wait(coroutine) -> Any:
    """From the thread that Hypothesis runs in."""
    return blockingCallFromThread(reactor, Deferred.fromCoroutine, coroutine)


class Servers(RuleBasedStateMachine):
    """Jobs of one task on two servers, of which one may die at any time."""

    database: Database
    commits: Commits
    numbers: Any

    def __init__(self) -> None:
        super().__init__()
        self.late = timedelta(0)
        clock = Clock(reactor, lambda: Clock(reactor).now() + self.late)
        closer = Closer(self.database, clock, Told().activate)
        facts = Facts(self.database, clock)
        self.clock = clock
        self.heartbeats = Heartbeats(self.database, clock, facts, NoSpool(), lambda: None)
        self.killing = Killing(self.database, clock, closer, lambda jobs: None)
        self.watcher = Watcher(self.database, clock, facts, Loud(), closer)
        self.finisher = Finisher(self.database, clock, lambda: None)
        self.plugin = Plugin()
        self.server = 0
        self.jobs: list[int] = []
        self.reports: list[Heartbeat] = []
        self._start()

    def _start(self) -> None:
        self.server += 1
        self.adder = make_adder(self.database, self.plugin, owner=f"server{self.server}", clock=self.clock)

    @initialize(
        n_files=st.integers(1, 6),
        max_attempt=st.integers(1, 3),
        max_failure=st.sampled_from((None, 1, 2)),
        secondary=st.booleans(),
        label=st.sampled_from(("user", "managed")),
        statuses=st.lists(st.sampled_from(STATUSES), min_size=1, max_size=6),
    )
    def task(self, n_files, max_attempt, max_failure, secondary, label, statuses) -> None:
        self.commits.next = ""
        wait(
            run(
                self.database, "TRUNCATE {panda}.jobsactive4, {panda}.jobsdefined4, {panda}.job_output_report; SELECT 1"
            )
        )
        self.it = wait(
            make_task(
                self.database,
                next(self.numbers),
                n_files=n_files,
                max_attempt=max_attempt,
                max_failure=max_failure,
                secondary=secondary,
                label=label,
                n_events=10,
            )
        )
        for status in statuses[:n_files]:
            self.jobs.append(wait(make_job(self.database, self.it, status=status)))

    def _try(self, coroutine) -> Any:
        """What a caller may hear of a database that went away is no fault."""
        try:
            return wait(coroutine)
        except (PandaError, psycopg2.Error, RuntimeError):
            return None

    @rule(n=st.integers(1, 3), status=st.sampled_from(STATUSES))
    def make_jobs(self, n, status) -> None:
        self.generate(n, status)

    def generate(self, n, status) -> None:
        self.commits.next = ""  # it is a service's commit that is to be lost
        left = wait(n_ready(self.database, self.it))
        assume(left)
        self.jobs.append(wait(make_job(self.database, self.it, n=min(n, left), status=status)))

    @precondition(lambda self: self.jobs)
    @rule(
        data=st.data(),
        status=st.sampled_from(("running", "starting", "transferring", "holding", "finished", "failed")),
        complete=st.booleans(),
    )
    def report_any(self, data, status, complete) -> None:
        self.report(data, status, complete)

    def report(self, data, status, complete, jobs=None) -> None:
        job = data.draw(st.sampled_from(jobs or self.jobs))
        row = wait(run(self.database, "SELECT attemptnr FROM {panda}.jobsactive4 WHERE pandaid = %(i)s", i=job))
        names = wait(run(self.database, "SELECT lfn, type FROM {panda}.filestable4 WHERE pandaid = %(i)s", i=job))
        inputs = [lfn for lfn, kind in names if kind == "input"]
        skipped = data.draw(st.lists(st.sampled_from(inputs), unique=True)) if inputs else []
        made = [lfn for lfn, kind in names if kind == "log" or (complete and kind == "output")]
        files = {lfn: {"guid": GUID, "fsize": 7, "adler32": "00000001"} for lfn in made} | {
            lfn: {"guid": ""} for lfn in skipped
        }
        beat = Heartbeat(
            job_id=job,
            job_status=status,
            attempt_nr=row[0][0] if row else 0,
            job_output_report=json.dumps(files) if status in ("finished", "failed") else "",
            pilot_error_code=data.draw(st.sampled_from(ERRORS)) if status == "failed" else None,
            pilot_error_diag="text" if status == "failed" else None,
        )
        self.reports.append(beat)
        self._try(self.heartbeats.report(PILOT, beat))

    def with_pilots(self) -> list[int]:
        text = "SELECT pandaid FROM {panda}.jobsactive4 WHERE jeditaskid = %(task)s AND jobstatus <> 'transferring'"
        found = sorted(panda_id for (panda_id,) in wait(run(self.database, text, task=self.it.id)))
        if not found:
            self.generate(1, "running")
        return found or self.jobs[-1:]

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), status=st.sampled_from(("finished", "failed")))
    def end(self, data, status) -> None:
        """A pilot is done, and the Adder soon after."""
        self.report(data, status, True, self.with_pilots())
        self.add("ok")

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def begin_to_transfer(self, data) -> None:
        self.report(data, "finished", True, self.with_pilots())
        self.add("transfers")

    @precondition(lambda self: self.reports)
    @rule(data=st.data())
    def repeat(self, data) -> None:
        """A report comes again, as the pilot or a spool sends it."""
        self._try(self.heartbeats.report(PILOT, data.draw(st.sampled_from(self.reports))))

    @rule(mode=st.sampled_from(("ok", "transfers", "ok")))
    def add(self, mode) -> None:
        self.plugin.mode = mode
        self._try(self.adder.run_once())

    @rule()
    def die(self) -> None:
        """A server ends with reports in hand; the next one adopts them."""
        self.plugin.mode = "dies"
        self._try(self.adder.run_once())
        gone = [f"server{n}" for n in range(1, self.server + 1)]
        self._start()
        self._try(self.adder.adopt(gone))

    @rule()
    def arrive(self) -> None:
        """The files that are on their way are there."""
        text = "UPDATE {panda}.filestable4 SET status = 'ready' WHERE status = 'transferring' RETURNING pandaid"
        ids = sorted({panda_id for (panda_id,) in wait(run(self.database, text))})
        self._try(self.finisher.finish(ids))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), code=st.sampled_from(CODES), who=st.sampled_from((ALICE, PRODUCTION)))
    def kill(self, data, code, who) -> None:
        ids = data.draw(st.lists(st.sampled_from(self.jobs), min_size=1, max_size=4))
        self._try(self.killing.kill(who, ids, code))

    @rule(hours=st.integers(1, 100))
    def fall_silent(self, hours) -> None:
        self.late += timedelta(hours=hours)
        self._try(self.watcher.run_once())

    @rule(what=st.sampled_from(("never", "lost")))
    def lose_a_commit(self, what) -> None:
        """Of the next operation."""
        self.commits.next = what

    @invariant()
    def counters_equal_rows(self) -> None:
        if hasattr(self, "it"):
            pending, self.commits.next = self.commits.next, ""
            wait(self._check())
            self.commits.next = pending

    async def _check(self) -> None:
        assert await counters(self.database, self.it) == await recount(self.database, self.it)
        for file_id, attempt, ended, failures, failed, status in await run(self.database, ATTEMPTS, task=self.it.id):
            assert (attempt, failures) == (ended, failed), f"file {file_id}, {status}"
        assert await run(self.database, ALIVE, task=self.it.id) == []
        assert await run(self.database, AGAIN, task=self.it.id) == [], "tried again against a rule"
        ((counted, finished),) = await run(self.database, DONE, task=self.it.id)
        assert counted == finished


@pytest.fixture
def commits(monkeypatch) -> Commits:
    commits = Commits(Session.execute)
    monkeypatch.setattr(Session, "execute", lambda session, text, params=None: commits(session, text, params))
    return commits


def _drive(database, commits, examples: int, steps: int) -> None:
    machine = type("Machine", (Servers,), {"database": database, "commits": commits, "numbers": iter(range(1, 10**6))})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=(Phase.generate,),  # to shrink an example takes longer than a run may
            suppress_health_check=list(HealthCheck),
        ),
    )


async def test_the_counters_of_a_task_equal_its_rows_after_each_step(database, commits):
    await run(database, RULES)
    await deferToThread(_drive, database, commits, examples=8, steps=25)


@pytest.mark.long
async def test_the_counters_of_a_task_equal_its_rows_after_each_of_very_many_steps(database, commits):
    await run(database, RULES)
    await deferToThread(_drive, database, commits, examples=100, steps=40)
