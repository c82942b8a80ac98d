"""Submitting jobs in both forms, asking for them, ending them."""

from __future__ import annotations

import gzip
import json
import random
import time
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from attrs import evolve, field, frozen
from sites import LIMITED, PRODUCTION, USER, site_of

from pandatx.domain import columns
from pandatx.domain.job import Job, JobFile
from pandatx.errors import BadRequest, UnknownQueue
from pandatx.resources import jobspec
from pandatx.resources.job import JobResource
from pandatx.resources.jobspec import FILE_SLOTS, JOB_SLOTS, described, job_of, read_jobs
from pandatx.resources.pandatx_group import PandatxResource


@frozen
class Stored:
    panda_id: int
    job_definition_id: int
    jobset_id: int | None
    job_name: str | None


@frozen
class Services:
    """Stands for all the services that the resource calls; remembers how."""

    calls: list[Any] = field(factory=list)

    async def submit(self, caller: Any, jobs: tuple[Job, ...], host: str) -> list[Stored]:
        self.calls.append(jobs)
        if any(job.computing_site == "NOWHERE" for job in jobs):
            raise UnknownQueue("jobs[0].computingSite", "unknown queue NOWHERE")
        return [Stored(100 + index, 7, 3, job.job_name) for index, job in enumerate(jobs)]

    async def commands(self, ids: Any) -> Any:
        self.calls.append(ids)
        return [("running", None), ("unknown", "tobekilled")]

    async def each(self, ids: Any, archive: bool) -> Any:
        self.calls.append((ids, archive))
        yield [Job(panda_id=each, creation_time=datetime(2026, 1, 2, tzinfo=UTC)) if each else None for each in ids]

    async def find(self, status: Any, queue: Any, owner: Any, limit: Any) -> Any:
        self.calls.append((status, queue, owner, limit))
        return [Job(panda_id=1)]

    async def kill(self, caller: Any, ids: Any, code: Any, options: Any, use_email_as_id: Any) -> Any:
        self.calls.append((ids, code, options, use_email_as_id))
        return [True, False]

    async def command(self, caller: Any, job_id: int, text: str) -> str:
        return "command received" if job_id == 1 else "no active job with PandaID=2"

    async def reassign(self, caller: Any, ids: Any) -> None:
        self.calls.append(ids)

    async def complete(self, caller: Any, name: str) -> int:
        return 3


def served(services: Services, **more: Any) -> Any:
    jobs = JobResource(services, services, services, services, services)
    return site_of(jobs, PandatxResource(services, services, services, services), **more)


def state(**named: Any) -> list[Any]:
    """A state list as panda-client writes it: NULL for what is unset, a time as its marker, 19 items for a file."""
    files = named.pop("Files", [{"lfn": "out", "type": "output"}])
    slots: list[Any] = [named.get(slot, "NULL") for slot in JOB_SLOTS]
    slots[JOB_SLOTS.index("creationTime")] = {"_datetime_object": "2026-01-01 00:00:00.000000"}
    return [*slots, [[*(file.get(slot, "NULL") for slot in FILE_SLOTS[:18]), None] for file in files]]


async def test_state_lists_are_submitted_and_answered_by_label() -> None:
    services = Services()
    jobs = [
        state(prodSourceLabel="user", computingSite="Q", maxCpuCount="5", jobName="a"),
        state(prodSourceLabel="managed", computingSite="Q", jobName="b"),
    ]
    answer = await served(services, caller=PRODUCTION).rest("job/submit", jobs=json.dumps(jobs))
    assert answer.json["data"] == [[100, 7, {"jobsetID": 3}], [101, 7, "b"]]
    first = services.calls[0][0]
    assert first == Job(
        prod_source_label="user",
        computing_site="Q",
        max_cpu_count=5,
        job_name="a",
        files=(JobFile(lfn="out", type="output"),),
    )


async def test_objects_by_field_name_are_submitted_as_text_and_as_a_list() -> None:
    job = {"prodSourceLabel": "user", "computingSite": "Q", "Files": [{"lfn": "log.tgz", "type": "log", "fsize": "3"}]}
    for jobs in ([job], json.dumps([job])):
        services = Services()
        answer = await served(services).rest("job/submit", jobs=jobs)
        assert answer.json["success"], answer.text
        expected = Job(
            prod_source_label="user", computing_site="Q", files=(JobFile(lfn="log.tgz", type="log", fsize=3),)
        )
        assert services.calls == [(expected,)]


async def test_what_a_client_may_not_set_is_passed_over() -> None:
    named = {slot: "7" for slot in JOB_SLOTS} | {"Files": [{slot: "7" for slot in FILE_SLOTS}]}
    for element in (named, [*["7"] * 126, [["7"] * 23]]):
        job = job_of(element, 0)
        for attribute in jobspec._JOB_ATTRIBUTES:
            settable = attribute in columns.SETTABLE
            assert (str(getattr(job, attribute)) == "7") is settable, attribute
        for attribute in jobspec._FILE_ATTRIBUTES:
            settable = attribute in columns.SETTABLE_OF_FILE
            assert (str(getattr(job.files[0], attribute)) == "7") is settable, attribute


async def test_a_shorter_state_leaves_the_rest_unset_and_surplus_items_are_ignored() -> None:
    short = [*state(jobName="a")[:20], []]
    assert job_of(short, 0) == Job(job_name="a")
    long = state(jobName="a", Files=[])
    assert job_of([*long[:-1], "new", "newer", []], 0) == Job(job_name="a")


async def test_a_submission_that_cannot_be_read_is_refused_as_a_whole_with_the_field_named() -> None:
    services = Services()
    site = served(services)
    for jobs, text in (
        ("{", "jobs: "),
        ("5", "jobs: not a list of jobs"),
        ([5], "jobs[0]: neither a state list nor an object"),
        ([[1, 2]], "jobs[0]: the last item is not the list of files"),
        ([{}, {"maxCpuCount": "many"}], "jobs[1].maxCpuCount: must be of type int"),
        ([{"jobName": "a\0b"}], "jobs[0].jobName: must not hold a NUL character"),
        ([{"Files": [{"fsize": []}]}], "jobs[0].Files[0].fsize: must be of type int"),
        ([{"Files": 5}], "jobs[0].Files: not a list"),
        ([], "No jobs were submitted"),
        ("[]", "No jobs were submitted"),
        ([{}] * 5001, "jobs: more than 5000 jobs in one submission"),
    ):
        answer = await site.rest("job/submit", jobs=jobs)
        assert (answer.status, answer.json["success"]) == (200, False), text
        assert answer.json["message"].startswith(text)
    assert services.calls == []
    refused = await site.rest("job/submit", jobs=[{"computingSite": "NOWHERE"}])
    assert refused.json["message"] == "jobs[0].computingSite: unknown queue NOWHERE"


@pytest.mark.parametrize("text", ["[" + "[]," * 2_000_000 + "[]]", "[[" + "[]," * 6_000_000 + "[]]]"])
def test_a_list_of_too_many_jobs_is_not_read_to_its_end(text: str) -> None:
    with pytest.raises(BadRequest, match=r"jobs: more than (5000 jobs in one submission|10000000 values)"):
        read_jobs(text)


async def test_long_lists_are_read_job_by_job_with_the_same_result() -> None:
    jobs = [state(jobName=f"job {index}, [x]", jobParameters="p" * 5000) for index in range(1000)]
    text = json.dumps(jobs)
    assert len(text) > jobspec._READ_AT_ONCE
    assert read_jobs(text) == jobs
    assert len(read_jobs(" [ " + json.dumps(jobs, indent=1)[1:-1] + " ] ")) == 1000
    for broken in (text[:-1], text + "x", "x" + text, text.replace("], [", "] [", 1)):
        try:
            read_jobs(broken)
        except Exception as fault:
            assert "jobs: " in str(fault)
        else:
            raise AssertionError("not refused")


async def test_a_thousand_jobs_never_hold_the_reactor_for_long() -> None:
    """Between two breaths there is little work; what is measured is the longest stretch, on a loaded machine too."""
    breaths: list[float] = []
    services = Services()
    site = served(services)
    jobs = json.dumps([state(jobName=str(index), Files=[{"lfn": "x"}] * 3) for index in range(1000)])
    body = gzip.compress(json.dumps({"jobs": jobs}).encode(), 1)
    call_later = site.time.callLater
    site.time.callLater = lambda *call: (breaths.append(time.process_time()), call_later(*call))[1]
    answer = await site.post("/api/v1/job/submit", body, content_type="application/json", content_encoding="gzip")
    assert len(answer.json["data"]) == 1000
    assert len(breaths) >= 19
    stretches = sorted(later - before for before, later in pairwise(breaths))
    assert stretches[len(stretches) // 2] < 0.02


async def test_descriptions_hold_all_attributes_in_the_order_asked_for() -> None:
    services = Services()
    site = served(services)
    for method, archive in (("get_description", False), ("get_description_incl_archive", True)):
        answer = await site.rest(f"job/{method}", job_ids=[1, 0, *range(2, 130)])
        data = answer.json["data"]
        assert [job and job["PandaID"] for job in data] == [1, None, *range(2, 130)]
        assert list(data[0]) == [*JOB_SLOTS, "Files"]
        assert data[0]["creationTime"] == {"__datetime__": "2026-01-02T00:00:00"}
        assert services.calls[-1][1] is archive
        assert (await site.get(f"/api/v1/job/{method}?job_ids=1&job_ids=2")).json["success"]


async def test_status_is_told_to_harvester_and_in_the_older_form_to_anybody() -> None:
    site = served(Services())
    data = [{"status": "running", "command": None}, {"status": "unknown", "command": "tobekilled"}]
    assert (await site.get("/api/v1/job/get_status?job_ids=1&job_ids=2")).json["data"] == data
    assert (await site.form("checkJobStatus", b"ids=1%2C2", accept="")).json == {"StatusCode": 0, "data": data}
    site.caller = LIMITED
    assert not (await site.get("/api/v1/job/get_status?job_ids=1&job_ids=2")).json["success"]
    assert (await site.get("/server/panda/checkJobStatus?ids=1,2")).json["StatusCode"] == 0


async def test_kill_and_reassign_pass_on_what_was_asked() -> None:
    services = Services()
    site = served(services)
    answer = await site.rest("job/kill", job_ids=[1, 2], code=9, kill_options=["keepUnmerged"], use_email_as_id=True)
    assert answer.json["data"] == [True, False]
    assert (await site.rest("job/reassign", job_ids=[5])).json["success"]
    assert services.calls == [((1, 2), 9, ("keepUnmerged",), True), (5,)]


async def test_a_command_succeeds_only_if_it_was_received() -> None:
    site = served(Services(), caller=PRODUCTION)
    good = await site.rest("job/set_command", job_id=1, command="ls -l")
    assert good.json == {"success": True, "message": "command received", "data": None}
    assert not (await site.rest("job/set_command", job_id=2, command="ls -l")).json["success"]
    assert (await site.pilot("send_command_to_job", panda_id=1, com="ls -l")).json == [True, "command received"]
    site.caller = USER
    refused = await site.pilot("send_command_to_job", panda_id=1, com="ls -l")
    assert refused.json == [False, "production or pilot role required"]


async def test_a_user_lists_only_jobs_of_their_own() -> None:
    services = Services()
    site = served(services)
    answer = await site.get("/api/v1/pandatx/list_jobs?status=failed&owner=Somebody%20Else")
    assert [job["PandaID"] for job in answer.json["data"]] == [1]
    site.caller = evolve(USER, production=True)
    await site.get("/api/v1/pandatx/list_jobs?owner=Somebody%20Else&limit=5")
    assert services.calls == [("failed", None, "Some User", 100), (None, None, "Somebody Else", 5)]
    assert (await site.rest("pandatx/complete_dataset", name="x")).json["data"] == 3


def test_what_is_described_can_be_submitted_again() -> None:
    chosen = random.Random(1)
    job = Job(
        **{
            name: chosen.choice((None, "text", "x,y")) if isinstance(limit, columns.Text) else chosen.randrange(1000)
            for name, _, limit in columns.JOB
        },
        files=(JobFile(lfn="a", fsize=5, scope="s"), JobFile(lfn="b")),
    )
    assert job_of(json.loads(json.dumps(described(job))), 0) == job
