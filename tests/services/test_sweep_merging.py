"""Jobs that wait for their outputs to be merged (lifecycle.md 3.3, steps 1 and 2), on a real database."""

from datetime import timedelta

import pytest
from endings import Told, job, run, seed_block, seed_file, seed_job

from pandatx.services.closer import Closer
from pandatx.services.killing import Killing
from pandatx.services.sweep_merging import MergingSweep
from pandatx.services.sweeper import Pages

JEDI = {"lockedby": "jedi", "jeditaskid": 5}


async def no_pause() -> None:
    """Nobody else waits."""


@pytest.fixture
def closer(database, now) -> Closer:
    return Closer(database, now, Told().activate)


@pytest.fixture
def sweep(database, now, closer) -> MergingSweep:
    killing = Killing(database, now, closer, lambda jobs: None)
    return MergingSweep(database, Pages(database), now, killing, closer)


async def seed_merging(database, panda_id, block="user.a_sub1", label="user", **columns):
    """A job in merging with an output and a log in a sub block; its output is dataset 30 of task 5, file PandaID."""
    await seed_job(database, panda_id, jobstatus="merging", prodsourcelabel=label, **{**JEDI, **columns})
    for n, kind in ((1, "output"), (2, "log")):
        await seed_file(
            database,
            panda_id,
            f"{kind}{panda_id}",
            kind,
            status="merging",
            destinationdblock=block,
            destinationdblocktoken="TOMERGE",
            jeditaskid=5,
            datasetid=30 + n,
            fileid=panda_id,
        )
        await run(
            database,
            "INSERT INTO {panda}.jedi_dataset_contents (jeditaskid, datasetid, fileid, creationdate, lfn, type, status,"
            " pandaid, outpandaid)"
            " VALUES (5, %(d)s, %(i)s, '2026-01-01', 'x', %(k)s, 'ready', %(i)s, %(i)s) RETURNING 1",
            d=30 + n,
            i=panda_id,
            k=kind,
        )


async def seed_dataset(database, dataset, kind, used=0, to_be_used=0):
    await run(
        database,
        "INSERT INTO {panda}.jedi_datasets (jeditaskid, datasetid, datasetname, type, creationtime, modificationtime,"
        " status, nfiles, nfilesused, nfilestobeused, nfilesonhold)"
        " VALUES (5, %(d)s, 'x', %(k)s, '2026-01-01', '2026-01-01', 'defined', 0, %(u)s, %(t)s, 1) RETURNING 1",
        d=dataset,
        k=kind,
        u=used,
        t=to_be_used,
    )


async def datasets(database):
    return await run(
        database,
        "SELECT datasetid, status, nfiles, nfilesused, nfilestobeused FROM {panda}.jedi_datasets ORDER BY datasetid",
    )


async def block_status(database, name="user.a_sub1"):
    return await run(database, "SELECT status FROM {panda}.datasets WHERE name = %(n)s", n=name)


async def test_merging_begins_when_no_job_of_the_block_is_at_work(database, sweep):
    await seed_merging(database, 1)
    await seed_merging(database, 2)
    await seed_block(database, "user.a_sub1")
    await seed_dataset(database, 31, "trn_output")
    await seed_dataset(database, 32, "trn_log")
    await seed_job(database, 3, jobstatus="running", **JEDI)
    await seed_file(database, 3, "out3", destinationdblock="user.a_sub1")
    assert await sweep.kick(no_pause) == 0
    await run(database, "UPDATE {panda}.jobsactive4 SET jobstatus = 'failed' WHERE pandaid = 3 RETURNING 1")
    assert await sweep.kick(no_pause) == 1
    assert await datasets(database) == [(31, "ready", 2, 0, 2), (32, "ready", 2, 0, 2)]
    assert await block_status(database) == [("tobeclosed",)]
    assert await sweep.kick(no_pause) == 0


async def test_a_job_that_is_still_to_be_activated_counts_as_at_work(database, sweep):
    await seed_merging(database, 1)
    await seed_block(database, "user.a_sub1")
    await seed_job(database, 2, "jobsdefined4", jobstatus="assigned", **JEDI)
    await seed_file(database, 2, "out2", destinationdblock="user.a_sub1")
    assert await sweep.kick(no_pause) == 0


@pytest.mark.parametrize("block", [None, "deleted"])
async def test_jobs_end_whose_sub_block_is_missing_or_deleted(database, sweep, block):
    await seed_merging(database, 1)
    await seed_merging(database, 2)
    await seed_merging(database, 3, "user.b_sub1")
    await seed_block(database, "user.b_sub1", "locked")
    if block is not None:
        await seed_block(database, "user.a_sub1", block)
    assert await sweep.kick(no_pause) == 2
    row = await job(database, 1)
    assert (row["jobstatus"], row["jobsubstatus"], row["taskbuffererrorcode"]) == ("closed", "toreassign", 102)
    assert await job(database, 3, "jobsactive4") is not None


@pytest.mark.parametrize("status", ["tobeclosed", "completed", "running"])
async def test_a_block_that_is_not_as_it_was_made_is_left_alone(database, sweep, status):
    await seed_merging(database, 1)
    await seed_block(database, "user.a_sub1", status)
    await seed_dataset(database, 31, "trn_output")
    assert await sweep.kick(no_pause) == 0
    assert await datasets(database) == [(31, "defined", 0, 0, 0)]


async def test_managed_jobs_are_not_kicked(database, sweep):
    await seed_merging(database, 1, label="managed")
    assert await sweep.kick(no_pause) == 0


async def test_a_merging_that_was_completed_begins_again_after_two_hours(database, time, sweep):
    await seed_merging(database, 1, label="managed")
    await seed_block(database, "user.a_sub1", "completed")
    await seed_dataset(database, 31, "trn_output")
    await seed_dataset(database, 32, "trn_log", used=4, to_be_used=4)
    time.advance(7199)
    assert await sweep.unstick(no_pause) == 0
    time.advance(1)
    assert await sweep.unstick(no_pause) == 1
    assert await datasets(database) == [(31, "ready", 1, 0, 1), (32, "ready", 1, 0, 1)]
    assert await sweep.unstick(no_pause) == 0


async def test_a_merging_that_goes_on_is_not_begun_again(database, time, sweep):
    await seed_merging(database, 1, label="managed")
    await seed_block(database, "user.a_sub1", "completed")
    await seed_dataset(database, 32, "trn_log", used=3, to_be_used=4)
    time.advance(int(timedelta(hours=9).total_seconds()))
    assert await sweep.unstick(no_pause) == 0
    await run(database, "UPDATE {panda}.jedi_datasets SET nfilesused = 4 RETURNING 1")
    await run(database, "UPDATE {panda}.datasets SET status = 'doing' RETURNING 1")
    assert await sweep.unstick(no_pause) == 0
