"""Exchanges of the real pilots and of Harvester, replayed (reference/wire.md 2, 4 and 8, pilot.md 4 and 6)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from attrs import define, field
from sites import ANYBODY, LIMITED, OTHER, PILOT, USER, Connection, site_of
from twisted.internet.defer import Deferred

from pandatx.domain.job import Job, JobFile
from pandatx.domain.requests import Heartbeat, JobRequest, Reply, WorkerNode, WorkerNodeGpu, WorkerStatus
from pandatx.errors import Busy, DatabaseAway, NotPermitted, PandaError, RoleRequired
from pandatx.resources.pilot import PilotResource
from pandatx.services.dispatch import Acquired

JOB = Job(
    panda_id=5,
    job_definition_id=6,
    attempt_nr=1,
    prod_source_label="user",
    transformation="http://panda.example:25080/trf/user/runGen-00-00-02",
    job_parameters="-p 'echo%20a & b=c' --x=ü",
    computing_site="X",
    files=(
        JobFile(row_id=1, lfn="out.root", type="output", dataset="d", scope="s", destination_se="SE"),
        JobFile(row_id=2, lfn="log.tgz", type="log", dataset="d.log", scope="s", guid="G"),
    ),
)
# As captured from pilot 3.11.5.1.
ASKS = {
    "siteName": "X", "computingElement": "X", "prodSourceLabel": "user", "diskSpace": 3, "workingGroup": "",
    "cpu": 2000.0, "mem": 1999.8, "node": "slot1@host", "allowOtherCountry": False, "viaTopic": True,
    "harvester_id": "hv1", "worker_id": "77",
}  # fmt: skip
REPORTS = {
    "jobId": "5", "state": "finished", "timestamp": "2026-01-01T00:00:00+00:00", "siteName": "X", "node": "slot1@host",
    "attemptNr": 1, "schedulerID": "unknown", "pilotID": "G|B|PR|3.11.5.1", "batchID": "b.1",
    "startTime": 1767225600.5, "endTime": 1767225700.25, "xml": '{"out.root": {"guid": "g", "fsize": 3}}',
    "metaData": "", "coreCount": 1, "meanCoreCount": 0.9, "cpuConsumptionTime": 12, "cpuConversionFactor": 1.0,
    "cpuConsumptionUnit": "s+CPU+AVX2", "maxRSS": 100, "avgRSS": 99.5, "totRBYTES": 4096, "rateRBYTES": 2048.5,
    "jobMetrics": "coreCount=1", "pilotTiming": "1|2|3|4|5|6", "pilotErrorCode": 0, "transExitCode": 0,
}  # fmt: skip


@define
class Services:
    """Stands for the services; remembers what they were asked, and fails where it is told to."""

    jobs: tuple[Job, ...] = (JOB,)
    reply: Reply = Reply()
    fault: Exception | None = None
    waits: Any = None
    asked: list[Any] = field(factory=list)
    given_back: list[Acquired] = field(factory=list)

    def _ask(self, what: Any) -> None:
        self.asked.append(what)
        if self.fault is not None:
            raise self.fault

    async def acquire(self, caller: Any, request: JobRequest, gone: Any) -> Acquired:
        self._ask(request)
        if self.waits is not None:
            await self.waits
        return Acquired(jobs=self.jobs[: request.n_jobs or 1], n_sent=4)

    async def give_back(self, acquired: Acquired) -> None:
        self.given_back.append(acquired)

    async def report(self, caller: Any, beat: Heartbeat) -> Reply:
        self._ask(beat)
        return self.reply

    async def report_many(self, caller: Any, beats: Sequence[Heartbeat]) -> list[Reply | PandaError]:
        self._ask(beats)
        others = {13: NotPermitted("not yours"), 14: DatabaseAway()}
        return [others.get(beat.job_id, self.reply) for beat in beats]

    async def statuses(self, ids: Any) -> list[tuple[int, str, int]]:
        return [(2, "finished", 2), (1, "running", 1)]

    async def worker_status(self, status: WorkerStatus) -> None:
        self._ask(status)

    async def worker_node(self, node: WorkerNode) -> None:
        self._ask(node)

    async def worker_node_gpu(self, gpu: WorkerNodeGpu) -> None:
        self._ask(gpu)


def panda(services: Services, caller: Any = PILOT) -> Any:
    return site_of(PilotResource(services, services, services, services, lambda name: None), caller=caller)


async def test_requests_are_counted_by_queue_and_those_that_got_no_job_once_more() -> None:
    services, counted = Services(), []
    made = PilotResource(services, services, services, services, lambda name: None, lambda *what: counted.append(what))
    site = site_of(made, caller=PILOT)
    await site.pilot("getJob", **ASKS)
    services.jobs = ()
    await site.pilot("getJob", **ASKS)
    await site.pilot("updateJob", **REPORTS)
    assert counted == [("X", "get_job"), ("X", "get_job"), ("X", "no_job"), ("X", "update_job")]


async def test_getjob_of_pilot3_is_answered_urlencoded() -> None:
    services = Services()
    answer = await panda(services).pilot("getJob", **ASKS)
    job = answer.fields
    assert (job["StatusCode"], job["PandaID"], job["nSent"]) == ("0", "5", "4")
    assert job["jobPars"] == JOB.job_parameters
    assert (job["outFiles"], job["scopeOut"], job["logFile"]) == ("out.root,log.tgz", "s", "log.tgz")
    assert (job["swRelease"], job["ioIntensity"]) == ("NULL", "NULL")
    assert services.asked == [
        JobRequest(
            site_name="X", computing_element="X", prod_source_label="user", disk_space=3, memory=1999,
            node="slot1@host", via_topic=True, harvester_id="hv1", worker_id=77, n_jobs=None,
        )
    ]  # fmt: skip


async def test_getjob_by_curl_is_answered_in_json() -> None:
    services = Services()
    body = urlencode({**ASKS, "taskID": "None", "prodUserID": None, "workingGroup": ""}).encode()
    answer = await panda(services).form("getJob", body)
    assert (answer.json["StatusCode"], answer.json["PandaID"]) == (0, 5)
    assert answer.json["ioIntensity"] is None
    assert (services.asked[0].task_id, services.asked[0].prod_user_id, services.asked[0].via_topic) == (
        None,
        None,
        True,
    )


async def test_a_pilot_whose_last_job_had_no_task_may_ask_on() -> None:
    services = Services()
    site = panda(services)
    told = (await site.pilot("getJob", **ASKS)).fields["taskID"]
    assert told == "NULL"
    assert (await site.pilot("getJob", **ASKS, taskID=told)).fields["PandaID"] == "5"
    assert (await site.rest("pilot/acquire_jobs", site_name="X", task_id=told)).json["success"]
    assert [asked.task_id for asked in services.asked] == [None, None, None]


async def test_a_number_of_jobs_makes_a_list() -> None:
    services = Services(jobs=(JOB, JOB))
    site = panda(services)
    answer = await site.pilot("getJob", **ASKS, nJobs=2)
    assert [job["PandaID"] for job in json.loads(answer.fields["jobs"])] == [5, 5]
    answer = await site.form("getJob", urlencode({**ASKS, "nJobs": "2"}).encode())
    assert [job["StatusCode"] for job in answer.json["jobs"]] == [0, 0]


async def test_no_job_is_status_code_20() -> None:
    site = panda(Services(jobs=()))
    assert (await site.pilot("getJob", **ASKS)).text == "StatusCode=20"
    assert (await site.form("getJob", b"siteName=X")).json == {"StatusCode": 20, "errorDialog": "no jobs in PanDA"}
    rest = await site.rest("pilot/acquire_jobs", site_name="X")
    assert rest.json == {"success": False, "message": "No jobs in PanDA", "data": None}


@pytest.mark.parametrize("fault", [Busy(), DatabaseAway()])
async def test_getjob_never_answers_an_http_error_for_load_or_want_of_a_database(fault: Exception) -> None:
    site = panda(Services(fault=fault))
    answer = await site.pilot("getJob", **ASKS)
    assert (answer.status, answer.fields["StatusCode"]) == (200, "20")
    answer = await site.pilot("updateJob", **REPORTS)
    assert (answer.status, answer.fields["StatusCode"]) == (200, "10")
    rest = await site.rest("pilot/acquire_jobs", site_name="X")
    assert (rest.status, rest.header("retry-after")) == (503, str(fault.retry_after))  # type: ignore[attr-defined]


async def test_a_missing_site_is_a_faulty_request() -> None:
    services = Services()
    answer = await panda(services).pilot("getJob", mem=5)
    assert (answer.status, answer.text) == (400, "ERROR : siteName: missing a required argument")
    assert services.asked == []


async def test_without_a_role_status_code_60_is_said() -> None:
    site = panda(Services(fault=RoleRequired("no production/pilot role in VOMS FQANs or non pilot owner")), USER)
    dialog = "no production/pilot role in VOMS FQANs or non pilot owner"
    assert (await site.pilot("getJob", **ASKS)).fields == {"StatusCode": "60", "errorDialog": dialog}
    assert (await site.rest("pilot/acquire_jobs", site_name="X")).json["message"] == dialog
    site.caller = ANYBODY
    for method, values in (("getJob", ASKS), ("updateJob", REPORTS)):
        assert (await site.pilot(method, **values)).fields["StatusCode"] == "60"
    assert (await site.rest("pilot/update_job", job_id=5)).json["message"] == "SSL secure connection is required"


async def test_a_limited_proxy_gets_and_reports_but_does_nothing_else() -> None:
    services = Services()
    site = panda(services, LIMITED)
    assert (await site.pilot("getJob", **ASKS)).fields["StatusCode"] == "0"
    assert (await site.pilot("updateJob", **REPORTS)).fields["StatusCode"] == "0"
    assert (await site.rest("pilot/acquire_jobs", site_name="X")).json["success"]
    assert (await site.rest("pilot/update_job", job_id=5, job_status="running")).json["success"]
    for path in ("update_jobs_bulk", "update_worker_node", "update_worker_status"):
        assert (await site.rest(f"pilot/{path}")).json["message"] == "SSL secure connection is required", path


async def test_harvester_gets_a_list_and_may_say_resourcetype() -> None:
    services = Services()
    answer = await panda(services).rest(
        "pilot/acquire_jobs",
        site_name="S", node="n", prod_source_label="user", computing_element="n", n_jobs=3,
        scheduler_id="harvester-hv1", resourceType="SCORE", taskID="9", something="else",
    )  # fmt: skip
    assert (answer.json["success"], answer.json["data"]["StatusCode"]) == (True, 0)
    assert [job["PandaID"] for job in answer.json["data"]["jobs"]] == [5]
    asked = services.asked[0]
    assert (asked.resource_type, asked.harvester_id, asked.scheduler_id, asked.task_id, asked.n_jobs) == (
        "SCORE", "hv1", "harvester-hv1", 9, 3,
    )  # fmt: skip


async def test_a_job_whose_answer_never_left_is_given_back() -> None:
    waits: Deferred[None] = Deferred()
    services = Services(waits=waits)
    connection = Connection(panda(services))
    connection.send("getJob", ASKS)
    connection.hang_up()
    assert services.given_back == []
    waits.callback(None)
    assert [acquired.jobs for acquired in services.given_back] == [(JOB,)]


async def test_the_final_report_of_pilot3_arrives_whole() -> None:
    services = Services()
    answer = await panda(services).pilot("updateJob", **REPORTS)
    assert answer.text == "StatusCode=0&command=NULL"
    assert services.asked == [
        Heartbeat(
            job_id=5, job_status="finished", site_name="X", node="slot1@host", attempt_nr=1, scheduler_id="unknown",
            pilot_id="G|B|PR|3.11.5.1", batch_id="b.1",
            start_time=datetime(2026, 1, 1, 0, 0, 0, 500000, UTC), end_time=datetime(2026, 1, 1, 0, 1, 40, 250000, UTC),
            job_output_report='{"out.root": {"guid": "g", "fsize": 3}}', core_count=1, mean_core_count=0.9,
            cpu_consumption_time=12, cpu_conversion_factor=1.0, cpu_consumption_unit="s+CPU+AVX2", max_rss=100,
            avg_rss=99, tot_rbytes=4, rate_rbytes=2, job_metrics="coreCount=1", pilot_timing="1|2|3|4|5|6",
            pilot_error_code=0, trans_exit_code=0,
        )
    ]  # fmt: skip


async def test_the_same_report_by_curl_reads_the_same() -> None:
    by_gzip, by_form = Services(), Services()
    await panda(by_gzip).pilot("updateJob", **REPORTS)
    answer = await panda(by_form).form("updateJob", urlencode(REPORTS).encode())
    assert answer.json == {"StatusCode": 0, "command": "NULL"}
    assert by_form.asked == by_gzip.asked


async def test_newer_pilots_read_the_command_at_either_level() -> None:
    body = gzip.compress(json.dumps({"job_id": 5, "job_status": "running", "attempt_nr": 1}).encode())
    for command, said in (("", "NULL"), ("tobekilled", "tobekilled")):
        site = panda(Services(reply=Reply(command=command, pilot_secrets="{}")))
        for encoded, headers in ((body, {"content_encoding": "gzip"}), (gzip.decompress(body), {})):
            answer = await site.post(
                "/api/v1/pilot/update_job",
                encoded,
                content_type="application/json",
                accept="application/json",
                **headers,
            )
            assert answer.json == {
                "success": True,
                "message": "",
                "data": {"StatusCode": 0, "command": said, "pilotSecrets": "{}"},
                "command": said,
            }


async def test_a_state_that_is_none_changes_nothing_and_is_no_error_to_a_pilot() -> None:
    services = Services()
    site = panda(services)
    for values in ({"jobId": "5", "state": "stagein"}, {"jobId": "NULL", "state": "running"}):
        assert (await site.pilot("updateJob", **values)).text == "StatusCode=0&command=NULL"
    for values in ({"job_id": 5, "job_status": "stagein"}, {"job_id": "NULL", "job_status": "running"}):
        answer = await site.rest("pilot/update_job", **values)
        assert (answer.json["success"], answer.json["data"]) == (False, {"StatusCode": 50})
    assert services.asked == []


async def test_a_report_with_a_bad_metric_is_stored_without_it() -> None:
    services = Services()
    answer = await panda(services).pilot("updateJob", **{**REPORTS, "maxRSS": "lots", "startTime": "early"})
    assert answer.fields["StatusCode"] == "0"
    assert (services.asked[0].max_rss, services.asked[0].start_time, services.asked[0].avg_rss) == (None, None, 99)
    for bad in ({"jobId": "five"}, {"attemptNr": "first"}):
        answer = await panda(services).pilot("updateJob", **{**REPORTS, **bad})
        assert answer.status == 400
    assert len(services.asked) == 1


async def test_harvesters_bulk_is_answered_element_by_element() -> None:
    services = Services(reply=Reply(command="tobekilled"))
    answer = await panda(services).rest(
        "pilot/update_jobs_bulk",
        harvester_id="hv1",
        job_list=[
            {"job_id": 5, "job_status": "running", "job_sub_status": None, "attempt_nr": 1, "token": "t"},
            {"job_status": "running"},
            {"job_id": 6, "job_status": "cancelled"},
            {"job_id": 13, "job_status": "running", "end_time": 1.5},
            7,
            {"job_id": 14, "job_status": "running"},
            {"job_id": 8, "job_status": "failed"},
        ],
    )
    elements = answer.json["data"]
    told = {"StatusCode": 0, "command": "tobekilled"}
    assert [each["data"] for each in elements] == [told, None, {"StatusCode": 50}, None, None, {"StatusCode": 30}, told]
    assert [each["success"] for each in elements] == [True, False, False, False, False, True, True]
    assert elements[1]["message"] == "Argument error: missing a required argument: 'job_id'"
    assert [beat.job_id for beat in services.asked[0]] == [5, 13, 14, 8]
    assert (await panda(services).rest("pilot/update_jobs_bulk", job_list=[])).json["data"] == []


async def test_older_harvesters_get_encoded_answers_in_their_answer() -> None:
    body = urlencode({"jobList": json.dumps([{"jobId": 5, "state": "running"}]), "harvester_id": "h"}).encode()
    site = panda(Services())
    assert (await site.form("updateJobsInBulk", body, accept="*/*")).json == [True, ["StatusCode=0&command=NULL"]]
    in_json = (await site.form("updateJobsInBulk", body)).json
    assert in_json[0] and json.loads(in_json[1][0]["content"]) == {"StatusCode": 0, "command": "NULL"}


async def test_getstatus_is_urlencoded_always() -> None:
    site = panda(Services(), ANYBODY)
    for answer in (await site.form("getStatus", b"ids=1+2+3"), await site.pilot("getStatus", ids="1 2 3")):
        assert parse_qs(answer.text) == {
            "StatusCode": ["0"],
            "status": ["running+finished+notfound"],
            "attemptNr": ["1+2+0"],
        }
    assert (await site.pilot("getStatus", ids=1)).fields["status"] == "running"
    site.caller = OTHER
    rest = await site.get("/api/v1/pilot/get_job_status?job_ids=1&job_ids=3")
    assert rest.json["data"] == [
        {"job_id": 1, "status": "running", "attempt_number": 1},
        {"job_id": 3, "status": "not found", "attempt_number": 0},
    ]


async def test_worker_status_is_noted() -> None:
    services = Services()
    site = panda(services)
    values = {"workerID": "77", "harvesterID": "hv1", "status": "started", "site": "X", "node_id": "n"}
    assert (await site.pilot("updateWorkerPilotStatus", **values)).text == "StatusCode=0"
    assert services.asked == [WorkerStatus(worker_id=77, harvester_id="hv1", status="started", site="X", node_id="n")]
    refused = await site.pilot("updateWorkerPilotStatus", **{**values, "status": "idle"})
    assert refused.text == "Invalid worker state. The worker state has to be in ('started', 'finished')"
    site.caller = USER
    refused = await site.pilot("updateWorkerPilotStatus", **values)
    assert (refused.status, refused.text) == (200, "production or pilot role is required")
    rest = await site.rest("pilot/update_worker_status", worker_id=77, harvester_id="hv1", status="started")
    assert rest.json["message"] == "production or pilot role required"
    assert len(services.asked) == 1


async def test_the_maps_of_a_node_are_taken_from_pilot_proxies() -> None:
    services = Services()
    site = panda(services)
    body = gzip.compress(
        json.dumps(
            {"site": "X", "panda_queue": "Q", "host_name": "slot1@h", "cpu_model": "EPYC", "clock_speed": 2000}
        ).encode()
    )
    answer = await site.post(
        "/api/v1/pilot/update_worker_node",
        body,
        content_type="application/json",
        accept="application/json",
        content_encoding="gzip",
    )
    assert answer.json == {"success": True, "message": "", "data": None}
    gpu = await site.rest(
        "pilot/update_worker_node_gpu", site="X", host_name="h", vendor="NVIDIA", model="A100", count=2
    )
    assert gpu.json["success"]
    assert services.asked == [
        WorkerNode(site="X", panda_queue="Q", host_name="slot1@h", cpu_model="EPYC", clock_speed=2000.0),
        WorkerNodeGpu(site="X", host_name="h", vendor="NVIDIA", model="A100", count=2),
    ]


async def test_the_pilots_useless_second_try_by_curl_is_refused_quietly() -> None:
    answer = await panda(Services()).form("api/v1/pilot/update_worker_node", b"site=X")
    assert answer.status == 403
