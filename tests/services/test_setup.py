"""Submissions set up by a plugin and activated, on a real database."""

from datetime import timedelta

import orjson
import pytest
from attrs import evolve
from test_submission import ALICE, FILES, JOB, KNOWN, PRODUCTION, execute
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock as TaskClock
from twisted.internet.task import deferLater

from pandatx.clock import Clock
from pandatx.domain.job import Job, JobFile
from pandatx.domain.requests import JobRequest
from pandatx.services.dispatch import Dispatch
from pandatx.services.facts import Facts
from pandatx.services.owners import Owners
from pandatx.services.setup import CROWDED, Setup, SetupFault
from pandatx.services.submission import Submission
from pandatx.store.database import Database
from pandatx.store.queries import Query
from pandatx.workers.pool import CallDied

WITH_INPUT = evolve(JOB, files=(*FILES, JobFile(lfn="in.root", type="input", dataset="user.alice.in")))
STATUSES = Query(
    name="statuses",
    text="""SELECT 'defined' AS place, pandaid, jobstatus FROM {panda}.jobsdefined4
      UNION ALL SELECT 'active', pandaid, jobstatus FROM {panda}.jobsactive4
      UNION ALL SELECT 'archived', pandaid, jobstatus FROM {panda}.jobsarchived4 ORDER BY 2""",
)
LOG = Query(name="log", text="SELECT pandaid, jobstatus FROM {panda}.jobs_statuslog ORDER BY pandaid, modificationtime")


class Plugins:
    """A setupper for every VO, and the pool that runs it: ``says`` gives the answer for the jobs of a submission."""

    def __init__(self) -> None:
        self.calls: list[list[list[dict]]] = []
        self.says = lambda jobs: {"jobs": [], "datasets": []}

    def for_vo(self, vo: str) -> str:
        return f"plugin of {vo}"

    async def call(self, name, target, submissions, *, timeout, context=""):
        seen = [orjson.loads(orjson.dumps(jobs)) for jobs, _ in submissions]
        self.calls.append(seen)
        await deferLater(reactor, 0)
        answers = [self.says(jobs) for jobs in seen]
        return [{"error": str(one)} if isinstance(one, SetupFault) else {"answer": one} for one in answers]


class Made:
    """Submission, setup and dispatch, wired."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        clock = clock or Clock(reactor)
        self.database, self.plugins = database, Plugins()
        facts = Facts(database, clock)
        facts.known = KNOWN
        self.dispatch = Dispatch(database, clock, facts)
        self.activated: list[int] = []
        self.setup = Setup(database, clock, self.plugins, self.plugins, self.tell)
        self.submission = Submission(database, clock, facts, self.setup.accept, Owners(database, clock))

    def tell(self, jobs) -> None:
        jobs = list(jobs)
        self.activated += [job.panda_id for job in jobs]
        self.dispatch.activated(jobs)

    async def submit(self, *jobs: Job, caller=ALICE) -> list[int]:
        stored = await self.submission.submit(caller, jobs, "h")
        await self.setup.idle()
        return [one.panda_id for one in stored]

    async def places(self) -> list[tuple[str, str]]:
        return [(place, status) for place, _, status in (await self.database.statement("s", STATUSES)).rows]


@pytest.fixture
def made(database: Database) -> Made:
    return Made(database)


def about(panda_id: int, **values) -> dict:
    return {"jobs": [{"panda_id": panda_id, "status": None, "dispatch_dblock": None, "files": [], **values}]}


async def test_a_job_without_inputs_is_activated_and_can_be_had_at_once(made, database):
    """Acceptance scenario 1 of reference/lifecycle.md 10."""
    (panda_id,) = await made.submit(JOB)
    assert (await database.statement("s", STATUSES)).rows == [("active", panda_id, "activated")]
    assert (await database.statement("l", LOG)).rows == [(panda_id, "defined"), (panda_id, "activated")]
    request = JobRequest(site_name="Q", prod_source_label="user")
    (job,) = (await made.dispatch.acquire(evolve(ALICE, pilot=True), request)).jobs
    assert job.panda_id == panda_id
    assert [file.status for file in job.files] == ["unknown", "unknown"]
    assert job.job_parameters == "-c 'echo hi'"


async def test_a_submitter_waits_while_very_many_jobs_are_in_setup_but_not_for_ever(database):
    time = TaskClock()
    setup = Made(database, Clock.manual(time)).setup
    answered = Deferred.fromCoroutine(setup.room())
    assert answered.called, "there is room"
    setup._busy.update(range(CROWDED + 1))
    answered = Deferred.fromCoroutine(setup.room())
    time.pump([0.5] * 19)
    assert not answered.called
    time.pump([0.5] * 2)
    assert answered.called, "a plugin may hang"


async def test_every_column_survives_activation(made, database):
    values = {"container_name": "busybox", "max_walltime": 7200, "special_handling": "us", "nucleus": "N1"}
    await made.submit(evolve(JOB, **values), caller=PRODUCTION)
    columns = "container_name, maxwalltime, specialhandling, nucleus, jobname, produsername, statechangetime"
    row = (
        await database.statement("row", Query(name="row", text=f"SELECT {columns} FROM {{panda}}.jobsactive4"))
    ).one()
    assert row.pop("statechangetime") is not None
    assert list(row.values()) == ["busybox", 7200, "us", "N1", "a job", "prod"]


async def test_there_is_one_plugin_call_for_a_submission_and_vo(made):
    local = evolve(JOB, destination_se="local")
    await made.submit(JOB, JOB, local)
    assert [[len(jobs) for jobs in call] for call in made.plugins.calls] in ([[2], [1]], [[1], [2]])
    assert await made.places() == [("active", "activated")] * 3


async def test_submissions_that_wait_share_a_call_to_the_pool(made):
    await gatherResults([Deferred.fromCoroutine(made.submission.submit(ALICE, [JOB], "h")) for _ in range(30)])
    await made.setup.idle()
    assert sum(len(call) for call in made.plugins.calls) == 30
    assert len(made.plugins.calls) < 30
    assert await made.places() == [("active", "activated")] * 30
    assert len(made.activated) == 30


async def test_a_job_with_inputs_waits_for_its_dispatch_block(made, database):
    def says(jobs):
        (job,) = jobs
        row_id = next(file["row_id"] for file in job["files"] if file["type"] == "input")
        answer = about(job["panda_id"], dispatch_dblock="dis1", files=[{"row_id": row_id, "dispatch_dblock": "dis1"}])
        return {**answer, "datasets": [{"name": "dis1", "type": "dispatch", "status": "defined", "number_files": 1}]}

    made.plugins.says = says
    (panda_id,) = await made.submit(WITH_INPUT)
    assert (await database.statement("s", STATUSES)).rows == [("defined", panda_id, "assigned")]
    assert (await database.statement("l", LOG)).rows == [(panda_id, "defined"), (panda_id, "assigned")]
    rows = Query(
        name="rows",
        text="""SELECT j.dispatchdblock, f.dispatchdblock, d.name, d.type, d.status, d.numberfiles
          FROM {panda}.jobsdefined4 j JOIN {panda}.filestable4 f ON f.pandaid = j.pandaid AND f.type = 'input'
          JOIN {panda}.datasets d ON true""",
    )
    assert (await database.statement("rows", rows)).rows == [("dis1", "dis1", "dis1", "dispatch", "defined", 1)]


async def test_inputs_that_the_plugin_found_let_the_job_go(made):
    def says(jobs):
        row_id = next(file["row_id"] for file in jobs[0]["files"] if file["type"] == "input")
        return about(jobs[0]["panda_id"], files=[{"row_id": row_id, "status": "ready"}])

    made.plugins.says = says
    await made.submit(WITH_INPUT)
    assert await made.places() == [("active", "activated")]


async def test_a_job_whose_inputs_nobody_brings_stays_defined(made):
    await made.submit(WITH_INPUT)
    assert await made.places() == [("defined", "defined")]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_a_job_that_the_plugin_ends_is_archived(made, database, status):
    made.plugins.says = lambda jobs: about(jobs[0]["panda_id"], status=status, error="no such dataset")
    (panda_id,) = await made.submit(WITH_INPUT)
    assert (await database.statement("s", STATUSES)).rows == [("archived", panda_id, status)]
    row = Query(
        name="r",
        text="""SELECT ddmerrorcode, ddmerrordiag, endtime IS NOT NULL,
          (SELECT string_agg(type || ' ' || status, ', ' ORDER BY row_id) FROM {panda}.filestable4)
          FROM {panda}.jobsarchived4""",
    )
    assert (await database.statement("r", row)).rows == [
        (100, "no such dataset", True, "output failed, log failed, input unknown")
    ]
    assert (await database.statement("l", LOG)).rows == [(panda_id, "defined"), (panda_id, status)]


async def test_a_job_may_be_left_waiting(made):
    made.plugins.says = lambda jobs: about(jobs[0]["panda_id"], status="waiting")
    await made.submit(JOB)
    assert await made.places() == [("defined", "waiting")]


@pytest.mark.parametrize(
    "answer",
    [
        SetupFault("no route to storage"),
        CallDied("killed"),
        {"nothing": 1},
        {"jobs": [{"panda_id": 1, "status": None, "files": [{"row_id": 0, "status": "ready"}]}]},
    ],
)
async def test_a_plugin_that_fails_leaves_its_jobs_for_another_try(made, answer):
    def says(jobs):
        if isinstance(answer, CallDied):
            raise answer
        if isinstance(answer, dict) and "jobs" in answer:
            return about(jobs[0]["panda_id"], files=answer["jobs"][0]["files"])
        return answer

    made.plugins.says = says
    await made.submit(JOB)
    assert await made.places() == [("defined", "defined")]
    made.plugins.says = lambda jobs: {"jobs": []}
    assert await made.setup.rescue(timedelta(0)) == 1
    assert await made.places() == [("active", "activated")]


async def test_a_submission_that_kills_its_child_fails_alone(made):
    def says(jobs):
        if jobs[0]["job_name"] == "poison":
            raise CallDied("killed")
        return {"jobs": []}

    made.plugins.says = says
    names = ["first", "a", "poison", "b"]
    asked = [Deferred.fromCoroutine(made.submission.submit(ALICE, [evolve(JOB, job_name=name)], "h")) for name in names]
    await gatherResults(asked)
    await made.setup.idle()
    assert sorted(await made.places()) == [("active", "activated")] * 3 + [("defined", "defined")]


async def test_jobs_of_a_server_that_died_before_their_setup_are_rescued(database):
    dead = Made(database)
    dead.submission._stored = lambda jobs: None
    for _ in range(2):
        await dead.submit(JOB, JOB)
    assert await dead.places() == [("defined", "defined")] * 4
    made = Made(database)
    assert await made.setup.rescue(timedelta(minutes=10)) == 0
    assert await made.setup.rescue(timedelta(0)) == 4
    assert await made.places() == [("active", "activated")] * 4
    assert sorted(len(jobs) for call in made.plugins.calls for jobs in call) == [2, 2]


async def test_a_job_that_somebody_wants_killed_is_not_activated(made, database):
    made.submission._stored = lambda jobs: None
    await made.submit(JOB)
    await execute(database, "UPDATE {panda}.jobsdefined4 SET commandtopilot = 'tobekilled'")
    await made.setup.rescue(timedelta(0))
    assert await made.places() == [("defined", "defined")]


async def test_setup_twice_activates_once(database):
    first, second = Made(database), Made(database)
    first.submission._stored = lambda jobs: (first.setup.accept(jobs), second.setup.accept(jobs))
    await first.submit(JOB)
    await second.setup.idle()
    assert await first.places() == [("active", "activated")]
    assert len(first.activated + second.activated) == 1
