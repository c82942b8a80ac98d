"""Secrets go to the pilots of their owner's jobs that use them, those of pilots to jobs in debug mode; else nowhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from real import Real
from server import Tables
from sites import PILOT, PRODUCTION, USER
from twisted.logger import capturedLogs

JSON = "application/json"


async def call(real: Real, path: str, **values: Any) -> Any:
    got = await real.ask("POST", path, json.dumps(values).encode(), content_type=JSON, accept=JSON)
    return got.json


async def secret(real: Real, **values: Any) -> None:
    real.caller = USER
    assert (await call(real, "/api/v1/creds/set_user_secrets", **values))["success"]


async def job(real: Real, owner: str, tags: str) -> Any:
    """A job as its pilot gets it, in both dialects."""
    tables = Tables(real.dsn)
    tables.activate(2)
    tables.query("UPDATE jobsactive4 SET produsername = %(owner)s, specialhandling = %(tags)s", owner=owner, tags=tags)
    tables.close()
    real.caller = PILOT
    told = await call(real, "/api/v1/pilot/acquire_jobs", site_name="LOCAL", prod_source_label="user")
    (found,) = told["data"]["jobs"]
    older = await call(real, "/server/panda/getJob", siteName="LOCAL", prodSourceLabel="user")
    for name in ("secrets", "pilotSecrets"):
        assert older.get(name) == found.get(name)
    return found


async def test_a_job_that_uses_secrets_gets_those_of_its_owner(real: Real) -> None:
    await secret(real, key="a", value="b")
    assert json.loads((await job(real, "Some User", "us"))["secrets"]) == {"a": "b"}


@pytest.mark.parametrize(("owner", "tags"), [("Some User", "dm,usx"), ("Other", "us"), ("Some User", "")])
async def test_no_other_job_gets_them(real: Real, owner: str, tags: str) -> None:
    await secret(real, key="a", value="b")
    assert "secrets" not in await job(real, owner, tags)


async def test_those_of_pilots_go_to_jobs_in_debug_mode_and_are_nobodys_own(real: Real) -> None:
    real.run("INSERT INTO secrets VALUES ('pilot secrets', now(), '{\"x\": \"y\"}')")
    await real.core.facts.refresh()
    found = await job(real, "pilot secrets", "us,dm")
    assert "secrets" not in found
    assert json.loads(found["pilotSecrets"]) == {"x": "y"}


async def test_a_user_who_takes_his_own_job_without_a_role_gets_nothing_of_the_pilots(real: Real) -> None:
    real.run("INSERT INTO secrets VALUES ('pilot secrets', now(), '{\"x\": \"y\"}')")
    await real.core.facts.refresh()
    tables = Tables(real.dsn)
    tables.activate(2)
    tables.query("UPDATE jobsactive4 SET produsername = 'Some User', specialhandling = 'dm'")
    for real.caller, trusted in ((USER, False), (PILOT, True)):
        told = await call(real, "/api/v1/pilot/acquire_jobs", site_name="LOCAL", prod_source_label="user")
        (found,) = told["data"]["jobs"]
        assert ("pilotSecrets" in found) == trusted
        told = await call(real, "/server/panda/updateJob", jobId=found["PandaID"], state="running")
        assert (told["command"], "pilotSecrets" in told) == ("debug", trusted)
    tables.close()


async def test_who_looks_at_a_job_sees_no_secret(real: Real) -> None:
    await secret(real, key="a", value="the-value")
    with capturedLogs() as events:
        found = await job(real, "Some User", "us")
    assert "the-value" in found["secrets"]
    assert "the-value" not in repr([dict(event) for event in events])
    panda_id = found["PandaID"]
    for real.caller in (USER, PRODUCTION):
        for path in (f"job/get_description?job_ids={panda_id}", "pandatx/list_jobs", f"pandatx/why?job_id={panda_id}"):
            got = await real.ask("GET", f"/api/v1/{path}", accept=JSON)
            assert got.json["success"], got.text
            assert "the-value" not in got.text
