"""Reading jobs wherever they are, on a real database."""

import pytest
from endings import run, seed_file, seed_job
from twisted.internet import task

from pandatx.clock import Clock
from pandatx.services.jobs import Jobs


@pytest.fixture
def jobs(database) -> Jobs:
    return Jobs(database, Clock.manual(task.Clock()))


async def test_statuses_come_in_the_order_of_the_ids_and_without_the_unknown(database, jobs):
    await seed_job(database, 1, jobstatus="running", attemptnr=2)
    await seed_job(database, 2, "jobsdefined4", jobstatus="defined")
    await seed_job(database, 3, "jobsarchived4", jobstatus="finished")
    assert await jobs.statuses([3, 9, 1, 2]) == [(3, "finished", 1), (1, "running", 2), (2, "defined", 1)]


async def test_workers_of_jobs_that_are_not_known_any_more_are_to_be_killed(database, jobs):
    await seed_job(database, 1, jobstatus="running", commandtopilot="tobekilled")
    await seed_job(database, 2, "jobsarchived4", jobstatus="failed", modificationtime="2025-12-31 23:30")
    await seed_job(database, 3, "jobsarchived4", jobstatus="failed", modificationtime="2025-12-31 22:30")
    assert await jobs.commands([3, 1, 2]) == [("unknown", "tobekilled"), ("running", "tobekilled"), ("failed", None)]


async def test_a_description_has_files_parameters_and_metadata(database, jobs):
    await seed_job(database, 1, jobstatus="running")
    await seed_file(database, 1, "out1")
    await run(database, "INSERT INTO {panda}.metatable (pandaid, metadata) VALUES (1, 'm') RETURNING 1")
    missing, found = await jobs.describe([2, 1], archive=False)
    assert missing is None
    assert (found.job_status, found.job_parameters, found.metadata) == ("running", "x", "m")
    assert [each.lfn for each in found.files] == ["out1"]


async def test_the_archive_is_read_where_it_is_asked_for(database, jobs):
    for text in (
        "INSERT INTO {arch}.jobsarchived (pandaid, jobstatus, modificationtime) VALUES (1, 'finished', '2020-01-01')",
        "INSERT INTO {arch}.filestable_arch (row_id, pandaid, lfn, type, status) VALUES (1, 1, 'old', 'log', 'ready')",
        "INSERT INTO {arch}.jobparamstable_arch (pandaid, jobparameters) VALUES (1, 'p')",
    ):
        await run(database, text + " RETURNING 1")
    assert await jobs.describe([1], archive=False) == [None]
    (found,) = await jobs.describe([1], archive=True)
    assert (found.job_status, found.job_parameters, found.files[0].lfn) == ("finished", "p", "old")


async def test_jobs_are_found_by_status_queue_and_owner_the_newest_first(database, jobs):
    await seed_job(database, 1, jobstatus="running")
    await seed_job(database, 2, "jobsdefined4", jobstatus="defined", computingsite="R")
    await seed_job(database, 3, "jobsarchived4", jobstatus="finished", produsername="bob")
    assert [job.panda_id for job in await jobs.find(None, None, None, 2)] == [3, 2]
    assert [job.panda_id for job in await jobs.find("running", None, None, 9)] == [1]
    assert [job.panda_id for job in await jobs.find(None, "R", None, 9)] == [2]
    assert [job.panda_id for job in await jobs.find(None, None, "bob", 9)] == [3]
