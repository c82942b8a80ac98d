"""pandatx/show_owner, pandatx/release_owner, pandatx/admit_owner: whose name is whose (rules R27, R41)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve
from real import Real
from sites import PRODUCTION, USER

JSON = {"Content_Type": "application/json", "Accept": "application/json"}
NOBODYS = {"success": False, "message": "the name bob belongs to nobody yet", "data": None}
ALICE = {"name": "alice", "subject": "/CN=alice", "also": [], "first_seen": "2026-01-02 03:04:05"}


@pytest.fixture
def chief(real: Real) -> Real:
    real.run(
        "INSERT INTO pandatx.owners (name, subject, first_seen) VALUES ('alice', '/CN=alice', '2026-01-02 03:04:05')"
    )
    real.caller = PRODUCTION
    return real


async def post(site: Real, operation: str, **fields: Any) -> Any:
    answer = await site.ask("POST", f"/api/v1/{operation}", json.dumps(fields).encode(), **JSON)
    assert answer.status == 200
    return answer.json


async def show(site: Real, name: str) -> Any:
    return (await site.ask("GET", f"/api/v1/pandatx/show_owner?name={name}")).json


def good(**data: Any) -> dict[str, Any]:
    return {"success": True, "message": "", "data": {**ALICE, **data}}


async def test_whose_a_name_is_and_since_when_is_shown(chief):
    assert await show(chief, "alice") == good()
    assert await show(chief, "bob") == NOBODYS


async def test_a_name_that_is_released_is_nobodys(chief):
    assert await post(chief, "pandatx/release_owner", name="alice") == good()
    assert (await show(chief, "alice"))["success"] is False
    assert await post(chief, "pandatx/release_owner", name="bob") == NOBODYS


async def test_one_more_subject_may_use_a_name(chief):
    token = "https://iam.example.org/ f00"
    assert await post(chief, "pandatx/admit_owner", name="alice", subject=token) == good(also=[token])
    assert await post(chief, "pandatx/admit_owner", name="alice", subject="/CN=alice") == good(also=[token])
    assert await post(chief, "pandatx/admit_owner", name="bob", subject=token) == NOBODYS


async def test_they_are_for_the_production_role_only_and_refused_to_others_without_a_change(chief):
    before = chief.contents()
    chief.caller = USER
    refused = {"success": False, "message": "production or pilot role required", "data": None}
    assert await show(chief, "alice") == refused
    assert await post(chief, "pandatx/release_owner", name="alice") == refused
    assert await post(chief, "pandatx/admit_owner", name="alice", subject="/CN=x") == refused
    assert chief.contents() == before


async def test_a_namesake_is_refused_what_it_would_do_by_its_name_and_nothing_else(chief):
    chief.caller = evolve(USER, name="alice", dn="/CN=other/CN=alice")
    why = "the name alice belongs to another identity than /CN=other/CN=alice"
    assert await post(chief, "job/kill", job_ids=[1]) == {"success": False, "message": why, "data": None}
    assert (await chief.ask("GET", "/api/v1/system/is_alive")).json["success"]
