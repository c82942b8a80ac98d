"""Each call of Harvester's communicator as it was recorded, over the real services (reference/wire.md 4 and 8,
clients.md 6), and those of Harvesters from before 2025 in the older dialect (5.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import psycopg2
import pytest
from attrs import define
from real import Real
from server import Tables
from sites import ANYBODY, OTHER, PILOT, PRODUCTION, USER, Connection, site_of
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from pandatx.domain.harvester_requests import Dialogs, HarvesterHeartbeat, ServiceMetrics, WorkersUpdate
from pandatx.domain.queues import Queue
from pandatx.resources.api import Call, Dialect
from pandatx.resources.harvester import HarvesterResource
from pandatx.services.harvester import Taken
from pandatx.store.harvester_commands import Fetched

NOW = "datetime/2026-01-01 00:00:00.000000"
WORKER = {
    "workerID": 7, "batchID": "b.1", "queueName": "LOCAL", "status": "running", "computingSite": "LOCAL", "nCore": 1,
    "submitTime": NOW, "startTime": NOW, "jobType": "user", "resourceType": "SCORE", "nJobs": 1,
    "computingElement": "ce", "syncLevel": 1, "submissionHost": "sub,x", "harvesterHost": "hv", "minRamCount": 2000,
    "stdOut": "https://host/out", "mapType": "unknown to the server",
}  # fmt: skip
STATS = {"user": {"SCORE": {"running": 1, "to_submit": None}, "Undefined": {"running": 1}}}


@define
class Harvester:
    """Harvester's way to ask, of today and of before 2025."""

    real: Real

    async def rest(self, path: str, **values: Any) -> Any:
        """POST of JSON."""
        body = json.dumps(values).encode()
        kind = "application/json"
        got = await self.real.ask("POST", f"/api/v1/{path}", body, accept=kind, content_type=kind, connection="close")
        assert (got.status, got.header("content-type")) == (200, kind), got.text
        return got.json

    async def get(self, path: str, *values: tuple[str, Any]) -> Any:
        """GET, without a Content-Type."""
        got = await self.real.ask("GET", f"/api/v1/{path}?{urlencode(values)}", accept="application/json")
        assert got.status == 200, got.text
        return got.json

    async def form(self, method: str, **values: Any) -> Any:
        """POST of a form, as the communicator of release 0.5 did."""
        body = urlencode(values).encode()
        kind = "application/x-www-form-urlencoded"
        got = await self.real.ask("POST", f"/server/panda/{method}", body, accept="application/json", content_type=kind)
        assert got.status == 200, got.text
        return got.json


def ok(data: Any = None, message: str = "") -> dict[str, Any]:
    return {"success": True, "message": message, "data": data}


@pytest.fixture
def harvester(real: Real) -> Harvester:
    real.caller = PRODUCTION
    return Harvester(real)


@pytest.fixture
def tables(real: Real) -> Iterator[Tables]:
    tables = Tables(real.dsn)
    yield tables
    tables.close()


def rows(real: Real, text: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(real.dsn, options="-c search_path=doma_panda,doma_pandameta")
    with connection, connection.cursor() as cursor:
        cursor.execute(text)
        found = cursor.fetchall()
    connection.close()
    return found


# The group harvester


async def test_a_heartbeat_notes_the_harvester_its_version_and_the_commands_that_it_takes(
    real: Real, harvester: Harvester
) -> None:
    wish = {"command": "SET_N_WORKERS_JOBTYPE", "computingSite": "LOCAL", "resourceType": "ANY"}
    facts = {"startTime": NOW, "sw_version": "0.7.5", "commit_stamp": "c", "commands": [wish, {}, 1], "owner": "x"}
    assert await harvester.rest("harvester/heartbeat", harvester_id="hv1", data=facts) == ok()
    assert await harvester.rest("harvester/heartbeat", harvester_id="hv1", data={}) == ok()
    assert await harvester.rest("harvester/heartbeat", harvester_id="hv2", data=None) == ok()
    assert await harvester.form("harvesterIsAlive", harvesterID="hv3", data=json.dumps(facts)) == [True, "succeeded"]
    assert await harvester.form("harvesterIsAlive", harvesterID="hv3") == [True, "succeeded"]
    text = "SELECT harvester_id, owner, hostname, starttime::text, sw_version FROM harvester_instances ORDER BY 1"
    assert rows(real, text) == [
        ("hv1", "Prod", "192.0.2.1", "2026-01-01 00:00:00", "0.7.5"),
        ("hv2", "Prod", "192.0.2.1", None, None),
        ("hv3", "Prod", "192.0.2.1", "2026-01-01 00:00:00", "0.7.5"),
    ]
    assert rows(real, "SELECT harvester_id, command FROM harvester_command_lock ORDER BY 1") == [
        ("hv1", "SET_N_WORKERS_JOBTYPE"),
        ("hv3", "SET_N_WORKERS_JOBTYPE"),
    ]


async def test_workers_are_stored_each_by_itself_and_told_in_their_order(real: Real, harvester: Harvester) -> None:
    workers = [WORKER, {**WORKER, "workerID": 8}, {"status": "running"}, 1, {**WORKER, "workerID": "9", "nCore": "x"}]
    told = [True, True, False, False, True]
    assert await harvester.rest("harvester/update_workers", harvester_id="hv1", workers=workers) == ok(told)
    assert await harvester.rest("harvester/update_workers", harvester_id="hv1", workers=[]) == ok([])
    form = {"harvesterID": "hv1", "workers": json.dumps([{"workerID": 7, "status": "finished", "endTime": NOW}])}
    assert await harvester.form("updateWorkers", **form) == [True, [True]]
    assert await harvester.form("updateWorkers", harvesterID="hv1", workers="[]") == [True, []]
    text = (
        "SELECT workerid, status, ncore, submittime::text, endtime::text, submissionhost, stdout"
        " FROM harvester_workers ORDER BY 1"
    )
    same = ("sub,x", "https://host/out")
    assert rows(real, text) == [
        (7, "finished", 1, "2026-01-01 00:00:00", "2026-01-01 00:00:00", *same),
        (8, "running", 1, "2026-01-01 00:00:00", None, *same),
        (9, "running", None, "2026-01-01 00:00:00", None, *same),
    ]


async def test_numbers_of_workers_are_stored_and_told_by_queue(real: Real, harvester: Harvester) -> None:
    said = {"harvester_id": "hv1", "panda_queue": "LOCAL", "statistics": json.dumps(STATS)}
    assert await harvester.rest("harvester/report_worker_statistics", **said) == ok(message="OK")
    form = {"harvesterID": "hv2", "siteName": "LOCAL", "paramsList": json.dumps(STATS)}
    assert await harvester.form("reportWorkerStats_jobtype", **form) == [True, "OK"]
    found = {"LOCAL": {name: {"user": {"SCORE": {"running": 1, "to_submit": 0}}} for name in ("hv1", "hv2")}}
    assert await harvester.get("harvester/get_worker_statistics") == ok(found)
    assert await harvester.form("getWorkerStats") == found
    wrong = await harvester.rest("harvester/report_worker_statistics", **(said | {"statistics": '{"user": 1}'}))
    assert wrong == {"success": False, "message": "statistics: must be an object by resource type", "data": None}


async def test_the_highest_worker_of_a_harvester_is_told_and_null_before_the_first(
    real: Real, harvester: Harvester
) -> None:
    ask = ("harvester/get_current_worker_id", ("harvester_id", "hv1"))
    assert await harvester.get(*ask) == ok(None)
    assert await harvester.form("get_max_worker_id", harvester_id="hv1") is None
    await harvester.rest("harvester/update_workers", harvester_id="hv1", workers=[WORKER])
    assert await harvester.get(*ask) == ok(7)
    assert await harvester.form("get_max_worker_id", harvester_id="hv1") == 7


async def test_figures_of_machines_are_kept_but_for_those_that_cannot_be_read(real: Real, harvester: Harvester) -> None:
    figures = ["2026-01-01 00:00:00.500000", "host", '{"cpu_pc": 15.2}']
    metrics = [figures, ["never", "host", "{}"], ["2026-01-01 00:00:01.0"], 1, "x"]
    assert await harvester.rest("harvester/update_service_metrics", harvester_id="hv1", metrics=metrics) == ok([True])
    form = {"harvesterID": "hv2", "metrics": json.dumps([figures])}
    assert await harvester.form("updateServiceMetrics", **form) == [True, [True]]
    text = "SELECT harvester_id, creation_time::text, harvester_host, metrics FROM harvester_metrics ORDER BY 1"
    assert rows(real, text) == [(name, "2026-01-01 00:00:00.5", "host", figures[2]) for name in ("hv1", "hv2")]


async def test_messages_are_kept_and_cut_to_their_column(real: Real, harvester: Harvester) -> None:
    dialog = {
        "diagID": 3, "moduleName": "submitter", "identifier": None, "creationTime": "2026-01-01 00:00:00.500000",
        "messageLevel": "ERROR", "diagMessage": "x" * 600,
    }  # fmt: skip
    sent = [dialog, {**dialog, "diagID": None}, 1]
    assert await harvester.rest("harvester/add_dialogs", harvester_id="hv1", dialogs=sent) == ok()
    assert await harvester.form("addHarvesterDialogs", harvesterID="hv2", dialogs=json.dumps([dialog])) == [True, ""]
    text = "SELECT harvester_id, diagid, modulename, identifier, length(diagmessage) FROM harvester_dialogs ORDER BY 1"
    assert rows(real, text) == [("hv1", 3, "submitter", None, 500), ("hv2", 3, "submitter", None, 500)]


async def test_commands_are_fetched_once_in_their_order_and_acknowledged(real: Real, harvester: Harvester) -> None:
    for number, params in ((1, '{"managed": {"SCORE": 3}}'), (2, "[7, 8]"), (3, None)):
        real.run(
            "INSERT INTO harvester_commands (command_id, command, harvester_id, ack_requested, creation_date, status,"
            " params) VALUES (%s, 'SET_N_WORKERS_JOBTYPE:LOCAL', 'hv1', 0, '2026-01-01 00:00:00.5', 'new', %s)",
            number,
            params,
        )
    one = {"command": "SET_N_WORKERS_JOBTYPE:LOCAL", "ack_requested": 0, "creation_date": "2026-01-01T00:00:00.500000"}
    told = [
        {**one, "command_id": number, "params": params}
        for number, params in ((1, {"managed": {"SCORE": 3}}), (2, [7, 8]), (3, None))
    ]
    acquire = "harvester/acquire_commands"
    assert await harvester.rest(acquire, harvester_id="hv1", n_commands=2) == ok(told[:2])
    older = await harvester.form("getCommands", harvester_id="hv1", n_commands="5")
    assert older == {"StatusCode": 0, "Returns": 0, "Commands": told[2:]}
    assert await harvester.rest(acquire, harvester_id="hv1", n_commands=5) == ok([])
    assert await harvester.rest("harvester/acknowledge_commands", command_ids=[1]) == ok()
    assert await harvester.rest("harvester/acknowledge_commands", command_ids=[]) == ok()
    assert await harvester.form("ackCommands", command_ids="[2]") == {"StatusCode": 0, "Returns": 0}
    assert rows(real, "SELECT command_id, status FROM harvester_commands ORDER BY 1") == [
        (1, "acknowledged"),
        (2, "acknowledged"),
        (3, "retrieved"),
    ]
    real.caller = PILOT
    assert (await harvester.form("getCommands", harvester_id="hv1", n_commands="5"))["StatusCode"] == 0
    refused = await harvester.rest(acquire, harvester_id="hv1", n_commands=5)
    assert (refused["success"], refused["message"]) == (False, "production or pilot role required")


async def test_commands_whose_answer_never_left_are_given_back() -> None:
    waits: Deferred[None] = Deferred()
    fetched = Fetched(command_id=1, command="X", params=None, ack_requested=0, created=datetime(2026, 1, 1, tzinfo=UTC))
    taken = Taken(commands=(fetched,), at=fetched.created)
    given_back: list[Taken] = []

    class Waiting:
        async def take_commands(self, harvester_id: str, n: int) -> Taken:
            await waits
            return taken

        async def give_back(self, what: Taken) -> None:
            given_back.append(what)

    connection = Connection(site_of(HarvesterResource(Waiting(), None), caller=PRODUCTION))
    connection.post("/api/v1/harvester/acquire_commands", {"harvester_id": "hv1", "n_commands": 5})
    connection.hang_up()
    waits.callback(None)
    assert given_back == [taken]


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("add_dialogs", Dialogs(harvester_id="hv1", dialogs=(1,) * 1000)),
        ("update_service_metrics", ServiceMetrics(harvester_id="hv1", metrics=(1,) * 1000)),
        ("update_workers", WorkersUpdate(harvester_id="hv1", workers=({**WORKER, "workerID": "x"},) * 1000)),
        ("heartbeat", HarvesterHeartbeat(harvester_id="hv1", data={"commands": [1] * 1000})),
    ],
)
async def test_others_are_seen_to_while_a_long_list_is_read_and_its_faults_are_one_warning(method, request_) -> None:
    breaths: list[int] = []

    class Anything:
        def __getattr__(self, name: str) -> Any:
            async def take(*args: Any) -> dict[int, bool]:
                return {}

            return take

    async def breathe() -> None:
        breaths.append(1)

    call = Call(id="c", dialect=Dialect.V1, breathe=breathe)
    with capturedLogs() as logged:
        await getattr(HarvesterResource(Anything(), Anything()), method)(PRODUCTION, request_, call)
    assert len(breaths) >= 1000 // 10
    (warning,) = logged
    assert warning["n"] == 1000


async def test_operators_sweep_queues_and_set_slots(real: Real, harvester: Harvester) -> None:
    real.core.facts.with_queues({"LOCAL": Queue(name="LOCAL", document={"harvester": "hv1"})})
    lists = {"status_list": ["submitted"], "ce_list": "ALL", "submission_host_list": ["ALL"]}
    sweep = "harvester/add_sweep_command"
    assert await harvester.rest(sweep, panda_queue="LOCAL", **lists) == ok()
    unknown = await harvester.rest(sweep, panda_queue="NONE", **lists)
    assert (unknown["success"], unknown["message"]) == (False, "Error retrieving queue configuration from DB")
    older = {name: json.dumps(value) for name, value in {"panda_queue": "LOCAL", **lists}.items()}
    assert await harvester.form("sweepPQ", **older) == [True, "OK"]
    assert await harvester.form("sweepPQ", **(older | {"panda_queue": '"NONE"'})) == [False, unknown["message"]]
    ((command, params),) = rows(real, "SELECT command, params::json FROM harvester_commands")
    assert (command, params["status"], params["computingElement"]) == ("KILL_WORKERS", ["submitted"], "ALL")
    text = "set numSlots=10 for PQ=LOCAL gshare=None resource=None"
    slots = "harvester/add_target_slots"
    assert await harvester.rest(slots, panda_queue="LOCAL", slots=10) == ok(message=text)
    assert await harvester.form("setNumSlotsForWP", pandaQueueName="LOCAL", numSlots="10") == [0, text]
    await harvester.rest(slots, panda_queue="LOCAL", slots=5, global_share="S", expiration_date="2026-02-01")
    found = rows(real, "SELECT gshare, numslots, expirationtime::text FROM harvester_slots ORDER BY 2")
    assert found == [("S", 5, "2026-02-01 00:00:00"), (None, 10, None)]


async def test_a_refusal_to_set_slots_has_a_code_that_is_not_taken_for_success(
    real: Real, harvester: Harvester
) -> None:
    asked = {"pandaQueueName": "LOCAL", "numSlots": "10"}
    real.caller = USER
    assert await harvester.form("setNumSlotsForWP", **asked) == [101, "production or pilot role required"]
    real.caller = ANYBODY
    assert await harvester.form("setNumSlotsForWP", **asked) == [100, "SSL secure connection is required"]


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("heartbeat", 2),
        ("acquire_commands", 1),
        ("acknowledge_commands", 1),
        ("update_workers", 4),
        ("report_worker_statistics", 1),
        ("update_service_metrics", 4),
        ("add_dialogs", 4),
        ("add_sweep_command", 1),
        ("add_target_slots", 1),
    ],
)
async def test_bodies_are_no_larger_than_can_be_read_without_holding_up_others(
    real: Real, harvester: Harvester, path: str, most: int
) -> None:
    for size, refused in ((most << 20, False), ((most << 20) + 1, True)):
        body = json.dumps({"x": ""}).encode()
        body = body.replace(b'""', b'"%s"' % (b"x" * (size - len(body))))
        got = await real.ask("POST", f"/api/v1/harvester/{path}", body, content_type="application/json")
        assert (got.status == 413) is refused


async def test_a_user_may_run_a_harvester_but_not_speak_for_anothers(real: Real, harvester: Harvester) -> None:
    real.caller = USER
    assert await harvester.rest("harvester/heartbeat", harvester_id="mine", data={}) == ok()
    assert await harvester.rest("harvester/update_workers", harvester_id="mine", workers=[WORKER]) == ok([True])
    before = real.contents()
    real.caller = OTHER
    text = "harvester mine is not yours"
    for path, what in (
        ("heartbeat", {"data": {}}),
        ("update_workers", {"workers": [WORKER]}),
        ("report_worker_statistics", {"panda_queue": "LOCAL", "statistics": "{}"}),
        ("add_dialogs", {"dialogs": []}),
        ("update_service_metrics", {"metrics": []}),
    ):
        got = await harvester.rest(f"harvester/{path}", harvester_id="mine", **what)
        assert got == {"success": False, "message": text, "data": None}
    assert await harvester.form("updateWorkers", harvesterID="mine", workers=json.dumps([WORKER])) == [False, text]
    assert real.contents() == before


# The group pilot, as Harvester uses it


def asks(n: int, **more: Any) -> dict[str, Any]:
    return {
        "site_name": "LOCAL", "node": "hv", "prod_source_label": "user", "computing_element": "hv", "n_jobs": n,
        "scheduler_id": "harvester-hv1", **more,
    }  # fmt: skip


async def test_jobs_are_pulled_as_a_list_or_one_by_one(real: Real, harvester: Harvester, tables: Tables) -> None:
    first = tables.activate(4)[0]
    got = await harvester.rest("pilot/acquire_jobs", **asks(3, resourceType="SCORE", mem="4000", diskSpace="50000"))
    assert (got["success"], got["message"], got["data"]["StatusCode"]) == (True, "", 0)
    jobs = got["data"]["jobs"]
    assert [job["PandaID"] for job in jobs] == [first, first + 1, first + 2]
    needed = (
        "PandaID taskID attemptNr jobsetID currentPriority inFiles GUID fsize checksum scopeIn realDatasetsIn"
        " ddmEndPointIn outFiles scopeOut realDatasets ddmEndPointOut destinationDBlockToken coreCount resource_type"
    )
    assert set(needed.split()) <= set(jobs[0])
    assert (jobs[0]["inFiles"], jobs[0]["StatusCode"]) == ("", 0)
    one = await harvester.rest("pilot/acquire_jobs", **asks(1))
    assert [job["PandaID"] for job in one["data"]["jobs"]] == [first + 3]
    none = await harvester.rest("pilot/acquire_jobs", **asks(1))
    assert none == {"success": False, "message": "No jobs in PanDA", "data": None}
    older = {"siteName": "LOCAL", "node": "hv", "prodSourceLabel": "user", "nJobs": 1, "schedulerID": "harvester-hv1"}
    assert await harvester.form("getJob", **older) == {"StatusCode": 20, "errorDialog": "no jobs in PanDA"}
    tables.activate(1, first=first + 4)
    assert [job["PandaID"] for job in (await harvester.form("getJob", **older))["jobs"]] == [first + 4]


async def test_a_harvester_that_wants_very_many_jobs_gets_a_hundred_and_asks_again(
    real: Real, harvester: Harvester, tables: Tables
) -> None:
    tables.activate(101)
    for n in (100, 1):
        assert len((await harvester.rest("pilot/acquire_jobs", **asks(500)))["data"]["jobs"]) == n


def beat(panda_id: int, status: str = "running", **more: Any) -> dict[str, Any]:
    return {
        "job_id": panda_id, "site_name": "LOCAL", "job_status": status, "job_sub_status": None, "attempt_nr": 0,
        "core_count": 1, "token": "no argument of old servers", "end_time": 1767225700.25, "max_rss": "100.5", **more,
    }  # fmt: skip


async def test_of_a_hundred_reports_each_is_answered_as_if_it_had_come_alone(
    real: Real, harvester: Harvester, tables: Tables
) -> None:
    first = tables.activate(97)[0]
    await harvester.rest("pilot/acquire_jobs", **asks(97))
    killed = first + 1
    real.run("UPDATE jobsactive4 SET commandtopilot = 'tobekilled', specialhandling = 'dm' WHERE pandaid = %s", killed)
    beats: list[Any] = [beat(panda_id) for panda_id in range(first, first + 97)]
    beats[2] = beat(first + 2, "failed", job_sub_status="missed", job_output_report="", meta_data='{"a": 1}')
    beats[3] = beat(first + 3, "finished", job_output_report={"out": {"guid": "g"}})
    beats += [{"job_status": "running"}, beat(5, "cancelled"), "no object"]
    assert len(beats) == 100
    got = await harvester.rest("pilot/update_jobs_bulk", job_list=beats, harvester_id="hv1")
    assert (got["success"], got["message"], len(got["data"])) == (True, "", 100)
    each = got["data"]
    assert all(one["success"] and one["data"]["StatusCode"] == 0 for one in each[:97])
    assert [index for index in range(97) if each[index]["data"]["command"] == "tobekilled"] == [1]
    assert [(one["success"], bool(one["data"])) for one in each[97:]] == [(False, False), (False, True), (False, False)]
    found = dict(rows(real, "SELECT pandaid, jobstatus FROM jobsactive4"))
    assert {found[panda_id] for panda_id in range(first + 4, first + 97)} == {"running"}
    assert (found[first + 2], found[first + 3]) == ("holding", "holding")
    text = "SELECT jobsubstatus, maxrss, endtime::text FROM jobsactive4 WHERE pandaid = "
    assert rows(real, f"{text}{first + 2}") == [("missed", 100, "2026-01-01 00:01:40.25")]
    form = {"jobList": json.dumps([{"jobId": first, "state": "running", "attemptNr": 0}]), "harvester_id": "hv1"}
    older = await harvester.form("updateJobsInBulk", **form)
    assert (older[0], older[1][0]["type"], json.loads(older[1][0]["content"])["StatusCode"]) == (True, "json", 0)


async def test_statuses_and_commands_of_jobs_stand_in_the_order_of_the_ids(
    real: Real, harvester: Harvester, tables: Tables
) -> None:
    first = tables.activate(2)[0]
    real.run("UPDATE jobsactive4 SET commandtopilot = 'tobekilled' WHERE pandaid = %s", first)
    ids = (first + 1, first + 9, first)
    told = [
        {"status": "activated", "command": None},
        {"status": "unknown", "command": "tobekilled"},
        {"status": "activated", "command": "tobekilled"},
    ]
    assert await harvester.get("job/get_status", *(("job_ids", panda_id) for panda_id in ids)) == ok(told)
    older = await harvester.form("checkJobStatus", ids=",".join(map(str, ids)))
    assert older == {"StatusCode": 0, "data": told}


# Push and pull


async def test_push_from_a_job_to_the_end_of_its_worker(real: Real, harvester: Harvester, tables: Tables) -> None:
    panda_id = tables.activate(1)[0]
    await harvester.rest("harvester/heartbeat", harvester_id="hv1", data={})
    await harvester.rest("pilot/acquire_jobs", **asks(1))
    await harvester.rest(
        "harvester/update_workers", harvester_id="hv1", workers=[{**WORKER, "pandaid_list": [panda_id]}]
    )
    await harvester.rest("pilot/update_jobs_bulk", job_list=[beat(panda_id)], harvester_id="hv1")
    text = "SELECT jobstatus, computingelement, schedulerid FROM jobsactive4"
    assert rows(real, text) == [("running", "ce", "harvester-hv1")], "the computing element is the worker's"
    ended = {"workerID": 7, "status": "failed", "syncLevel": 1, "errorCode": 9, "diagMessage": "lost"}
    await harvester.rest("harvester/update_workers", harvester_id="hv1", workers=[ended])
    text = "SELECT jobstatus, taskbuffererrorcode, superrorcode, superrordiag FROM jobsactive4"
    assert rows(real, text) == [("running", 300, 9, "of the worker: lost")]
    assert rows(real, "SELECT pandaid, jobstatus, data FROM job_output_report") == [(panda_id, "failed", "")]


async def test_pull_ties_a_pilots_job_to_its_worker(real: Real, harvester: Harvester, tables: Tables) -> None:
    panda_id = tables.activate(1)[0]
    await harvester.rest("harvester/heartbeat", harvester_id="hv1", data={})
    await harvester.rest("harvester/update_workers", harvester_id="hv1", workers=[{**WORKER, "status": "submitted"}])
    real.caller = PILOT
    pilot = {"worker_id": 7, "harvester_id": "hv1", "status": "started", "node_id": "slot1@host"}
    assert await harvester.rest("pilot/update_worker_status", **pilot) == ok()
    job = {"site_name": "LOCAL", "prod_source_label": "user", "harvester_id": "hv1", "worker_id": "7"}
    assert (await harvester.rest("pilot/acquire_jobs", **job))["success"]
    assert rows(real, "SELECT harvesterid, workerid, pandaid FROM harvester_rel_jobs_workers") == [("hv1", 7, panda_id)]
    text = "SELECT status, pilotstatus, nodeid, pilotstarttime IS NOT NULL FROM harvester_workers"
    assert rows(real, text) == [("running", "started", "slot1@host", True)]


async def test_a_worker_that_has_ended_is_not_revived_by_its_pilot(
    real: Real, harvester: Harvester, tables: Tables
) -> None:
    """Nor does a row that another server made beside it stop the pilots of the queue."""
    tables.activate(1)
    await harvester.rest("harvester/heartbeat", harvester_id="hv1", data={})
    await harvester.rest("harvester/update_workers", harvester_id="hv1", workers=[{**WORKER, "status": "cancelled"}])
    real.run(
        "INSERT INTO harvester_workers (harvesterid, workerid, lastupdate, status)"
        " VALUES ('hv1', 7, '2020-01-01', 'ready')"
    )
    job = {"site_name": "LOCAL", "prod_source_label": "user", "harvester_id": "hv1", "worker_id": 7}
    assert (await harvester.rest("pilot/acquire_jobs", **job))["success"]
    assert rows(real, "SELECT status FROM harvester_workers ORDER BY lastupdate") == [("ready",), ("cancelled",)]
