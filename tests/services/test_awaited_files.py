"""Jobs that wait for files of which nobody tells: transfers and inputs, each rule on its number, on a real database."""

from datetime import timedelta
from typing import Any

import pytest
from endings import (
    DirectPool,
    held,
    job,
    make_adder,
    reports,
    run,
    seed_block,
    seed_file,
    seed_job,
    seed_report,
    statuses,
)
from storing import NOW, Manager, ago, datasets, pause, seed_dataset
from tasks_by_hand import counters, files, make_job, make_task, recount
from twisted.internet.defer import Deferred

MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def manager(database) -> Manager:
    return Manager(database)


async def seed_transfer(database, panda_id: int = 1, *, changed: Any, **columns: Any) -> None:
    """A job of production with an output on its way and a log that is there."""
    values = {"prodsourcelabel": "managed", "currentpriority": 100, "endtime": ago(hours=5), **columns}
    await seed_job(database, panda_id, jobstatus="transferring", modificationtime=changed, **values)
    about = {"guid": "g", "fsize": 5, "checksum": "ad:00000001"}
    await seed_file(database, panda_id, f"out{panda_id}", status="transferring", **about)
    await seed_file(database, panda_id, f"log{panda_id}", "log", status="ready", **about)


async def finish_reports(database) -> None:
    await make_adder(database, DirectPool()).run_once()


# Transferring jobs.


@pytest.mark.parametrize(
    ("priority", "changed", "acts"),
    [
        (799, ago(hours=2) + MICROSECOND, False),
        (799, ago(hours=2), True),
        (800, ago(hours=1) + MICROSECOND, False),
        (800, ago(hours=1), True),
    ],
)
@pytest.mark.parametrize("label", ["managed", "test"])
async def test_transfers_are_asked_for_after_two_hours_or_one_if_urgent(
    manager, database, priority, changed, acts, label
):
    await seed_transfer(database, changed=changed, currentpriority=priority, prodsourcelabel=label)
    await manager.transfers.follow(pause)
    assert manager.pool.questions("outputs_there") == ([1] if acts else [])
    assert (await job(database, 1, "jobsactive4"))["modificationtime"] == (NOW if acts else changed)


@pytest.mark.parametrize(
    "columns",
    [{"prodsourcelabel": "user"}, {"prodsourcelabel": "panda"}, {"eventservice": 4}],
)
async def test_transfers_of_users_and_jumbo_jobs_are_not_asked_for(manager, database, columns):
    await seed_transfer(database, changed=ago(hours=3), **columns)
    await manager.transfers.follow(pause)
    assert manager.pool.asked == []


async def test_transfers_are_taken_two_hundred_at_a_time(manager, database):
    await run(
        database,
        "INSERT INTO {panda}.jobsactive4 (pandaid, jobstatus, prodsourcelabel, modificationtime, creationtime,"
        " statechangetime, currentpriority, attemptnr)"
        " SELECT g, 'transferring', 'managed', %(t)s, %(t)s, %(t)s, 1, 1 FROM generate_series(1, 401) g RETURNING 1",
        t=ago(hours=3),
    )
    pauses = []

    async def counted() -> None:
        pauses.append(len(manager.pool.questions("outputs_there")))

    await manager.transfers.follow(counted)
    assert pauses == [200, 400, 401]


async def test_a_job_whose_outputs_are_all_there_is_finished(manager, database):
    await seed_transfer(database, changed=ago(hours=3))
    manager.pool.there = {"out1"}
    assert await manager.run() == {"transfers": 1}
    assert manager.reports == [True]
    await finish_reports(database)
    assert (await job(database, 1))["jobstatus"] == "finished"
    assert await statuses(database) == {"out1": "ready", "log1": "ready"}


async def test_a_job_waits_until_each_of_its_outputs_is_there(manager, database):
    await seed_transfer(database, changed=ago(hours=3))
    await seed_file(database, 1, "more1", status="transferring")
    manager.pool.there = {"out1"}
    assert await manager.transfers.follow(pause) == (0, 0)
    assert await reports(database) == []
    assert await statuses(database) == {"out1": "transferring", "log1": "ready", "more1": "transferring"}


async def test_a_file_without_a_report_is_not_there_whatever_lies_in_the_storage(manager, database):
    await seed_transfer(database, changed=ago(hours=3))
    await seed_file(database, 1, "more1", status="unknown")
    manager.pool.there = {"out1", "more1"}
    assert await manager.transfers.follow(pause) == (0, 0)


async def test_a_file_with_a_distributed_destination_is_not_waited_for(manager, database):
    await seed_transfer(database, changed=ago(hours=3))
    await seed_file(database, 1, "more1", status="transferring", destinationdblocktoken="ddd:SOMEWHERE")
    manager.pool.there = {"out1"}
    assert await manager.transfers.follow(pause) == (1, 0)


@pytest.mark.parametrize(
    ("priority", "ended", "acts"),
    [
        (800, ago(days=2) + MICROSECOND, False),
        (800, ago(days=2), True),
        (799, ago(days=6) + MICROSECOND, False),
        (799, ago(days=6), True),
    ],
)
async def test_outputs_that_do_not_arrive_in_two_or_six_days_fail_their_job(manager, database, priority, ended, acts):
    await seed_transfer(database, changed=ago(hours=3), currentpriority=priority, endtime=ended)
    await seed_block(database)
    assert await manager.transfers.follow(pause) == (0, 1 if acts else 0)
    if not acts:
        assert (await job(database, 1, "jobsactive4"))["jobstatus"] == "transferring"
        return
    found = await job(database, 1)
    assert (found["jobstatus"], found["taskbuffererrorcode"], found["taskbuffererrordiag"]) == (
        "failed",
        101,
        "transfer timeout for out1",
    )
    assert found["endtime"] == ended
    assert await statuses(database) == {"out1": "failed", "log1": "failed"}
    assert await datasets(database) == {"block": "tobeclosed"}


async def test_the_time_counts_from_the_start_of_a_job_without_an_end(manager, database):
    await seed_transfer(database, changed=ago(hours=3), endtime=None, starttime=ago(days=6))
    assert await manager.transfers.follow(pause) == (0, 1)
    assert (await job(database, 1))["endtime"] == NOW


async def test_no_job_fails_because_nobody_could_be_asked(manager, database):
    for panda_id in (1, 2):
        await seed_transfer(database, panda_id, changed=ago(hours=3), endtime=ago(days=7))
    manager.pool.refused = {1}
    assert await manager.transfers.follow(pause) == (0, 1)
    assert (await job(database, 1, "jobsactive4"))["jobstatus"] == "transferring"
    assert (await job(database, 2))["jobstatus"] == "failed"


async def test_a_job_that_somebody_else_holds_is_left_to_the_next_run(manager, database):
    await seed_transfer(database, changed=ago(hours=3), endtime=ago(days=7))
    begun, end = Deferred(), Deferred()
    holding = Deferred.fromCoroutine(held(database, 1, begun, end))
    await begun
    assert await manager.transfers.follow(pause) == (0, 0)
    end.callback(None)
    await holding
    assert await manager.transfers.follow(pause) == (0, 1)


# Transferring jobs that were left.


@pytest.mark.parametrize(("changed", "acts"), [(ago(minutes=10) + MICROSECOND, False), (ago(minutes=10), True)])
@pytest.mark.parametrize("label", ["managed", "user"])
async def test_a_job_whose_outputs_settled_unnoticed_is_finished_after_ten_minutes(
    manager, database, changed, acts, label
):
    await seed_transfer(database, changed=changed, prodsourcelabel=label)
    await run(database, "UPDATE {panda}.filestable4 SET status = 'ready' RETURNING 1")
    assert await manager.transfers.settled(pause) == (1 if acts else 0)
    assert await reports(database) == ([(1, None)] if acts else [])


async def test_a_job_with_a_report_is_the_adders(manager, database):
    await seed_transfer(database, changed=ago(hours=1))
    await run(database, "UPDATE {panda}.filestable4 SET status = 'ready' RETURNING 1")
    await seed_report(database, 1)
    assert await manager.transfers.settled(pause) == 0


# Assigned jobs.


async def seed_assigned(database, panda_id: int = 1, *, asked: Any, block: str = "in_dis1", **columns: Any) -> None:
    values = {"currentpriority": 100, **columns}
    await seed_job(database, panda_id, "jobsdefined4", jobstatus="assigned", proddbupdatetime=asked, **values)
    await seed_file(
        database, panda_id, f"in{panda_id}", "input", status="pending", dispatchdblock=block, destinationdblock=None
    )


@pytest.mark.parametrize(
    ("asked", "acts"),
    [(ago(hours=1) + MICROSECOND, False), (ago(hours=1), True), (None, True)],
)
async def test_the_inputs_of_assigned_jobs_are_asked_for_each_hour(manager, database, asked, acts):
    await seed_assigned(database, asked=asked)
    manager.pool.there = {"in1"}
    assert await manager.run() == ({"activated": 1} if acts else {})
    assert manager.activated == ([1] if acts else [])
    table = "jobsactive4" if acts else "jobsdefined4"
    assert (await job(database, 1, table))["jobstatus"] == ("activated" if acts else "assigned")
    assert await statuses(database) == {"in1": "ready" if acts else "pending"}


async def test_who_was_asked_for_is_not_asked_for_again_within_the_hour(manager, database):
    await seed_assigned(database, asked=None)
    await manager.arrivals.look(pause)
    manager.clock.reactor.advance(3600 - 1)
    await manager.arrivals.look(pause)
    assert manager.pool.questions("inputs_there") == [1]
    manager.clock.reactor.advance(1)
    await manager.arrivals.look(pause)
    assert manager.pool.questions("inputs_there") == [1, 1]


@pytest.mark.parametrize(("priority", "how"), [(800, "files"), (799, "blocks")])
async def test_urgent_jobs_are_asked_for_file_by_file_and_others_by_block(manager, database, priority, how):
    await seed_assigned(database, asked=None, currentpriority=priority)
    await manager.arrivals.look(pause)
    assert manager.pool.how == [how]


async def test_assigned_jobs_are_taken_a_hundred_at_a_time_the_urgent_ones_first(manager, database):
    await run(
        database,
        "INSERT INTO {panda}.jobsdefined4 (pandaid, jobstatus, prodsourcelabel, modificationtime, creationtime,"
        " statechangetime, currentpriority, attemptnr)"
        " SELECT g, 'assigned', 'managed', %(t)s, %(t)s, %(t)s, CASE WHEN g > 200 THEN 900 ELSE 1 END, 1"
        "   FROM generate_series(1, 205) g RETURNING 1",
        t=ago(hours=3),
    )
    await run(
        database,
        "INSERT INTO {panda}.filestable4 (row_id, pandaid, lfn, type, status)"
        " SELECT g, g, 'in', 'input', 'pending' FROM generate_series(1, 205) g RETURNING 1",
    )
    pauses = []

    async def counted() -> None:
        pauses.append(len(manager.pool.questions("inputs_there")))

    await manager.arrivals.look(counted)
    assert pauses == [5, 105, 205]
    assert manager.pool.questions("inputs_there")[:5] == [201, 202, 203, 204, 205]


async def test_a_job_that_lacks_one_input_stays_as_it_was(manager, database):
    await seed_assigned(database, asked=None)
    await seed_file(database, 1, "more", "input", status="pending", dispatchdblock="in_dis1", destinationdblock=None)
    manager.pool.there = {"in1"}
    assert await manager.arrivals.look(pause) == 0
    assert await statuses(database) == {"in1": "pending", "more": "pending"}


async def test_a_job_whose_inputs_are_there_already_goes_on_without_a_question(manager, database):
    await seed_assigned(database, asked=None)
    await run(database, "UPDATE {panda}.filestable4 SET status = 'cached' RETURNING 1")
    assert await manager.arrivals.look(pause) == 1
    assert manager.pool.asked == []


async def test_a_build_that_a_dead_server_told_nobody_of_releases_its_jobs(manager, database):
    await seed_assigned(database, asked=None, block="user.alice.lib")
    await seed_dataset(database, "user.alice.lib", "closed", ago(hours=1))
    await seed_job(database, 2, "jobsarchived4", jobstatus="finished", prodsourcelabel="panda")
    await seed_file(database, 2, "in1", destinationdblock="user.alice.lib", status="ready")
    assert await manager.arrivals.look(pause) == 1
    assert manager.pool.asked == []


async def test_what_a_running_build_has_yet_to_make_is_not_asked_for(manager, database):
    await seed_assigned(database, asked=None, block="user.alice.lib")
    await seed_job(database, 2, jobstatus="running", prodsourcelabel="panda")
    await seed_file(database, 2, "in1", destinationdblock="user.alice.lib", status="unknown")
    manager.pool.there = {"in1"}
    assert await manager.arrivals.look(pause) == 0
    assert manager.pool.asked == []


async def test_a_job_under_a_kill_is_not_activated(manager, database):
    await seed_assigned(database, asked=None, commandtopilot="tobekilled")
    manager.pool.there = {"in1"}
    assert await manager.arrivals.look(pause) == 0


# Jobs of tasks.


async def test_a_transfer_that_is_too_late_counts_for_its_task_in_the_same_transaction(manager, database):
    task = await make_task(database, n_files=2, label="managed")
    panda_id = await make_job(database, task, n=2, status="transferring")
    late = "SET modificationtime = %(t)s, endtime = %(t)s, currentpriority = 100, attemptnr = 1"
    await run(database, f"UPDATE {{panda}}.jobsactive4 {late} RETURNING 1", t=ago(days=7))
    moving = "SET status = 'transferring' WHERE type IN ('output', 'log')"
    await run(database, f"UPDATE {{panda}}.filestable4 {moving} RETURNING 1")
    assert await manager.transfers.follow(pause) == (0, 1)
    assert (await job(database, panda_id))["taskbuffererrorcode"] == 101
    assert await counters(database, task) == await recount(database, task)
    assert {row["status"] for row in (await files(database, task)).values()} != {"running"}


async def test_an_input_that_has_come_is_queued_for_its_task(manager, database):
    task = await make_task(database, n_files=1, label="managed")
    panda_id = await make_job(database, task, status="assigned")
    missing = "SET status = 'pending', dispatchdblock = 'in_dis1' WHERE type = 'input'"
    await run(database, f"UPDATE {{panda}}.filestable4 {missing} RETURNING 1")
    manager.pool.there = {lfn for (lfn,) in await run(database, "SELECT lfn FROM {panda}.filestable4")}
    assert await manager.arrivals.look(pause) == 1
    assert manager.activated == [panda_id]
    assert {row["proc_status"] for row in (await files(database, task)).values()} == {"queued"}
