"""Asynchronous requests in both dialects over the real services: answers, refusals, and that these change nothing."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

import pytest
from attrs import evolve
from real import Real
from sites import ANYBODY, LIMITED, OTHER, PRODUCTION, USER, Got

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
WORKFLOW = json.dumps({"taskParams": {"a": {}}, "outDS": "user.x"})
TASK = """INSERT INTO jedi_tasks (jeditaskid, status, username, creationdate, modificationtime)
          VALUES (7, 'finished', 'Some User', '2026-01-01', '2026-01-01')"""
BEAT = """INSERT INTO machine_heartbeat VALUES ('node1', 'server', now() AT TIME ZONE 'UTC'),
          ('node2', 'server', now() AT TIME ZONE 'UTC' - interval '61 minutes'),
          ('jedi1', 'jedi', now() AT TIME ZONE 'UTC')"""
FLAG = "INSERT INTO users (id, name, gridpref) VALUES (1, 'Some User', 'a')"


async def allow(real: Real) -> None:
    """The user gets the letter for searches."""
    real.run(FLAG)
    await real.core.facts.refresh()


async def rest(real: Real, path: str, caller: Any = USER, **values: Any) -> Got:
    real.caller = caller
    return await real.ask("POST", f"/api/v1/{path}", json.dumps(values).encode(), content_type=JSON, accept=JSON)


async def result(real: Real, request_id: str, caller: Any = USER) -> Got:
    real.caller = caller
    return await real.ask("GET", f"/api/v1/async_process/get_result?request_id={request_id}", accept=JSON)


async def pchain(real: Real, method: str, caller: Any = USER, **values: Any) -> Got:
    """As panda-client posts compressed: gzip that does not say so."""
    real.caller = caller
    body = gzip.compress(json.dumps(values).encode())
    return await real.ask("POST", f"/server/panda/{method}", body, content_type=JSON, accept=JSON)


async def form(real: Real, method: str, body: bytes, caller: Any = USER) -> Got:
    real.caller = caller
    return await real.ask("POST", f"/server/panda/{method}", body, content_type=FORM)


def stored(real: Real) -> list[tuple[Any, ...]]:
    import psycopg2

    connection = psycopg2.connect(real.dsn, options="-c search_path=doma_panda")
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT request_id, request_type, service_name, machine_name, parameters FROM async_requests")
        found = [(*row[:4], json.loads(row[4])) for row in cursor.fetchall()]
    connection.close()
    return found


async def work(real: Real) -> None:
    """As async_request_daemon does."""
    await real.core.requests.work.beat()
    await real.core.requests.work.run_once()
    await real.core.requests.work.idle()


def answers(real: Real, answer: Any) -> None:
    """What the operator's handler for workflows says."""

    async def engine(claim: Any) -> Any:
        return answer

    real.core.requests.work._works["workflow"] = engine


@pytest.fixture
def handled(real: Real) -> None:
    """As where the operator has named handlers for all kinds."""
    real.core.requests.asking._refused = {}
    answers(real, {"status": "done"})


# async_process


async def test_a_search_is_asked_of_the_machines_that_are_alive(real: Real) -> None:
    real.run(BEAT)
    await allow(real)
    got = await rest(
        real, "async_process/submit_grep_request", pattern="x", log_filename="panda-a.log", service_name="server"
    )
    assert set(got.json["data"]) == {"request_id"}
    assert (got.json["success"], got.json["message"]) == (True, "")
    ((request_id, kind, service, machine, parameters),) = stored(real)
    assert re.fullmatch(UUID, request_id)
    assert (kind, service, machine) == ("grep", "server", None)
    assert parameters == {
        "pattern": "x", "log_filename": "panda-a.log", "requester": "Some User", "access": "owner",
    }  # fmt: skip
    told = (await result(real, request_id)).json
    assert told == {
        "success": True,
        "message": "",
        "data": {"overall_status": "pending", "expected_machines": ["node1"], "results": []},
    }


async def test_a_search_may_be_asked_of_one_machine_even_if_it_is_silent(real: Real) -> None:
    await allow(real)
    got = await rest(
        real, "async_process/submit_grep_request", pattern="x", log_filename="panda-a.log.1.gz", machine_name="n9"
    )
    assert got.json["success"]
    assert (await result(real, got.json["data"]["request_id"])).json["data"]["expected_machines"] == ["n9"]


async def test_a_search_needs_the_flag_even_from_production(real: Real) -> None:
    real.run(BEAT)
    before = real.contents()
    got = await rest(
        real, "async_process/submit_grep_request", PRODUCTION, pattern="x", log_filename="panda-a.log",
        service_name="server",
    )  # fmt: skip
    assert (got.status, got.json["success"], got.json["data"]) == (200, False, None)
    assert got.json["message"] == "'Prod' is not authorized"
    assert real.contents() == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"service_name": None}, "service_name: exactly one of service_name or machine_name must be provided"),
        ({"machine_name": "n"}, "service_name: exactly one of service_name or machine_name must be provided"),
        ({"service_name": "nobody"}, "no alive machines found for service 'nobody'"),
        ({"service_name": "x" * 65}, "service_name: must be at most 64 characters"),
        ({"service_name": None, "machine_name": "x" * 129}, "machine_name: must be at most 128 characters"),
        ({"service_name": None, "machine_name": "any"}, "machine_name: 'any' is not the name of a machine"),
        ({"service_name": None, "machine_name": "pandatx"}, "machine_name: 'pandatx' is not the name of a machine"),
        ({"pattern": "x" * 1001}, "pattern: must be at most 1000 characters"),
        ({"log_filename": "../panda-a.log"}, "log_filename: must not contain path separators"),
        ({"log_filename": "/etc/panda-a.log"}, "log_filename: must not contain path separators"),
        ({"log_filename": "panda-..log"}, "log_filename: must not contain path separators"),
        ({"log_filename": "secret.log"}, "log_filename: must start with 'panda-' and end with '.log' or '.gz'"),
        ({"log_filename": "panda-a.txt"}, "log_filename: must start with 'panda-' and end with '.log' or '.gz'"),
    ],
)
async def test_a_search_that_cannot_be_is_refused(real: Real, values: dict[str, Any], message: str) -> None:
    real.run(BEAT)
    await allow(real)
    before = real.contents()
    good = {"pattern": "x", "log_filename": "panda-a.log", "service_name": "server"}
    got = await rest(real, "async_process/submit_grep_request", **{**good, **values})
    assert got.json == {"success": False, "message": message, "data": None}
    assert real.contents() == before


async def test_an_echo_is_asked_of_any_one_machine(real: Real) -> None:
    real.run(BEAT)
    got = await rest(real, "async_process/submit_sleep_echo_request", PRODUCTION, service_name="server", message="m")
    ((request_id, kind, service, machine, parameters),) = stored(real)
    assert got.json["data"] == {"request_id": request_id}
    assert (kind, service, machine) == ("sleep_echo", "server", "any")
    assert parameters == {"seconds": 10, "message": "m", "requester": "Prod", "access": "production"}
    assert (await result(real, request_id, PRODUCTION)).json["data"]["expected_machines"] == ["any"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seconds": 61}, "seconds: must be between 0 and 60"),
        ({"seconds": -1}, "seconds: must be between 0 and 60"),
        ({"message": "x" * 101}, "message: must be at most 100 characters"),
        ({"service_name": ""}, "service_name: must be provided"),
        ({"service_name": "nobody"}, "no alive machines found for service 'nobody'"),
    ],
)
async def test_an_echo_that_cannot_be_is_refused(real: Real, values: dict[str, Any], message: str) -> None:
    real.run(BEAT)
    before = real.contents()
    good = {"service_name": "server", "message": "m"}
    got = await rest(real, "async_process/submit_sleep_echo_request", PRODUCTION, **{**good, **values})
    assert got.json == {"success": False, "message": message, "data": None}
    assert real.contents() == before


@pytest.mark.parametrize("seconds", [0, 60])
async def test_an_echo_may_wait_for_up_to_a_minute(real: Real, seconds: int) -> None:
    real.run(BEAT)
    got = await rest(
        real, "async_process/submit_sleep_echo_request", PRODUCTION, service_name="server", message="x" * 100,
        seconds=seconds,
    )  # fmt: skip
    assert got.json["success"]


async def test_an_echo_is_for_the_production_role(real: Real) -> None:
    got = await rest(real, "async_process/submit_sleep_echo_request", service_name="server", message="m")
    assert got.json["message"] == "production or pilot role required"


@pytest.mark.usefixtures("handled")
async def test_a_result_has_the_columns_of_the_table_and_times_as_text(real: Real) -> None:
    got = await rest(real, "file_server/upload_workflow_request", data=WORKFLOW)
    request_id = got.json["data"]["request_id"]
    await work(real)
    (row,) = (await result(real, request_id)).json["data"]["results"]
    assert set(row) == {
        "machine_name", "status", "result", "truncated", "error_msg", "attempts", "started_at", "finished_at", "stderr",
        "return_code",
    }  # fmt: skip
    for name in ("started_at", "finished_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?", row[name])


async def test_an_unknown_id_is_not_found(real: Real) -> None:
    got = await result(real, "nothing")
    assert (got.status, got.json) == (
        200, {"success": False, "message": "request_id 'nothing' not found", "data": None},
    )  # fmt: skip


@pytest.mark.usefixtures("handled")
async def test_results_are_refused_to_others(real: Real) -> None:
    real.run(BEAT)
    await allow(real)
    grep = await rest(
        real, "async_process/submit_grep_request", pattern="x", log_filename="panda-a.log", service_name="server"
    )
    workflow = await rest(real, "file_server/upload_workflow_request", data=WORKFLOW)
    ids = [got.json["data"]["request_id"] for got in (grep, workflow)]
    for request_id in ids:
        assert (await result(real, request_id)).json["success"]
        refused = (await result(real, request_id, OTHER)).json
        assert (refused["success"], refused["data"]) == (False, None)
        assert refused["message"] == "'Other' is not authorized to read results of this request"
    assert [(await result(real, request_id, PRODUCTION)).json["success"] for request_id in ids] == [False, True]
    for caller in (ANYBODY, LIMITED):
        assert (await result(real, ids[0], caller)).json["message"] == "SSL secure connection is required"


# Workflows


@pytest.mark.usefixtures("handled")
async def test_a_workflow_is_stored_and_answered_at_once_with_its_id(real: Real) -> None:
    v1 = await rest(real, "file_server/upload_workflow_request", data=WORKFLOW)
    legacy = await pchain(real, "put_workflow_request", data=WORKFLOW)
    assert v1.json["message"] == "The request was accepted and will be processed in a few minutes"
    done, text = legacy.json
    assert done is True
    found = re.fullmatch(rf"request was accepted and will be processed in a few minutes: request_id ({UUID})", text)
    rows = {row[0]: row for row in stored(real)}
    assert set(rows) == {v1.json["data"]["request_id"], found[1]}
    for _, kind, service, machine, parameters in rows.values():
        assert (kind, service, machine) == ("workflow", "pandatx", "pandatx")
        assert parameters["data"] == json.loads(WORKFLOW)
        assert (parameters["requester"], parameters["dn"]) == ("Some User", "/DC=x/CN=Some User")


@pytest.mark.parametrize("flags", [{}, {"sync": True}, {"check": True}])
async def test_a_workflow_that_nobody_can_do_is_refused_at_once(real: Real, flags: dict[str, bool]) -> None:
    """pchain says so and ends with 1; of an outcome without success it would say that the workflow is corrupted."""
    before = real.contents()
    done, text = (await pchain(real, "put_workflow_request", data=WORKFLOW, **flags)).json
    assert (done, text.startswith("workflows need a workflow engine")) == (False, True)
    assert "no handler for workflow: name one in [pandatx] request_handlers" in text
    v1 = await rest(real, "file_server/upload_workflow_request", data=WORKFLOW)
    assert (v1.json["success"], v1.json["data"], v1.json["message"]) == (False, None, text)
    assert real.contents() == before


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize("flag", ["sync", "check"])
async def test_a_workflow_whose_caller_waits_is_answered_by_what_came_of_it(real: Real, flag: str) -> None:
    answers(real, {"status": "failed", "error": "no such language"})
    await real.core.requests.work.beat()
    legacy = await pchain(real, "put_workflow_request", data=WORKFLOW, **{flag: True})
    done, told = legacy.json
    assert (done, told) == (True, {"status": False, "request_id": None, "log": "no such language"})
    v1 = await rest(
        real, "file_server/upload_workflow_request", data=WORKFLOW, **{"dry_run" if flag == "check" else "sync": True}
    )
    assert v1.json["data"]["status"] is False
    assert {row[4]["dry_run"] for row in stored(real)} == {flag == "check"}


@pytest.mark.usefixtures("handled")
async def test_what_the_engine_says_is_passed_on(real: Real) -> None:
    answers(real, {"status": "done", "result": {"request_id": 42, "log": "fine"}})
    await real.core.requests.work.beat()
    got = await pchain(real, "put_workflow_request", data=WORKFLOW, sync=True)
    assert got.json == [True, {"status": True, "request_id": 42, "log": "fine"}]


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"status": "done", "result": {"request_id": 42, "log": None}}, {"status": True, "request_id": 42}),
        ({"status": "done", "result": {"status": False, "log": ["a"]}}, {"status": False, "log": "['a']"}),
        ({"status": "failed", "result": {"status": True}, "error": "no"}, {"status": False, "log": "no"}),
    ],
)
async def test_pchain_finds_a_log_that_is_a_text_and_no_success_of_what_failed(
    real: Real, answer: Any, told: Any
) -> None:
    answers(real, answer)
    await real.core.requests.work.beat()
    done, found = (await pchain(real, "put_workflow_request", data=WORKFLOW, sync=True)).json
    assert done is True
    assert {name: found[name] for name in told} == told
    assert isinstance(found["log"], str)


@pytest.mark.usefixtures("handled")
async def test_a_workflow_that_takes_too_long_is_answered_by_its_id(real: Real, monkeypatch: Any) -> None:
    monkeypatch.setattr("pandatx.resources.async_process.PATIENCE", 0.0)
    got = await pchain(real, "put_workflow_request", data=WORKFLOW, sync=True)
    done, text = got.json
    assert done is False
    ((request_id, *_),) = stored(real)
    assert text == f"the request is not done yet; its result can be asked for with request_id {request_id}"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a workflow"),
        ('{"a": 1}', "is not a workflow"),
        ('{"taskParams": {"a": "\\ud800"}}', "is not JSON"),
        ('{"taskParams": {"a": ' + "[" * 300 + "]" * 300 + "}}", "cannot be stored"),
    ],
)
async def test_what_is_no_workflow_is_refused_by_the_name_of_its_field(real: Real, data: str, why: str) -> None:
    before = real.contents()
    v1 = await rest(real, "file_server/upload_workflow_request", data=data)
    assert v1.json["message"].startswith(f"data: {why}")
    legacy = await pchain(real, "put_workflow_request", data=data)
    assert (legacy.status, legacy.text.startswith(f"ERROR : data: {why}")) == (400, True)
    assert real.contents() == before


# Lost files


async def test_a_recovery_is_answered_with_its_id_and_the_url_of_its_log(real: Real) -> None:
    real.run(TASK)
    v1 = await rest(
        real, "file_server/upload_file_recovery_request", task_id=7, dataset=None, files=["a"], dry_run=None,
        no_child_retry=False,
    )  # fmt: skip
    data = v1.json["data"]
    assert set(data) == {"request_id", "logFileURL"}
    url = re.fullmatch(rf"http://localhost:25080/cache/(jedilog/lost_file_recovery\.{UUID}\.log)", data["logFileURL"])
    ((request_id, kind, _, machine, parameters),) = stored(real)
    assert (request_id, kind, machine) == (data["request_id"], "file_recovery", "pandatx")
    assert parameters["log_file"] == url[1]
    assert (parameters["task_id"], parameters["files"], parameters["no_child_retry"]) == (7, ["a"], False)
    assert parameters["dry_run"] is False


async def test_a_recovery_in_the_older_dialect(real: Real) -> None:
    real.run(TASK)
    got = await form(real, "put_file_recovery_request", b"jediTaskID=7&dryRun=True")
    done, text = got.json
    ((request_id, *_, parameters),) = stored(real)
    assert done is True
    assert text == f"request was accepted and will be processed in a few minutes: request_id {request_id}"
    assert (parameters["task_id"], parameters["dry_run"], parameters["no_child_retry"]) == (7, True, True)


async def test_a_recovery_is_for_the_owner_of_the_task(real: Real) -> None:
    real.run(TASK)
    before = real.contents()
    for caller, task in ((OTHER, 7), (USER, 8)):
        v1 = await rest(real, "file_server/upload_file_recovery_request", caller, task_id=task)
        assert v1.json["message"] == "not the task owner or no production role"
        legacy = await form(real, "put_file_recovery_request", b"jediTaskID=%d" % task, caller)
        assert legacy.json == [False, "not the task owner or no production role"]
    assert real.contents() == before
    assert (await rest(real, "file_server/upload_file_recovery_request", PRODUCTION, task_id=7)).json["success"]


@pytest.mark.parametrize(
    ("values", "v1", "legacy"),
    [
        ({}, "task_id: either task_id or dataset", "jediTaskID: either task_id or dataset"),
        ({"dataset": ""}, "task_id: either task_id or dataset", "jediTaskID: either task_id or dataset"),
        ({"task_id": "x"}, "Type error: 'task_id'", "task_id: must be of type int"),
        (
            {"task_id": 7, "reproduce_upto_nth_gen": 11},
            "Type error: 'reproduce_upto_nth_gen'",
            "reproduce_upto_nth_gen",
        ),
    ],
)
async def test_a_bad_recovery_names_its_field_as_the_caller_spells_it(
    real: Real, values: dict[str, Any], v1: str, legacy: str
) -> None:
    before = real.contents()
    assert (await rest(real, "file_server/upload_file_recovery_request", **values)).json["message"].startswith(v1)
    got = await pchain(real, "put_file_recovery_request", **values)
    assert (got.status, got.text[: 8 + len(legacy)]) == (400, f"ERROR : {legacy}")
    assert real.contents() == before


# Event picking

CAPTURED = (
    b"runEventList=1+2%0A3+4%0A&eventPickDataType=AOD&eventPickStreamName=s&eventPickDS=a,b&eventPickAmiTag=t"
    b"&userDatasetName=user.x&lockedBy=prun&giveGUID=False&params=-p&inputFileList="
)


async def test_event_picking_that_nobody_can_do_is_refused_at_once(real: Real) -> None:
    """prun would go on to submit a task for a dataset that never comes."""
    before = real.contents()
    got = await form(real, "putEventPickingRequest", CAPTURED)
    assert (got.status, got.text.startswith("event picking needs an event index")) == (200, True)
    v1 = await rest(real, "file_server/upload_event_picking_request", run_event_list="1 2\n")
    assert (v1.json["success"], v1.json["data"], v1.json["message"]) == (False, None, got.text)
    assert "no handler for event_picking: name one in [pandatx] request_handlers" in got.text
    assert real.contents() == before


@pytest.mark.usefixtures("handled")
async def test_event_picking_is_answered_with_the_bare_true_that_clients_evaluate(real: Real) -> None:
    got = await form(real, "putEventPickingRequest", CAPTURED)
    assert (got.status, got.text) == (200, "True")
    ((_, kind, _, machine, parameters),) = stored(real)
    assert (kind, machine) == ("event_picking", "pandatx")
    assert parameters["events"] == [["1", "2"], ["3", "4"]]
    assert (parameters["data_type"], parameters["datasets"]) == ("AOD", ["a", "b"])
    assert (parameters["locked_by"], parameters["user_dataset_name"]) == ("prun", "user.x")


@pytest.mark.usefixtures("handled")
async def test_event_picking_in_the_newer_dialect_has_an_id(real: Real) -> None:
    got = await rest(
        real, "file_server/upload_event_picking_request", run_event_list="1 2 g\n", include_guids=True, n_sites="2"
    )
    ((request_id, *_, parameters),) = stored(real)
    assert got.json["data"] == {"request_id": request_id}
    assert (parameters["guids"], parameters["n_sites"]) == ({"1,2": "g"}, 2)


async def test_event_picking_without_events_names_the_list(real: Real) -> None:
    before = real.contents()
    got = await form(real, "putEventPickingRequest", b"runEventList=&giveGUID=True")
    assert (got.status, got.text) == (400, "ERROR : runEventList: has no line of the form 'run event GUID'")
    v1 = await rest(real, "file_server/upload_event_picking_request", run_event_list="1")
    assert v1.json["message"] == "run_event_list: has no line of the form 'run event'"
    assert real.contents() == before


async def test_more_than_10_mib_is_refused(real: Real) -> None:
    before = real.contents()
    body = b"runEventList=" + b"1" * (10 << 20)
    got = await form(real, "putEventPickingRequest", body)
    assert (got.status, got.text.startswith("ERROR : body: larger than 10485760 bytes")) == (413, True)
    for path in ("upload_event_picking_request", "upload_workflow_request", "upload_file_recovery_request"):
        assert (await rest(real, f"file_server/{path}", data="x" * (10 << 20))).status == 413
    assert real.contents() == before


async def test_limited_proxies_and_strangers_ask_for_nothing(real: Real) -> None:
    real.run(TASK)
    before = real.contents()
    for caller in (ANYBODY, LIMITED, evolve(LIMITED, production=True)):
        got = await form(real, "putEventPickingRequest", CAPTURED, caller)
        assert got.text == "SSL secure connection is required"
        assert (await form(real, "put_file_recovery_request", b"jediTaskID=7", caller)).json[0] is False
        assert (await pchain(real, "put_workflow_request", caller, data=WORKFLOW)).json[0] is False
        for path, values in (
            ("upload_workflow_request", {"data": WORKFLOW}),
            ("upload_file_recovery_request", {"task_id": 7}),
        ):
            told = (await rest(real, f"file_server/{path}", caller, **values)).json
            assert told["message"] == "SSL secure connection is required"
    assert real.contents() == before
