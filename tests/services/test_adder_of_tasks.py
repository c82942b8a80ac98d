"""The Adder's look at JEDI's rows before it believes a report (reference/lifecycle.md 2.7, step 3)."""

import json
from typing import Any

import pytest
from endings import GUID, DirectPool, job, make_adder, report_of, reports, run, seed_report, seed_reported
from tasks_by_hand import Task, counters, files, make_job, make_task, recount

from pandatx.services.adder import Adder
from pandatx.store import reports as store
from pandatx.store.database import Transaction


@pytest.fixture
def pool() -> DirectPool:
    return DirectPool()


@pytest.fixture
def adder(database, pool) -> Adder:
    return make_adder(database, pool)


async def reported(database, task: Task, status: str = "finished", **columns: Any) -> int:
    panda_id = await make_job(database, task, status="holding", **columns)
    data = report_of(f"output.{panda_id}", f"log.{panda_id}")
    await seed_report(database, panda_id, status, data=data, attemptnr=0)
    return panda_id


async def jedi(database, change: str, where: str = "type = 'input' AND status = 'running'") -> None:
    await run(database, f"UPDATE {{panda}}.jedi_dataset_contents SET {change} WHERE {where} RETURNING 1")


async def test_a_job_whose_input_is_still_its_own_finishes(database, adder):
    panda_id = await reported(database, await make_task(database, secondary=True, with_lib=True))
    assert await adder.run_once() == 1
    assert (await job(database, panda_id))["jobstatus"] == "finished"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("pandaid = 99", "of job 99"),
        ("attemptnr = 1", "at attempt 1"),
        ("status = 'ready'", "is ready"),
        ("status = 'finished', is_waiting = 'Y'", "is finished"),
    ],
)
async def test_a_job_whose_input_jedi_has_given_to_another_fails(database, adder, pool, change, what):
    task = await make_task(database, n_files=1)
    panda_id = await reported(database, task)
    await jedi(database, change)
    assert await adder.run_once() == 1
    row = await job(database, panda_id)
    assert (row["jobstatus"], row["ddmerrorcode"]) == ("failed", 200)
    assert row["ddmerrordiag"].startswith("inconsistent inputs: in.1000.0 ")
    assert what in row["ddmerrordiag"]
    assert await reports(database) == []
    made = await run(database, "SELECT DISTINCT status FROM {panda}.filestable4 WHERE type = 'output'")
    assert made == [("failed",)]
    assert pool.calls == [[panda_id]], "the plugin is told of the failed job"


async def test_an_input_that_is_gone_from_jedi_fails_its_job(database, adder):
    panda_id = await reported(database, await make_task(database, n_files=1))
    await run(database, "DELETE FROM {panda}.jedi_dataset_contents WHERE type = 'input' RETURNING 1")
    assert await adder.run_once() == 1
    assert (await job(database, panda_id))["ddmerrordiag"].startswith("inconsistent inputs: in.1000.0 is not there")


@pytest.mark.parametrize(
    "change",
    [
        "keeptrack = NULL, status = 'ready'",
        "keeptrack = 0, pandaid = 99",
        "attemptnr = NULL, pandaid = 99",
        "status = 'ready', is_waiting = 'Y'",
    ],
)
async def test_inputs_that_jedi_does_not_count_are_passed_over(database, adder, change):
    panda_id = await reported(database, await make_task(database, n_files=1))
    await jedi(database, change)
    await adder.run_once()
    assert (await job(database, panda_id))["jobstatus"] == "finished"


async def test_only_the_master_input_is_looked_at_but_of_a_merge_job_every_input(database, adder):
    task = await make_task(database, n_files=2, secondary=True)
    plain = await reported(database, task)
    merge = await reported(database, task, processingtype="pmerge")
    await jedi(database, "pandaid = 99", "starts_with(lfn, 'second')")
    assert await adder.run_once() == 2
    assert (await job(database, plain))["jobstatus"] == "finished"
    assert (await job(database, merge))["jobstatus"] == "failed"


async def test_a_killed_job_is_not_looked_at(database, adder):
    panda_id = await reported(database, await make_task(database, n_files=1))
    await run(database, "UPDATE {panda}.jobsactive4 SET jobstatus = 'closed' RETURNING 1")
    await jedi(database, "pandaid = 99")
    await adder.run_once()
    row = await job(database, panda_id)
    assert (row["jobstatus"], row["ddmerrorcode"]) == ("closed", 0)


async def test_jobs_without_a_task_cost_no_query(database, adder, monkeypatch):
    asked: list[int] = []
    plain = Transaction.run

    async def counting(tx, query, **params):
        if query is store.SQL.mismatches:
            asked.append(1)
        return await plain(tx, query, **params)

    monkeypatch.setattr(Transaction, "run", counting)
    await seed_reported(database, 1, 2)
    assert await adder.run_once() == 2
    assert asked == []
    task = await make_task(database, n_files=2)
    await reported(database, task)
    await reported(database, task)
    assert await adder.run_once() == 2
    assert asked == [1], "one for the whole batch"


@pytest.mark.parametrize("status", ["finished", "failed"])
async def test_a_job_that_its_pilot_found_closed_is_closed_whatever_the_report_says(database, adder, pool, status):
    task = await make_task(database, n_files=1)
    panda_id = await reported(database, task, status, jobsubstatus="pilot_closed", piloterrorcode=1305)
    assert await adder.run_once() == 1
    row = await job(database, panda_id)
    assert (row["jobstatus"], row["jobsubstatus"], row["taskbuffererrorcode"]) == ("closed", "pilot_closed", 100)
    assert row["endtime"] is not None
    assert await reports(database) == []
    assert pool.calls == []
    (file,) = (await files(database, task)).values()
    assert (file["status"], file["attemptnr"], file["failedattempt"]) == ("ready", 1, 0)
    assert await counters(database, task) == await recount(database, task)


async def test_a_mismatch_counts_before_what_the_pilot_says_of_itself(database, adder):
    task = await make_task(database, n_files=1)
    panda_id = await reported(database, task, jobsubstatus="pilot_closed")
    await jedi(database, "pandaid = 99")
    await adder.run_once()
    assert (await job(database, panda_id))["jobstatus"] == "failed"


async def test_events_of_outputs_reach_the_task(database, adder):
    task = await make_task(database, n_files=1)
    panda_id = await reported(database, task)
    text = json_report(f"output.{panda_id}", 250)
    insert = "INSERT INTO {panda}.metatable (pandaid, metadata) VALUES (%(i)s, %(t)s) RETURNING 1"
    await run(database, insert, i=panda_id, t=text)
    await adder.run_once()
    (made,) = (await files(database, task, "output")).values()
    assert (made["nevents"], made["status"], made["guid"]) == (250, "finished", GUID)


def json_report(lfn: str, events: int) -> str:
    return json.dumps({"files": {"output": [{"subFiles": [{"name": lfn, "nentries": events}]}]}})
