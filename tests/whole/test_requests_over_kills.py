"""Asynchronous requests on real servers: SIGKILL of a child and of the server, files of an older front end, a stop."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from load import Connection
from server import Home, Tables, until

from pandatx.store.cluster import Cluster

HANDLERS = '''
import os, time
from pathlib import Path

NOTES = Path(os.environ["PYTHONPATH"].split(os.pathsep)[0]) / "notes"


def hang(request, settings):
    """Says which process it is, and goes on for ever unless the test says go."""
    with NOTES.open("a") as notes:
        notes.write(f"{os.getpid()} {request['attempt']}\\n")
    while not NOTES.with_name("go").exists():
        time.sleep(0.05)
    return {"status": "done", "result": {"request_id": 42, "log": "fine"}}
'''
WORKFLOW = json.dumps({"taskParams": {"a": {}}})


@pytest.fixture
def hanging(home: Home) -> Home:
    """A server whose workflows hang."""
    return with_engine(home, "engine:hang")


def with_engine(home: Home, target: str) -> Home:
    folder = home.path / "handlers"
    folder.mkdir()
    (folder / "engine.py").write_text(HANDLERS)
    home.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    home.set("pandatx", request_handlers=json.dumps({"workflow": target}))
    return home


def notes(home: Home) -> list[tuple[int, int]]:
    """Process and attempt of each call that has begun."""
    path = home.path / "handlers" / "notes"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(pid), int(attempt)) for pid, attempt in (line.split() for line in lines)]


def submit(home: Home) -> str:
    got = Connection(home, "user.pem").v1("file_server/upload_workflow_request", data=WORKFLOW)
    assert got.json["success"], got.json
    return str(got.json["data"]["request_id"])


def told(home: Home, request_id: str) -> dict[str, Any]:
    """What can be asked for with the id."""
    got = Connection(home, "user.pem").get("async_process/get_result", request_id=request_id)
    assert got.json["success"], got.json
    return dict(got.json["data"])


def row(home: Home, request_id: str) -> dict[str, Any]:
    found = told(home, request_id)["results"]
    return dict(found[0]) if found else {}


def test_a_child_that_is_killed_three_times_leaves_its_request_failed_with_the_reason(hanging: Home) -> None:
    with hanging.server() as server:
        request_id = submit(hanging)
        for attempt in (1, 2, 3):
            until(lambda n=attempt: len(notes(hanging)) == n, f"attempt {attempt}")
            assert (row(hanging, request_id)["status"], row(hanging, request_id)["attempts"]) == ("running", attempt)
            os.kill(notes(hanging)[-1][0], signal.SIGKILL)
        until(lambda: row(hanging, request_id)["status"] == "failed", lambda: str(row(hanging, request_id)))
        assert row(hanging, request_id)["error_msg"] == "given up after 3 attempts: its process was killed by signal 9"
        assert told(hanging, request_id)["overall_status"] == "complete"
        assert "Traceback" not in server.text


def test_a_request_survives_sigkill_of_the_server_with_its_attempt_counted(hanging: Home) -> None:
    with hanging.server() as server:
        request_id = submit(hanging)
        until(lambda: notes(hanging), "the first attempt")
        server.kill()
    with hanging.server():
        until(lambda: len(notes(hanging)) == 2, "the second attempt", 40)
        assert (row(hanging, request_id)["status"], row(hanging, request_id)["attempts"]) == ("running", 2)
        (hanging.path / "handlers" / "go").touch()
        until(lambda: row(hanging, request_id)["status"] == "done", lambda: str(row(hanging, request_id)))
        assert json.loads(row(hanging, request_id)["result"]) == {"request_id": 42, "log": "fine"}


@pytest.mark.long
def test_another_server_goes_on_with_what_a_dead_machine_had_in_hand(
    home_with: Callable[..., Home], cluster: Cluster, database_name: str
) -> None:
    """Its lease of 60 s has to end, since nobody can tell that the machine is gone."""
    one, two = (with_engine(home_with((cluster, database_name)), "engine:hang") for _ in range(2))
    with one.server() as dying, two.server():
        request_id = submit(one)
        until(lambda: notes(one) or notes(two), "the first attempt")
        if notes(two):
            one, two = two, one
            dying = one.processes[0]
        dying.kill()
        until(lambda: len(notes(two)) == 1, "the second attempt", 90)
        (two.path / "handlers" / "go").touch()
        until(lambda: row(two, request_id)["status"] == "done", lambda: str(row(two, request_id)))
        assert row(two, request_id)["attempts"] == 2


def test_a_handler_that_does_not_exist_is_one_line_at_the_start_and_exit_3(home: Home) -> None:
    process = with_engine(home, "engine:nothing").server()
    assert process.launch().wait(60) == 3
    (line,) = process.stderr.splitlines()
    assert "[pandatx] request_handlers: workflow: engine:nothing: AttributeError" in line


def test_a_stop_ends_what_runs_in_time_and_does_not_count_it(hanging: Home) -> None:
    with hanging.server() as server:
        request_id = submit(hanging)
        until(lambda: notes(hanging), "the first attempt")
        begun = time.monotonic()
        assert server.stop() == -signal.SIGTERM
        assert time.monotonic() - begun < 30
    tables: Tables = hanging.tables()
    assert tables.query("SELECT request_id, status, attempts FROM async_results") == [(request_id, "pending", 0)]
    tables.close()
    with pytest.raises(ProcessLookupError):
        os.kill(notes(hanging)[0][0], 0)


def test_a_front_end_without_daemons_leaves_its_requests_to_others(hanging: Home) -> None:
    (hanging.path / "handlers" / "go").touch()
    with hanging.server("--roles", "http"):
        request_id = submit(hanging)
        assert told(hanging, request_id) == {
            "overall_status": "pending", "expected_machines": ["pandatx"], "results": [],
        }  # fmt: skip
        done = hanging.command("daemon", "run", "async_request_daemon")
        assert done.returncode == 0, done.stderr
        assert row(hanging, request_id)["status"] == "done"


def test_a_file_of_an_older_front_end_is_worked_on(hanging: Home) -> None:
    (hanging.path / "handlers" / "go").touch()
    daemons = {"process_workflow_files_daemon": {"enable": True, "period": 2}}
    text = hanging.config.read_text()
    start = text.index("[daemon]")
    rest = text[start + 1 :]
    end = start + 1 + rest.index("\n[") if "\n[" in rest else len(text)
    section = f"[daemon]\nenable = True\nconfig = {json.dumps(daemons)}\n"
    hanging.config.write_text(text[:start] + section + text[end:])
    with hanging.server():
        path = hanging.path / "cache" / "workflow.0b5cde3a-5a4f-4a52-9d2e-2d4c3b0d7a11"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"userName": "/DC=local/DC=pandatx/CN=user", "data": json.loads(WORKFLOW)}))
        until(lambda: not path.exists(), "the file is taken", 30)
        until(lambda: row(hanging, path.name.removeprefix("workflow.")).get("status") == "done", "it is done")
