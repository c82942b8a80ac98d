"""Commands for systems beside this server: refused without a handler, else handed on with the caller's name."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred, DeferredList

from pandatx.domain.caller import Caller
from pandatx.domain.outside_requests import IddsCommand, IddsWorkflowCommand, StagingRequest
from pandatx.errors import BadRequest, Busy, NotConfigured, PandaError
from pandatx.services.relays import LIMIT, MOST, BadCommand, Relays, Said
from pandatx.workers.calls import CallDied, CallFailed, CallTimedOut

ALICE = Caller(dn="/CN=alice", name="alice", how="x509")
HANDLERS = {"idds": "ours:idds", "data_carousel": "ours:carousel"}


@define
class Children:
    answer: Any = None
    calls: list[tuple[Any, ...]] = field(factory=list)

    async def call(self, name: str, *args: Any, timeout: float, context: str = "") -> Any:
        self.calls.append((name, *args, timeout))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_without_a_handler_nothing_is_called_and_the_setting_is_named():
    children = Children()
    relays = Relays(children, {})
    for asking in (
        relays.idds(ALICE, IddsCommand(command_name="ping")),
        relays.workflow(ALICE, IddsWorkflowCommand(command_name="nothing")),
        relays.carousel(ALICE, "force_to_staging", StagingRequest()),
    ):
        with pytest.raises(NotConfigured, match=r"is not configured at this server: \[pandatx\] request_handlers"):
            await asking
    assert children.calls == []


async def test_a_command_is_handed_on_with_its_arguments_and_the_callers_name():
    children = Children({"ok": True, "message": None, "data": 7})
    command = IddsCommand(command_name="abort+https://x", args="[1, {}]", kwargs='{"a": null}', manager=True)
    assert await Relays(children, HANDLERS).idds(ALICE, command) == Said(ok=True, data=7)
    request = {
        "command_name": "abort+https://x", "args": [1, {}], "kwargs": {"a": None}, "manager": True,
        "json_outputs": False, "owner_only": False, "user": "alice", "dn": "/CN=alice", "production": False,
    }  # fmt: skip
    assert children.calls == [("ours:idds", request, {}, LIMIT)]


@pytest.mark.parametrize(
    ("field_", "text"), [("args", "{}"), ("kwargs", "[]"), ("args", "[1"), ("kwargs", "x"), ("kwargs", '{"a": NaN}')]
)
async def test_arguments_that_are_no_json_of_their_kind_are_named(field_, text):
    children = Children()
    with pytest.raises(BadCommand, match=f"^{field_}: "):
        await Relays(children, HANDLERS).idds(ALICE, IddsCommand(command_name="ping", **{field_: text}))
    assert children.calls == []


async def test_workflow_commands_that_change_something_are_for_the_owner():
    children = Children({"ok": True})
    relays = Relays(children, HANDLERS)
    for name in ("abort", "suspend", "resume", "retry", "finish", "get_status", "abort+https://x"):
        await relays.workflow(ALICE, IddsWorkflowCommand(command_name=name, kwargs='{"request_id": 3}'))
        assert children.calls[-1][1]["owner_only"] is (name != "get_status")
        assert children.calls[-1][1]["kwargs"] == {"request_id": 3}
    number = len(children.calls)
    with pytest.raises(BadCommand, match=r"^close is unsupported$"):
        await relays.workflow(ALICE, IddsWorkflowCommand(command_name="close"))
    with pytest.raises(BadCommand, match=r"^request_id is missing$"):
        await relays.workflow(ALICE, IddsWorkflowCommand(command_name="abort", kwargs="{}"))
    assert len(children.calls) == number


async def test_commands_of_a_system_that_hangs_do_not_pile_up():
    hangs: list[Deferred[Any]] = []

    class Hanging(Children):
        async def call(self, *args: Any, **kwargs: Any) -> Any:
            hangs.append(Deferred())
            return await hangs[-1]

    relays = Relays(Hanging(), HANDLERS)
    asking = [Deferred.fromCoroutine(relays.idds(ALICE, IddsCommand(command_name="ping"))) for _ in range(MOST)]
    with pytest.raises(Busy, match="too many commands for iDDS wait already"):
        await relays.idds(ALICE, IddsCommand(command_name="ping"))
    assert len(hangs) == MOST
    hangs[0].callback({"ok": True})
    assert await asking[0] == Said(ok=True)
    asking.append(Deferred.fromCoroutine(relays.idds(ALICE, IddsCommand(command_name="ping"))))
    for each in hangs[1:]:
        each.errback(CallDied("x"))
    assert [success for success, _ in await DeferredList(asking[1:], consumeErrors=True)] == [False] * MOST


async def test_the_carousel_needs_to_know_which_request():
    children = Children({"ok": False, "message": "not staging"})
    relays = Relays(children, HANDLERS)
    with pytest.raises(BadRequest, match="request_id: name a request_id or a dataset"):
        await relays.carousel(ALICE, "retire_unused", StagingRequest())
    said = await relays.carousel(ALICE, "retire_unused", StagingRequest(dataset="a:b"))
    assert said == Said(ok=False, message="not staging")
    assert children.calls[0][:2] == (
        "ours:carousel",
        {"command_name": "retire_unused", "request_id": None, "dataset": "a:b", "user": "alice", "dn": "/CN=alice",
         "production": False},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (CallTimedOut("x"), "iDDS did not answer within 60 s"),
        (CallDied("x"), "iDDS could not be asked"),
        (CallFailed("secret /path"), "iDDS could not be asked"),
        (None, "iDDS could not be asked"),
        ({"data": 1}, "iDDS could not be asked"),
        ([], "iDDS could not be asked"),
    ],
)
async def test_a_handler_that_fails_is_told_without_its_insides(answer, text):
    with pytest.raises(PandaError, match=f"^{text}") as told:
        await Relays(Children(answer), HANDLERS).idds(ALICE, IddsCommand(command_name="ping"))
    assert "secret" not in str(told.value)
