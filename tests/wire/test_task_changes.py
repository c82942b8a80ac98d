"""Changes of tasks by the production role, in both dialects over the real services: answers, tasks and their jobs."""

from __future__ import annotations

from typing import Any

import pytest
from asking import old, post
from real import Real
from sites import ANYBODY, PILOT, PRODUCTION, USER
from steering import FIRST, PARAMETERS, ROLE, commands, legacy, rows
from tasks_by_hand import counters, files, make_job, make_task, recount

from pandatx.domain.requests import JobRequest

CHANGES = {
    "task/reactivate": ("reactivateTask", {}),
    "task/increase_attempts": ("increaseAttemptNrPanda", {"increase": 3}),
    "task/change_priority": ("changeTaskPriority", {"priority": 5}),
    "task/change_attribute": ("changeTaskAttributePanda", {"attribute_name": "ramCount", "value": 5}),
    "task/change_split_rule": ("changeTaskSplitRulePanda", {"attribute_name": "NF", "value": "5"}),
    "task/change_modification_time": ("changeTaskModTimePanda", {"hour_offset": -12}),
    "task/enable_jumbo_jobs": ("enableJumboJobs", {"jumbo_jobs_total": 3}),
}


@pytest.mark.parametrize("path", sorted(CHANGES))
async def test_owners_may_not_change_their_tasks_like_this(real: Real, database: Any, path: str) -> None:
    await make_task(database, 77, user="Some User")
    before = real.contents()
    method, values = CHANGES[path]
    got = await post(real, path, USER, task_id=77, **values)
    assert got.json == {"success": False, "message": ROLE, "data": None}
    told = await old(real, method, USER, jediTaskID=77)
    if method == "changeTaskPriority":
        assert told.text == f"Failed : {ROLE}"
    else:
        assert told.json == [{"increaseAttemptNrPanda": 3, "enableJumboJobs": 101}.get(method, False), ROLE]
    assert real.contents() == before


@pytest.mark.parametrize("method", ["enableJumboJobs", "reassignTask"])
async def test_who_is_not_secure_is_told_a_number_where_nought_is_success(real: Real, method: str) -> None:
    assert await legacy(real, method, ANYBODY, jediTaskID=77) == [100, "SSL secure connection is required"]


@pytest.mark.parametrize("path", sorted(CHANGES))
async def test_a_task_that_is_not_there_is_not_changed(real: Real, path: str) -> None:
    await post(real, "task/submit", task_parameters=PARAMETERS)
    before = real.contents()
    for task_id in (1, FIRST):
        got = await post(real, path, PRODUCTION, task_id=task_id, **CHANGES[path][1])
        assert got.json["success"] is False
        assert "not found" in got.json["message"].lower() or "status=waiting" in got.json["message"]
    assert real.contents() == before


# Priority


async def test_a_priority_is_that_of_the_task_its_mirror_and_its_jobs(real: Real, database: Any) -> None:
    task = await make_task(database, 77, n_files=4)
    other = await make_task(database, 78, n_files=1)
    for status in ("defined", "activated", "running"):
        await make_job(database, task, status=status, currentpriority=100)
    await make_job(database, other, status="activated", currentpriority=100)
    got = await post(real, "task/change_priority", PRODUCTION, task_id=77, priority=900)
    assert got.json == {"success": True, "message": "1 tasks changed", "data": None}
    assert rows(real, "SELECT jeditaskid, currentpriority FROM jedi_tasks ORDER BY 1") == [(77, 900), (78, None)]
    assert rows(real, "SELECT current_priority, timestamp IS NOT NULL FROM t_task WHERE taskid = 77") == [(900, True)]
    found = rows(
        real,
        "SELECT jeditaskid, jobstatus, currentpriority FROM jobsdefined4 UNION ALL"
        " SELECT jeditaskid, jobstatus, currentpriority FROM jobsactive4 ORDER BY 1, 2",
    )
    assert found == [
        (77, "activated", 900), (77, "defined", 900), (77, "running", 900), (78, "activated", 100),
    ]  # fmt: skip
    assert await legacy(real, "changeTaskPriority", PRODUCTION, jediTaskID=77, newPriority=1) == 1
    assert await legacy(real, "changeTaskPriority", PRODUCTION, jediTaskID=1, newPriority=1) == 0
    missing = await post(real, "task/change_priority", PRODUCTION, task_id=1, priority=1)
    assert missing.json == {"success": False, "message": "Task not found", "data": None}


async def test_more_jobs_than_one_batch_have_the_priority_too(real: Real, database: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("pandatx.services.task_changes.JOBS_AT_ONCE", 2)
    task = await make_task(database, 77, n_files=5)
    for _ in range(5):
        await make_job(database, task, status="activated", currentpriority=100)
    await post(real, "task/change_priority", PRODUCTION, task_id=77, priority=900)
    assert rows(real, "SELECT currentpriority FROM jobsactive4") == [(900,)] * 5


async def test_pilots_are_given_the_jobs_of_a_task_by_its_new_priority_at_once(real: Real, database: Any) -> None:
    asked = JobRequest(site_name="LOCAL", prod_source_label="user", memory=10**6, disk_space=10**6)
    where = {"status": "activated", "computingsite": "LOCAL", "gshare": "User", "resource_type": "SCORE"}
    low = await make_task(database, 77, n_files=2)
    high = await make_task(database, 78, n_files=3)
    first = await make_job(database, high, currentpriority=500, **where)
    late = await make_job(database, low, currentpriority=100, **where)
    await make_job(database, high, currentpriority=400, **where)
    taken = await real.core.dispatch.acquire(PILOT, asked)
    assert [job.panda_id for job in taken.jobs] == [first]
    await post(real, "task/change_priority", PRODUCTION, task_id=77, priority=900)
    taken = await real.core.dispatch.acquire(PILOT, asked)
    assert [job.panda_id for job in taken.jobs] == [late]


# Shares


async def seed_shares(real: Real) -> None:
    real.run("DELETE FROM global_shares")
    real.run(
        "INSERT INTO global_shares (name, value, parent) VALUES ('All', 1, NULL), ('A', 1, 'All'), ('B', 1, 'All')"
    )
    await real.core.facts.refresh()


@pytest.mark.parametrize("running", [False, True])
async def test_a_share_is_that_of_the_tasks_and_of_their_jobs(real: Real, database: Any, running: bool) -> None:
    await seed_shares(real)
    task = await make_task(database, 77, n_files=6, gshare="A")
    locked = await make_task(database, 78, n_files=1, gshare="A", lockedby="jedi")
    for status in ("pending", "defined", "activated", "starting", "running", "sent"):
        await make_job(database, task, status=status, gshare="A")
    await make_job(database, locked, status="activated", gshare="A")
    got = await post(
        real,
        "task/reassign_global_share",
        PRODUCTION,
        task_id_list=[77, 78, 79],
        share="B",
        reassign_running_jobs=running,
    )
    told = "left alone, since they are locked or unknown: 78, 79"
    assert got.json == {"success": True, "message": told, "data": 0}
    assert rows(real, "SELECT jeditaskid, gshare FROM jedi_tasks ORDER BY 1") == [(77, "B"), (78, "A")]
    found = dict(
        rows(
            real,
            "SELECT jobstatus, gshare FROM jobsdefined4 WHERE jeditaskid = 77 UNION ALL"
            " SELECT jobstatus, gshare FROM jobsactive4 WHERE jeditaskid = 77",
        )
    )
    ran = "B" if running else "A"
    assert found == {
        "pending": "B", "defined": "B", "activated": "B", "starting": ran, "running": ran, "sent": "A",
    }  # fmt: skip
    assert rows(real, "SELECT gshare FROM jobsactive4 WHERE jeditaskid = 78") == [("A",)]


@pytest.mark.parametrize("share", ["All", "Nothing", ""])
async def test_only_a_leaf_is_a_share_for_tasks(real: Real, database: Any, share: str) -> None:
    await seed_shares(real)
    await make_task(database, 77, gshare="A")
    before = real.contents()
    got = await post(
        real, "task/reassign_global_share", PRODUCTION, task_id_list=[77], share=share, reassign_running_jobs=False
    )
    assert got.json == {"success": False, "message": f"Share {share} is not a leave share ", "data": 1}
    told = await legacy(
        real, "reassignShare", PRODUCTION, jedi_task_ids_pickle="[77]", share=share, reassign_running="True"
    )
    assert told == [1, f"Share {share} is not a leave share "]
    assert real.contents() == before


async def test_an_old_client_names_the_tasks_in_json_since_pickles_are_not_read(real: Real, database: Any) -> None:
    await seed_shares(real)
    await make_task(database, 77, gshare="A")
    values = {"share": "B", "reassign_running": "False"}
    assert await legacy(real, "reassignShare", PRODUCTION, jedi_task_ids="[77]", **values) == [0, None]
    assert rows(real, "SELECT gshare FROM jedi_tasks") == [("B",)]
    real.caller = PRODUCTION
    body = b"share=A&reassign_running=False&jedi_task_ids_pickle=%28lp0%0AI77%0Aa."
    got = await real.ask(
        "POST", "/server/panda/reassignShare", body, content_type="application/x-www-form-urlencoded",
        accept="application/json",
    )  # fmt: skip
    assert got.status == 400
    assert rows(real, "SELECT gshare FROM jedi_tasks") == [("B",)]


async def test_shares_are_for_the_production_role(real: Real) -> None:
    got = await post(real, "task/reassign_global_share", USER, task_id_list=[7], share="B", reassign_running_jobs=False)
    assert got.json["message"] == ROLE


# Attempts


async def test_files_that_used_up_their_attempts_have_some_again(real: Real, database: Any) -> None:
    task = await make_task(database, 77, n_files=4, max_attempt=3, max_failure=2, secondary=True)
    spent, failed, fresh, used = task.inputs
    real.run("UPDATE jedi_dataset_contents SET attemptnr = 4 WHERE fileid = %s", spent)
    real.run("UPDATE jedi_dataset_contents SET failedattempt = 2 WHERE fileid = %s", failed)
    real.run("UPDATE jedi_dataset_contents SET status = 'finished' WHERE fileid = %s", used)
    real.run("UPDATE jedi_dataset_contents SET proc_status = 'failed' WHERE fileid = ANY (%s)", [spent, failed])
    real.run(
        "UPDATE jedi_datasets SET nfilesused = 3, nfilesfailed = 2, nfilesfinished = 1 WHERE datasetid = %s",
        task.datasets["input"],
    )
    got = await post(real, "task/increase_attempts", PRODUCTION, task_id=77, increase=3)
    told = "increased attemptNr for 3 inputs (2 reactivated)"
    assert got.json == {"success": True, "message": told, "data": 0}
    found = await files(database, task)
    limits = {file_id: (row["maxattempt"], row["maxfailure"], row["proc_status"]) for file_id, row in found.items()}
    assert limits == {
        spent: (7, 5, "ready"), failed: (6, 5, "ready"), fresh: (6, 5, "ready"), used: (3, 2, "ready"),
    }  # fmt: skip
    assert await counters(database, task) == await recount(database, task)
    assert (await counters(database, task))["input"]["nfilesfailed"] == 0
    told = "increased attemptNr for 3 inputs (0 reactivated)"
    assert await legacy(real, "increaseAttemptNrPanda", PRODUCTION, jediTaskID=77, increasedNr=1) == [0, told]


async def test_no_attempts_more_change_nothing_and_no_file_has_more_than_the_column_holds(
    real: Real, database: Any
) -> None:
    task = await make_task(database, 77, n_files=1, max_attempt=1)
    real.run("UPDATE jedi_dataset_contents SET attemptnr = 1 WHERE fileid = %s", task.inputs[0])
    got = await post(real, "task/increase_attempts", PRODUCTION, task_id=77, increase=0)
    assert got.json["message"] == "increased attemptNr for 1 inputs (0 reactivated)"
    await post(real, "task/increase_attempts", PRODUCTION, task_id=77, increase=32767)
    assert (await files(database, task))[task.inputs[0]]["maxattempt"] == 32767
    assert (await post(real, "task/increase_attempts", PRODUCTION, task_id=77, increase=32768)).json["success"] is False


@pytest.mark.parametrize(
    ("status", "old", "taken"),
    [("running", None, True), ("scouting", None, True), ("ready", None, True), ("pending", "running", True),
     ("pending", None, False), ("done", None, False)],
)  # fmt: skip
async def test_attempts_are_increased_of_tasks_under_way(
    real: Real, database: Any, status: str, old: str | None, taken: bool
) -> None:
    await make_task(database, 77, status=status, oldstatus=old)
    before = real.contents()
    got = await post(real, "task/increase_attempts", PRODUCTION, task_id=77, increase=1)
    assert (got.json["success"], got.json["data"]) == ((True, 0) if taken else (False, 2))
    if not taken:
        told = f"command rejected since status={status} or oldStatus={old} not in ['running', 'scouting', 'ready']"
        assert got.json["message"] == told
        assert real.contents() == before


async def test_fewer_attempts_are_refused_in_the_words_of_each_dialect(real: Real, database: Any) -> None:
    await make_task(database, 77)
    before = real.contents()
    got = await post(real, "task/increase_attempts", PRODUCTION, task_id=77, increase=-1)
    message = "increase must be a positive integer, got -1"
    assert got.json == {"success": False, "message": message, "data": None}
    told = await legacy(real, "increaseAttemptNrPanda", PRODUCTION, jediTaskID=77, increasedNr=-1)
    assert told == [4, "increase must be a positive integer"]
    missing = await legacy(real, "increaseAttemptNrPanda", PRODUCTION, jediTaskID=1, increasedNr=1)
    assert missing == [1, "jediTaskID=1 not found"]
    assert real.contents() == before


@pytest.mark.parametrize("keep", [False, True])
async def test_a_task_begins_again_with_all_of_its_input(real: Real, database: Any, keep: bool) -> None:
    task = await make_task(database, 77, n_files=3, max_attempt=3, status="done", secondary=True)
    spent = task.inputs[0]
    real.run("UPDATE jedi_dataset_contents SET status = 'finished', attemptnr = 1 WHERE type = 'input'")
    real.run("UPDATE jedi_dataset_contents SET status = 'ready', attemptnr = 3 WHERE fileid = %s", spent)
    real.run("UPDATE jedi_datasets SET nfilesused = 3, nfilesfinished = 3, nfilestobeused = 1 WHERE type = 'input'")
    got = await post(real, "task/reactivate", PRODUCTION, task_id=77, keep_attempt_nr=keep, trigger_job_generation=True)
    told = "updated 6 inputs and task 77 was reactivated "
    assert got.json == {"success": True, "message": told, "data": 0}
    assert rows(real, "SELECT status FROM jedi_tasks") == [("ready",)]
    found = await files(database, task)
    assert {row["status"] for row in found.values()} == {"ready"}
    assert [row["attemptnr"] for row in found.values()] == ([3, 1, 1] if keep else [0, 0, 0])
    assert await counters(database, task) == await recount(database, task)
    assert set(rows(real, "SELECT nfilestobeused FROM jedi_datasets WHERE type = 'input'")) == {(3,)}
    assert await legacy(real, "reactivateTask", PRODUCTION, jediTaskID=77) == [0, told]
    missing = await post(real, "task/reactivate", PRODUCTION, task_id=1)
    assert missing.json == {"success": False, "message": "jediTaskID=1 not found", "data": 2}


# Attributes and rules


@pytest.mark.parametrize(
    ("name", "column"),
    [("ramCount", "ramcount"), ("wallTime", "walltime"), ("cpuTime", "cputime"), ("coreCount", "corecount")],
)
async def test_four_attributes_may_be_changed(real: Real, database: Any, name: str, column: str) -> None:
    real.run("DELETE FROM resource_types")
    real.run(
        "INSERT INTO resource_types (resource_name, mincore, maxcore, minrampercore, maxrampercore) VALUES"
        " ('MCORE', 2, NULL, NULL, NULL), ('SCORE', 1, 1, NULL, 2000), ('SCORE_HIMEM', 1, 1, 2001, NULL)"
    )
    await real.core.facts.refresh()
    await make_task(database, 77)
    got = await post(real, "task/change_attribute", PRODUCTION, task_id=77, attribute_name=name, value=4000)
    assert got.json == {"success": True, "message": "1 tasks changed", "data": None}
    kind = {"ramCount": "SCORE_HIMEM", "coreCount": "MCORE"}.get(name, "SCORE")
    assert rows(real, f"SELECT {column}, resource_type FROM jedi_tasks") == [(4000, kind)]
    told = await legacy(real, "changeTaskAttributePanda", PRODUCTION, jediTaskID=77, attrName=name, attrValue=1)
    assert told == [1, None]


async def test_no_other_attribute_is_changed(real: Real, database: Any) -> None:
    await make_task(database, 77)
    before = real.contents()
    got = await post(real, "task/change_attribute", PRODUCTION, task_id=77, attribute_name="status", value=1)
    message = "status is not a valid attribute. Valid attributes are ['ramCount', 'wallTime', 'cpuTime', 'coreCount']"
    assert got.json == {"success": False, "message": message, "data": None}
    told = await legacy(real, "changeTaskAttributePanda", PRODUCTION, jediTaskID=77, attrName="status", attrValue=1)
    assert told == [2, "disallowed to update status"]
    rule = await post(real, "task/change_split_rule", PRODUCTION, task_id=77, attribute_name="US", value="1")
    assert (rule.json["success"], rule.json["data"]) == (False, 2)
    assert rule.json["message"].startswith("US is not a valid attribute. Valid attributes are ['AI', 'TW', ")
    told = await legacy(real, "changeTaskSplitRulePanda", PRODUCTION, jediTaskID=77, attrName="US", attrValue=1)
    assert told == [2, "disallowed to update US"]
    injected = await post(real, "task/change_split_rule", PRODUCTION, task_id=77, attribute_name="NF", value="1,US=3")
    assert injected.json["success"] is False
    assert real.contents() == before


async def test_a_split_rule_has_another_value_or_goes(real: Real, database: Any) -> None:
    await make_task(database, 77, splitrule="US=1,NF=2,AN=1,2")
    got = await post(real, "task/change_split_rule", PRODUCTION, task_id=77, attribute_name="NF", value=5)
    assert got.json == {"success": True, "message": "1 tasks changed", "data": None}
    assert rows(real, "SELECT splitrule FROM jedi_tasks") == [("US=1,AN=1,2,NF=5",)]
    told = await legacy(real, "changeTaskSplitRulePanda", PRODUCTION, jediTaskID=77, attrName="NF", attrValue="None")
    assert told == [1, None]
    assert rows(real, "SELECT splitrule FROM jedi_tasks") == [("US=1,AN=1,2",)]


async def test_a_modification_time_is_so_many_hours_from_now(real: Real, database: Any) -> None:
    await make_task(database, 77)
    got = await post(real, "task/change_modification_time", PRODUCTION, task_id=77, hour_offset=-12)
    assert got.json == {"success": True, "message": "1 tasks changed", "data": None}
    ago = "SELECT round(extract(epoch FROM now() AT TIME ZONE 'UTC' - modificationtime) / 3600) FROM jedi_tasks"
    assert rows(real, ago) == [(12,)]
    told = await legacy(real, "changeTaskModTimePanda", PRODUCTION, jediTaskID=77, diffValue=1)
    assert told == [1, None]
    before = real.contents()
    never = await post(real, "task/change_modification_time", PRODUCTION, task_id=77, hour_offset=10**12)
    assert never.json["message"] == "failed to convert 1000000000000 to time"
    assert real.contents() == before


# Jumbo jobs and clones


@pytest.mark.parametrize("status", ["scouting", "running"])
async def test_jumbo_jobs_leave_the_scouts_behind(real: Real, database: Any, status: str) -> None:
    await make_task(database, 77, status=status, splitrule="NJ=1,US=1")
    got = await post(real, "task/enable_jumbo_jobs", PRODUCTION, task_id=77, jumbo_jobs_total=8)
    assert got.json == {"success": True, "message": "done", "data": 0}
    assert rows(real, "SELECT usejumbo, splitrule FROM jedi_tasks") == [("W", "US=1,NJ=8,MJ=8")]
    given = [(77, "DEFT", "avalanche", "avalanche by Prod", None)] if status == "scouting" else []
    assert commands(real) == given
    off = await legacy(real, "enableJumboJobs", PRODUCTION, jediTaskID=77, nJumboJobs=0, nJumboPerSite=0)
    assert off == [0, "done"]
    assert rows(real, "SELECT usejumbo, splitrule FROM jedi_tasks") == [("D", "US=1,NJ=0,MJ=0")]
    assert await legacy(real, "enableJumboJobs", PRODUCTION, jediTaskID=1, nJumboJobs=1) == [2, "task not found"]
    assert (await post(real, "task/enable_jumbo_jobs", PRODUCTION, task_id=77, jumbo_jobs_total=-1)).json[
        "success"
    ] is False


async def test_jobs_are_cloned_and_not_any_more(real: Real, database: Any) -> None:
    await make_task(database, 77, splitrule="US=1")
    got = await post(real, "task/enable_job_cloning", PRODUCTION, jedi_task_id=77)
    assert got.json == {"success": True, "message": "", "data": None}
    now = "SELECT splitrule, eventservice FROM jedi_tasks"
    assert rows(real, now) == [("US=1,UC=1,ES=1,EC=2,NS=2", 2)]
    await post(
        real, "task/enable_job_cloning", PRODUCTION, jedi_task_id=77, mode="storeonce", multiplicity=3, num_sites=4
    )
    assert rows(real, now) == [("US=1,UC=2,ES=1,EC=3,NS=4", 2)]
    wrong = await post(real, "task/enable_job_cloning", PRODUCTION, jedi_task_id=77, mode="twice")
    assert wrong.json == {"success": False, "message": "invalid job cloning mode: twice", "data": None}
    assert (await post(real, "task/disable_job_cloning", PRODUCTION, jedi_task_id=77)).json["success"]
    assert rows(real, now) == [("US=1", 0)]
    for path in ("task/enable_job_cloning", "task/disable_job_cloning"):
        missing = await post(real, path, PRODUCTION, jedi_task_id=1)
        assert missing.json == {"success": False, "message": "task not found", "data": None}
        assert (await post(real, path, USER, jedi_task_id=77)).json["message"] == ROLE
