"""Outputs that are merged: when their merging begins, and how the jobs end that wait for it (lifecycle.md 1.2, 2.9)."""

from typing import Any

import pytest
from attrs import evolve
from endings import DirectPool, Told, job, report_of, run, seed_block, seed_report
from tasks_by_hand import Task, counters, files, make_job, make_task, task_row
from twisted.internet import reactor

from pandatx.clock import Clock
from pandatx.domain.queues import Queue
from pandatx.services.adder import Adder
from pandatx.services.closer import Closer
from pandatx.services.facts import Facts
from pandatx.services.watcher import Watcher

SUB = "user.1000.output_sub0001"


@pytest.fixture
def closer(database) -> Closer:
    return Closer(database, Clock(reactor), Told().activate)


@pytest.fixture
def adder(database, closer) -> Adder:
    clock = Clock(reactor)
    target = "pandatx.plugins.local:Adder"
    return Adder(database, clock, Facts(database, clock), DirectPool(), lambda vo, group: target, {}, closer, "here")


async def seed_maker(database, task: Task) -> int:
    """A job whose outputs are to be merged; its report says that it has finished."""
    panda_id = await make_job(database, task, status="holding")
    await run(
        database,
        "UPDATE {panda}.filestable4 SET destinationdblocktoken = 'TOMERGE', destinationdblock = %(block)s"
        " WHERE pandaid = %(i)s AND type IN ('output', 'log') RETURNING 1",
        block=SUB,
        i=panda_id,
    )
    await seed_report(database, panda_id, data=report_of(f"output.{panda_id}", f"log.{panda_id}"), attemptnr=0)
    return panda_id


async def seed_merge(database, task: Task, *makers: int, **columns: Any) -> int:
    """A job that merges the outputs of others, as the job generator makes it."""
    panda_id = await make_job(
        database, task, [], status="holding", **{"processingtype": "pmerge", "outputs": ["log"], **columns}
    )
    for maker in makers:
        await run(
            database,
            "UPDATE {panda}.jedi_dataset_contents SET status = 'running', pandaid = %(i)s"
            " WHERE outpandaid = %(maker)s AND datasetid = %(d)s AND status = 'ready' RETURNING 1",
            i=panda_id,
            maker=maker,
            d=task.datasets["output"],
        )
        await run(
            database,
            "INSERT INTO {panda}.filestable4 (row_id, pandaid, lfn, type, status, dispatchdblocktoken, jeditaskid,"
            " datasetid, fileid, attemptnr)"
            " SELECT nextval('{panda}.filestable4_row_id_seq'), %(i)s, lfn, 'input', 'ready', 'TOMERGE',"
            " jeditaskid, datasetid, fileid, attemptnr FROM {panda}.jedi_dataset_contents"
            " WHERE outpandaid = %(maker)s AND datasetid = %(d)s RETURNING 1",
            i=panda_id,
            maker=maker,
            d=task.datasets["output"],
        )
    return panda_id


async def merged(database, adder: Adder, merge: int, status: str = "finished") -> None:
    await seed_report(database, merge, status, data=report_of(f"log.{merge}"), attemptnr=0)
    assert await adder.run_once() == 1


async def dataset(database, task: Task, name: str = "output") -> tuple:
    text = (
        "SELECT status, nfiles, nfilestobeused, nfilesused, nfilesonhold FROM {panda}.jedi_datasets"
        " WHERE datasetid = %(d)s"
    )
    ((row),) = await run(database, text, d=task.datasets[name])
    return tuple(row)


async def status_of_block(database) -> str:
    ((status,),) = await run(database, "SELECT status FROM {panda}.datasets WHERE name = %(n)s", n=SUB)
    return status


async def test_when_all_outputs_of_a_block_are_there_jedi_may_merge_them(database, adder):
    await seed_block(database, SUB)
    task = await make_task(database)
    first, second = await seed_maker(database, task), await seed_maker(database, task)
    assert await adder.run_once(limit=1) == 1
    assert (await job(database, first, "jobsactive4"))["jobstatus"] == "merging"
    assert await status_of_block(database) == "defined", "an output of the second job is to come"
    assert await adder.run_once() == 1
    assert (await job(database, second, "jobsactive4"))["jobstatus"] == "merging"
    assert await status_of_block(database) == "tobeclosed"
    assert await dataset(database, task) == ("ready", 2, 2, 0, 0)
    assert await dataset(database, task, "log") == ("ready", 2, 2, 0, 0)
    rows = (await files(database, task, "output")).values()
    assert [(row["status"], row["boundaryid"], row["maxattempt"]) for row in rows] == [
        ("ready", first, 3),
        ("ready", second, 3),
    ]


async def test_a_block_that_was_left_in_doing_is_merged_with_the_next_look(database, adder, closer):
    await seed_block(database, SUB, "doing")
    task = await make_task(database)
    await seed_maker(database, task)
    assert await adder.run_once() == 1
    assert (await status_of_block(database), (await dataset(database, task))[0]) == ("tobeclosed", "ready")


async def test_where_nothing_is_left_to_merge_the_dataset_is_done(database, adder):
    await seed_block(database, SUB)
    task = await make_task(database)
    panda_id = await seed_maker(database, task)
    await run(database, "UPDATE {panda}.job_output_report SET jobstatus = 'failed' RETURNING 1")
    assert await adder.run_once() == 1
    assert (await job(database, panda_id))["jobstatus"] == "failed"
    assert await dataset(database, task) == ("done", 1, 1, 1, 0)


async def test_a_job_finishes_with_the_merging_of_its_outputs(database, adder):
    await seed_block(database, SUB)
    task = await make_task(database)
    maker, other = await seed_maker(database, task), await seed_maker(database, task)
    await adder.run_once()
    merge = await seed_merge(database, task, maker)
    await merged(database, adder, merge)
    row = await job(database, maker)
    assert (row["jobstatus"], row["taskbuffererrorcode"]) == ("finished", 0)
    assert (await job(database, other, "jobsactive4"))["jobstatus"] == "merging"
    made = "SELECT DISTINCT status FROM {panda}.filestable4 WHERE pandaid = %(i)s AND type IN ('output', 'log')"
    assert await run(database, made, i=maker) == [("finished",)]
    (first, *_) = (await files(database, task)).values()
    assert (first["status"], first["pandaid"]) == ("finished", maker)
    assert (await task_row(database, task))["total_done_jobs"] == 1, "a merge is not counted as a job"
    assert (await counters(database, task))["input"]["nfilesfinished"] == 1


async def test_a_job_fails_with_its_merging_only_when_that_will_not_be_tried_again(database, adder):
    await seed_block(database, SUB)
    task = await make_task(database, n_files=1)
    maker = await seed_maker(database, task)
    await adder.run_once()
    for attempt in (0, 1):
        merge = await seed_merge(database, task, maker, attemptnr=attempt)
        await run(database, "UPDATE {panda}.jobsactive4 SET attemptnr = 0 WHERE pandaid = %(i)s RETURNING 1", i=merge)
        await merged(database, adder, merge, "failed")
        assert (await job(database, maker, "jobsactive4"))["jobstatus"] == "merging"
    merge = await seed_merge(database, task, maker)
    await merged(database, adder, merge, "failed")
    row = await job(database, maker)
    assert (row["jobstatus"], row["taskbuffererrorcode"], row["jobsubstatus"]) == ("failed", 113, "merge_failed")
    (output,) = (await files(database, task, "output")).values()
    assert (output["status"], output["keeptrack"]) == ("notmerged", None)
    (source,) = (await files(database, task)).values()
    assert (source["status"], source["attemptnr"], source["failedattempt"]) == ("ready", 1, 1)


async def test_a_rule_against_retries_ends_the_merging_at_once(database, adder):
    await run(
        database,
        "INSERT INTO {panda}.retryerrors (retryerror_id, errorsource, errorcode, retryaction)"
        " VALUES (1, 'pilotErrorCode', 1305, 1) RETURNING 1",
    )
    await run(
        database, "INSERT INTO {panda}.retryactions (retryaction_id, retry_action) VALUES (1, 'no_retry') RETURNING 1"
    )
    await seed_block(database, SUB)
    task = await make_task(database, n_files=1)
    maker = await seed_maker(database, task)
    await adder.run_once()
    await merged(database, adder, await seed_merge(database, task, maker, piloterrorcode=1305), "failed")
    assert (await job(database, maker))["jobsubstatus"] == "merge_failed"


async def test_an_attempt_at_merging_that_a_system_error_cost_is_given_back(database, adder):
    await run(
        database,
        "INSERT INTO {panda}.error_classification (error_source, error_code, error_diag, error_class, active)"
        " VALUES ('pilotErrorCode', 1305, 'the disk', 'system', 'Y') RETURNING 1",
    )
    await seed_block(database, SUB)
    task = await make_task(database, n_files=1)
    maker = await seed_maker(database, task)
    await adder.run_once()
    await run(database, "UPDATE {panda}.jedi_dataset_contents SET maxattempt = 1 WHERE type = 'output' RETURNING 1")
    before = await dataset(database, task)
    merge = await seed_merge(database, task, maker, piloterrorcode=1305, piloterrordiag="the disk broke")
    await run(
        database,
        "UPDATE {panda}.jedi_datasets SET nfilesused = nfilesused + 1 WHERE datasetid = %(d)s RETURNING 1",
        d=task.datasets["output"],
    )
    await merged(database, adder, merge, "failed")
    (output,) = (await files(database, task, "output")).values()
    assert (output["status"], output["keeptrack"], output["attemptnr"], output["maxattempt"]) == ("ready", 1, 1, 2)
    assert await dataset(database, task) == before
    assert (await counters(database, task))["output"]["nfilesfailed"] == 0
    assert (await job(database, maker, "jobsactive4"))["jobstatus"] == "merging", "it will be tried again"


async def test_the_work_of_a_job_is_kept_when_it_goes_over_to_merging(database, adder):
    known = adder._facts.known
    adder._facts.known = evolve(known, queues={"Q": Queue(name="Q", core_power=10.0)})
    await seed_block(database, SUB)
    task = await make_task(database)
    maker = await seed_maker(database, task)
    await run(
        database,
        "UPDATE {panda}.jobsactive4 SET starttime = '2026-01-01 00:00', endtime = '2026-01-01 01:00' RETURNING 1",
    )
    await adder.run_once()
    await merged(database, adder, await seed_merge(database, task, maker))
    row = await job(database, maker)
    assert (row["jobstatus"], row["hs06sec"]) == ("finished", 36000)


async def test_the_watcher_ends_jobs_that_nobody_told_of_their_merging(database, adder):
    await seed_block(database, SUB)
    task = await make_task(database)
    maker = await seed_maker(database, task)
    await adder.run_once()
    merge = await seed_merge(database, task, maker)
    await run(
        database,
        "UPDATE {panda}.jedi_dataset_contents SET status = 'finished'"
        " WHERE pandaid = %(i)s AND type = 'output' RETURNING 1",
        i=merge,
    )

    class Loud:
        async def silence_counts(self) -> bool:
            return True

    now = Clock(reactor)
    facts = Facts(database, now)
    await run(database, "UPDATE {panda}.jobsactive4 SET modificationtime = '2199-01-01' RETURNING 1")
    await Watcher(database, now, facts, Loud(), Closer(database, now, Told().activate)).run_once()
    assert (await job(database, maker))["jobstatus"] == "finished"


async def test_a_job_shares_the_end_of_a_merge_job_that_is_archived_by_now(database, adder, closer):
    await seed_block(database, SUB)
    task = await make_task(database)
    maker = await seed_maker(database, task)
    await adder.run_once()
    merge = await seed_merge(database, task, maker)
    await run(
        database,
        "WITH j AS (DELETE FROM {panda}.jobsactive4 WHERE pandaid = %(i)s RETURNING pandaid)"
        " INSERT INTO {arch}.jobsarchived (pandaid, jobstatus, attemptnr, creationtime, modificationtime,"
        " statechangetime, prodsourcelabel, currentpriority)"
        " SELECT pandaid, 'cancelled', 0, now(), now(), now(), 'user', 0 FROM j RETURNING 1",
        i=merge,
    )
    await run(
        database,
        "UPDATE {panda}.jedi_dataset_contents SET status = 'notmerged', keeptrack = NULL"
        " WHERE pandaid = %(i)s AND type = 'output' RETURNING 1",
        i=merge,
    )
    await closer.end_merged([maker])
    row = await job(database, maker)
    assert (row["jobstatus"], row["jobsubstatus"]) == ("cancelled", "merge_cancelled")
