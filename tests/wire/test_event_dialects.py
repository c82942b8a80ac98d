"""The group event in both dialects (reference/wire.md 2.10, 3.7, 4 rows 5 to 7, 4.5, 4.6, 5.2, 7: 3, 4, 11)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
import pytest_twisted
from event_ranges import JOBSET, TASK, make_consumer, make_ranges, ranges
from real import Real
from sites import ANYBODY, LIMITED, PILOT, PRODUCTION, USER, Got

from pandatx.services import events as services
from pandatx.store.database import Database

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
FIRST = {
    "eventRangeID": "7-50-13-1-3", "startEvent": 1, "lastEvent": 10, "LFN": "in.13", "GUID": "guid", "scope": "scope",
}  # fmt: skip


async def rest(real: Real, path: str, **values: Any) -> Any:
    body = json.dumps(values).encode()
    got = await real.ask("POST", f"/api/v1/event/{path}", body, content_type=JSON, accept=JSON)
    assert got.status == 200
    return got.json


async def get(real: Real, path: str, **values: Any) -> Any:
    got = await real.ask("GET", f"/api/v1/event/{path}?{urlencode(values, doseq=True)}", accept=JSON)
    assert got.status == 200
    return got.json


async def older(real: Real, method: str, accept: str = "", **values: Any) -> Got:
    named = {"accept": accept} if accept else {}
    body = urlencode(values).encode()
    return await real.ask("POST", f"/server/panda/{method}", body, content_type=FORM, **named)


@pytest_twisted.async_fixture
async def site(real: Real, database: Database) -> Real:
    """A job, and three ranges for it; a pilot asks."""
    await make_ranges(database, 3)
    await make_consumer(database, 50)
    real.caller = PILOT
    return real


async def test_harvester_gets_ranges_beside_a_status_code(site: Real) -> None:
    told = await rest(
        site, "acquire_event_ranges", job_id="50", task_id=TASK, jobset_id=JOBSET, scattered=True, n_ranges=1
    )
    assert told == {"success": True, "message": "", "data": {"StatusCode": 0, "eventRanges": [FIRST]}}
    for left in (["7-50-13-2-3", "7-50-13-3-3"], []):
        told = await rest(site, "acquire_event_ranges", job_id=50, task_id=None, jobset_id=JOBSET)
        assert [each["eventRangeID"] for each in told["data"]["eventRanges"]] == left


async def test_pilots_get_a_list_in_json_and_its_text_otherwise(site: Real) -> None:
    asked = {"pandaID": "50", "jobsetID": str(JOBSET), "taskID": str(TASK), "nRanges": "1"}
    got = await older(site, "getEventRanges", JSON, **asked)
    assert (got.header("content-type"), got.json) == (JSON, {"StatusCode": 0, "eventRanges": [FIRST]})
    got = await older(site, "getEventRanges", **asked, scattered="True", segment_id="11")
    assert parse_qs(got.text)["StatusCode"] == ["0"]
    assert [each["eventRangeID"] for each in json.loads(parse_qs(got.text)["eventRanges"][0])] == ["7-50-13-2-3"]


async def test_a_count_that_cannot_be_read_is_the_usual_one_and_no_jobset_the_jobs_own(site: Real) -> None:
    got = await older(site, "getEventRanges", JSON, pandaID=50, jobsetID="NULL", taskID="None", nRanges="many")
    assert len(got.json["eventRanges"]) == 3


async def test_what_is_left_is_counted_for_anybody_of_the_older_dialect(site: Real) -> None:
    asked = {"job_id": 50, "jobset_id": JOBSET, "task_id": TASK}
    assert await get(site, "get_available_event_range_count", **asked) == {"success": True, "message": "", "data": 3}
    site.caller = ANYBODY
    for accept in ("", JSON):
        got = await older(site, "checkEventsAvailability", accept, pandaID=50, jobsetID=JOBSET, taskID=TASK)
        assert (got.header("content-type"), got.json) == (JSON, {"StatusCode": 0, "nEventRanges": 3})
    assert not (await get(site, "get_available_event_range_count", **asked))["success"]


@pytest.mark.parametrize("as_text", [True, False])
async def test_updates_are_a_json_text_of_harvester_or_a_list_of_panda_client(
    site: Real, database: Database, as_text: bool
) -> None:
    await rest(site, "acquire_event_ranges", job_id=50, jobset_id=JOBSET)
    said = [
        {"eventRangeID": "7-50-13-1-3", "eventStatus": "finished"},
        {"eventRangeID": "7-50-13-2-3", "eventStatus": "running"},
        {"eventRangeID": "7-51-13-3-3", "eventStatus": "finished"},
    ]
    told = await rest(site, "update_event_ranges", event_ranges=json.dumps(said) if as_text else said)
    commands = {"50": None, "51": "tobekilled"}
    assert told["data"] == {
        "StatusCode": 0,
        "Returns": [True, None, False],
        "Command": commands,
        "Commands": commands,
    }
    assert [status for _, _, _, status, _ in await ranges(database)] == [3, 1, 1]


async def test_updates_in_chunks_are_the_first_version(site: Real, database: Database) -> None:
    await rest(site, "acquire_event_ranges", job_id=50, jobset_id=JOBSET)
    chunk = {
        "eventRanges": [{"eventRangeID": f"7-50-13-{n}-3", "eventStatus": "finished"} for n in (1, 2)],
        "zipFile": {"lfn": "z", "objstoreID": 1, "fsize": 5, "adler32": "0a"},
    }
    told = await rest(site, "update_event_ranges", event_ranges=json.dumps([chunk]), version=1)
    assert told["data"]["Returns"] == [True, True]


async def test_what_no_column_takes_of_a_text_is_replaced(site: Real) -> None:
    await rest(site, "acquire_event_ranges", job_id=50, jobset_id=JOBSET)
    half = "a\ud800"
    said = [
        {"eventRangeID": "7-50-13-1-3", "eventStatus": "failed", "errorDiag": half},
        {"eventRanges": [{"eventRangeID": "7-50-13-2-3", "eventStatus": "finished"}], "zipFile": {"lfn": half}},
    ]
    got = await older(site, "updateEventRanges", JSON, eventRanges=json.dumps(said), version=1)
    assert got.json["Returns"] == [True, True]
    site.caller = USER
    told = await get(site, "get_event_range_statuses", job_task_ids='{"task_id": 7, "panda_id": 50}')
    assert told["data"]["50"]["7-50-13-1-3"]["dialog"] == "a?"


async def test_the_older_update_answers_lists_or_their_texts(site: Real) -> None:
    await older(site, "getEventRanges", pandaID=50, jobsetID=JOBSET)
    said = json.dumps([{"eventRangeID": "7-50-13-1-3", "eventStatus": "finished"}])
    got = await older(site, "updateEventRanges", JSON, eventRanges=said, version="0", pandaID="50")
    assert got.json == {"StatusCode": 0, "Returns": [True], "Command": {"50": None}}
    got = await older(site, "updateEventRanges", eventRanges=said)
    assert got.fields == {"StatusCode": "0", "Returns": "[true]", "Command": '{"50":null}'}


async def test_a_single_range_is_updated_and_its_command_is_a_text(site: Real, database: Database) -> None:
    await older(site, "getEventRanges", pandaID=50, jobsetID=JOBSET)
    got = await older(
        site, "updateEventRange", JSON, eventRangeID="7-50-13-1-3", eventStatus="finished", coreCount="8",
        cpuConsumptionTime="1.5", objstoreID="5", pandaID="50",
    )  # fmt: skip
    assert (got.header("content-type"), got.fields) == (
        "text/plain; charset=utf-8",
        {"StatusCode": "0", "Command": '{"50":null}'},
    )
    told = await rest(site, "update_single_event_range", event_range_id="7-50-13-2-3", event_range_status="failed",
                      object_store_id=5)  # fmt: skip
    assert told == {"success": True, "message": "", "data": {"Command": '{"50":null}'}}
    assert [status for _, _, _, status, _ in await ranges(database)] == [3, 7, 1]


@pytest.mark.parametrize(("name", "status"), [("x", "finished"), ("7-50-13-1-3", "odd"), ("7-51-13-1-3", "finished")])
async def test_a_single_range_that_cannot_be_updated_is_a_failure(site: Real, name: str, status: str) -> None:
    got = await older(site, "updateEventRange", eventRangeID=name, eventStatus=status)
    assert got.text == "StatusCode=30"
    told = await rest(site, "update_single_event_range", event_range_id=name, event_range_status=status)
    assert (told["success"], told["data"]) == (False, None)


STATES = {
    "50": {"7-50-13-1-3": {"status": "failed", "error": 4, "dialog": "why"}},
    "51": {},
}


@pytest.mark.parametrize(
    "value",
    [
        '[{"task_id": 7, "panda_id": 50}, {"task_id": 7, "job_id": 51}]',
        ['{"task_id": 7, "panda_id": 50}', '{"task_id": 7, "panda_id": 51}'],
        ["{'task_id': 7, 'panda_id': 50}", "{'task_id': 7, 'panda_id': 51}"],
    ],
)
async def test_statuses_are_told_however_jobs_are_named(site: Real, value: Any) -> None:
    await rest(site, "acquire_event_ranges", job_id=50, jobset_id=JOBSET, n_ranges=1)
    said = [{"eventRangeID": "7-50-13-1-3", "eventStatus": "failed", "errorCode": 4, "errorDiag": "why"}]
    await rest(site, "update_event_ranges", event_ranges=said)
    site.caller = USER
    assert (await get(site, "get_event_range_statuses", job_task_ids=value))["data"] == STATES
    assert (await rest(site, "get_event_range_statuses", job_task_ids=value))["data"] == STATES
    if isinstance(value, str):
        site.caller = ANYBODY
        assert (await older(site, "get_events_status", ids=value)).json == STATES
        assert (await older(site, "get_events_status", ids="[]")).json == {}


async def test_statuses_of_many_ranges_are_told_and_of_too_many_refused(
    site: Real, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_ranges(database, 6000, task=8, jobset=20, file=15)
    site.caller = USER
    asked = {"job_task_ids": [{"task_id": 8, "panda_id": 20}]}
    told = await rest(site, "get_event_range_statuses", **asked)
    assert set(told["data"]["20"]) == {f"8-20-15-{n}-3" for n in range(1, 6001)}
    monkeypatch.setattr(services, "MOST_TOLD", 5999)
    got = await site.ask("POST", "/api/v1/event/get_event_range_statuses", json.dumps(asked).encode(),
                         content_type=JSON, accept=JSON)  # fmt: skip
    assert got.status == 413
    assert got.json["message"] == "jobs: have more than 5999 event ranges: name fewer"


@pytest.mark.parametrize(
    ("path", "values", "field", "why"),
    [
        ("update_event_ranges", {"event_ranges": "["}, "event_ranges", "is not JSON"),
        ("update_event_ranges", {"event_ranges": {"a": 1}}, "event_ranges", "is not a list of event ranges"),
        ("update_event_ranges", {"event_ranges": 5}, "event_ranges", "is not a list of event ranges"),
        ("get_event_range_statuses", {"job_task_ids": "x"}, "job_task_ids", "is not JSON"),
        (
            "get_event_range_statuses",
            {"job_task_ids": [1]},
            "job_task_ids",
            "must be objects with task_id and panda_id",
        ),
    ],
)
async def test_what_cannot_be_read_is_named_and_changes_nothing(
    site: Real, path: str, values: dict[str, Any], field: str, why: str
) -> None:
    before = site.contents()
    assert await rest(site, path, **values) == {"success": False, "message": f"{field}: {why}", "data": None}
    legacy, spelt = {"event_ranges": ("updateEventRanges", "eventRanges"),
                     "job_task_ids": ("get_events_status", "ids")}[field]  # fmt: skip
    body = json.dumps({spelt: values[field]}).encode()
    got = await site.ask("POST", f"/server/panda/{legacy}", body, content_type=JSON)
    assert (got.status, got.text) == (400, f"ERROR : {spelt}: {why}")
    assert site.contents() == before


async def test_without_a_role_the_older_dialect_says_so_in_a_text(site: Real) -> None:
    before = site.contents()
    said = json.dumps([{"eventRangeID": "7-50-13-1-3", "eventStatus": "finished"}])
    calls: tuple[tuple[str, dict[str, Any]], ...] = (
        ("getEventRanges", {"pandaID": 50, "jobsetID": JOBSET}),
        ("updateEventRanges", {"eventRanges": said}),
        ("updateEventRange", {"eventRangeID": "7-50-13-1-3", "eventStatus": "finished"}),
    )
    for method, values in calls:
        site.caller = USER
        assert (await older(site, method, JSON, **values)).text == "production or pilot role is required"
        for site.caller in (ANYBODY, LIMITED):
            assert (await older(site, method, JSON, **values)).text.startswith("failed to retrieve DN")
    site.caller = USER
    told = await rest(site, "acquire_event_ranges", job_id=50, jobset_id=JOBSET)
    assert told["message"].startswith("production or pilot role required")
    assert site.contents() == before


async def test_the_production_role_may_do_what_pilots_do(site: Real) -> None:
    site.caller = PRODUCTION
    assert len((await rest(site, "acquire_event_ranges", job_id=50, jobset_id=JOBSET))["data"]["eventRanges"]) == 3
