"""Submitting and steering tasks in both dialects over the real services: answers, rows, and refusals."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import urlencode

import psycopg2
import pytest
from asking import FORM, JSON, old, post
from attrs import evolve
from real import Real
from sites import ANYBODY, LIMITED, OTHER, PRODUCTION, USER
from tasks_by_hand import Task, make_job, make_task

PARAMETERS = {"taskName": "user.me.x/", "vo": "wlcg", "prodSourceLabel": "user", "uniqueTaskName": True, "nFiles": 3}
DENIED = "not the task owner or no production role"
ROLE = "production or pilot role required"
FIRST = 10_000_000


async def legacy(real: Real, method: str, caller: Any = USER, **values: Any) -> Any:
    """What a client is told that posts a form and reads JSON."""
    return (await old(real, method, caller, **values)).json


def rows(real: Real, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(real.dsn, options="-c search_path=doma_panda,doma_deft,doma_pandameta,pandatx")
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
        found = cursor.fetchall()
    connection.close()
    return found


def commands(real: Real) -> list[tuple[Any, ...]]:
    return rows(real, "SELECT comm_task, comm_owner, comm_cmd, comm_comment, comm_parameters FROM prodsys_comm")


async def mine(database: Any, status: str = "running", task_id: int = 77, **columns: Any) -> Task:
    return await make_task(database, task_id, status=status, user="Some User", taskname="user.me.x/", **columns)


# Submission


async def test_a_submitted_task_waits_for_the_engine(real: Real) -> None:
    got = await post(real, "task/submit", task_parameters={**PARAMETERS, "userName": "Bob"}, parent_tid=None)
    assert got.json == {"success": True, "message": f"succeeded. new jediTaskID={FIRST}", "data": FIRST}
    found = rows(
        real,
        "SELECT taskid, parent_tid, status, vo, prodsourcelabel, username, taskname, priority, current_priority,"
        " jedi_task_parameters, abs(extract(epoch FROM now() AT TIME ZONE 'UTC' - submit_time)) < 60 FROM t_task",
    )
    (row,) = found
    assert row[:9] == (FIRST, FIRST, "waiting", "wlcg", "user", "Some User", "user.me.x/", 1000, 1000)
    assert json.loads(row[9]) == {**PARAMETERS, "userName": "Some User", "taskType": "anal", "taskPriority": 1000}
    assert row[10]
    assert rows(real, "SELECT name, dn FROM users") == [("Some User", "/DC=x/CN=Some User")]
    assert rows(real, "SELECT name, subject FROM owners") == [("Some User", "/DC=x/CN=Some User")]


async def test_an_old_client_gets_the_same_as_a_pair(real: Real) -> None:
    text = json.dumps(PARAMETERS)
    proper = await legacy(real, "insertTaskParams", taskParams=text, properErrorCode="True")
    assert proper == [0, f"succeeded. new jediTaskID={FIRST}"]
    again = await legacy(real, "insertTaskParams", taskParams=text, properErrorCode="True", parent_tid="None")
    told = f"jediTaskID={FIRST} is already queued for outDS=user.me.x/. You cannot submit duplicated tasks. "
    assert again == [1, told]
    assert await legacy(real, "insertTaskParams", taskParams=text) == [False, told]
    other = json.dumps({**PARAMETERS, "taskName": "user.me.y/"})
    assert await legacy(real, "insertTaskParams", taskParams=other, parent_tid="5") == [True, FIRST + 1]
    assert rows(real, "SELECT parent_tid FROM t_task ORDER BY taskid") == [(FIRST,), (5,)]


async def test_a_task_that_waits_is_not_submitted_twice(real: Real) -> None:
    await post(real, "task/submit", task_parameters=PARAMETERS)
    before = real.contents()
    got = await post(real, "task/submit", task_parameters=PARAMETERS)
    message = f"jediTaskID={FIRST} is already queued for outDS=user.me.x/. You cannot submit duplicated tasks. "
    assert got.json == {"success": False, "message": message, "data": 1}
    assert real.contents() == before
    others = await post(real, "task/submit", OTHER, task_parameters=PARAMETERS)
    assert others.json["success"]
    again = {key: value for key, value in PARAMETERS.items() if key != "uniqueTaskName"}
    assert (await post(real, "task/submit", task_parameters=again)).json["success"]


async def test_a_task_under_way_is_not_submitted_again(real: Real, database: Any) -> None:
    await mine(database)
    before = real.contents()
    got = await post(real, "task/submit", task_parameters=PARAMETERS)
    assert (got.json["success"], got.json["data"]) == (False, 2)
    assert got.json["message"].startswith("jediTaskID=77 is in the running state for outDS=user.me.x/. ")
    assert real.contents() == before


@pytest.mark.parametrize("status", ["finished", "failed", "aborted", "done", "exhausted"])
async def test_an_ended_task_of_the_name_is_executed_again(real: Real, database: Any, status: str) -> None:
    await mine(database, status, ramcount=4000)
    real.run("UPDATE jedi_dataset_contents SET ramcount = 3000 WHERE jeditaskid = 77 AND type = 'input'")
    got = await post(
        real,
        "task/submit",
        task_parameters={**PARAMETERS, "dsForIN": "a", "site": None, "currentPriority": 9, "ramCount": 2000},
    )
    assert got.json == {
        "success": True,
        "message": f"reactivation accepted. jediTaskID=77 (currently in {status} state) will be re-executed with old "
        "and/or new input",
        "data": 77,
    }
    ((task, owner, command, comment, parameters),) = commands(real)
    assert (task, owner, command, comment) == (77, "DEFT", "incexec", None)
    assert json.loads(parameters) == {"nFiles": 3, "dsForIN": "a", "site": None, "ramCount": 2000}
    assert rows(real, "SELECT ramcount FROM jedi_tasks") == [(2000,)]
    assert set(rows(real, "SELECT ramcount FROM jedi_dataset_contents WHERE type = 'input'")) == {(2000,)}
    assert [row for row in rows(real, "SELECT taskid FROM t_task") if row[0] >= FIRST] == []


async def test_tasks_of_others_have_names_of_their_own_unless_they_are_of_the_same_group(
    real: Real, database: Any
) -> None:
    await mine(database, "finished", workinggroup="higgs")
    assert (await post(real, "task/submit", OTHER, task_parameters=PARAMETERS)).json["data"] == FIRST
    official = {**PARAMETERS, "official": True}
    foreign = evolve(OTHER, fqans=("/atlas/susy/Role=production",))
    for caller in (OTHER, foreign):
        before = real.contents()
        assert (await post(real, "task/submit", caller, task_parameters=official)).json["data"] == 1
        assert real.contents() == before
    group = evolve(OTHER, fqans=("/atlas/higgs/Role=production",))
    got = await post(real, "task/submit", group, task_parameters=official)
    assert (got.json["success"], got.json["data"]) == (True, 77)
    assert commands(real)[0][:3] == (77, "DEFT", "incexec")
    real.run("DELETE FROM doma_deft.prodsys_comm")
    assert (await post(real, "task/submit", PRODUCTION, task_parameters=official)).json["data"] == 77


async def test_a_user_may_have_so_many_tasks_under_way(real: Real, database: Any) -> None:
    real.run(
        "INSERT INTO config (app, component, key, value, type, vo, descr) VALUES"
        " ('pandaserver', 'dbproxy', 'MAX_ACTIVE_TASKS_PER_USER_user', '1', 'int', 'wlcg', 'x')"
    )
    await real.core.facts.refresh()
    await mine(database, "ready", 77)
    await make_task(database, 78, status="done", user="Some User")
    assert (await post(real, "task/submit", task_parameters={**PARAMETERS, "taskName": "a"})).json["success"]
    await make_task(database, 79, status="throttled", user="Some User")
    before = real.contents()
    got = await post(real, "task/submit", task_parameters={**PARAMETERS, "taskName": "b"})
    assert got.json == {"success": False, "message": "Too many active tasks for Some User 2>1", "data": 10}
    assert real.contents() == before


async def test_a_parent_is_found_by_its_name(real: Real, database: Any) -> None:
    await mine(database, "running")
    child = {**PARAMETERS, "taskName": "child", "parentTaskName": "user.me.x/"}
    await post(real, "task/submit", task_parameters=child)
    await post(real, "task/submit", task_parameters={**child, "taskName": "grandchild", "parentTaskName": "child"})
    assert rows(real, "SELECT parent_tid FROM t_task WHERE taskid >= 10000000 ORDER BY taskid") == [(77,), (FIRST,)]
    before = real.contents()
    for caller, name in ((OTHER, "user.me.x/"), (USER, "nobody")):
        got = await post(
            real, "task/submit", caller, task_parameters={**child, "taskName": "c", "parentTaskName": name}
        )
        message = f'failed to find parent with user="{caller.name}" name={name}'
        assert got.json == {"success": False, "message": message, "data": 11}
    assert real.contents() == before


@pytest.mark.parametrize("parameters", [{}, {**PARAMETERS, "prodSourceLabel": "managed"}, {**PARAMETERS, "vo": 1}])
async def test_a_task_that_cannot_be_is_refused_with_the_code_of_the_wire(
    real: Real, parameters: dict[str, Any]
) -> None:
    before = real.contents()
    got = await post(real, "task/submit", task_parameters=parameters)
    assert (got.json["success"], got.json["data"]) == (False, 4)
    assert got.json["message"].startswith("failed to register task: ")
    told = await legacy(real, "insertTaskParams", taskParams=json.dumps(parameters), properErrorCode="True")
    assert told == [4, got.json["message"]]
    assert real.contents() == before


async def test_a_name_that_is_anothers_submits_nothing(real: Real) -> None:
    await post(real, "task/submit", task_parameters=PARAMETERS)
    before = real.contents()
    impostor = evolve(USER, dn="/DC=evil/CN=Some User")
    got = await post(real, "task/submit", impostor, task_parameters={**PARAMETERS, "taskName": "theirs"})
    assert (got.json["success"], got.json["data"]) == (False, None)
    assert real.contents() == before


async def test_gzip_and_a_missing_content_type_do(real: Real) -> None:
    real.caller = USER
    values = {"taskParams": json.dumps(PARAMETERS), "properErrorCode": "True"}
    body = gzip.compress(json.dumps(values).encode())
    got = await real.ask("POST", "/server/panda/insertTaskParams", body, content_type=JSON, accept=JSON)
    assert got.json[0] == 0
    bare = await real.ask("POST", "/server/panda/insertTaskParams", urlencode(values).encode(), accept=JSON)
    assert bare.json[0] == 1


async def test_a_client_that_waits_for_a_pickle_is_told_so(real: Real) -> None:
    real.caller = USER
    got = await real.ask("POST", "/server/panda/killTask", b"jediTaskID=7", content_type=FORM)
    assert got.status == 400
    assert "panda-client 2.0" in got.text


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
