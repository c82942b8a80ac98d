"""Several jobs on the same input of which one counts: its range of events is what they compete for (tag sc).

runonce (sc:1): who begins to run first; storeonce (sc:2): who finishes first.
"""

from __future__ import annotations

from typing import Any

import pytest
from endings import DirectPool, Told, job, make_adder, report_of, run, seed_file, seed_report
from event_ranges import FILE, JOBSET, TASK, end, make_consumer, make_ranges, ranges
from tasks_by_hand import Task, make_job, make_task
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.requests import Heartbeat
from pandatx.services.closer import Closer
from pandatx.services.facts import Facts
from pandatx.services.heartbeats import Heartbeats
from pandatx.services.watcher import Watcher
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import Query

PILOT = Caller(dn="/CN=pilot", name="pilot", how="x509", pilot=True)
READY, SENT = 0, 1


class NoSpool:
    def add(self, caller: Any, beat: Any) -> Any:
        return succeed(None)


@pytest.fixture
def heartbeats(database: Database) -> Heartbeats:
    clock = Clock(reactor)
    return Heartbeats(database, clock, Facts(database, clock), NoSpool(), lambda: None)


async def clone(database: Database, panda_id: int, tag: str, status: str = "starting") -> None:
    await make_consumer(
        database, panda_id, eventservice=3, specialhandling=f"eventservice,{tag}", jobstatus=status, attemptnr=1
    )


async def says(heartbeats: Heartbeats, panda_id: int, status: str = "running") -> str:
    beat = Heartbeat(job_id=panda_id, job_status=status, attempt_nr=1)
    return (await heartbeats.report(PILOT, beat)).command


async def killed(database: Database, panda_id: int) -> bool:
    text = "SELECT commandtopilot = 'tobekilled' FROM {panda}.jobsactive4 WHERE pandaid = %(id)s"
    ((flagged,),) = await run(database, text, id=panda_id)
    return bool(flagged)


async def test_the_first_to_run_goes_on_and_the_others_are_killed(database, heartbeats):
    await make_ranges(database, 1)
    for panda_id in (50, 51):
        await clone(database, panda_id, "sc:1")
    assert await says(heartbeats, 51) == ""
    assert await says(heartbeats, 50) == "tobekilled"
    assert await ranges(database) == [(51, FILE, 1, SENT, 3)]
    assert [await killed(database, panda_id) for panda_id in (50, 51)] == [True, False]
    assert await says(heartbeats, 51) == ""
    assert await says(heartbeats, 50) == "tobekilled"


async def test_of_clones_that_begin_at_once_one_goes_on(database, heartbeats):
    await make_ranges(database, 1)
    for panda_id in (50, 51, 52):
        await clone(database, panda_id, "sc:1", "sent")
    told = await gatherResults([Deferred.fromCoroutine(says(heartbeats, n)) for n in (50, 51, 52)])
    assert sorted(told) == ["", "tobekilled", "tobekilled"]


async def test_other_jobs_and_those_that_store_once_run_without_asking(database, heartbeats):
    await make_ranges(database, 1)
    await clone(database, 50, "sc:2")
    await clone(database, 51, "sc:12")
    assert [await says(heartbeats, panda_id) for panda_id in (50, 51)] == ["", ""]
    assert await ranges(database) == [(JOBSET, FILE, 1, READY, 3)]


async def finished(database: Database, panda_id: int) -> None:
    await run(
        database,
        "UPDATE {panda}.jobsactive4 SET jobstatus = 'holding' WHERE pandaid = %(id)s RETURNING 1",
        id=panda_id,
    )
    await seed_file(database, panda_id, f"out{panda_id}")
    await seed_file(database, panda_id, f"log{panda_id}", "log")
    await seed_report(database, panda_id)


@pytest.mark.parametrize("tag", ["sc:1", "sc:2"])
async def test_the_first_to_finish_stores_and_the_others_are_closed(database, tag):
    await make_ranges(database, 1)
    for panda_id in (50, 51):
        await clone(database, panda_id, tag)
        await finished(database, panda_id)
    adder = make_adder(database, DirectPool())
    assert await adder.run_once() == 2
    first, second = await job(database, 50), await job(database, 51)
    assert (first["jobstatus"], first["ddmerrorcode"]) == ("finished", 0)
    assert (second["jobstatus"], second["jobsubstatus"]) == ("closed", "jc_unlock")
    assert (second["taskbuffererrorcode"], second["ddmerrorcode"]) == (200, 200)
    assert second["ddmerrordiag"] == "failed to lock semaphore for job cloning"
    assert await ranges(database) == [(50, FILE, 1, SENT, 3)]


async def clones_of_a_task(database: Database, tag: str, n: int = 2) -> tuple[Task, list[int]]:
    """Clones on the one input of a task, whose row names the last of them."""
    task = await make_task(database, n_files=1)
    await make_ranges(database, 1, task=task.id, dataset=999, file=999)
    columns = {"eventservice": 3, "specialhandling": tag, "jobsetid": JOBSET, "status": "holding"}
    ready = (
        "UPDATE {panda}.jedi_dataset_contents SET status = 'ready' WHERE fileid = %(id)s AND type = 'input' RETURNING 1"
    )
    ids = []
    for _ in range(n):
        await run(database, ready, id=task.inputs[0])
        ids.append(await make_job(database, task, task.inputs, **columns))
    return task, ids


async def input_of(database: Database, task: Task) -> tuple[str, int]:
    text = "SELECT status, attemptnr FROM {panda}.jedi_dataset_contents WHERE fileid = %(f)s"
    ((status, attempt),) = await run(database, text, f=task.inputs[0])
    return status, attempt


async def test_the_input_is_done_whichever_clone_finished(database):
    task, (first, second) = await clones_of_a_task(database, "sc:2")
    await end(database, second, "failed")
    assert await input_of(database, task) == ("running", 0)
    assert (await job(database, second))["jobstatus"] == "closed"
    lfns = await run(
        database, "SELECT lfn FROM {panda}.filestable4 WHERE pandaid = %(id)s AND type <> 'input'", id=first
    )
    await seed_report(database, first, data=report_of(*(lfn for (lfn,) in lfns)), attemptnr=0)
    await make_adder(database, DirectPool()).run_once()
    assert (await job(database, first))["jobstatus"] == "finished"
    assert await input_of(database, task) == ("finished", 1)
    rows = await run(
        database, "SELECT pandaid FROM {panda}.jedi_dataset_contents WHERE fileid = %(f)s", f=task.inputs[0]
    )
    assert rows == [(first,)], "and its row names that one"


class Loud:
    async def silence_counts(self) -> bool:
        return True


async def test_rules_on_errors_are_not_asked_of_a_silent_clone_that_others_outlive(database):
    await run(
        database,
        "INSERT INTO {panda}.retryerrors (retryerror_id, errorsource, errorcode, retryaction)"
        " VALUES (1, 'jobDispatcherErrorCode', 100, 1) RETURNING 1",
    )
    await run(
        database, "INSERT INTO {panda}.retryactions (retryaction_id, retry_action) VALUES (1, 'no_retry') RETURNING 1"
    )
    task, (_, second) = await clones_of_a_task(database, "sc:2")
    await run(
        database,
        "UPDATE {panda}.jobsactive4 SET jobstatus = 'running', endtime = NULL,"
        " modificationtime = CASE WHEN pandaid = %(id)s THEN date '2020-01-01' ELSE date '2199-01-01' END RETURNING 1",
        id=second,
    )
    limit = "SELECT maxattempt FROM {panda}.jedi_dataset_contents WHERE fileid = %(f)s"
    before = await run(database, limit, f=task.inputs[0])
    clock = Clock(reactor)
    closer = Closer(database, clock, Told().activate)
    assert await Watcher(database, clock, Facts(database, clock), Loud(), closer).run_once() == 1
    row = await job(database, second)
    assert (row["jobstatus"], row["jobdispatchererrorcode"]) == ("closed", 100)
    assert (await input_of(database, task), await run(database, limit, f=task.inputs[0])) == (("running", 0), before)


async def test_only_the_failure_of_the_last_clone_is_that_of_their_input(database):
    task, ids = await clones_of_a_task(database, "sc:2", 3)
    await end(database, ids[2], "cancelled")
    await end(database, ids[0], "failed")
    assert await input_of(database, task) == ("running", 0)
    await end(database, ids[1], "failed")
    assert await input_of(database, task) == ("ready", 1)
    assert [(await job(database, each))["jobstatus"] for each in ids] == ["closed", "failed", "cancelled"]


async def test_of_clones_that_fail_at_once_one_is_the_last(database):
    task, ids = await clones_of_a_task(database, "sc:2", 3)
    await gatherResults([Deferred.fromCoroutine(end(database, each, "failed")) for each in ids])
    assert await input_of(database, task) == ("ready", 1)


async def test_one_that_runs_alone_may_finish(database, heartbeats):
    await make_ranges(database, 1)
    await clone(database, 50, "sc:1")
    await says(heartbeats, 50)
    await finished(database, 50)
    await make_adder(database, DirectPool()).run_once()
    assert (await job(database, 50))["jobstatus"] == "finished"


async def test_clones_share_their_input(database):
    """JEDI's row of the file names one of them only."""
    await make_ranges(database, 1)
    await run(
        database,
        "INSERT INTO {panda}.jedi_datasets (jeditaskid, datasetid, datasetname, type, creationtime, modificationtime,"
        " status) VALUES (%(task)s, 11, 'd', 'input', '2026-01-01', '2026-01-01', 'ready') RETURNING 1",
        task=TASK,
    )
    text = "UPDATE {panda}.jedi_dataset_contents SET pandaid = 99, attemptnr = 0, keeptrack = 1 RETURNING 1"
    await run(database, text)
    await clone(database, 50, "sc:2")
    await seed_file(
        database, 50, f"in.{FILE}", "input", jeditaskid=TASK, datasetid=11, fileid=FILE, attemptnr=0,
        destinationdblock=None,
    )  # fmt: skip
    await finished(database, 50)
    await make_adder(database, DirectPool()).run_once()
    assert (await job(database, 50))["jobstatus"] == "finished"


async def test_jobs_without_events_end_and_begin_as_if_there_were_none(database, heartbeats, monkeypatch):
    asked: list[str] = []
    run_query = Transaction.run

    async def noted(tx: Transaction, query: Query, **params: Any) -> Any:
        asked.append(query.name)
        return await run_query(tx, query, **params)

    monkeypatch.setattr(Transaction, "run", noted)
    await make_ranges(database, 1)
    plain = {"eventservice": None, "specialhandling": "us,tq1"}
    for panda_id in (50, 51):
        await make_consumer(database, panda_id, **plain, jobstatus="sent")
    await says(heartbeats, 51)
    await finished(database, 50)
    assert await make_adder(database, DirectPool()).run_once() == 1
    assert {"heartbeats_update", "archive_archive"} < set(asked)
    assert not [name for name in asked if name.startswith("events_")]
