"""The calls on jobs in both dialects, over the real services (reference/wire.md 2.11, 2.12, 3.4, 5.1, 5.2)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asking import get, old, post
from attrs import evolve
from real import Real
from server import Tables
from sites import ANYBODY, LIMITED, OTHER, PILOT, PRODUCTION, USER
from tasks_by_hand import make_job, make_task
from twisted.internet.defer import Deferred, gatherResults

from pandatx.domain.caller import Caller
from pandatx.domain.query_requests import DebugMode
from pandatx.resources.jobspec import JOB_SLOTS, job_of
from pandatx.services.debug_mode import DebugModes
from pandatx.store.database import Database

OWNER = Caller(dn="/DC=local/DC=pandatx/CN=user", name="user", how="x509")
PICKLES = "ERROR : this server answers no pickles: send 'Accept: application/json', or use panda-client 1.6.0 or newer"


@pytest.fixture
def tables(real: Real) -> Tables:
    """Two activated jobs of the owner."""
    found = Tables(real.dsn)
    found.activate(2)
    return found


def tags(tables: Tables, job: int) -> str | None:
    found = tables.scalar("SELECT specialhandling FROM jobsactive4 WHERE pandaid = %(id)s", id=job)
    return None if found is None else str(found)


@pytest.mark.parametrize("caller", [OWNER, PRODUCTION, PILOT])
async def test_debug_mode_is_for_owners_too_and_succeeds_if_it_says_so(
    real: Real, tables: Tables, caller: Caller
) -> None:
    on = {"success": True, "message": "Succeeded", "data": "Succeeded"}
    again = {"success": False, "message": "Already set accordingly", "data": None}
    assert (await post(real, "job/set_debug_mode", caller, job_id=1, mode=True)).json == on
    assert tags(tables, 1) == "dm"
    assert (await post(real, "job/set_debug_mode", caller, job_id=1, mode=True)).json == again
    assert (await post(real, "job/set_debug_mode", caller, job_id=1, mode=False)).json == on
    assert tags(tables, 1) is None


async def debug(real: Real, caller: Caller, job: int, mode: bool = True) -> str:
    return str((await post(real, "job/set_debug_mode", caller, job_id=job, mode=mode)).json["message"])


async def test_a_user_has_three_jobs_in_debug_mode_at_most(real: Real, tables: Tables) -> None:
    tables.activate(6, first=11)
    full = (
        "You already hit the limit on the maximum number of debug subjobs (3 jobs). "
        "Please set the debug mode off for one of the following PandaIDs : 1,2,11"
    )
    for job in (1, 2, 11):
        assert await debug(real, OWNER, job) == "Succeeded"
    before = real.contents()
    assert await debug(real, OWNER, 12) == full
    assert (await old(real, "setDebugMode", OWNER, pandaID=12, modeOn="True")).text == full
    assert real.contents() == before
    assert await debug(real, PRODUCTION, 12) == "Succeeded"
    assert await debug(real, OWNER, 1, False) == "Succeeded"
    assert await debug(real, OWNER, 13) == "Succeeded"
    assert "2,11,13" in await debug(real, OWNER, 14)
    real.run("UPDATE jobsactive4 SET jobstatus = 'holding' WHERE pandaid = 2")
    real.run("DELETE FROM jobsactive4 WHERE pandaid = 11")
    assert await debug(real, OWNER, 14) == "Succeeded"
    assert await debug(real, OWNER, 15) == "Succeeded"
    assert "13,14,15" in await debug(real, OWNER, 16)


async def test_those_who_ask_at_once_do_not_get_more(tables: Tables, database: Database) -> None:
    tables.activate(6, first=11)
    asked = [DebugMode(job_id=job, mode=True) for job in range(11, 17)]
    modes = DebugModes(database)
    told = await gatherResults([Deferred.fromCoroutine(modes.change(OWNER, each)) for each in asked])
    assert told.count("Succeeded") == 3


async def test_debug_mode_in_the_older_dialect(real: Real, tables: Tables) -> None:
    assert (await old(real, "setDebugMode", OWNER, pandaID=1, modeOn="True")).text == "Succeeded"
    assert tags(tables, 1) == "dm"
    text = "Permission denied. Not the owner or production manager"
    assert (await old(real, "setDebugMode", OTHER, pandaID=1, modeOn="False")).text == text
    assert (await old(real, "setDebugMode", OWNER, pandaID=9, modeOn="True")).text == "PandaID=9 not found in active DB"
    assert (await old(real, "setDebugMode", ANYBODY, pandaID=1, modeOn="False")).text == (
        "SSL secure connection is required"
    )
    assert tags(tables, 1) == "dm"


async def test_debug_mode_of_anothers_job_changes_nothing(real: Real, tables: Tables) -> None:
    before = real.contents()
    got = await post(real, "job/set_debug_mode", OTHER, job_id=1, mode=True)
    text = "Permission denied. Not the owner or production manager"
    assert got.json == {"success": False, "message": text, "data": None}
    assert real.contents() == before


async def test_a_debugged_jobs_pilot_is_told(real: Real, tables: Tables) -> None:
    await post(real, "job/set_debug_mode", OWNER, job_id=1, mode=True)
    real.run("UPDATE jobsactive4 SET jobstatus = 'running' WHERE pandaid = 1")
    got = await post(real, "pilot/update_job", PILOT, job_id=1, job_status="running")
    assert got.json["data"]["command"] == "debug"


async def test_job_status_is_told_as_json_to_anybody(real: Real, tables: Tables) -> None:
    got = await old(real, "getJobStatus", ANYBODY, ids="[1, 9]")
    assert [job and job["PandaID"] for job in got.json] == [1, None]
    assert (await post(real, "job/get_description", OWNER, job_ids=[9, 1])).json["data"][1]["PandaID"] == 1


async def test_descriptions_have_an_end(real: Real, tables: Tables, monkeypatch: Any) -> None:
    """One job with a MiB of metadata, asked for 5500 times by anybody, would be 5 GiB."""
    size = len((await old(real, "getJobStatus", ANYBODY, ids="[1]")).text)
    monkeypatch.setattr("pandatx.resources.job.LARGEST", 4 * size)
    assert len((await old(real, "getJobStatus", ANYBODY, ids="[1, 1, 1, 9]")).json) == 4
    text = f"the descriptions have more than {4 * size} bytes: ask for fewer jobs at a time"
    assert (await old(real, "getJobStatus", ANYBODY, ids="[1, 1, 1, 1, 1]")).json == [False, text]
    for path in ("job/get_description", "job/get_description_incl_archive"):
        refused = await post(real, path, OWNER, job_ids=[1] * 5)
        assert refused.json == {"success": False, "message": text, "data": None}


async def test_job_status_is_told_as_state_lists_to_who_asks_for_no_pickle(real: Real, tables: Tables) -> None:
    got = await old(real, "getJobStatus", ANYBODY, accept=None, ids="[1, 9]", no_pickle="True")
    (state,) = got.json
    assert len(state) == len(JOB_SLOTS) + 1
    assert (state[0], state[JOB_SLOTS.index("jobStatus")], state[JOB_SLOTS.index("pilotID")]) == (
        1,
        "activated",
        "NULL",
    )
    assert set(state[JOB_SLOTS.index("creationTime")]) == {"_datetime_object"}
    again = job_of(state, 0)
    assert (again.job_name, len(again.files)) == ("test.1", 2)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("submitJobs", {"jobs": "[]"}),
        ("getJobStatus", {"ids": "[1]"}),
        ("getJobStatus", {"ids": "(lp0\nL1L\na.", "no_pickle": "False"}),
        ("getFullJobStatus", {"ids": "[1]"}),
        ("killJobs", {"ids": "[1]"}),
        ("reassignJobs", {"ids": "[1]"}),
    ],
)
async def test_who_waits_for_a_pickle_is_told_which_client_reads_json(
    real: Real, tables: Tables, name: str, asked: dict[str, Any]
) -> None:
    before = real.contents()
    got = await old(real, name, OWNER, accept=None, **asked)
    assert (got.status, got.text) == (400, PICKLES)
    assert real.contents() == before


async def test_full_status_and_kill_in_the_older_dialect(real: Real, tables: Tables) -> None:
    assert (await old(real, "killJobs", OWNER, ids="[1, 9]", killOpts="a,b", useMailAsID="False")).json == [True, False]
    found = (await old(real, "getFullJobStatus", OWNER, ids="[1, 2, 9]")).json
    assert [job and job["jobStatus"] for job in found] == ["cancelled", "activated", None]
    assert (await old(real, "killJobs", OTHER, ids="[2]")).json == [False]
    assert (await old(real, "killJobs", LIMITED, ids="[2]")).json == [False, "SSL secure connection is required"]
    assert tables.status(2) == "activated"


async def test_reassigning_in_the_older_dialect(real: Real, tables: Tables) -> None:
    assert (await old(real, "reassignJobs", PRODUCTION, ids="[2]", forPending="True")).json is True
    assert (await old(real, "reassignJobs", OTHER, ids="[1]")).json == [
        False, "jobs are reassigned by their owner or by the production role",
    ]  # fmt: skip


async def test_an_empty_submission_in_the_older_dialect(real: Real) -> None:
    assert (await old(real, "submitJobs", OWNER, jobs="[]")).json == []


async def test_the_script_of_a_job_is_a_plain_text_in_both_dialects(real: Real, tables: Tables) -> None:
    got = await get(real, "job/generate_offline_execution_script", ANYBODY, job_id=1)
    assert (got.status, got.header("content-type")) == (200, "text/plain; charset=utf-8")
    assert got.text.startswith("#!/bin/bash\n# PanDA job 1,") and "runGen-00-00-02 --exec true" in got.text
    assert (await old(real, "getScriptOfflineRunning", ANYBODY, pandaID=1)).text == got.text
    gone = await get(real, "job/generate_offline_execution_script", ANYBODY, job_id=9)
    assert gone.text == "ERROR: Cannot get PandaID=9 in DB"
    real.run("UPDATE jobsactive4 SET modificationtime = '2020-01-01' WHERE pandaid = 1")
    late = await get(real, "job/generate_offline_execution_script", ANYBODY, job_id=1, days=5)
    assert late.text.startswith("ERROR: Cannot get PandaID=1 in DB for the last 5 days.")


async def test_the_script_of_anothers_job_has_no_secrets(real: Real, tables: Tables) -> None:
    real.run("UPDATE jobparamstable SET jobparameters = '--token abc' WHERE pandaid = 1")
    scripts = [
        (await get(real, "job/generate_offline_execution_script", caller, job_id=1)).text
        for caller in (OWNER, PRODUCTION, OTHER, ANYBODY)
    ]
    assert ["abc" in text for text in scripts] == [True, True, False, False]


@pytest.mark.parametrize(
    ("caller", "sees"), [(OWNER, True), (PRODUCTION, True), (OTHER, False), (PILOT, False), (ANYBODY, False)]
)
async def test_descriptions_of_anothers_job_have_no_secrets(
    real: Real, tables: Tables, database: Database, caller: Caller, sees: bool
) -> None:
    await make_task(database, 7)
    real.run("UPDATE jobparamstable SET jobparameters = '--token abc' WHERE pandaid = 1")
    real.run("INSERT INTO metatable VALUES (1, '2026-01-01', '{\"password\": \"abc\"}')")
    real.run("UPDATE jobsactive4 SET jeditaskid = 7")
    texts = [
        (await old(real, "getJobStatus", caller, ids="[1]")).text,
        (await old(real, "getJobStatus", caller, accept=None, ids="[1]", no_pickle="True")).text,
    ]
    if caller.authenticated:
        for path, asked in (
            ("job/get_description", {"job_ids": [1]}),
            ("job/get_description_incl_archive", {"job_ids": [1]}),
            ("task/get_job_descriptions", {"task_id": 7}),
        ):
            texts.append((await get(real, path, caller, **asked)).text)
        texts.append((await old(real, "getFullJobStatus", caller, ids="[1]")).text)
    assert [text.count("abc") for text in texts] == [2 * sees] * len(texts)
    assert all("--token" in text and "password" in text for text in texts)


async def test_a_namesake_or_a_limited_proxy_is_no_owner_where_anybody_may_ask(real: Real, tables: Tables) -> None:
    real.run("UPDATE jobparamstable SET jobparameters = '--token abc' WHERE pandaid = 1")
    real.run("INSERT INTO pandatx.owners (name, subject, first_seen) VALUES ('user', %s, now())", OWNER.dn)
    assert "abc" not in (await old(real, "getJobStatus", evolve(OWNER, limited=True), ids="[1]")).text
    namesake = evolve(OWNER, dn="/CN=user")
    got = await old(real, "getJobStatus", namesake, ids="[1]")
    assert got.json == [False, "the name user belongs to another identity than /CN=user"]
    assert (await get(real, "system/is_alive", namesake)).json["success"]
    assert "abc" in (await old(real, "getJobStatus", OWNER, ids="[1]")).text


@pytest.mark.parametrize("headers", [{}, {"Accept_Encoding": "gzip"}])
async def test_an_answer_of_many_megabytes_is_whole(real: Real, tables: Tables, headers: dict[str, str]) -> None:
    tables.activate(300, first=11)
    real.run("UPDATE jobparamstable SET jobparameters = pandaid || repeat('x', 9000)")
    ids = [*range(11, 311), 999]
    real.caller = OWNER
    for path in ("/api/v1/job/get_description", "/server/panda/getFullJobStatus"):
        name = "ids" if "panda/" in path else "job_ids"
        body = json.dumps({name: ids}).encode()
        got = await real.ask("POST", path, body, Accept="application/json", Content_Type="application/json", **headers)
        jobs = got.json if name == "ids" else got.json["data"]
        assert [job and job["PandaID"] for job in jobs] == [*range(11, 311), None]
        assert {job["jobParameters"] for job in jobs[:-1]} == {f"{job}{'x' * 9000}" for job in ids[:-1]}


async def test_metadata_of_the_finished_jobs_of_a_users_task(real: Real, database: Database) -> None:
    task = await make_task(database, 10_000_001)
    await make_job(database, task)
    archived = (
        "INSERT INTO {} (pandaid, jobstatus, jeditaskid, prodsourcelabel, modificationtime)"
        " VALUES (%s, %s, %s, 'user', '2026-01-01')"
    )
    texts = ('{"a": 1}', "{}", "no JSON", '{"b": [NaN, 1e5]}')
    for job, status, text in zip(range(900, 904), ("finished", "failed", "finished", "finished"), texts, strict=True):
        real.run(archived.format("jobsarchived4"), job, status, task.id)
        real.run("INSERT INTO metatable VALUES (%s, '2026-01-01', %s)", job, text)
    real.run(archived.format("doma_pandaarch.jobsarchived"), 800, "finished", task.id)
    real.run("INSERT INTO doma_pandaarch.metatable_arch VALUES (800, '2026-01-01', '[2]')")
    expected = {"800": [2], "900": {"a": 1}, "903": {"b": [None, 100000.0]}}
    got = await get(real, "job/get_metadata_for_analysis_jobs", task_id=task.id)
    assert got.json == {"success": True, "message": "", "data": expected}
    assert (await old(real, "getUserJobMetadata", ANYBODY, jediTaskID=task.id)).json == expected
    real.run("UPDATE metatable SET metadata = %s WHERE pandaid = 900", '{"a": 1, "token": "abc", "log": "password=x"}')
    hidden = {"a": 1, "token": "***", "log": "password=***"}
    assert (await old(real, "getUserJobMetadata", ANYBODY, jediTaskID=task.id)).json["900"] == hidden
    own = evolve(USER, name="Alice")
    real.run("UPDATE jedi_tasks SET username = 'Alice' WHERE jeditaskid = %s", task.id)
    told = (await get(real, "job/get_metadata_for_analysis_jobs", own, task_id=task.id)).json["data"]["900"]
    assert told == {"a": 1, "token": "abc", "log": "password=x"}
    none = await get(real, "job/get_metadata_for_analysis_jobs", task_id=5)
    assert none.json == {"success": True, "message": "No metadata found", "data": {}}


async def test_a_command_is_for_the_production_role(real: Real, tables: Tables) -> None:
    assert (await old(real, "send_command_to_job", PRODUCTION, panda_id=1, com="ls -l")).json == [
        True,
        "command received",
    ]
    gone = "no active job with PandaID=9"
    assert (await old(real, "send_command_to_job", PRODUCTION, panda_id=9, com="ls")).json == [False, gone]
    role = "production or pilot role required"
    assert (await old(real, "send_command_to_job", OWNER, panda_id=1, com="ls")).json == [False, role]
    assert (await post(real, "job/set_command", PRODUCTION, job_id=1, command="tobekilled")).json == {
        "success": True, "message": "command received", "data": None,
    }  # fmt: skip
    assert (await post(real, "job/set_command", PRODUCTION, job_id=1, command="ls")).json["message"] == (
        "job is being killed"
    )


async def test_statuses_for_pilots_and_harvester(real: Real, tables: Tables) -> None:
    got = await old(real, "getStatus", ANYBODY, ids="1 9")
    assert got.text == "StatusCode=0&status=activated%2Bnotfound&attemptNr=0%2B0"
    checked = {"status": "unknown", "command": "tobekilled"}
    assert (await old(real, "checkJobStatus", ANYBODY, ids="1,9")).json == {
        "StatusCode": 0, "data": [{"status": "activated", "command": None}, checked],
    }  # fmt: skip
    found = (await get(real, "pilot/get_job_status", USER, job_ids=[9, 1])).json["data"]
    assert found == [
        {"job_id": 9, "status": "not found", "attempt_number": 0},
        {"job_id": 1, "status": "activated", "attempt_number": 0},
    ]


async def test_reports_in_bulk_are_answered_as_text_or_as_json(real: Real, tables: Tables) -> None:
    real.run("UPDATE jobsactive4 SET jobstatus = 'running'")
    jobs = json.dumps([{"jobId": 1, "state": "running"}, {"jobId": 9, "state": "running"}])
    got = await old(real, "updateJobsInBulk", PILOT, accept=None, jobList=jobs, harvester_id="h")
    assert got.json[0] is True and got.json[1][0] == "StatusCode=0&command=NULL"
    got = await old(real, "updateJobsInBulk", PILOT, jobList=jobs)
    assert json.loads(got.json[1][0]["content"]) == {"StatusCode": 0, "command": "NULL"}
