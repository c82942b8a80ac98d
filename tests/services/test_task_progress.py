"""What the files of a task are doing while their job goes from its setup to its report (reference/lifecycle.md 6.6)."""

from random import Random

import pytest
from endings import DirectPool, make_adder, report_of, run
from tasks_by_hand import counters, files, make_job, make_task, recount
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.requests import Heartbeat, JobRequest
from pandatx.services.dispatch import Dispatch
from pandatx.services.facts import Facts
from pandatx.services.heartbeats import Heartbeats
from pandatx.store import jedi
from pandatx.store import setup as setup_store
from pandatx.store.database import Database, Session
from pandatx.store.queries import Query

PILOT = Caller(dn="/CN=pilot", name="pilot", how="x509", pilot=True)


class NoSpool:
    def add(self, caller, beat):
        return succeed(None)


class NeverSloppy(Random):
    def randrange(self, *_) -> int:
        return 99


@pytest.fixture
def heartbeats(database) -> Heartbeats:
    clock = Clock(reactor)
    return Heartbeats(database, clock, Facts(database, clock), NoSpool(), lambda: None)


@pytest.fixture
def dispatch(database) -> Dispatch:
    clock = Clock(reactor)
    return Dispatch(database, clock, Facts(database, clock), random=NeverSloppy())


def beat(job_id: int, job_status: str) -> Heartbeat:
    return Heartbeat(job_id=job_id, job_status=job_status, attempt_nr=0)


async def doing(database: Database, task, name: str = "input") -> list[str]:
    return [row["proc_status"] for row in (await files(database, task, name)).values()]


@pytest.fixture
def statements(monkeypatch) -> list[str]:
    """The names of the queries that sessions run."""
    names: list[str] = []
    run_query = Session.run

    async def noting(self, query, params, before=""):
        names.append(query.name)
        return await run_query(self, query, params, before)

    monkeypatch.setattr(Session, "run", noting)
    return names


async def test_files_are_queued_starting_and_running_with_their_job(database, dispatch, heartbeats):
    task = await make_task(database, n_files=2, secondary=True)
    job = await make_job(database, task, n=2, status="defined", minramcount=0, maxdiskcount=0, maxwalltime=0)
    await run(database, "UPDATE {panda}.jedi_dataset_contents SET proc_status = 'ready' RETURNING 1")
    now = Clock(reactor).now()
    await database.transaction("activate", setup_store.activate, [job], now)
    assert await doing(database, task) == ["queued"] * 2
    request = JobRequest(site_name="Q", prod_source_label="user")
    acquired = await dispatch.acquire(PILOT, request)
    assert [each.panda_id for each in acquired.jobs] == [job]
    assert await doing(database, task) == ["starting"] * 2
    await dispatch.give_back(acquired)
    assert await doing(database, task) == ["queued"] * 2
    await dispatch.acquire(PILOT, request)
    await heartbeats.report(PILOT, beat(job, "starting"))
    assert await doing(database, task) == ["starting"] * 2
    await heartbeats.report(PILOT, beat(job, "running"))
    assert await doing(database, task) == ["running"] * 2
    assert await doing(database, task, "secondary") == ["ready"] * 2  # nobody looks at those


async def test_a_transfer_that_the_pilot_reports_puts_the_files_on_hold_until_its_last_report(database, heartbeats):
    task = await make_task(database, n_files=2)
    job = await make_job(database, task, n=2, status="running")
    await heartbeats.report(PILOT, beat(job, "transferring"))
    await heartbeats.report(PILOT, beat(job, "transferring"))
    assert (await counters(database, task))["input"]["nfilesonhold"] == 2
    assert await counters(database, task) == await recount(database, task)
    assert await doing(database, task) == ["transferring"] * 2
    await heartbeats.report(PILOT, beat(job, "finished"))
    assert (await counters(database, task))["input"]["nfilesonhold"] == 0
    assert await counters(database, task) == await recount(database, task)


async def test_reports_of_many_jobs_at_once_are_counted_together(database, heartbeats):
    task = await make_task(database, n_files=8)
    jobs = [await make_job(database, task, status="running") for _ in range(8)]
    await gatherResults([Deferred.fromCoroutine(heartbeats.report(PILOT, beat(job, "transferring"))) for job in jobs])
    assert (await counters(database, task))["input"]["nfilesonhold"] == 8
    assert await counters(database, task) == await recount(database, task)


@pytest.mark.parametrize("change", ["pandaid = 7", "attemptnr = 5", "keeptrack = NULL"])
async def test_a_file_that_is_anothers_stays_as_it_is(database, heartbeats, change):
    task = await make_task(database, n_files=1)
    job = await make_job(database, task, status="sent")
    await run(database, f"UPDATE {{panda}}.jedi_dataset_contents SET {change} WHERE type = 'input' RETURNING 1")
    await heartbeats.report(PILOT, beat(job, "running"))
    assert await doing(database, task) == ["queued"]
    await heartbeats.report(PILOT, beat(job, "transferring"))
    assert (await counters(database, task))["input"]["nfilesonhold"] == 0


async def test_a_task_that_is_over_hears_nothing_of_progress(database, heartbeats):
    task = await make_task(database, n_files=1, status="aborted")
    job = await make_job(database, task, status="sent")
    await heartbeats.report(PILOT, beat(job, "running"))
    assert await doing(database, task) == ["queued"]


async def test_a_row_that_others_hold_for_long_costs_only_its_own_report(database, heartbeats, monkeypatch):
    monkeypatch.setattr(jedi, "LOCK_WAIT", 0.1)
    monkeypatch.setattr("pandatx.services.heartbeats.LOCK_WAIT", 0.1)
    held, free = await make_task(database, 1, n_files=1), await make_task(database, 2, n_files=1)
    jobs = [await make_job(database, held, status="sent"), await make_job(database, free, status="sent")]
    begun, end = Deferred(), Deferred()

    async def hold(tx) -> None:
        text = "SELECT 1 FROM {panda}.jedi_dataset_contents WHERE jeditaskid = 1 FOR UPDATE"
        await tx.run(Query(name=text, text=text))
        begun.callback(None)
        await end

    holding = Deferred.fromCoroutine(database.transaction("hold", hold))
    await begun
    answers = [Deferred.fromCoroutine(heartbeats.report(PILOT, beat(job, "running"))) for job in jobs]
    with pytest.raises(Exception, match="is locked by others"):
        await answers[0]
    assert (await answers[1]).code == 0
    end.callback(None)
    await holding
    assert (await doing(database, held), await doing(database, free)) == (["queued"], ["running"])


async def test_a_claim_does_not_wait_for_rows_of_a_task(database, dispatch):
    task = await make_task(database, 1, n_files=1)
    job = await make_job(database, task, minramcount=0, maxdiskcount=0, maxwalltime=0)
    begun, end = Deferred(), Deferred()

    async def hold(tx) -> None:
        text = "SELECT 1 FROM {panda}.jedi_dataset_contents FOR UPDATE"
        await tx.run(Query(name=text, text=text))
        begun.callback(None)
        await end

    holding = Deferred.fromCoroutine(database.transaction("hold", hold))
    await begun
    acquired = await dispatch.acquire(PILOT, JobRequest(site_name="Q", prod_source_label="user"))
    assert [each.panda_id for each in acquired.jobs] == [job]
    end.callback(None)
    await holding


async def test_jobs_without_a_task_cost_no_statement(database, dispatch, heartbeats, statements):
    task = await make_task(database, n_files=2)
    alike = {"minramcount": 0, "maxdiskcount": 0, "maxwalltime": 0}
    without = await make_job(database, task, **alike)
    await run(database, "UPDATE {panda}.jobsactive4 SET jeditaskid = NULL RETURNING 1")
    of_task = await make_job(database, task, **alike)
    request = JobRequest(site_name="Q", prod_source_label="user")
    seen = {}
    for expected in (without, of_task):
        statements.clear()
        (job,) = (await dispatch.acquire(PILOT, request)).jobs
        assert job.panda_id == expected
        await heartbeats.report(PILOT, beat(job.panda_id, "running"))
        seen[expected] = [name for name in statements if name.startswith("jedi_")]
    assert seen == {without: [], of_task: ["jedi_follow_free", "jedi_limit_lock_wait", "jedi_follow"]}


async def test_scenario_6_whole(database, dispatch, heartbeats):
    """A pilotErrorCode: holding, the Adder fails the job, the file has another attempt, until none is left."""
    task = await make_task(database, n_files=1, max_attempt=2)
    seen = []
    for attempt in (0, 1):
        alike = {"minramcount": 0, "maxdiskcount": 0, "maxwalltime": 0}
        job = await make_job(database, task, status="defined", attemptnr=attempt, **alike)
        await database.transaction("activate", setup_store.activate, [job], Clock(reactor).now())
        acquired = await dispatch.acquire(PILOT, JobRequest(site_name="Q", prod_source_label="user"))
        assert [each.panda_id for each in acquired.jobs] == [job]
        await heartbeats.report(PILOT, Heartbeat(job_id=job, job_status="running", attempt_nr=attempt))
        final = Heartbeat(
            job_id=job,
            job_status="failed",
            attempt_nr=attempt,
            pilot_error_code=1305,
            pilot_error_diag="the payload failed",
            job_output_report=report_of(f"log.{job}"),
        )
        await heartbeats.report(PILOT, final)
        assert await run(database, "SELECT jobstatus FROM {panda}.jobsactive4") == [("holding",)]
        assert (await heartbeats.report(PILOT, final)).command == "alreadydone"
        await make_adder(database, DirectPool()).run_once()
        assert await run(database, "SELECT count(*) FROM {panda}.job_output_report") == [(0,)]
        assert (await heartbeats.report(PILOT, final)).command == "tobekilled"
        rows = await run(
            database,
            "SELECT jobstatus, piloterrorcode FROM {panda}.jobsarchived4 WHERE pandaid = %(job)s",
            job=job,
        )
        assert rows == [("failed", 1305)]
        (row,) = (await files(database, task)).values()
        seen.append((row["status"], row["attemptnr"], row["failedattempt"], row["proc_status"]))
        assert await counters(database, task) == await recount(database, task)
    assert seen == [("ready", 1, 1, "ready"), ("ready", 2, 2, "failed")]
    found = await counters(database, task)
    assert (found["input"]["nfilesused"], found["input"]["nfilesfailed"], found["log"]["nfilesfailed"]) == (1, 1, 2)
