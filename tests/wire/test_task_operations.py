"""Steering tasks in both dialects over the real services: answers, commands, and refusals that change nothing."""

from __future__ import annotations

import json
import threading
from functools import partial
from typing import Any

import pytest
from asking import post
from real import Real
from sites import ANYBODY, LIMITED, OTHER, PRODUCTION, USER
from steering import DENIED, FIRST, PARAMETERS, ROLE, commands, legacy, mine, rows
from tasks_by_hand import make_job, make_task

from pandatx.domain import task_submission as rules
from pandatx.store import task_submission as store

# Commands


@pytest.mark.parametrize(
    ("path", "method", "values", "command", "comment"),
    [
        ("task/kill", "killTask", {}, "kill", "kill by Some User"),
        ("task/kill", "killTask", {"broadcast": True}, "kill", "kill by Some User"),
        ("task/finish", "finishTask", {}, "finish", "finish by Some User"),
        ("task/finish", "finishTask", {"soft": True}, "finish", "soft finish by Some User"),
        ("task/reassign", "reassignTask", {"site": "A", "mode": "soft"}, "reassign", "site:A:y:soft reassign"),
        ("task/reassign", "reassignTask", {"nucleus": "N"}, "reassign", "nucleus:N:n"),
    ],
)
async def test_owners_command_their_tasks(
    real: Real, database: Any, path: str, method: str, values: dict[str, Any], command: str, comment: str
) -> None:
    await mine(database)
    told = f"command={command} is registered for task ID 77. will be executed in a few minutes"
    got = await post(real, path, task_id=77, **values)
    assert got.json == {"success": True, "message": told, "data": 0}
    assert commands(real) == [(77, "DEFT", command, comment, None)]
    assert await legacy(real, method, jediTaskID=77, properErrorCode="True", **values) == [0, told]
    plain = await legacy(real, method, jediTaskID=77, **values)
    assert plain == [0 if command == "reassign" else True, told]
    assert commands(real) == [(77, "DEFT", command, comment, None)]


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("task/pause", "pauseTask", "running"),
        ("task/resume", "resumeTask", "paused"),
        ("task/avalanche", "avalancheTask", "scouting"),
        ("task/release", "release_task", "running"),
    ],
)
async def test_managers_command_any_task(real: Real, database: Any, path: str, method: str, status: str) -> None:
    await mine(database, status)
    name = path.removeprefix("task/")
    told = f"command={name} is registered for task ID 77. will be executed in a few minutes"
    got = await post(real, path, PRODUCTION, task_id=77)
    assert got.json == {"success": True, "message": told, "data": 0}
    assert commands(real) == [(77, "DEFT", name, f"{name} by Prod", None)]
    spelling = "jedi_task_id" if path == "task/release" else "jediTaskID"
    assert await legacy(real, method, PRODUCTION, **{spelling: 77}) == [0, told]
    refused = await post(real, path, USER, task_id=77)
    assert refused.json == {"success": False, "message": ROLE, "data": None}
    assert await legacy(real, method, USER, **{spelling: 77}) == [False, ROLE]
    missing = await post(real, path, PRODUCTION, task_id=1)
    assert missing.json == {"success": False, "message": "jediTaskID=1 not found", "data": 2}


async def test_the_newest_command_counts(real: Real, database: Any) -> None:
    await mine(database)
    await post(real, "task/finish", task_id=77)
    await post(real, "task/kill", PRODUCTION, task_id=77)
    assert commands(real) == [(77, "DEFT", "kill", "kill by Prod", None)]


OWNED = {
    "task/kill": "killTask",
    "task/finish": "finishTask",
    "task/retry": "retryTask",
    "task/reassign": "reassignTask",
    "task/reload_input": "reloadInput",
    "task/kill_unfinished_jobs": "killUnfinishedJobs",
}


@pytest.mark.parametrize("path", sorted(OWNED))
async def test_tasks_of_others_are_left_alone(real: Real, database: Any, path: str) -> None:
    task = await mine(database, "finished" if path in ("task/retry", "task/reload_input") else "running")
    await make_job(database, task)
    before = real.contents()
    for caller, task_id in ((OTHER, 77), (OTHER, 1), (USER, 1)):
        got = await post(real, path, caller, task_id=task_id)
        assert got.json == {"success": False, "message": DENIED, "data": None}
    new = await post(real, path, OTHER, task_id=77, new_parameters={"nFiles": 1}) if path == "task/retry" else got
    assert new.json["message"] == DENIED
    for caller in (ANYBODY, LIMITED):
        assert (await post(real, path, caller, task_id=77)).json["message"] == "SSL secure connection is required"
    if path != "task/kill_unfinished_jobs":
        proper = await legacy(real, OWNED[path], OTHER, jediTaskID=77, properErrorCode="True")
        assert proper == [3, f"Permission denied: {DENIED}"]
        unknown = await legacy(real, OWNED[path], OTHER, jediTaskID=1, properErrorCode="True")
        assert unknown == [2, "jediTaskID=1 not found"]
    else:
        assert await legacy(real, OWNED[path], OTHER, jediTaskID=77) == [False, DENIED]
    assert real.contents() == before


async def test_a_command_that_is_not_for_the_status_is_rejected(real: Real, database: Any) -> None:
    await mine(database, "done")
    before = real.contents()
    told = "Command rejected: the kill command is not accepted if the task is in done status "
    assert (await post(real, "task/kill", task_id=77)).json == {"success": False, "message": told, "data": 4}
    assert await legacy(real, "killTask", jediTaskID=77, properErrorCode="True") == [4, told]
    assert await legacy(real, "killTask", jediTaskID=77) == [False, told]
    assert real.contents() == before


async def test_a_task_that_waits_for_the_engine_takes_no_command_yet(real: Real) -> None:
    await post(real, "task/submit", task_parameters=PARAMETERS)
    told = "Command rejected: the kill command is not accepted if the task is in waiting status "
    assert (await post(real, "task/kill", task_id=FIRST)).json == {"success": False, "message": told, "data": 4}
    assert (await post(real, "task/kill", OTHER, task_id=FIRST)).json["message"] == DENIED


async def test_a_mode_of_reassignment_that_nobody_knows_is_refused(real: Real, database: Any) -> None:
    await mine(database)
    got = await post(real, "task/reassign", task_id=77, site="A", mode="gently")
    assert (got.json["success"], got.json["message"]) == (False, "mode: is not one of kill, soft, nokill")
    assert commands(real) == []


async def test_a_soft_reassignment_of_an_old_client(real: Real, database: Any) -> None:
    await mine(database, "exhausted")
    await legacy(real, "reassignTask", jediTaskID=77, cloud="DE", soft="True")
    assert commands(real) == [(77, "DEFT", "reassign", "cloud:DE:n:soft reassign", None)]


@pytest.mark.parametrize(("caller", "words"), [(USER, []), (PRODUCTION, ["transcend"])])
async def test_input_is_reloaded_beyond_limits_by_managers_only(
    real: Real, database: Any, caller: Any, words: list[str]
) -> None:
    await mine(database, "finished")
    got = await post(real, "task/reload_input", caller, task_id=77, ignore_hard_exhausted=True)
    assert (got.json["success"], got.json["data"]) == (True, 0)
    ((_, _, command, comment, parameters),) = commands(real)
    assert (command, json.loads(comment), parameters) == ("incexec", [{}, words], None)


# Retry


async def test_a_retry_is_qualified(real: Real, database: Any) -> None:
    await mine(database, "failed")
    got = await post(
        real, "task/retry", task_id=77, no_child_retry=True, discard_events=True, disable_staging_mode=True,
        keep_gshare_priority=True, ignore_hard_exhausted=True,
    )  # fmt: skip
    told = "command=retry is registered for task ID 77. will be executed in a few minutes"
    assert got.json == {"success": True, "message": told, "data": 0}
    assert commands(real) == [(77, "DEFT", "retry", "sole discard staged keep retry by Some User", None)]
    await legacy(real, "retryTask", PRODUCTION, jediTaskID=77, noChildRetry="True", ignore_hard_exhausted="True")
    assert commands(real) == [(77, "DEFT", "retry", "sole transcend retry by Prod", None)]


async def test_a_retry_is_a_success_in_any_case_and_its_code_is_data(real: Real, database: Any) -> None:
    await mine(database, "exhausted")
    told = (
        "Command rejected: the retry command is not accepted if the task is in exhausted status "
        "and production role is missing"
    )
    assert (await post(real, "task/retry", task_id=77)).json == {"success": True, "message": told, "data": 4}
    assert (await post(real, "task/retry", PRODUCTION, task_id=77)).json["data"] == 0


@pytest.mark.parametrize("new", [{"nFiles": 9, "currentPriority": 5000}, '{"nFiles": 9, "priority": 5000}'])
async def test_a_retry_with_new_parameters_executes_the_task_again(real: Real, database: Any, new: Any) -> None:
    await mine(database, "finished")
    real.run("UPDATE doma_deft.t_task SET jedi_task_parameters = %s", json.dumps({**PARAMETERS, "dsForIN": "a"}))
    got = await post(real, "task/retry", task_id=77, new_parameters=new)
    assert (got.json["success"], got.json["data"]) == (True, 3)
    assert got.json["message"].startswith("reactivation accepted. jediTaskID=77 (currently in finished state)")
    ((task, _, command, _, parameters),) = commands(real)
    assert (task, command) == (77, "incexec")
    assert json.loads(parameters) == {"nFiles": 9, "dsForIN": "a"}
    text = new if isinstance(new, str) else json.dumps(new)
    assert await legacy(real, "retryTask", jediTaskID=77, newParams=text) == [True, got.json["message"]]
    proper = await legacy(real, "retryTask", jediTaskID=77, newParams=text, properErrorCode="True")
    assert proper == [3, got.json["message"]]
    assert [row for row in rows(real, "SELECT taskid FROM t_task") if row[0] >= FIRST] == []


async def test_long_parameters_are_read_and_written_in_threads(real: Real, database: Any, monkeypatch: Any) -> None:
    """10 MiB hold up whoever reads them for 100 ms."""
    await mine(database)
    long = json.dumps({**PARAMETERS, "jobParameters": ["x" * 300_000]})
    real.run("UPDATE doma_deft.t_task SET jedi_task_parameters = %s", long)
    real.run("INSERT INTO jedi_taskparams VALUES (77, %s)", long)
    by: list[threading.Thread] = []
    for module, name in ((store, "_read"), (rules, "document_of")):
        noted = partial(lambda work, *args: by.append(threading.current_thread()) or work(*args), getattr(module, name))
        monkeypatch.setattr(module, name, noted)
    assert (await post(real, "task/retry", task_id=77, new_parameters={"nFiles": 1})).json["data"] == 3
    assert len(by) == 3 and threading.main_thread() not in by


async def test_a_managers_task_is_retried_too_and_not_submitted_anew(real: Real, database: Any) -> None:
    await make_task(database, 77, status="done", label="managed", user="Prod")
    parameters = {"taskName": "x", "vo": "wlcg", "prodSourceLabel": "managed", "taskType": "prod"}
    real.run("UPDATE doma_deft.t_task SET jedi_task_parameters = %s", json.dumps(parameters))
    got = await post(real, "task/retry", PRODUCTION, task_id=77, new_parameters={"currentPriority": 5000})
    assert got.json["data"] == 3
    assert json.loads(commands(real)[0][4]) == {"currentPriority": 5000}


async def test_a_task_under_way_takes_new_parameters_and_has_its_failed_files_tried_again(
    real: Real, database: Any
) -> None:
    await mine(database, "running")
    real.run("UPDATE doma_deft.t_task SET jedi_task_parameters = %s", json.dumps(PARAMETERS))
    real.run("INSERT INTO jedi_taskparams VALUES (77, %s)", json.dumps({**PARAMETERS, "log": 1}))
    got = await post(real, "task/retry", task_id=77, new_parameters={"nFilesPerJob": 2})
    assert got.json == {
        "success": True,
        "message": "retry has been triggered for failed jobs while the task is still running. new tasks params have "
        "been set to jediTaskID=77. ",
        "data": 3,
    }
    assert json.loads(rows(real, "SELECT taskparams FROM jedi_taskparams")[0][0]) == {
        **PARAMETERS, "log": 1, "nFilesPerJob": 2,
    }  # fmt: skip
    assert commands(real) == []
    assert set(rows(real, "SELECT maxattempt FROM jedi_dataset_contents WHERE type = 'input'")) == {(8,)}


@pytest.mark.parametrize("status", ["running", "scouting", "pending"])
async def test_a_retry_of_a_task_under_way_gives_its_files_five_attempts_more(
    real: Real, database: Any, status: str
) -> None:
    await mine(database, status)
    got = await post(real, "task/retry", task_id=77)
    told = f"retry has been triggered for failed jobs while the task is still {status}"
    assert got.json == {"success": True, "message": told, "data": 0}
    assert set(rows(real, "SELECT maxattempt FROM jedi_dataset_contents WHERE type = 'input'")) == {(8,)}
    assert await legacy(real, "retryTask", jediTaskID=77, properErrorCode="True", newParams='{"nFiles": 1}') == [
        1,
        "new parameter conversion failed with the task has no parameters",
    ]


async def test_a_task_that_can_take_no_parameters_says_so(real: Real, database: Any) -> None:
    await mine(database, "assigning")
    real.run("UPDATE doma_deft.t_task SET jedi_task_parameters = %s", json.dumps(PARAMETERS))
    before = real.contents()
    got = await post(real, "task/retry", task_id=77, new_parameters={"nFiles": 1})
    assert (got.json["success"], got.json["data"]) == (True, 2)
    assert (await post(real, "task/retry", task_id=77, new_parameters="[")).json["success"] is False
    missing = await post(real, "task/retry", PRODUCTION, task_id=1, new_parameters={"nFiles": 1})
    assert missing.json == {"success": True, "message": "jediTaskID=1 not found", "data": 2}
    assert real.contents() == before


# Jobs of tasks


async def test_all_unfinished_jobs_of_a_task_are_ended(real: Real, database: Any) -> None:
    task = await mine(database)
    await make_job(database, task, status="activated", produsername="Some User")
    await make_job(database, task, status="defined", produsername="Some User")
    got = await post(real, "task/kill_unfinished_jobs", task_id=77)
    assert got.json == {"success": True, "message": "", "data": [True, True]}
    assert sorted(rows(real, "SELECT jobstatus FROM jobsarchived4")) == [("cancelled",), ("cancelled",)]
    assert await legacy(real, "killUnfinishedJobs", jediTaskID=77) == []
