"""Statistics, settings and who one is, in both dialects, over the real services (reference/wire.md 2.13, 3.7, 4, 5)."""

from __future__ import annotations

import json
from ast import literal_eval
from typing import Any
from urllib.parse import parse_qs

import pytest
from asking import get, old
from attrs import evolve
from real import Real
from sites import ANYBODY, LIMITED, PRODUCTION, USER
from tasks_by_hand import make_job, make_task

from pandatx.services.job_counts import ALIVE_FOR, ENDED_FOR
from pandatx.store.database import Database

ZERO = {"assigned": 0, "activated": 0, "running": 0}
EVERY = (
    "active_job_stats_by_site",
    "active_job_detailed_stats_by_site",
    "job_stats_by_cloud",
    "production_job_stats_by_cloud_and_processing_type",
    "job_stats_by_site_and_resource_type",
    "job_stats_by_site_share_and_resource_type",
)
ENDED = (
    "INSERT INTO jobsarchived4 (pandaid, jobstatus, computingsite, prodsourcelabel, resource_type, gshare, cloud,"
    " processingtype, modificationtime) SELECT n, %s, 'Q', %s, 'SCORE', %s, 'DE', 'prun', (now() AT TIME ZONE 'UTC')"
    " - make_interval(mins => %s) FROM generate_series(%s, %s) n"
)


async def fill(real: Real, database: Database) -> None:
    """Two jobs that wait, one that runs, one of production, one that merges, and some that have ended."""
    task = await make_task(database, n_files=6)
    for status, more in (
        ("activated", {}), ("defined", {}), ("running", {}), ("merging", {}), ("running", {"computingsite": None}),
    ):  # fmt: skip
        await make_job(database, task, status=status, cloud="DE", processingtype="prun", **more)
    managed = {"prodsourcelabel": "managed", "gshare": "Production", "resource_type": "MCORE"}
    await make_job(database, task, status="assigned", cloud="DE", processingtype="evgen", **managed)
    real.run(ENDED, "finished", "user", "User", 30, 1000, 1002)
    real.run(ENDED, "failed", "managed", "Production", 600, 1003, 1003)
    real.run(ENDED, "finished", "user", "User", 60 * 20, 1004, 1005)
    await real.core.statistics.count()


async def statistics(real: Real, name: str, **asked: Any) -> Any:
    got = await get(real, f"statistics/{name}", ANYBODY, **asked)
    assert (got.json["success"], got.json["message"]) == (True, ""), got.json
    return got.json["data"]


@pytest.mark.parametrize("name", EVERY)
async def test_without_jobs_statistics_are_empty_and_no_failure(real: Real, name: str) -> None:
    assert await statistics(real, name) == {}


async def test_active_jobs_by_queue(real: Real, database: Database) -> None:
    await fill(real, database)
    expected = {"Q": {"assigned": 1, "activated": 1, "running": 1, "defined": 1}}
    assert await statistics(real, "active_job_stats_by_site") == expected
    assert (await old(real, "getJobStatisticsPerSite", ANYBODY)).json == expected


async def test_active_jobs_by_queue_resource_type_and_label(real: Real, database: Database) -> None:
    await fill(real, database)
    assert await statistics(real, "active_job_detailed_stats_by_site") == {
        "Q": {
            "SCORE": {"user": {"assigned": 0, "activated": 1, "running": 1, "defined": 1}},
            "MCORE": {"managed": {"assigned": 1, "activated": 0, "running": 0}},
        }
    }


async def test_jobs_are_counted_by_cloud_for_production_or_analysis(real: Real, database: Database) -> None:
    await fill(real, database)
    assert await statistics(real, "job_stats_by_cloud") == {"DE": {"assigned": 1, "failed": 1}}
    analysis = {"activated": 1, "defined": 1, "running": 2, "merging": 1, "finished": 3}
    assert (await statistics(real, "job_stats_by_cloud", type="analysis"))["DE"] | {"running": 2} == analysis
    found = await statistics(real, "production_job_stats_by_cloud_and_processing_type")
    assert found == {"DE": {"evgen": {"assigned": 1}, "prun": {"failed": 1}}}
    got = await get(real, "statistics/job_stats_by_cloud", ANYBODY, type="all")
    text = 'Parameter "type" needs to be either "production" or "analysis"'
    assert got.json == {"success": False, "message": text, "data": None}


async def test_jobs_with_their_ends_within_a_time(real: Real, database: Database) -> None:
    await fill(real, database)
    usual = await statistics(real, "job_stats_by_site_and_resource_type")
    assert usual["Q"]["MCORE"] == {**ZERO, "assigned": 1, "finished": 0, "failed": 0}
    assert [usual["Q"]["SCORE"][name] for name in ("finished", "failed", "activated", "merging")] == [3, 1, 1, 1]
    hour = await statistics(real, "job_stats_by_site_and_resource_type", time_window=60)
    assert [hour["Q"]["SCORE"][name] for name in ("finished", "failed")] == [3, 0]
    day = await statistics(real, "job_stats_by_site_and_resource_type", time_window=1440)
    assert [day["Q"]["SCORE"][name] for name in ("finished", "failed")] == [5, 1]


async def test_jobs_by_the_labels_of_their_shares(real: Real, database: Database) -> None:
    await fill(real, database)
    await real.core.facts.refresh()
    found = await statistics(real, "job_stats_by_site_share_and_resource_type")
    assert set(found["Q"]) == {"user", "managed"}
    assert found["Q"]["user"]["SCORE"]["finished"] == 3
    assert found["Q"]["managed"] == {
        "MCORE": {**ZERO, "assigned": 1, "finished": 0, "failed": 0},
        "SCORE": {**ZERO, "finished": 0, "failed": 1},
    }
    got = await old(real, "get_job_statistics_per_site_label_resource", ANYBODY, time_window=1440)
    assert got.json["Q"]["user"]["SCORE"]["finished"] == 5


@pytest.mark.parametrize("minutes", [-1, 10_081])
async def test_a_time_beyond_a_week_is_refused(real: Real, minutes: int) -> None:
    text = 'Parameter "time_window" needs to be a positive integer smaller than 10080 min (7 days)'
    got = await get(real, "statistics/job_stats_by_site_and_resource_type", time_window=minutes)
    assert got.json == {"success": False, "message": text, "data": None}
    assert (await old(real, "get_job_statistics_per_site_label_resource", time_window=minutes)).json == [False, text]


async def test_banned_users_are_told_by_name(real: Real) -> None:
    real.run("INSERT INTO users (id, name, status) VALUES (1, 'Bad', 'disabled'), (2, 'Good', NULL)")
    await real.core.facts.refresh()
    got = await get(real, "metaconfig/get_banned_users")
    assert got.json == {"success": True, "message": "", "data": {"Bad": False}}
    assert (await old(real, "get_ban_users", ANYBODY)).json == [True, {"Bad": False}]


ROWS = [
    {"resource_name": "MCORE", "mincore": 2, "maxcore": None, "minrampercore": None, "maxrampercore": 2000},
    {"resource_name": "MCORE_HIMEM", "mincore": 2, "maxcore": None, "minrampercore": 2001, "maxrampercore": None},
    {"resource_name": "SCORE", "mincore": 1, "maxcore": 1, "minrampercore": None, "maxrampercore": 2000},
    {"resource_name": "SCORE_HIMEM", "mincore": 1, "maxcore": 1, "minrampercore": 2001, "maxrampercore": None},
]


async def test_resource_types_are_told_as_they_stand_in_their_table(real: Real) -> None:
    assert (await get(real, "metaconfig/get_resource_types")).json == {"success": True, "message": "", "data": ROWS}


async def test_pilots_are_given_resource_types_as_a_python_literal(real: Real) -> None:
    """pilot3 makes JSON of it with two replacements, and takes an empty table for anything else."""
    real.caller = LIMITED
    body = json.dumps({}).encode()
    got = await real.ask("POST", "/server/panda/getResourceTypes", body, content_type="application/json")
    fields = {name: values[0] for name, values in parse_qs(got.text).items()}
    assert (fields["StatusCode"], fields["Returns"]) == ("0", "0")
    assert literal_eval(fields["ResourceTypes"]) == ROWS
    assert json.loads(fields["ResourceTypes"].replace("None", "null").replace("'", '"')) == ROWS
    assert (await old(real, "getResourceTypes", ANYBODY)).json == {"StatusCode": 0, "Returns": 0, "ResourceTypes": ROWS}


async def test_without_resource_types_the_call_fails(real: Real) -> None:
    real.run("DELETE FROM resource_types")
    await real.core.facts.refresh()
    got = await get(real, "metaconfig/get_resource_types")
    assert got.json == {"success": False, "message": "database error in the PanDA server", "data": None}
    assert parse_qs((await old(real, "getResourceTypes", ANYBODY, accept=None)).text)["StatusCode"] == ["30"]


async def test_specifications_of_queues_by_type(real: Real) -> None:
    for name, kind in (("A", "analysis"), ("U", "unified")):
        document = {"nickname": name, "type": kind, "cloud": "DE", "status": "online", "maxtime": 3600, "corecount": 8}
        real.run("INSERT INTO schedconfig_json VALUES (%s, %s)", name, json.dumps(document))
    await real.core.facts.refresh()
    found = (await get(real, "metaconfig/get_site_specs", ANYBODY)).json["data"]
    assert set(found) == {"A"}
    spec = found["A"]
    assert (spec["sitename"], spec["cloud"], spec["status"], spec["maxtime"], spec["coreCount"]) == (
        "A", "DE", "online", 3600, 8,
    )  # fmt: skip
    assert set((await get(real, "metaconfig/get_site_specs", ANYBODY, type="all")).json["data"]) == {"A", "U"}
    unified = (await get(real, "metaconfig/get_site_specs", ANYBODY, type="unified")).json["data"]
    assert unified["U"]["is_unified"] is True
    assert (await get(real, "metaconfig/get_site_specs", ANYBODY, type="odd")).json["data"] == {}


VOMS = evolve(
    PRODUCTION,
    fqans=("/atlas/phys-higgs/Role=production/Capability=NULL",),
    working_groups=("phys-higgs", "gr_phys-higgs", "higgs"),
    voms=("X509USER 1 2 0 /DC=x/CN=Prod", "VOMS 1 2 0 /atlas/phys-higgs/Role=production/Capability=NULL"),
)


async def test_attributes_have_what_was_asked_and_safe_names_only(real: Real) -> None:
    real.caller = VOMS
    path = "/api/v1/system/get_attributes?a=1&b=x&b=y"
    got = await real.ask("GET", path, accept="application/json", cookie="secret", x_api_key="secret")
    data = got.json["data"]
    assert data["parameters"] == {"a": "1", "b": "['x', 'y']"}
    assert data["environment"] == {
        "GRST_CRED_0": VOMS.voms[0],
        "GRST_CRED_1": VOMS.voms[1],
        "HTTPS": "on",
        "REMOTE_ADDR": "192.0.2.1",
        "SSL_CLIENT_S_DN": "/DC=x/CN=Prod",
    }
    assert "secret" not in got.text
    assert (await get(real, "system/get_attributes", ANYBODY)).json["message"] == "SSL secure connection is required"


async def test_attributes_in_the_older_dialect_are_texts(real: Real) -> None:
    got = await old(real, "getAttr", VOMS, x="1")
    assert got.text.startswith(
        "===== param =====\nx = 1\n\n====== env ======\nGRST_CRED_0 : X509USER 1 2 0 /DC=x/CN=Prod"
    )
    assert (await old(real, "getAttr", ANYBODY)).text.endswith("REMOTE_ADDR : 192.0.2.1\n")
    got = await old(real, "getVomsAttr", VOMS)
    assert got.text == f"GRST_CRED_0 : {VOMS.voms[0]}\nGRST_CRED_1 : {VOMS.voms[1]}\n"
    assert (await old(real, "getVomsAttr", ANYBODY)).text == ""


async def test_attributes_of_a_vo(real: Real) -> None:
    got = await get(real, "system/get_voms_attributes", VOMS)
    assert got.json["data"] == {"GRST_CRED_0": VOMS.voms[0], "GRST_CRED_1": VOMS.voms[1]}
    assert got.json["message"] == f"GRST_CRED_0 : {VOMS.voms[0]}\nGRST_CRED_1 : {VOMS.voms[1]}"


async def test_who_the_server_takes_a_caller_for(real: Real) -> None:
    assert (await get(real, "system/get_user_attributes", VOMS)).json["data"] == {
        "user_dn_raw": "/DC=x/CN=Prod",
        "user_dn_clean": "Prod",
        "fqans": ["/atlas/phys-higgs/Role=production/Capability=NULL"],
        "is_production_user": True,
        "production_working_groups": ["phys-higgs", "gr_phys-higgs", "higgs"],
        "primary_working_group": "higgs",
    }
    plain = (await get(real, "system/get_user_attributes", USER)).json["data"]
    assert (plain["primary_working_group"], plain["is_production_user"], plain["fqans"]) == (None, False, [])


async def test_where_the_server_is(real: Real) -> None:
    text = (await old(real, "getServer", ANYBODY)).text
    host, _, port = text.rpartition(":")
    assert host and port.isdecimal()


def test_readings_are_at_most_a_minute_old() -> None:
    assert max(ALIVE_FOR, ENDED_FOR).total_seconds() <= 60
