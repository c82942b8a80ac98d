"""Ending jobs on request, on a real database."""

import pytest
from endings import (
    DirectPool,
    Told,
    held,
    job,
    logged,
    make_adder,
    report_of,
    reports,
    run,
    seed_block,
    seed_file,
    seed_job,
    seed_report,
    statuses,
)
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.errors import NotPermitted
from pandatx.services import killing as killing_module
from pandatx.services.closer import Closer
from pandatx.services.killing import Killing

ALICE = Caller(dn="/CN=alice", name="alice", how="x509")
BOB = Caller(dn="/CN=bob", name="bob", how="x509")
PRODUCTION = Caller(dn="/CN=prod", name="prod", how="x509", production=True)


@pytest.fixture
def again() -> list[int]:
    return []


@pytest.fixture
def killing(database, again) -> Killing:
    clock = Clock(reactor)
    return Killing(
        database,
        clock,
        Closer(database, clock, Told().activate),
        lambda jobs: again.extend(job.panda_id for job in jobs),
    )


@pytest.mark.parametrize(
    ("table", "status"),
    [("jobsdefined4", "defined"), ("jobsdefined4", "assigned"), ("jobsactive4", "activated"), ("jobsactive4", "sent")],
)
async def test_a_job_killed_before_it_runs_is_cancelled_at_once(database, killing, table, status):
    await seed_job(database, 1, table, jobstatus=status)
    await seed_file(database, 1, "out1")
    await seed_block(database)
    assert await killing.kill(ALICE, [1]) == [True]
    row = await job(database, 1)
    assert (row["jobstatus"], row["taskbuffererrorcode"]) == ("cancelled", 100)
    assert row["taskbuffererrordiag"] == "killed by alice" and row["endtime"] is not None
    assert await job(database, 1, table) is None
    assert await statuses(database) == {"out1": "failed"}
    assert await logged(database) == [(1, "cancelled")]
    assert await run(database, "SELECT status FROM {panda}.datasets") == [("tobeclosed",)]


async def test_a_running_job_is_flagged_once_and_its_failed_report_cancels_it(database, killing):
    await seed_job(database, 1, jobstatus="running")
    await seed_file(database, 1, "log1", "log")
    assert await killing.kill(ALICE, [1]) == [True]
    assert await killing.kill(ALICE, [1]) == [False]
    row = await job(database, 1, "jobsactive4")
    assert (row["jobstatus"], row["commandtopilot"]) == ("running", "tobekilled")
    await seed_report(database, 1, "failed", report_of("log1"))
    await make_adder(database, DirectPool()).run_once()
    assert (await job(database, 1))["jobstatus"] == "cancelled"


async def test_only_the_owner_or_the_production_role_ends_a_job(database, killing):
    await seed_job(database, 1, jobstatus="activated")
    await seed_job(database, 2, jobstatus="activated", prodsourcelabel="managed")
    assert await killing.kill(BOB, [1, 2]) == [False, False]
    assert await killing.kill(PRODUCTION, [1, 2]) == [False, True]
    assert await killing.kill(PRODUCTION, [1], 9) == [True]


async def test_answers_stand_in_the_order_of_the_ids(database, killing):
    await seed_job(database, 1, jobstatus="activated")
    await seed_job(database, 3, jobstatus="activated", produsername="bob")
    assert await killing.kill(ALICE, [3, 99, 1, 1]) == [False, False, True, True]


async def test_a_forced_kill_ends_a_running_job_and_its_report(database, killing):
    await seed_job(database, 1, jobstatus="running", prodsourcelabel="managed")
    await seed_report(database, 1)
    assert await killing.kill(PRODUCTION, [1], 9) == [True]
    assert (await job(database, 1))["jobstatus"] == "cancelled"
    assert await reports(database) == []


async def test_an_expired_job_is_closed_to_be_reassigned(database, killing):
    await seed_job(database, 1, "jobsdefined4", jobstatus="defined", prodsourcelabel="managed")
    await killing.kill(PRODUCTION, [1], 2)
    row = await job(database, 1)
    assert (row["jobstatus"], row["jobsubstatus"], row["taskbuffererrorcode"]) == ("closed", "toreassign", 102)


async def test_a_kill_waits_for_those_that_hold_the_job(database, killing):
    await seed_job(database, 1, jobstatus="activated")
    begun, end = Deferred(), Deferred()
    holding = Deferred.fromCoroutine(held(database, 1, begun, end))
    await begun
    kill = Deferred.fromCoroutine(killing.kill(ALICE, [1]))
    reactor.callLater(0.1, end.callback, None)
    assert await kill == [True]
    await holding


async def test_a_kill_gives_up_on_a_job_that_is_held_for_too_long(database, killing, monkeypatch):
    monkeypatch.setattr(killing_module, "LOCK_WAIT", 0.1)
    await seed_job(database, 1, jobstatus="activated")
    begun, end = Deferred(), Deferred()
    holding = Deferred.fromCoroutine(held(database, 1, begun, end))
    await begun
    assert await killing.kill(ALICE, [1]) == [False]
    end.callback(None)
    await holding


async def test_a_command_is_left_for_the_pilot_unless_the_job_is_being_killed(database, killing):
    await seed_job(database, 1, jobstatus="running")
    await seed_job(database, 2, jobstatus="running", commandtopilot="tobekilled")
    await seed_job(database, 3, "jobsdefined4", jobstatus="assigned")
    assert await killing.command(PRODUCTION, 1, "ls -l") == "command received"
    assert await killing.command(PRODUCTION, 2, "ls -l") == "job is being killed"
    assert await killing.command(PRODUCTION, 3, "ls -l") == "command received"
    assert await killing.command(PRODUCTION, 4, "ls -l") == "no active job with PandaID=4"
    assert (await job(database, 1, "jobsactive4"))["commandtopilot"] == "ls -l"
    assert (await job(database, 3, "jobsdefined4"))["commandtopilot"] == "ls -l"


async def test_reassigned_jobs_are_defined_again_and_set_up(database, killing, again):
    await seed_job(database, 1, jobstatus="activated", prodsourcelabel="managed", currentpriority=5, relocationflag=1)
    await seed_file(database, 1, "in1", "input", status="ready", destinationdblock=None, dispatchdblock="d")
    await seed_file(database, 1, "out1", destinationdblock="block_sub0001")
    await seed_job(database, 2, "jobsdefined4", jobstatus="assigned")
    await seed_job(database, 3, jobstatus="running", prodsourcelabel="managed")
    await killing.reassign(PRODUCTION, [1, 2, 3])
    assert again == [1, 2]
    row = await job(database, 1, "jobsdefined4")
    assert (row["jobstatus"], row["currentpriority"], row["computingsite"]) == ("defined", 100, "Q")
    assert (await job(database, 2, "jobsdefined4"))["jobstatus"] == "defined"
    assert (await job(database, 3, "jobsactive4"))["jobstatus"] == "running"
    assert sorted(await logged(database)) == [(1, "defined"), (2, "defined")]
    files = "SELECT lfn, status, dispatchdblock, destinationdblock FROM {panda}.filestable4 ORDER BY lfn"
    assert await run(database, files) == [("in1", "unknown", None, None), ("out1", "unknown", None, "block")]


async def test_of_jobs_of_several_only_those_of_the_caller_are_reassigned(database, killing, again):
    await seed_job(database, 1, "jobsdefined4", jobstatus="assigned")
    await seed_job(database, 2, "jobsdefined4", jobstatus="assigned", produsername="bob")
    await killing.reassign(ALICE, [1, 2])
    assert again == [1]


async def test_a_users_job_that_a_pilot_may_get_is_not_set_up_again(database, killing, again):
    await seed_job(database, 1, jobstatus="activated", prodsourcelabel="user")
    await killing.reassign(PRODUCTION, [1])
    assert again == []
    assert (await job(database, 1, "jobsactive4"))["jobstatus"] == "activated"


async def test_a_stranger_reassigns_nothing(database, killing, again):
    await seed_job(database, 2, "jobsdefined4", jobstatus="assigned")
    with pytest.raises(NotPermitted):
        await killing.reassign(BOB, [2])
    assert again == []
