"""Workflows over the real services: what is stored of them, and what their owners are told."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from asking import FORM, JSON, get, post
from real import Real
from sites import ANYBODY, LIMITED, OTHER, PRODUCTION, USER
from steering import rows
from tasks_by_hand import make_task

STORED = (
    "SELECT workflow_id, name, status, prodsourcelabel, username, raw_request_json, definition_json,"
    " creation_time IS NOT NULL FROM workflows"
)
DN = "/DC=x/CN=Some User"


@pytest.mark.parametrize("params", [{"a": [1]}, '{"a": [1]}'])
async def test_a_raw_request_waits_for_the_engine(real: Real, params: Any) -> None:
    got = await post(real, "workflow/submit_workflow_raw_request", params=params)
    assert got.json == {"success": True, "message": "", "data": {"workflow_id": 1}}
    assert rows(real, STORED) == [(1, None, "registered", "user", "Some User", {"a": [1], "user_dn": DN}, None, True)]


@pytest.mark.parametrize("headers", [{"content_type": FORM}, {}])
async def test_a_form_with_or_without_its_content_type_is_read(real: Real, headers: dict[str, str]) -> None:
    real.caller = USER
    body = urlencode({"params": json.dumps({"a": 1})}).encode()
    got = await real.ask("POST", "/api/v1/workflow/submit_workflow_raw_request", body, accept=JSON, **headers)
    assert got.json["data"] == {"workflow_id": 1}


@pytest.mark.parametrize(("caller", "label"), [(USER, "user"), (PRODUCTION, "managed")])
async def test_a_definition_waits_for_the_engine(real: Real, caller: Any, label: str) -> None:
    definition = {"workflow_name": "w", "nodes": [], "pattern": r"[^\u0000\\u0000]"}
    got = await post(real, "workflow/submit_workflow", caller, workflow_definition=definition)
    assert got.json == {"success": True, "message": "", "data": {"workflow_id": 1}}
    stored = {**definition, "user_dn": caller.dn}
    assert rows(real, STORED) == [(1, "w", "registered", label, caller.name, None, stored, True)]


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        ({"workflow_name": 7}, "its workflow_name is not a text of up to 256 characters"),
        ({"workflow_name": "x" * 257}, "its workflow_name is not a text of up to 256 characters"),
        ({"a": "\\\\\0"}, "must not hold a NUL character"),
    ],
)
async def test_a_workflow_that_cannot_be_stored_is_refused(real: Real, definition: Any, why: str) -> None:
    before = real.contents()
    got = await post(real, "workflow/submit_workflow", workflow_definition=definition)
    assert (got.json["success"], got.json["data"]) == (False, None)
    assert why in got.json["message"]
    for caller in (ANYBODY, LIMITED):
        refused = await post(real, "workflow/submit_workflow", caller, workflow_definition={})
        assert refused.json["message"] == "SSL secure connection is required"
    unreadable = await post(real, "workflow/submit_workflow_raw_request", params="[")
    assert unreadable.json["success"] is False
    assert real.contents() == before


async def test_an_owner_is_told_how_a_workflow_stands(real: Real, database: Any) -> None:
    await post(real, "workflow/submit_workflow", workflow_definition={"workflow_name": "w"})
    await make_task(database, 77, n_files=4)
    real.run("UPDATE jedi_datasets SET nfilesfinished = 3, nfilesfailed = 1 WHERE type = 'input'")
    real.run("""UPDATE workflows SET status = 'running', parameters = '{"reason": "why"}'""")
    real.run(
        """INSERT INTO workflow_steps
           (step_id, workflow_id, member_id, name, status, flavor, target_id, definition_json)
           VALUES (11, 1, 1, 'first', 'done', 'panda_task', '77', '{"id": 5, "parents": []}'),
                  (12, 1, 2, 'second', 'pending', 'panda_task', NULL, '{"id": 6, "parents": [5, 99]}')"""
    )
    real.run("INSERT INTO workflow_data (data_id, workflow_id, name, status, type, target_id)"
             " VALUES (21, 1, 'out', 'registered', 'output', 'user.x')")  # fmt: skip
    got = await get(real, "workflow/get_workflow_details", workflow_id=1)
    step = {"flavor": "panda_task", "prod_source_label": "user", "reason": None}
    assert got.json == {
        "success": True,
        "message": "",
        "data": {
            "workflow_id": 1, "name": "w", "status": "running", "submitted_as": "definition", "user": "Some User",
            "parent_id": None, "reason": "why",
            "steps": [
                {
                    **step, "step_id": 11, "member_id": 1, "name": "first", "status": "done", "target_id": "77",
                    "parent_step_ids": [],
                    "progress": {"pct_finished": 75.0, "n_files": 4, "n_files_finished": 3, "n_files_failed": 1},
                },
                {
                    **step, "step_id": 12, "member_id": 2, "name": "second", "status": "pending", "target_id": None,
                    "parent_step_ids": [11], "progress": None,
                },
            ],
            "data": [{"name": "out", "status": "registered", "type": "output", "target_id": "user.x"}],
        },
    }  # fmt: skip
    assert (await get(real, "workflow/get_workflow_details", PRODUCTION, workflow_id=1)).json["success"]
    others = await get(real, "workflow/get_workflow_details", OTHER, workflow_id=1)
    assert others.json["message"] == "not the workflow owner or no production role"
    missing = await get(real, "workflow/get_workflow_details", PRODUCTION, workflow_id=2)
    assert missing.json == {"success": False, "message": "Workflow not found", "data": None}


@pytest.mark.parametrize("target", ["9" * 19, "9" * 40, "-5", "x", "\u0665"])
async def test_a_step_whose_target_is_no_task_that_can_be_has_no_progress(real: Real, target: str) -> None:
    await post(real, "workflow/submit_workflow", workflow_definition={"workflow_name": "w"})
    real.run(
        "INSERT INTO workflow_steps (step_id, workflow_id, member_id, name, status, flavor, target_id)"
        " VALUES (11, 1, 1, 'first', 'done', 'panda_task', %s)",
        target,
    )
    got = await get(real, "workflow/get_workflow_details", workflow_id=1)
    assert got.json["success"], got.json
    assert [(step["target_id"], step["progress"]) for step in got.json["data"]["steps"]] == [(target, None)]
