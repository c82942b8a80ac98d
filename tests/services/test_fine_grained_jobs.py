"""A fine-grained job (event service 6) has finished with what it has processed; its input with its last event."""

from __future__ import annotations

import pytest
from endings import DirectPool, job, make_adder, report_of, run, seed_report
from event_ranges import JOBSET, make_ranges
from tasks_by_hand import Task, counters, files, make_job, make_task, recount
from twisted.internet import reactor

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.services.closer import Closer
from pandatx.services.killing import Killing
from pandatx.store.database import Database

PRODUCTION = Caller(dn="/CN=prod", name="prod", how="x509", production=True)
FINISHED, SENT = 3, 1


async def make_part(database: Database, task: Task, *, done: int, out: int = 0) -> int:
    """A job of the task that has processed some of the ranges which are free, and has some more in hand."""
    panda_id = await make_job(database, task, status="holding", eventservice=6, jobsetid=JOBSET)
    for n, status in ((done, FINISHED), (out, SENT)):
        await run(
            database,
            "UPDATE {panda}.jedi_events SET pandaid = %(job)s, status = %(status)s"
            " WHERE job_processid = ANY (ARRAY(SELECT job_processid FROM {panda}.jedi_events"
            " WHERE pandaid = %(jobset)s ORDER BY 1 LIMIT %(n)s)) RETURNING 1",
            job=panda_id,
            status=status,
            jobset=JOBSET,
            n=n,
        )
    return panda_id


async def reports(database: Database, panda_id: int, status: str, attempt: int) -> tuple[str, str]:
    data = report_of(f"output.{panda_id}", f"log.{panda_id}")
    await seed_report(database, panda_id, status, data=data, attemptnr=attempt)
    assert await make_adder(database, DirectPool()).run_once() == 1
    row = await job(database, panda_id)
    return row["jobstatus"], row["jobsubstatus"]


async def input_of(database: Database, task: Task) -> tuple[str, int, int]:
    assert await counters(database, task) == await recount(database, task)
    (row,) = (await files(database, task)).values()
    return row["status"], row["attemptnr"], row["failedattempt"]


async def make_parted(database: Database) -> Task:
    """A task with one file, of four ranges."""
    task = await make_task(database, n_files=1, max_attempt=5)
    await make_ranges(database, 4, task=task.id, dataset=999, file=999)
    return task


async def test_its_input_is_tried_again_until_no_event_is_left(database):
    task = await make_parted(database)
    first = await make_part(database, task, done=1, out=2)
    assert await reports(database, first, "finished", 0) == ("finished", "fg_partial")
    assert await input_of(database, task) == ("ready", 1, 0)
    second = await make_part(database, task, done=2, out=1)
    assert await reports(database, second, "failed", 1) == ("finished", "fg_partial"), "what it has done counts"
    assert await input_of(database, task) == ("ready", 2, 0)
    third = await make_part(database, task, done=1)
    assert await reports(database, third, "finished", 2) == ("finished", "fg_done")
    assert await input_of(database, task) == ("finished", 3, 0)


@pytest.mark.parametrize(("status", "failures"), [("finished", 0), ("failed", 1)])
async def test_one_that_has_done_nothing_has_stumbled(database, status, failures):
    task = await make_parted(database)
    panda_id = await make_part(database, task, done=0, out=1)
    assert await reports(database, panda_id, status, 0) == (status, "fg_stumble")
    assert await input_of(database, task) == ("ready", 1, failures)


async def test_one_that_is_killed_is_killed(database):
    task = await make_parted(database)
    panda_id = await make_part(database, task, done=2)
    clock = Clock(reactor)
    killing = Killing(database, clock, Closer(database, clock, lambda name: None), lambda jobs: None)
    assert await killing.kill(PRODUCTION, [panda_id], 9) == [True]
    assert (await job(database, panda_id))["jobstatus"] == "cancelled"
    assert await input_of(database, task) == ("ready", 1, 0)
