"""Every call by which panda-client 2.2.0 reads, made by the unmodified client of PyPI (reference/clients.md 3)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import pytest_twisted
from panda_client import PandaClient, Release
from server import Home
from tasks_by_hand import make_job, make_task
from twisted.internet.defer import Deferred

from pandatx.domain.task_listing import ATTRIBUTES
from pandatx.store.database import Database

pytestmark = pytest.mark.long
TASK, PARENT, OTHERS = 10_000_001, 10_000_000, 10_000_009
PARAMETERS = {"taskName": "user.user.t", "cliParams": "prun --token abc"}
FORM = "%Y-%m-%d %H:%M:%S"
NOW = datetime.now(UTC).strftime(FORM)
LONG_AGO = (datetime.now(UTC) - timedelta(days=9)).strftime(FORM)


async def tasks(database: Database) -> list[int]:
    common = {"modificationtime": NOW, "superstatus": "running"}
    await make_task(database, PARENT, user="user", status="done", reqid=41, modificationtime=NOW, superstatus="done")
    task = await make_task(database, TASK, user="user", reqid=42, parent_tid=PARENT, **common)
    await make_task(database, OTHERS, user="other", reqid=43, **common)
    young = {"creationtime": NOW, "modificationtime": NOW, "statechangetime": NOW}
    return [await make_job(database, task, status=status, **young) for status in ("activated", "defined")]


def store(dsn: str) -> None:
    """Parameters, and a finished job with its metadata."""
    connection = psycopg2.connect(dsn, options="-c search_path=doma_panda")
    with connection, connection.cursor() as cursor:
        for task_id in (TASK, PARENT, OTHERS):
            cursor.execute("INSERT INTO jedi_taskparams VALUES (%s, %s)", (task_id, json.dumps(PARAMETERS)))
        cursor.execute(
            "INSERT INTO jobsarchived4 (pandaid, jobstatus, jeditaskid, prodsourcelabel, produsername,"
            " modificationtime) VALUES (900, 'finished', %s, 'user', 'user', %s)",
            (TASK, NOW),
        )
        cursor.execute("INSERT INTO metatable VALUES (900, %s, %s)", (NOW, '{"a": 1}'))
    connection.close()


@pytest.fixture
def jobs(database: Database) -> list[int]:
    made = pytest_twisted.blockon(Deferred.fromCoroutine(tasks(database)))
    store(database.conninfo)
    return made


@pytest.fixture
def served(home: Home, jobs: list[int]) -> Iterator[Home]:
    with home.server():
        yield home


@pytest.fixture
def client(served: Home, release: Release, tmp_path: Path) -> PandaClient:
    return PandaClient.without_grid(release, served, tmp_path / "work")


@pytest.fixture
def book(served: Home, release: Release, tmp_path: Path) -> PandaClient:
    """For pbook, which asks the grid's tools who its user is."""
    return PandaClient.on_grid(release, served, tmp_path / "work")


def data(told: Any) -> Any:
    """What a call gave that succeeded."""
    status, found = told
    assert status == 0, told
    return found


def test_functions_that_read_tasks(client: PandaClient, jobs: list[int]) -> None:
    assert client.call("hello") == [0, ""]
    assert client.call("getTaskStatus", TASK) == [0, "running"]
    assert client.call("getTaskStatus", 5) == [255, None]
    assert client.call("getTaskParamsMap", TASK) == [0, PARAMETERS]
    assert data(client.call("getTaskParamsMap", OTHERS))["cliParams"] == "prun --token ***"
    details = data(client.call("getJediTaskDetails", {"jediTaskID": TASK}, True, True))
    assert (details["status"], details["PandaID"], details["cliParams"]) == ("running", jobs, "prun --token abc")
    assert details["statistics"] in ("tobedone*1,activated*1,defined*1", "tobedone*1,activated*2")
    found, task = data(client.call("get_task_details_json", TASK))
    assert found is True and set(ATTRIBUTES) <= set(task)
    assert (task["reqID"], task["raw_task_params"], task["nFiles"]) == (42, PARAMETERS, 3)
    assert data(client.call("get_parent_detailed_info", TASK))["jediTaskID"] == PARENT
    (dataset,) = data(client.call("get_files_in_datasets", TASK))
    assert [file["status"] for file in dataset["files"]] == ["running", "running", "ready"]


def test_functions_that_list_tasks(client: PandaClient) -> None:
    changed = data(client.call("getJobIDsJediTasksInTimeRange", LONG_AGO))
    assert {request: task["jediTaskID"] for request, task in changed.items()} == {"41": PARENT, "42": TASK}
    assert changed["42"]["inDS"] == f"user.{TASK}.input"
    for since in (None, LONG_AGO):
        listed = data(client.call("get_tasks_detailed_info_since", since, {"reqID": "42"}))
        assert [task["jediTaskID"] for task in listed] == [TASK]
    listed = data(client.call("get_tasks_detailed_info_since", LONG_AGO, n_tasks=1000))
    assert [task["jediTaskID"] for task in listed] == [TASK, PARENT]


def test_functions_that_read_jobs(client: PandaClient, jobs: list[int]) -> None:
    assert client.call("getPandaIDsWithTaskID", TASK) == [0, [*jobs, 900]]
    told = data(client.call("get_job_descriptions", TASK))
    assert [(job["PandaID"], job["extendedProdSourceLabel"]) for job in told] == [
        (job, "user_normal") for job in (*jobs, 900)
    ]
    assert client.call("get_job_descriptions", TASK, unsuccessful_only=True) == [0, []]
    assert client.call("getUserJobMetadata", TASK) == [0, {"900": {"a": 1}}]
    active = data(client.call("getJobStatus", [*jobs, 5]))
    assert [job and job["PandaID"] for job in active] == [*jobs, None]
    assert active[0]["Files"] and (active[0]["jobStatus"], active[0]["pilotID"]) == ("activated", "NULL")
    assert [job and job["PandaID"] for job in data(client.call("getFullJobStatus", [900, 5]))] == [900, None]


def test_functions_that_read_who_one_is_and_what_one_keeps(client: PandaClient) -> None:
    assert set(data(client.call("get_cert_attributes"))) <= {"GRST_CRED_0"}
    assert client.call("get_user_secrets") == [0, [True, {}]]
    told = client.call("get_events_status", [{"task_id": TASK, "panda_id": 1}])
    assert told[0] == 0, told


def test_pbook_shows_the_users_tasks(book: PandaClient) -> None:
    for line, shown in (((), {TASK, PARENT}), ((TASK,), {TASK}), (("42",), {TASK}), (("run",), {TASK})):
        done = book.run("pbook", "show", *line)
        assert "PBook user: user" in done.stdout, done.stderr
        assert {number for number in (TASK, PARENT, OTHERS) if str(number) in done.stdout} == shown, done.stdout
    long = book.run("pbook", "showl", TASK).stdout
    assert f"user.user.t{TASK}" in long and "42" in long
    listed = book.run("pbook", "-c", "print([task['jediTaskID'] for task in show(42, format='json')])").stdout
    assert f"[{TASK}]" in listed


def test_pbook_dumps_metadata_and_turns_debugging_on(book: PandaClient, jobs: list[int]) -> None:
    done = book.run("pbook", "get_user_job_metadata", TASK, "out.json")
    assert "dumped to out.json" in done.stdout, done.stdout + done.stderr
    assert json.loads((book.directory / "out.json").read_text()) == {"900": {"a": 1}}
    done = book.run("pbook", "debug", jobs[0], "True")
    assert "ERROR" not in done.stdout and "Succeeded" in done.stdout, done.stdout + done.stderr


def test_without_a_certificate_the_server_says_why(client: PandaClient, served: Home) -> None:
    asked = "from pandaclient import Client as c; c.server_base_path_ssl = c.server_base_path; print(c.hello())"
    assert "(0, '')" in client.run("python", "-c", asked).stdout
    refused = "from pandaclient import Client as c; c.server_base_path_ssl = c.server_base_path;"
    refused += f"print(c.get_task_details_json({TASK}))"
    assert "SSL secure connection is required" in client.run("python", "-c", refused).stdout
