"""datasetManager's rules on datasets, each on its number (reference/lifecycle.md 3.4), on a real database."""

from datetime import timedelta

import pytest
from endings import run, seed_file, seed_job
from storing import NOW, Answers, Manager, ago, datasets, locks, pause, seed_dataset, seed_sub
from twisted.internet.defer import Deferred, gatherResults

from pandatx.errors import Busy
from pandatx.scheduler.steps import StepsFailed
from pandatx.services.dataset_manager import DatasetManager
from pandatx.services.left_open import LeftOpen
from pandatx.workers.calls import CallTimedOut

MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def manager(database) -> Manager:
    return Manager(database)


# Closing.


@pytest.mark.parametrize(
    ("changed", "acts"),
    [
        (ago(minutes=1) + MICROSECOND, False),
        (ago(minutes=1), True),
        (ago(days=3), True),
        (ago(days=3) - MICROSECOND, False),
    ],
)
async def test_what_is_to_be_closed_is_closed_between_a_minute_and_three_days_later(manager, database, changed, acts):
    await seed_dataset(database, "mc.block", "tobeclosed", changed)
    assert await manager.datasets.close(pause) == (1 if acts else 0)
    assert await datasets(database) == {"mc.block": "completed" if acts else "tobeclosed"}
    assert manager.pool.questions("close_datasets") == (["mc.block"] if acts else [])


@pytest.mark.parametrize("name", ["user.alice.x", "group.phys.x", "hc_test.x", "panda.um.x"])
async def test_a_dataset_that_is_only_a_name_is_closed_without_a_word_to_the_storage(manager, database, name):
    await seed_dataset(database, name, "tobeclosed", ago(minutes=5))
    assert await manager.datasets.close(pause) == 1
    assert await datasets(database) == {name: "completed"}
    assert manager.pool.asked == []


@pytest.mark.parametrize(("failed", "status"), [(0, "deleting"), (1, "shortening")])
async def test_dispatch_blocks_behind_a_closed_sub_block_are_to_be_deleted(manager, database, failed, status):
    await seed_sub(database, "mc.x_sub01", "tobeclosed", ago(minutes=5))
    await seed_dataset(database, "mc.in_dis7", "completed", ago(days=1), "dispatch", currentfiles=failed)
    await seed_job(database, 1, "jobsarchived4", jobstatus="finished")
    await seed_file(database, 1, "out", destinationdblock="mc.x_sub01", status="ready")
    await seed_file(database, 1, "in", "input", dispatchdblock="mc.in_dis7", status="ready", destinationdblock=None)
    await manager.datasets.close(pause)
    assert await datasets(database) == {"mc.x_sub01": "completed", "mc.in_dis7": status}
    assert (await locks(database))["mc.in_dis7"][0] == NOW


@pytest.mark.parametrize(
    ("table", "jobstatus", "stays"),
    [
        ("jobsdefined4", "assigned", True),
        ("jobsactive4", "running", True),
        ("jobsactive4", "transferring", False),
        ("jobsarchived4", "failed", False),
    ],
)
async def test_a_dispatch_block_stays_while_another_job_has_yet_to_read_it(manager, database, table, jobstatus, stays):
    await seed_sub(database, "mc.x_sub01", "tobeclosed", ago(minutes=5))
    await seed_dataset(database, "mc.in_dis7", "completed", ago(days=1), "dispatch")
    await seed_job(database, 1, "jobsarchived4", jobstatus="finished")
    await seed_job(database, 2, table, jobstatus=jobstatus)
    await seed_file(database, 1, "out", destinationdblock="mc.x_sub01", status="ready")
    for panda_id in (1, 2):
        await seed_file(database, panda_id, "in", "input", dispatchdblock="mc.in_dis7", destinationdblock=None)
    await manager.datasets.close(pause)
    assert (await datasets(database))["mc.in_dis7"] == ("completed" if stays else "deleting")


async def test_the_library_that_jobs_read_is_no_dispatch_block(manager, database):
    await seed_sub(database, "mc.x_sub01", "tobeclosed", ago(minutes=5))
    await seed_dataset(database, "user.alice.lib", "closed", ago(days=1), "dispatch")
    await seed_file(database, 1, "out", destinationdblock="mc.x_sub01", status="ready")
    await seed_file(database, 1, "in", "input", dispatchdblock="user.alice.lib", destinationdblock=None)
    await manager.datasets.close(pause)
    assert (await datasets(database))["user.alice.lib"] == "closed"


# The row lock.


async def test_what_a_storage_refuses_stays_locked_for_ninety_minutes(manager, database):
    await seed_dataset(database, "mc.good", "tobeclosed", ago(hours=1))
    await seed_dataset(database, "mc.bad", "tobeclosed", ago(hours=1), transferstatus=9)
    manager.pool.refused = {"mc.bad"}
    assert await manager.datasets.close(pause) == 1
    assert await datasets(database) == {"mc.good": "completed", "mc.bad": "tobeclosed"}
    assert (await locks(database))["mc.bad"] == (NOW + timedelta(minutes=90), 0)
    manager.pool.refused = set()
    manager.clock.reactor.advance(91 * 60 - 1)
    assert await manager.datasets.close(pause) == 0
    manager.clock.reactor.advance(1)
    assert await manager.datasets.close(pause) == 1


async def test_an_older_server_that_has_seen_the_row_before_does_not_get_it(manager, database):
    await seed_dataset(database, "mc.x", "tobeclosed", ago(hours=1), transferstatus=4)
    seen = (await locks(database))["mc.x"][1]
    manager.pool.fault = CallTimedOut("too long")
    await manager.datasets.close(pause)
    theirs = (
        "UPDATE {panda}.datasets SET transferstatus = 0 WHERE vuid = 'mc.x' AND transferstatus = %(seen)s RETURNING 1"
    )
    assert await run(database, theirs, seen=seen) == []


async def test_of_two_servers_one_gets_the_row(database):
    await seed_dataset(database, "mc.x", "tobeclosed", ago(hours=1))
    managers = [Manager(database) for _ in range(2)]
    done = await gatherResults([Deferred.fromCoroutine(each.datasets.close(pause)) for each in managers])
    assert sorted(done) == [0, 1]


# Plugins.


async def test_a_plugin_without_the_method_leaves_its_datasets_alone_and_is_named_once(manager, database):
    for n in range(60):
        await seed_dataset(database, f"mc.{n:02d}", "tobeclosed", ago(hours=1))
    manager.pool.lacks = {"close_datasets"}
    for _ in range(2):
        assert await manager.datasets.close(pause) == 0
    assert len(manager.pool.asked) == 1
    assert set((await datasets(database)).values()) == {"tobeclosed"}


async def test_a_call_that_is_killed_holds_up_only_those_that_it_had(database):
    manager = Manager(database, Answers(fault=CallTimedOut("too long")))
    await seed_dataset(database, "mc.x", "tobeclosed", ago(hours=1))
    await seed_dataset(database, "user.alice.x", "tobeclosed", ago(hours=1))
    assert await manager.datasets.close(pause) == 1
    assert await datasets(database) == {"mc.x": "tobeclosed", "user.alice.x": "completed"}


async def test_a_plugin_that_took_too_long_is_left_alone_for_ten_minutes(manager, database):
    for n in range(120):
        await seed_dataset(database, f"mc.{n:03d}", "tobeclosed", ago(hours=1))
    manager.pool.fault = CallTimedOut("too long")
    assert await manager.datasets.close(pause) == 0
    assert len(manager.pool.asked) == 1
    manager.pool.fault = None
    for wait, closed in ((600 - 1, 0), (1, 1)):
        manager.clock.reactor.advance(wait)
        await seed_dataset(database, f"mc.late{closed}", "tobeclosed", ago(minutes=2))
        assert await manager.datasets.close(pause) == closed


# Freezing.


@pytest.mark.parametrize(
    ("changed", "acts"),
    [
        (ago(hours=6) + MICROSECOND, False),
        (ago(hours=6), True),
        (ago(days=14), True),
        (ago(days=14) - MICROSECOND, False),
    ],
)
@pytest.mark.parametrize("status", ["running", "created", "defined", "locked"])
async def test_sub_blocks_are_frozen_between_six_hours_and_fourteen_days(manager, database, changed, acts, status):
    await seed_sub(database, "mc.x_sub01", status, changed)
    assert await manager.datasets.freeze(pause) == (1 if acts else 0)
    assert await datasets(database) == {"mc.x_sub01": "completed" if acts else status}
    assert manager.pool.questions("close_datasets") == (["mc.x_sub01"] if acts else [])


async def test_what_is_no_sub_block_is_not_frozen(manager, database):
    await seed_dataset(database, "mc.x", "running", ago(hours=7), subtype="top")
    assert await manager.datasets.freeze(pause) == 0


@pytest.mark.parametrize("status", ["ready", "failed", "skipped", "merging", "finished", "nooutput"])
async def test_a_settled_file_lets_its_block_be_frozen(manager, database, status):
    await seed_sub(database, "mc.x_sub01", "running", ago(hours=7))
    await seed_file(database, 1, "out", destinationdblock="mc.x_sub01", status=status)
    assert await manager.datasets.freeze(pause) == 1


@pytest.mark.parametrize("status", ["unknown", "transferring", "pending"])
async def test_a_block_with_a_file_to_come_is_looked_at_again_six_hours_later(manager, database, status):
    await seed_sub(database, "mc.x_sub01", "running", ago(hours=7))
    await seed_file(database, 1, "out", destinationdblock="mc.x_sub01", status=status)
    assert await manager.datasets.freeze(pause) == 0
    assert (await locks(database))["mc.x_sub01"] == (NOW, 1)
    await run(database, "UPDATE {panda}.filestable4 SET status = 'ready' RETURNING 1")
    manager.clock.reactor.advance(6 * 3600 - 1)
    assert await manager.datasets.freeze(pause) == 0
    manager.clock.reactor.advance(1)
    assert await manager.datasets.freeze(pause) == 1


@pytest.mark.parametrize(
    ("changed", "acts"),
    [
        (ago(hours=3) + MICROSECOND, False),
        (ago(hours=3), True),
        (ago(hours=12), True),
    ],
)
async def test_a_block_in_doing_is_reset_after_three_hours_and_frozen_then(manager, database, changed, acts):
    await seed_sub(database, "mc.x_sub01", "doing", changed)
    await seed_file(database, 1, "out", destinationdblock="mc.x_sub01")
    await manager.datasets.freeze(pause)
    assert await datasets(database) == {"mc.x_sub01": "running" if acts else "doing"}
    assert (await locks(database))["mc.x_sub01"][1] == (1 if acts else 0)


async def test_a_block_in_doing_for_more_than_twelve_hours_is_not_reset_but_looked_at(manager, database):
    await seed_sub(database, "mc.x_sub01", "doing", ago(hours=12) - MICROSECOND)
    await seed_file(database, 1, "out", destinationdblock="mc.x_sub01")
    await manager.datasets.freeze(pause)
    assert await datasets(database) == {"mc.x_sub01": "doing"}
    assert (await locks(database))["mc.x_sub01"] == (NOW, 1)


async def test_a_block_whose_files_are_being_merged_is_left_to_the_closer(manager, database):
    await seed_sub(database, "panda.um.x_sub01", "running", ago(hours=7))
    await seed_job(database, 1, jobstatus="merging")
    await seed_file(
        database, 1, "out", destinationdblock="panda.um.x_sub01", status="merging", destinationdblocktoken="TOMERGE"
    )
    assert await manager.datasets.freeze(pause) == 0
    assert await datasets(database) == {"panda.um.x_sub01": "doing"}


# Deleting dispatch blocks.


@pytest.mark.parametrize(
    ("changed", "acts"),
    [
        (ago(minutes=30) + MICROSECOND, False),
        (ago(minutes=30), True),
        (ago(days=3), True),
        (ago(days=3) - MICROSECOND, False),
    ],
)
@pytest.mark.parametrize("status", ["deleting", "shortening"])
async def test_dispatch_blocks_go_between_half_an_hour_and_three_days(manager, database, changed, acts, status):
    await seed_dataset(database, "mc.in_dis7", status, changed, "dispatch")
    assert await manager.datasets.delete_dispatch(pause) == (1 if acts else 0)
    assert await datasets(database) == {"mc.in_dis7": "deleted" if acts else status}
    assert manager.pool.questions("delete_datasets") == (["mc.in_dis7"] if acts else [])


async def test_only_what_is_named_as_a_dispatch_block_is_deleted_as_one(manager, database):
    await seed_dataset(database, "mc.input", "deleting", ago(hours=1), "dispatch")
    assert await manager.datasets.delete_dispatch(pause) == 0
    assert manager.pool.asked == []


# Deleting sub blocks.


@pytest.mark.parametrize(
    ("changed", "acts"),
    [
        (ago(minutes=30) + MICROSECOND, False),
        (ago(minutes=30), True),
        (ago(days=14), True),
        (ago(days=14) - MICROSECOND, False),
    ],
)
@pytest.mark.parametrize("status", ["completed", "cleanup"])
async def test_sub_blocks_go_half_an_hour_after_they_were_closed(manager, database, changed, acts, status):
    await seed_sub(database, "mc.x_sub01", status, changed)
    await seed_job(database, 1, "jobsarchived4", jobstatus="finished")
    await seed_file(database, 1, "out", destinationdblock="mc.x_sub01", status="ready")
    assert await manager.datasets.delete_subs(pause) == (1 if acts else 0)
    assert await datasets(database) == {"mc.x_sub01": "deleted" if acts else status}
    assert manager.pool.questions("delete_datasets") == (["mc.x_sub01"] if acts else [])


async def test_a_sub_block_of_a_long_task_goes_too(manager, database):
    await seed_sub(database, "mc.x_sub01", "completed", ago(hours=1), creationdate=ago(days=40))
    assert await manager.datasets.delete_subs(pause) == 1


@pytest.mark.parametrize(
    ("table", "jobstatus", "acts"),
    [
        ("jobsarchived4", "finished", True),
        ("jobsarchived4", "failed", True),
        ("jobsarchived4", "cancelled", True),
        ("jobsarchived4", "closed", True),
        ("jobsactive4", "transferring", False),
        ("jobsdefined4", "assigned", False),
    ],
)
async def test_a_sub_block_stays_until_all_of_its_jobs_have_ended(manager, database, table, jobstatus, acts):
    await seed_sub(database, "mc.x_sub01", "completed", ago(hours=1))
    await seed_job(database, 1, "jobsarchived4", jobstatus="finished")
    await seed_job(database, 2, table, jobstatus=jobstatus)
    for panda_id in (1, 2):
        await seed_file(database, panda_id, "out", destinationdblock="mc.x_sub01", status="ready")
    assert await manager.datasets.delete_subs(pause) == (1 if acts else 0)


@pytest.mark.parametrize(("ended", "acts"), [(ago(days=30) + MICROSECOND, True), (ago(days=30), False)])
async def test_the_archive_is_asked_for_jobs_of_the_last_thirty_days(manager, database, ended, acts):
    await seed_sub(database, "mc.x_sub01", "completed", ago(hours=1))
    await run(
        database,
        "INSERT INTO {arch}.jobsarchived (pandaid, jobstatus, modificationtime, creationtime, statechangetime)"
        " VALUES (1, 'finished', %(t)s, %(t)s, %(t)s) RETURNING 1",
        t=ended,
    )
    await seed_file(database, 1, "out", destinationdblock="mc.x_sub01", status="ready")
    assert await manager.datasets.delete_subs(pause) == (1 if acts else 0)


async def test_sub_blocks_of_users_are_deleted_as_names(manager, database):
    await seed_sub(database, "user.alice_sub01", "completed", ago(hours=1))
    await seed_job(database, 1, jobstatus="running")
    await seed_file(database, 1, "out", destinationdblock="user.alice_sub01")
    assert await manager.datasets.delete_subs(pause) == 1
    assert manager.pool.asked == []


# Blocks that were left open.


async def test_a_block_that_a_dead_server_left_open_is_closed_by_the_next_run(manager, database):
    await seed_dataset(database, "user.alice.out", "defined", ago(minutes=1))
    await seed_job(database, 1, "jobsarchived4", jobstatus="failed")
    await seed_job(database, 2, "jobsarchived4", jobstatus="finished")
    for panda_id, status in ((1, "failed"), (2, "ready")):
        await seed_file(database, panda_id, "out", destinationdblock="user.alice.out", status=status)
    assert await manager.run() == {"left_open": 1}
    assert await datasets(database) == {"user.alice.out": "tobeclosed"}
    assert await manager.run() == {}


@pytest.mark.parametrize("status", ["unknown", None])
async def test_a_block_with_a_file_to_come_or_without_files_is_not_taken_for_left_open(manager, database, status):
    await seed_dataset(database, "user.alice.out", "defined", ago(hours=1))
    await seed_job(database, 1, "jobsarchived4", jobstatus="finished")
    if status:
        await seed_file(database, 1, "out", destinationdblock="user.alice.out", status="ready")
        await seed_file(database, 2, "out", destinationdblock="user.alice.out", status=status)
    assert await manager.left_open.close(pause) == 0


async def test_jobs_behind_a_failed_build_that_was_left_are_cancelled(manager, database):
    await seed_dataset(database, "user.alice.lib", "defined", ago(minutes=1))
    await seed_job(database, 1, "jobsarchived4", jobstatus="failed", prodsourcelabel="panda", jobdefinitionid=5)
    await seed_file(database, 1, "lib.tgz", destinationdblock="user.alice.lib", status="failed")
    await seed_job(database, 2, "jobsdefined4", jobstatus="assigned", jobdefinitionid=5)
    await seed_file(database, 2, "lib.tgz", "input", dispatchdblock="user.alice.lib", destinationdblock=None)
    await manager.left_open.close(pause)
    assert await run(database, "SELECT jobstatus FROM {panda}.jobsarchived4 WHERE pandaid = 2") == [("cancelled",)]


async def test_a_part_that_takes_too_long_or_has_a_bug_leaves_the_others_alone(manager, database, monkeypatch):
    await seed_sub(database, "user.alice.x_sub01", "completed", ago(hours=1))

    async def busy(*args):
        raise Busy("datasets.claim: the database takes too long")

    async def bug(*args):
        raise KeyError("a bug")

    monkeypatch.setattr(DatasetManager, "close", busy)
    monkeypatch.setattr(LeftOpen, "close", bug)
    with pytest.raises(StepsFailed, match=r"2 of its steps failed.*closed, left_open"):
        await manager.run()
    assert await datasets(database) == {"user.alice.x_sub01": "deleted"}
