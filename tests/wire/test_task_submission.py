"""Submitting tasks in both dialects over the real services: answers, rows, and refusals that change nothing."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from asking import FORM, JSON, post
from attrs import evolve
from real import Real
from sites import OTHER, PRODUCTION, USER
from steering import FIRST, PARAMETERS, commands, legacy, mine, rows
from tasks_by_hand import make_task


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


async def test_a_user_whose_name_the_table_of_users_cannot_hold_has_no_tasks(real: Real) -> None:
    before = real.contents()
    got = await post(real, "task/submit", evolve(USER, name="n" * 61), task_parameters=PARAMETERS)
    told = "failed to register task: the name of its user is longer than 60 characters"
    assert got.json == {"success": False, "message": told, "data": 4}
    assert real.contents() == before
    assert (await post(real, "task/submit", evolve(USER, name="n" * 60), task_parameters=PARAMETERS)).json["success"]


async def test_a_task_has_not_more_parameters_than_can_be_gone_through_at_once(real: Real) -> None:
    before = real.contents()
    many = {**PARAMETERS, **{f"dsFor{n}": "x" for n in range(10_000)}}
    got = await post(real, "task/submit", task_parameters=many)
    told = "Type error: 'task_parameters' has more than 10000 elements."
    assert got.json == {"success": False, "message": told, "data": None}
    got = await post(real, "task/retry", task_id=77, new_parameters=many)
    assert got.json["message"] == "Type error: 'new_parameters' has more than 10000 elements."
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
    assert "panda-client 1.6.0 or newer" in got.text


@pytest.mark.parametrize(("letters", "kept"), [("s", 900), ("pk", None)])
async def test_a_priority_of_its_own_is_for_tasks_of_users_with_the_letter_s(
    real: Real, letters: str, kept: int | None
) -> None:
    real.caller = USER
    real.run("INSERT INTO users (id, name, gridpref) VALUES (1, 'Some User', NULL), (2, 'Some User', %s)", letters)
    await real.core.facts.refresh()
    got = await post(real, "task/submit", task_parameters={**PARAMETERS, "currentPriority": 900}, parent_tid=None)
    assert got.json["success"]
    ((stored,),) = rows(real, "SELECT jedi_task_parameters FROM t_task")
    assert json.loads(stored).get("currentPriority") == kept
