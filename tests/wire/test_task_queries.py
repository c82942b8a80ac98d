"""What users ask of their tasks, in both dialects, over the real services (reference/wire.md 3.3, 5.2)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asking import get, old
from real import Real
from sites import ANYBODY, OTHER, PRODUCTION, USER
from tasks_by_hand import Task, make_job, make_task

from pandatx.domain.task_listing import ATTRIBUTES
from pandatx.services import task_queries
from pandatx.store.database import Database

TASK, PARENT, OTHERS = 10_000_001, 10_000_000, 10_000_009
PARAMETERS = {"taskName": "t", "cliParams": "prun --token abc", "password": "x"}
HIDDEN = {"taskName": "t", "cliParams": "prun --token ***", "password": "***"}
NOT_FOUND = {"success": False, "message": "Task not found", "data": None}


def when(**ago: float) -> str:
    return f"{datetime.now(UTC) - timedelta(**ago):%Y-%m-%d %H:%M:%S}"


@pytest.fixture
def since() -> str:
    return when(days=10)


async def fill(real: Real, database: Database) -> Task:
    """A task of the user, with its parent, and a task of another."""
    now = when()
    await make_task(database, PARENT, user="Some User", status="done", reqid=41, modificationtime=now)
    task = await make_task(
        database, TASK, user="Some User", reqid=42, parent_tid=PARENT, superstatus="running", modificationtime=now,
        splitrule="NF=2,US=1",
    )  # fmt: skip
    await make_task(database, OTHERS, user="Other", reqid=43, modificationtime=now)
    for task_id in (TASK, OTHERS):
        real.run("INSERT INTO jedi_taskparams VALUES (%s, %s)", task_id, json.dumps(PARAMETERS))
    real.run("INSERT INTO jedi_jobparams_template VALUES (%s, '-i ${IN}')", TASK)
    return task


async def test_the_status_of_a_task(real: Real, database: Database) -> None:
    await fill(real, database)
    got = await get(real, "task/get_status", task_id=TASK)
    assert got.json == {"success": True, "message": "", "data": "running"}
    assert (await old(real, "getTaskStatus", ANYBODY, jediTaskID=TASK)).json == "running"


@pytest.mark.parametrize("name", ["get_status", "get_task_parameters", "get_detailed_info", "get_details"])
async def test_a_task_that_is_not_there_is_said(real: Real, name: str) -> None:
    assert (await get(real, f"task/{name}", task_id=5)).json == NOT_FOUND


@pytest.mark.parametrize("name", ["getTaskStatus", "getTaskParamsMap", "getJediTaskDetails"])
async def test_the_older_dialect_says_so_too(real: Real, name: str) -> None:
    assert (await old(real, name, jediTaskID=5, fullFlag="True", withTaskInfo="True")).json == [False, "Task not found"]


@pytest.mark.parametrize(("caller", "told"), [(USER, PARAMETERS), (PRODUCTION, PARAMETERS), (OTHER, HIDDEN)])
async def test_parameters_are_given_with_secrets_to_the_owner_only(
    real: Real, database: Database, caller: Any, told: Any
) -> None:
    await fill(real, database)
    assert (await get(real, "task/get_task_parameters", caller, task_id=TASK)).json["data"] == told
    assert json.loads((await old(real, "getTaskParamsMap", caller, jediTaskID=TASK)).json) == told


async def test_nobody_in_particular_is_no_owner(real: Real, database: Database) -> None:
    await fill(real, database)
    assert json.loads((await old(real, "getTaskParamsMap", ANYBODY, jediTaskID=TASK)).json) == HIDDEN
    assert (await get(real, "task/get_task_parameters", ANYBODY, task_id=TASK)).json["message"] == (
        "SSL secure connection is required"
    )


async def test_a_task_in_detail_has_all_its_attributes(real: Real, database: Database) -> None:
    task = await fill(real, database)
    await make_job(database, task)
    real.run(
        "UPDATE jedi_datasets SET nfilesfinished = 1, nfilesfailed = 1, nfilesmissing = 2 WHERE datasetid = %s",
        task.datasets["input"],
    )
    told = (await get(real, "task/get_detailed_info", task_id=TASK)).json["data"]
    assert set(told) == {
        *ATTRIBUTES, "job_execution_params", "task_creation_arguments", "raw_task_params", "nFiles", "nFilesFinished",
        "nFilesFailed", "nFilesMissing", "pctFinished", "pctFailed",
    }  # fmt: skip
    assert (told["jediTaskID"], told["reqID"], told["userName"], told["parent_tid"]) == (TASK, 42, "Some User", PARENT)
    assert told["creationDate"] == {"__datetime__": "2026-01-01T00:00:00"}
    assert told["splitRule"] == "nFilesPerJob=2,useScout=no_use"
    assert (told["task_creation_arguments"], told["raw_task_params"]) == ("prun --token abc", PARAMETERS)
    assert told["job_execution_params"] == "-i ${IN}"
    counts = [told[name] for name in ("nFiles", "nFilesFinished", "nFilesFailed", "nFilesMissing", "pctFinished")]
    assert counts == [3, 1, 1, 2, 33]


async def test_a_search_describes_so_many_tasks_at_most(
    real: Real, database: Database, since: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(real, database)
    assert len(await ids(real, since=since, n_tasks=10)) == 2
    monkeypatch.setattr(task_queries, "MOST_TASKS", 1)
    assert len(await ids(real, since=since, n_tasks=10)) == 1


async def test_the_parent_of_a_task(real: Real, database: Database) -> None:
    await fill(real, database)
    assert (await get(real, "task/get_parent_detailed_info", task_id=TASK)).json["data"]["jediTaskID"] == PARENT


@pytest.mark.parametrize(
    ("task_id", "parent", "message"),
    [
        (5, None, "Child task not found"),
        (TASK, None, "No parent task found"),
        (TASK, TASK, "No parent task found"),
        (TASK, 7, "Parent task not found"),
    ],
)
async def test_a_parent_that_is_not_there_is_said(
    real: Real, database: Database, task_id: int, parent: int | None, message: str
) -> None:
    await fill(real, database)
    real.run("UPDATE jedi_tasks SET parent_tid = %s WHERE jeditaskid = %s", parent, TASK)
    got = await get(real, "task/get_parent_detailed_info", task_id=task_id)
    assert got.json == {"success": False, "message": message, "data": None}


async def ids(real: Real, caller: Any = USER, **asked: Any) -> list[int]:
    got = await get(real, "task/get_tasks_detailed_info_since", caller, **asked)
    assert got.json["success"], got.json
    return [task["jediTaskID"] for task in got.json["data"]]


async def test_a_user_lists_tasks_of_their_own_the_newest_first(real: Real, database: Database, since: str) -> None:
    await fill(real, database)
    assert await ids(real, since=since) == [TASK, PARENT]
    assert await ids(real) == [TASK, PARENT]
    assert await ids(real, n_tasks=1) == [TASK]
    assert await ids(real, OTHER, since=since) == [OTHERS]
    assert await ids(real, since=when(days=-1)) == []


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"reqID": "42"}, [TASK]),
        ({"jediTaskID": str(PARENT)}, [PARENT]),
        ({"superStatus": "running"}, [TASK]),
        ({"status": "^(done|running)$"}, [TASK, PARENT]),
        ({"status": "d.*e"}, [PARENT]),
        ({"superStatus": "NULL"}, [PARENT]),
        ({"superStatus": "NOT NULL"}, [TASK]),
        ({"creationDate": "2026-01-01 00:00:00", "walltime": "60", "taskName": f"user.Some User.t{TASK}"}, [TASK]),
        ({"userName": "Other"}, [OTHERS]),
        ({"userName": "Nobody"}, []),
        ({"odd": "x.*"}, [TASK, PARENT]),
    ],
)
async def test_filters_choose_tasks(real: Real, database: Database, since: str, filters: Any, found: list[int]) -> None:
    await fill(real, database)
    assert await ids(real, filters=json.dumps(filters)) == found
    assert await ids(real, filters=json.dumps(filters), since=since) == found


async def test_a_task_of_any_age_is_found_by_its_id(real: Real, database: Database) -> None:
    await make_task(database, TASK, user="Some User", reqid=42, modificationtime="2019-01-01")
    assert await ids(real, filters='{"reqID": "42"}') == [TASK]
    assert await ids(real, filters=f'{{"jediTaskID": "{TASK}"}}') == [TASK]
    assert await ids(real) == [TASK]


@pytest.mark.parametrize(("days", "long"), [(89, False), (91, True), (20_000, True)])
async def test_a_search_over_more_than_ninety_days_goes_by_the_user(
    real: Real, database: Database, monkeypatch: Any, days: int, long: bool
) -> None:
    """By the time alone all tasks of all users would be read."""
    await make_task(database, TASK, user="Some User", modificationtime=when(days=days - 0.5))
    await make_task(database, PARENT, user="Some User", modificationtime=when(days=days + 0.5))
    run: list[str] = []
    statement = Database.statement
    monkeypatch.setattr(
        Database,
        "statement",
        lambda self, name, *args, **values: run.append(name) or statement(self, name, *args, **values),
    )
    assert await ids(real, since=when(days=days)) == [TASK]
    assert ("task_queries.find_ever" in run, "task_queries.find" in run) == (long, not long)
    assert await ids(real, since=when(days=days), filters=f'{{"jediTaskID": "{TASK}"}}') == [TASK]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"filters": "[1]"}, "filters must be a JSON object"),
        ({"filters": "{"}, "filters is not valid JSON"),
        ({"filters": '{"odd": "x"}'}, "unknown attribute odd in filters"),
        ({"filters": '{"jediTaskID": "9223372036854775808"}'}, "filters: jediTaskID cannot be '9223372036854775808'"),
        ({"filters": '{"reqID": "-1e30"}'}, "filters: reqID cannot be '-1e30'"),
        ({"filters": '{"taskName": "a\\u0000b"}'}, "filters: taskName has a character that no text can have"),
        ({"filters": '{"userName": "\\ud800"}'}, "filters: userName has a character that no text can have"),
        ({"filters": '{"status": "\\ud800.*"}'}, "filters: status has a character that no text can have"),
        ({"since": "yesterday"}, "since must be in the form YYYY-mm-dd HH:MM:SS, not 'yesterday'"),
    ],
)
async def test_a_search_that_cannot_be_understood_is_refused(real: Real, asked: Any, message: str) -> None:
    got = await get(real, "task/get_tasks_detailed_info_since", **asked)
    assert got.json == {"success": False, "message": message, "data": None}


async def test_a_search_whose_patterns_take_too_long_is_ended(
    real: Real, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(real, database)
    monkeypatch.setattr(task_queries, "SEARCHING", 0.01)
    real.run("UPDATE jedi_tasks SET taskname = repeat('a', 100)")
    asked = {"filters": json.dumps({"taskName": "(a|aa|aaa)+$b"})}
    got = await get(real, "task/get_tasks_detailed_info_since", **asked)
    text = "the search takes too long: narrow it by values without special characters, or by since"
    assert got.json == {"success": False, "message": text, "data": None}


async def test_secrets_of_others_are_not_listed(real: Real, database: Database, since: str) -> None:
    await fill(real, database)
    got = await get(real, "task/get_tasks_detailed_info_since", since=since, filters='{"userName": "Other"}')
    assert [task["raw_task_params"] for task in got.json["data"]] == [HIDDEN]


@pytest.mark.parametrize("together", [1, 100])
async def test_one_answer_tells_the_parameters_of_the_newest_tasks_up_to_a_size(
    real: Real, database: Database, since: str, monkeypatch: Any, together: int
) -> None:
    """A task may have 10 MiB of them, and a search finds thousands of tasks."""
    await fill(real, database)
    real.run("INSERT INTO jedi_taskparams VALUES (%s, %s)", PARENT, json.dumps(PARAMETERS))
    monkeypatch.setattr(task_queries, "TOGETHER", together)
    monkeypatch.setattr(task_queries, "MOST_PARAMETERS", len(json.dumps(PARAMETERS)))
    told = (await get(real, "task/get_tasks_detailed_info_since", since=since)).json["data"]
    assert [(each["jediTaskID"], each.get("raw_task_params")) for each in told] == [(TASK, PARAMETERS), (PARENT, None)]
    assert [each["job_execution_params"] for each in told] == ["-i ${IN}", None]
    brief = (await get(real, "task/get_tasks_modified_since", since=since, full="True")).json["data"]
    assert {each["jediTaskID"]: each["cliParams"] for each in brief.values()} == {TASK: "prun --token abc", PARENT: ""}


async def test_tasks_that_have_changed_are_told_by_their_requests(real: Real, database: Database, since: str) -> None:
    await fill(real, database)
    brief = {
        "jediTaskID", "modificationTime", "status", "processingType", "transUses", "transHome", "architecture", "reqID",
        "creationDate", "site", "cloud", "taskName",
    }  # fmt: skip
    # As panda-client sends it.
    asked = {"since": since, "dn": None, "full": False, "min_task_id": None, "prod_source_label": "user"}
    found = (await get(real, "task/get_tasks_modified_since", **asked)).json["data"]
    assert set(found) == {"41", "42"} and set(found["42"]) == brief
    assert (found["42"]["jediTaskID"], found["42"]["creationDate"]) == (TASK, {"__datetime__": "2026-01-01T00:00:00"})
    full = (await get(real, "task/get_tasks_modified_since", **asked | {"full": True})).json["data"]["42"]
    assert set(full) == brief | {"inDS", "outDS", "statistics", "cliParams"}
    assert (full["inDS"], full["outDS"]) == (f"user.{TASK}.input", f"user.{TASK}.output,user.{TASK}.log")
    assert (full["statistics"], full["cliParams"]) == ("ready*3", "prun --token abc")


async def test_tasks_that_have_changed_of_a_dn_an_id_on_and_a_label(real: Real, database: Database, since: str) -> None:
    await fill(real, database)
    dn = "/DC=ch/CN=123/CN=Other"
    theirs = (await get(real, "task/get_tasks_modified_since", since=since, dn=dn, full=True)).json["data"]
    assert set(theirs) == {"43"} and theirs["43"]["cliParams"] == "prun --token ***"
    newer = (await get(real, "task/get_tasks_modified_since", since=since, min_task_id=PARENT)).json["data"]
    assert set(newer) == {"42"}
    managed = (await get(real, "task/get_tasks_modified_since", since=since, prod_source_label="managed")).json
    assert (managed["success"], managed["data"]) == (True, {})
    assert (await get(real, "task/get_tasks_modified_since", since="2026")).json["data"] == {}


async def test_changes_are_not_told_beyond_thirty_days(real: Real, database: Database) -> None:
    await fill(real, database)
    real.run("UPDATE jedi_tasks SET modificationtime = %s WHERE jeditaskid = %s", when(days=31), PARENT)
    found = (await get(real, "task/get_tasks_modified_since", since="2020-01-01 00:00:00")).json["data"]
    assert set(found) == {"42"}


async def test_many_changes_are_all_told_and_with_their_details_five_hundred(real: Real, database: Database) -> None:
    real.run(
        "INSERT INTO jedi_tasks (jeditaskid, username, modificationtime, creationdate, status, prodsourcelabel, vo,"
        " taskname) SELECT g, 'prod', %s, '2026-01-01', 'done', 'managed', 'v', 't' FROM generate_series(1, 1100) g",
        when(days=1),
    )
    asked = {"since": when(days=2), "dn": "/CN=prod", "prod_source_label": "managed"}
    found = (await get(real, "task/get_tasks_modified_since", **asked)).json["data"]
    assert [(name, task["jediTaskID"]) for name, task in found.items()] == [(str(n), n) for n in range(1, 1101)]
    full = (await get(real, "task/get_tasks_modified_since", **asked, full=True, min_task_id=7)).json["data"]
    assert list(full) == [str(n) for n in range(8, 508)]


async def test_changes_in_the_older_dialect(real: Real, database: Database, since: str) -> None:
    await fill(real, database)
    got = await old(real, "getJediTasksInTimeRange", timeRange=since, fullFlag="True", minTaskID="x")
    assert set(got.json) == {"41", "42"} and got.json["42"]["statistics"] == "ready*3"


async def test_the_details_of_a_task(real: Real, database: Database) -> None:
    task = await fill(real, database)
    running = await make_job(database, task, status="running")
    waiting = await make_job(database, task, status="defined")
    real.run("UPDATE jedi_datasets SET nfilesfailed = 1 WHERE datasetid = %s", task.datasets["input"])
    usual = {
        "inDS": f"user.{TASK}.input",
        "outDS": f"user.{TASK}.output,user.{TASK}.log",
        "statistics": "tobedone*1,failed*1,defined*1,running*1",
        "PandaID": [running, waiting],
        "mergeStatus": None,
        "mergePandaID": [],
    }
    # As panda-client sends it: texts of Python's truths.
    asked = {"task_id": TASK, "include_parameters": False, "include_status": False}
    assert (await get(real, "task/get_details", **asked)).json["data"] == usual
    more = {**usual, "status": "running", "cliParams": "prun --token abc"}
    asked |= {"include_parameters": True, "include_status": True}
    assert (await get(real, "task/get_details", **asked)).json["data"] == more
    got = await old(real, "getJediTaskDetails", jediTaskID=TASK, fullFlag="True", withTaskInfo="True")
    assert got.json == more


async def test_jobs_that_merge_are_told_apart_and_each_job_once(real: Real, database: Database) -> None:
    task = await make_task(database, TASK, user="Some User", n_files=4)
    two = await make_job(database, task, n=2, status="running")
    await make_job(database, task, status="running", processingtype="pmerge")
    real.run(
        "INSERT INTO jedi_datasets (jeditaskid, datasetid, datasetname, type, creationtime, modificationtime, vo)"
        " VALUES (%s, 77, 'trn', 'trn_log', now(), now(), 'v')",
        TASK,
    )
    real.run(
        "INSERT INTO jedi_dataset_contents (jeditaskid, datasetid, fileid, creationdate, lfn, status, pandaid, type)"
        " SELECT %s, 77, 900 + n, now(), 'x', 'running', 5000, 'trn_log' FROM generate_series(1, 2) n",
        TASK,
    )
    told = (await get(real, "task/get_details", task_id=TASK)).json["data"]
    assert (told["PandaID"], told["mergePandaID"]) == ([two, two + 1], [5000])
    assert told["statistics"] == "tobedone*1,running*2,picked*1"


async def test_jobs_of_a_task_wherever_they_are(real: Real, database: Database) -> None:
    task = await fill(real, database)
    active = await make_job(database, task)
    defined = await make_job(database, task, status="defined")
    archived = "INSERT INTO {} (pandaid, jobstatus, jeditaskid, modificationtime) VALUES (%s, %s, %s, '2019-01-01')"
    real.run(archived.format("jobsarchived4"), 900, "failed", TASK)
    real.run(archived.format("doma_pandaarch.jobsarchived"), 800, "finished", TASK)
    found = [active, defined, 800, 900]
    assert (await get(real, "task/get_job_ids", task_id=TASK)).json["data"] == found
    assert (await old(real, "getPandaIDsWithTaskID", ANYBODY, jediTaskID=TASK)).json == found
    assert (await get(real, "task/get_job_ids", task_id=5)).json == {"success": True, "message": "", "data": []}


async def test_descriptions_of_the_jobs_of_a_task(real: Real, database: Database) -> None:
    task = await fill(real, database)
    active = await make_job(database, task, specialhandling="us,sj")
    real.run(
        "INSERT INTO jobsarchived4 (pandaid, jobstatus, jeditaskid, prodsourcelabel, specialhandling, modificationtime,"
        " starttime, endtime) VALUES (900, 'failed', %s, 'user', 'bj', '2026-01-01', '2026-01-01 00:00:00',"
        " '2026-01-01 00:01:30')",
        TASK,
    )
    jobs = (await get(real, "task/get_job_descriptions", task_id=TASK, unsuccessful_only=False)).json["data"]
    told = [(job["PandaID"], job["jobDuration"], job["extendedProdSourceLabel"]) for job in jobs]
    assert told == [(active, None, "user_scout"), (900, 90.0, "user_build")]
    assert len(jobs[0]["Files"]) == 3
    jobs = (await get(real, "task/get_job_descriptions", task_id=TASK, unsuccessful_only=True)).json["data"]
    assert [job["PandaID"] for job in jobs] == [900]
    assert (await get(real, "task/get_job_descriptions", task_id=5)).json["data"] == []


async def test_datasets_with_their_files(real: Real, database: Database) -> None:
    task = await fill(real, database)
    name = {"name": f"user.{TASK}.input", "id": task.datasets["input"]}
    files = [
        {"lfn": f"in.{TASK}.{n}", "scope": None, "id": file_id, "status": "ready"}
        for n, file_id in enumerate(task.inputs)
    ]
    expected = [{"dataset": name, "files": files}]
    got = await get(real, "task/get_datasets_and_files", task_id=TASK, dataset_types=["input", "pseudo_input"])
    assert got.json == {"success": True, "message": "", "data": expected}
    assert (await old(real, "get_files_in_datasets", task_id=TASK)).json == expected
    got = await get(real, "task/get_datasets_and_files", task_id=TASK, dataset_only=True)
    assert got.json["data"] == [{"dataset": name, "files": []}]
    got = await old(real, "get_files_in_datasets", task_id=TASK, dataset_types="output,log")
    assert [each["dataset"]["name"] for each in got.json] == [f"user.{TASK}.output", f"user.{TASK}.log"]


async def test_a_task_without_such_datasets_is_said(real: Real) -> None:
    got = await get(real, "task/get_datasets_and_files", task_id=5)
    assert got.json == {"success": False, "message": "No data found for the task", "data": None}
    assert (await old(real, "get_files_in_datasets", task_id=5)).json == []


async def test_many_files_are_told_in_their_order(real: Real, database: Database) -> None:
    await make_task(database, TASK, n_files=4500)
    (told,) = (await get(real, "task/get_datasets_and_files", task_id=TASK)).json["data"]
    assert [file["lfn"] for file in told["files"]] == [f"in.{TASK}.{n}" for n in range(4500)]


async def test_datasets_of_tasks_with_jumbo_jobs(real: Real, database: Database) -> None:
    for task_id, status, ago in ((TASK, "done", 3), (PARENT, "running", 3), (OTHERS, "finished", 20)):
        await make_task(
            database, task_id, label="managed", status=status, usejumbo="W", modificationtime=when(days=ago)
        )
    expected = {str(TASK): {"status": "done", "datasets": [f"user.{TASK}.output"]}}
    assert (await get(real, "task/get_jumbo_job_datasets", from_offset=10)).json["data"] == expected
    assert (await old(real, "getJumboJobDatasets", ANYBODY, n_days=10, grace_period=1)).json == expected
    assert (await get(real, "task/get_jumbo_job_datasets", from_offset=10, to_offset=5)).json["data"] == {}
    both = (await get(real, "task/get_jumbo_job_datasets", from_offset=30)).json["data"]
    assert set(both) == {str(TASK), str(OTHERS)}
