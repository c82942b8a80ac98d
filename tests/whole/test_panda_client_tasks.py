"""prun and pbook of the unmodified panda-client submit a task and steer it; the rows are what the task engine reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from panda_client import PandaClient, Release
from server import Home

pytestmark = pytest.mark.long
OUT, FIRST = "user.user.hello", 10_000_000
PRUN = (
    "prun",
    "--exec",
    "python a.py > out.txt",
    "--outDS",
    OUT,
    "--outputs",
    "out.txt",
    "--nJobs",
    "2",
    "--vo",
    "wlcg",
)
REFINED = """
INSERT INTO jedi_tasks
 (jeditaskid, reqid, taskname, status, username, vo, prodsourcelabel, creationdate, modificationtime)
SELECT taskid, taskid, taskname, 'running', username, vo, prodsourcelabel, submit_time, submit_time FROM t_task
"""


def rows(home: Home, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(home.dsn, options="-c search_path=doma_panda,doma_deft")
    with connection, connection.cursor() as cursor:
        cursor.execute(statement, values)
        found = cursor.fetchall() if cursor.description else []
    connection.close()
    return found


def command(home: Home) -> tuple[Any, ...]:
    ((*given, parameters),) = rows(home, "SELECT comm_task, comm_cmd, comm_comment, comm_parameters FROM prodsys_comm")
    return (*given, None if parameters is None else json.loads(parameters))


def on_grid(home: Home, release: Release, tmp_path: Path, who: str) -> PandaClient:
    client = PandaClient.on_grid(
        release,
        home,
        tmp_path / who,
        certificate=f"{who}.pem",
        subject=f"/DC=local/DC=pandatx/CN={who}",
        nickname=who,
    )
    (client.directory / "a.py").write_text("print('hello')\n")
    return client


@pytest.fixture
def client(home: Home, release: Release, tmp_path: Path) -> Iterator[PandaClient]:
    with home.server():
        yield on_grid(home, release, tmp_path, "user")


def test_prun_submits_a_task_with_its_sandbox_once(home: Home, client: PandaClient) -> None:
    done = client.run(*PRUN, "--noBuild")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"succeeded. new jediTaskID={FIRST}" in done.stdout
    ((task_id, parent, status, name, user, label, priority, text),) = rows(
        home,
        "SELECT taskid, parent_tid, status, taskname, username, prodsourcelabel, priority, jedi_task_parameters"
        " FROM t_task",
    )
    assert (task_id, parent, status, name) == (FIRST, FIRST, "waiting", f"{OUT}/")
    assert (user, label, priority) == ("user", "user", 1000)
    parameters = json.loads(text)
    assert (parameters["userName"], parameters["nEvents"], parameters["sourceURL"]) == ("user", 2, home.url)
    (sandbox,) = (found[1] for each in parameters["jobParameters"] if (found := re.match(r"-a (\S+)$", each["value"])))
    fetched = client.call("getFile", sandbox)
    assert fetched[0] == 0 and (client.directory / sandbox).stat().st_size > 0
    again = client.run(*PRUN, "--noBuild")
    assert again.returncode == 90
    assert f"jediTaskID={FIRST} is already queued for outDS={OUT}/." in again.stdout + again.stderr


def test_pbook_steers_a_task_of_its_user_only(
    home: Home, client: PandaClient, release: Release, tmp_path: Path
) -> None:
    assert client.run(*PRUN).returncode == 0
    early = client.run("pbook", "kill", FIRST)
    assert "the kill command is not accepted if the task is in waiting status" in early.stdout
    rows(home, REFINED)
    assert f"jediTaskID={FIRST} will be killed" in client.run("pbook", "kill", FIRST).stdout
    assert command(home) == (FIRST, "kill", "kill by user", None)
    assert "will be finished soon" in client.run("pbook", "finish", FIRST, "--soft").stdout
    assert command(home) == (FIRST, "finish", "soft finish by user", None)
    retried = client.run("pbook", "retry", FIRST).stdout
    assert "retry has been triggered for failed jobs while the task is still running" in retried
    rows(home, "UPDATE jedi_tasks SET status = 'finished'")
    refused = client.run("pbook", "kill", FIRST).stdout
    assert "the kill command is not accepted if the task is in finished status" in refused
    assert "command=retry is registered" in client.run("pbook", "retry", FIRST).stdout
    assert command(home) == (FIRST, "retry", "retry by user", None)
    new = client.run("pbook", "-c", f"retry({FIRST}, newOpts={{'nFilesPerJob': 3, 'site': 'B'}})")
    assert new.returncode == 0 and "reactivation accepted" in new.stdout, new.stdout + new.stderr
    task_id, name, comment, parameters = command(home)
    assert (task_id, name, comment) == (FIRST, "incexec", None)
    assert (parameters["nFilesPerJob"], parameters["site"]) == (3, "B")
    other = PandaClient.without_grid(release, home, tmp_path / "pilot", certificate="pilot.pem", nickname="pilot")
    assert other.call("killTask", FIRST) == [0, [False, "not the task owner or no production role"]]
    assert other.call("retryTask", FIRST)[1][0] != 0
    assert command(home)[1] == "incexec"
    again = client.run(*PRUN)
    assert again.returncode == 0
    assert f"reactivation accepted. jediTaskID={FIRST} (currently in finished state)" in again.stdout


def test_managers_steer_what_users_may_not(home: Home, client: PandaClient, release: Release, tmp_path: Path) -> None:
    assert client.run(*PRUN).returncode == 0
    rows(home, REFINED)
    manager = PandaClient.without_grid(
        release, home, tmp_path / "manager", certificate="production.pem", nickname="manager"
    )
    role = [0, [False, "production or pilot role required"]]
    assert [client.call(name, FIRST) for name in ("pauseTask", "resumeTask", "reactivateTask")] == [role] * 3
    assert manager.call("pauseTask", FIRST) == [0, [True, 0]]
    assert command(home)[1:3] == ("pause", "pause by production")
    rows(home, "UPDATE jedi_tasks SET status = 'paused'")
    assert manager.call("resumeTask", FIRST) == [0, [True, 0]]
    refused = [
        0,
        [False, "command rejected since status=paused or oldStatus=None not in ['running', 'scouting', 'ready']"],
    ]
    assert manager.call("increase_attempt_nr", FIRST, 2) == refused
    rows(home, "UPDATE jedi_tasks SET status = 'running'")
    assert manager.call("increase_attempt_nr", FIRST, 2) == [0, [True, 0]]
    rows(home, "UPDATE jedi_tasks SET status = 'done'")
    assert client.call("reload_input", FIRST) == [0, [True, 0]]
    assert command(home)[1:3] == ("incexec", "[{},[]]")
    assert manager.call("reactivateTask", FIRST) == [0, [True, 0]]
    assert rows(home, "SELECT status FROM jedi_tasks") == [("ready",)]


def test_a_native_workflow_is_stored(client: PandaClient) -> None:
    assert client.call("submit_workflow", {"a": 1}) == [0, [True, {"workflow_id": 1}]]
    assert client.call("submit_workflow_tmp", {"a": 2})[1]["data"] == {"workflow_id": 2}


@pytest.mark.parametrize("release", ["httpx"], indirect=True)
def test_a_native_workflow_is_shown(client: PandaClient) -> None:
    client.call("submit_workflow", {"a": 1})
    status, (success, shown) = client.call("get_workflow_details", 1)
    assert (status, success, shown["status"], shown["submitted_as"]) == (0, True, "registered", "raw_request")
    assert "registered" in client.run("pbook", "show_native_workflow", 1).stdout
