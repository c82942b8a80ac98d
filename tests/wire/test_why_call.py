"""``pandatx/why`` over the served tree, and what the command line makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from real import Real
from server import Tables
from sites import OTHER, PRODUCTION, USER

from pandatx.cli import why as command
from pandatx.cli.main import main


@pytest.fixture(scope="module")
def job(shared_real: Real) -> Iterator[int]:
    tables = Tables(shared_real.dsn)
    (job,) = tables.activate(1)
    shared_real.run("UPDATE doma_panda.jobsactive4 SET produsername = %s WHERE pandaid = %s", USER.name, job)
    yield job
    tables.close()


async def test_the_owner_is_told_and_others_are_not(shared_real: Real, job: int) -> None:
    for shared_real.caller in (USER, PRODUCTION):
        got = await shared_real.ask("GET", f"/api/v1/pandatx/why?job_id={job}")
        assert got.json["success"], got.text
        data = got.json["data"]
        assert (data["job_id"], data["status"], data["pilots"], data["errors"]) == (job, "activated", [], [])
        assert "no pilot has asked" in data["reasons"][-1]
        assert [each["name"] for each in data["filters"]] == [
            "label", "memory", "disk", "walltime", "resource_type", "user", "task", "background", "memory_per_core",
        ]  # fmt: skip
    shared_real.caller = OTHER
    got = await shared_real.ask("GET", f"/api/v1/pandatx/why?job_id={job}")
    assert got.json == {"success": False, "message": "the job is somebody else's", "data": None}
    shared_real.caller = USER
    got = await shared_real.ask("GET", "/api/v1/pandatx/why?job_id=987654321")
    assert got.json == {"success": False, "message": "no job has PandaID 987654321", "data": None}


async def test_a_pilot_that_asks_is_seen(shared_real: Real, job: int) -> None:
    shared_real.caller = PRODUCTION
    body = json.dumps({"site_name": "LOCAL", "prod_source_label": "managed", "memory": 1}).encode()
    got = await shared_real.ask("POST", "/api/v1/pilot/acquire_jobs", body, content_type="application/json")
    assert not got.json["success"]
    (pilots,) = (await shared_real.ask("GET", f"/api/v1/pandatx/why?job_id={job}")).json["data"]["pilots"]
    assert (pilots["asked"], pilots["served"], pilots["refused"]) == (1, 0, 0)
    assert pilots["wanted"] == "labels install, managed, prod_test, test, memory 1 MB"


FOUND = {
    "job_id": 7, "status": "activated", "queue": "Q", "since": "2026-01-01 00:00:00", "reasons": ["none fits"],
    "filters": [{"name": "memory", "job_has": "2000 MB", "kept_out": 3}], "errors": [],
    "pilots": [{"wanted": "labels user", "asked": 3, "served": 1, "refused": 0, "last": "2026-01-01 00:00:01",
                "why_not": ["they had 1 MB of memory", "and more"]}],
}  # fmt: skip


def test_the_command_line_prints_it(monkeypatch) -> None:
    class Client:
        def get(self, operation, **fields):
            assert (operation, fields) == ("pandatx/why", {"job_id": 7})
            return FOUND

    monkeypatch.setattr(command, "client_of", lambda home: Client())
    said = CliRunner().invoke(main, ["why", "7"])
    assert said.exit_code == 0, said.output
    lines = [line.rstrip() for line in said.stdout.splitlines()]
    assert lines[:2] == ["job 7 is activated at Q since 2026-01-01 00:00:00", "- none fits"]
    assert any(line.split() == ["memory", "2000", "MB", "3"] for line in lines)
    assert "they had 1 MB of memory; and more" in said.stdout
    assert json.loads(CliRunner().invoke(main, ["why", "7", "--json"]).stdout) == FOUND
    assert CliRunner().invoke(main, ["why", "x"]).exit_code == 2
