"""The groups ``idds`` and ``data_carousel`` in both dialects (reference/wire.md 3.6, 5.1; clients.md 4)."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from real import Real
from sites import PRODUCTION, USER

JSON = "application/json"
NOT_CONFIGURED = "is not configured at this server: [pandatx] request_handlers names no"


class Children:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def call(self, name: str, *args: Any, **how: Any) -> Any:
        self.asked = args[0]
        return self.answer


@pytest.fixture
def relayed(shared_real: Real):
    def relayed(answer: Any) -> Children:
        children = Children(answer)
        relays = shared_real.core.requests.relays
        object.__setattr__(relays, "_children", children)
        object.__setattr__(relays, "_handlers", {"idds": "x:y", "data_carousel": "x:z"})
        return children

    relays = shared_real.core.requests.relays
    kept = relays._children, relays._handlers
    yield relayed
    object.__setattr__(relays, "_children", kept[0])
    object.__setattr__(relays, "_handlers", kept[1])


async def test_without_a_handler_both_dialects_say_so(shared_real: Real) -> None:
    shared_real.caller = PRODUCTION
    body = json.dumps({"command_name": "get_status", "request_id": 1}).encode()
    for path in (
        "idds/relay_idds_command", "idds/execute_idds_workflow_command", "data_carousel/change_staging_destination",
        "data_carousel/change_staging_source", "data_carousel/force_to_staging", "data_carousel/retire_unused",
    ):  # fmt: skip
        got = await shared_real.ask("POST", f"/api/v1/{path}", body, content_type=JSON)
        assert (got.status, got.json["success"], got.json["data"]) == (200, False, None)
        assert NOT_CONFIGURED in got.json["message"]
    for name in ("relay_idds_command", "execute_idds_workflow_command"):
        got = await shared_real.ask("POST", f"/server/panda/{name}", body, content_type=JSON)
        assert got.json[0] is False and NOT_CONFIGURED in got.json[1]


async def test_a_relayed_command_comes_gzipped_without_saying_so(shared_real: Real, relayed) -> None:
    children = relayed({"ok": True, "data": [{"x": 1}]})
    shared_real.caller = USER
    asked = {"command_name": "get_requests", "args": None, "kwargs": '{"request_id": 3}', "manager": True}
    body = gzip.compress(json.dumps(asked).encode())
    got = await shared_real.ask("POST", "/server/panda/relay_idds_command", body, content_type=JSON)
    assert got.text == '[true,[{"x":1}]]'
    assert (children.asked["command_name"], children.asked["kwargs"], children.asked["user"]) == (
        "get_requests",
        {"request_id": 3},
        "Some User",
    )
    got = await shared_real.ask("POST", "/api/v1/idds/relay_idds_command", body, content_type=JSON)
    assert got.json == {"success": True, "message": "", "data": [{"x": 1}]}


async def test_a_workflow_command_comes_as_a_form_without_a_content_type(shared_real: Real, relayed) -> None:
    children = relayed({"ok": True, "data": {"status": 0, "message": "aborted"}})
    shared_real.caller = USER
    body = urlencode({"command_name": "abort", "kwargs": '{"request_id": 3}', "json_outputs": "True"}).encode()
    got = await shared_real.ask("POST", "/server/panda/execute_idds_workflow_command", body)
    assert got.json == [True, [[0, "aborted"]]]
    assert (children.asked["owner_only"], children.asked["json_outputs"]) == (True, True)
    got = await shared_real.ask("POST", "/api/v1/idds/execute_idds_workflow_command", body)
    assert got.json == {"success": True, "message": "aborted", "data": 0}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"message": "aborted"}, [[0, "aborted"]]),
        ({"data": "aborted"}, [[0, "aborted"]]),
        ({"data": {"message": "aborted"}}, [[0, "aborted"]]),
        ({"data": [[1, "aborted"]]}, [[1, "aborted"]]),
        ({"data": {"a": 1}}, {"a": 1}),
    ],
)
async def test_pbook_finds_a_text_in_what_became_of_a_workflow(
    shared_real: Real, relayed, said: dict[str, Any], told: Any
) -> None:
    relayed({"ok": True, **said})
    shared_real.caller = USER
    body = urlencode({"command_name": "abort", "kwargs": '{"request_id": 3}'}).encode()
    got = await shared_real.ask("POST", "/server/panda/execute_idds_workflow_command", body)
    assert got.json == [True, told]
    body = urlencode({"command_name": "get_status+https://x"}).encode()
    got = await shared_real.ask("POST", "/server/panda/execute_idds_workflow_command", body)
    assert got.json == [True, told if isinstance(said.get("data"), dict) else said.get("data")]


async def test_what_cannot_be_relayed_is_refused_in_the_form_of_the_answers(shared_real: Real, relayed) -> None:
    """pbook over curl looks at no status, and reads JSON."""
    relayed({"ok": True})
    shared_real.caller = USER
    for values, text in (
        ({"command_name": "close"}, "close is unsupported"),
        ({"command_name": "abort", "kwargs": "{}"}, "request_id is missing"),
        ({"command_name": "abort", "kwargs": "{"}, "kwargs: failed to load JSON"),
    ):
        body = urlencode(values).encode()
        got = await shared_real.ask("POST", "/server/panda/execute_idds_workflow_command", body)
        assert (got.status, got.json) == (200, [False, text])
        got = await shared_real.ask("POST", "/api/v1/idds/execute_idds_workflow_command", body)
        assert got.json == {"success": False, "message": text, "data": None}


async def test_what_the_other_system_refuses_is_a_refusal(shared_real: Real, relayed) -> None:
    relayed({"ok": False, "message": "request 3 is not owned by Some User"})
    shared_real.caller = PRODUCTION
    body = json.dumps({"command_name": "abort", "kwargs": {"request_id": 3}, "dataset": "a:b"}).encode()
    got = await shared_real.ask("POST", "/server/panda/execute_idds_workflow_command", body, content_type=JSON)
    assert got.json == [False, "request 3 is not owned by Some User"]
    got = await shared_real.ask("POST", "/api/v1/data_carousel/retire_unused", body, content_type=JSON)
    assert got.json == {"success": False, "message": "request 3 is not owned by Some User", "data": None}
    shared_real.caller = USER
    got = await shared_real.ask("POST", "/api/v1/data_carousel/retire_unused", body, content_type=JSON)
    assert got.json["message"] == "production or pilot role required"
