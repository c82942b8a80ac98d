"""Which changes of the API document take something from clients, and which only add."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NotRequired, TypedDict

import pytest
from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.requests import wire
from pandatx.resources import api
from pandatx.resources.api import Answer, Call, collect, operation
from pandatx.resources.openapi import document
from pandatx.resources.openapi_changes import lost


class Given(TypedDict):
    """An answer."""

    number: int
    text: NotRequired[str | None]
    list: list[dict[str, int]]


@frozen(kw_only=True)
class Asked:
    """A request."""

    number: int = wire()
    ids: tuple[int, ...] = wire((), most=10)
    name: str | None = wire(None)
    state: bool = wire(False, legacy="theState")


class Things:
    """Operations."""

    @operation("thing/get", legacy="getThing", verb=("GET", "POST"), asks=Asked, gives=Given | None, allows=api.secure)
    async def get(self, caller: Caller, request: Asked, call: Call) -> Answer:
        """Say what a thing is."""
        return Answer()

    @operation("thing/put", allows=api.production)
    async def put(self, caller: Caller, request: Any, call: Call) -> Answer:
        """Put a thing somewhere."""
        return Answer()


OLD = document(collect(Things), "1")
Change = Callable[[dict[str, Any]], Any]


def get(new: dict[str, Any], verb: str = "get") -> dict[str, Any]:
    found: dict[str, Any] = new["paths"]["/api/v1/thing/get"][verb]
    return found


def data(new: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = new["components"]["schemas"]["Given"]
    return found


def asked(new: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = new["components"]["schemas"]["Ask.Asked"]
    return found


def envelope(new: dict[str, Any]) -> dict[str, Any]:
    done = get(new)["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"][0]
    found: dict[str, Any] = done["properties"]
    return found


def changed(change: Change) -> list[str]:
    new = copy.deepcopy(OLD)
    change(new)
    return [str(each) for each in lost(OLD, new)]


def put(where: Callable[[dict[str, Any]], dict[str, Any]], **what: Any) -> Change:
    return lambda new: where(new).update(what)


ADDED: dict[str, Change] = {
    "nothing": lambda new: None,
    "an operation": lambda new: new["paths"].update({"/api/v1/thing/new": new["paths"]["/api/v1/thing/put"]}),
    "a verb": lambda new: new["paths"]["/api/v1/thing/put"].update(get=get(new)),
    "more callers": put(get, **{"x-panda-permission": "anyone"}),
    "an argument": lambda new: asked(new)["properties"].update(more={"type": "string"}),
    "a parameter": lambda new: get(new)["parameters"].append({"name": "more", "in": "query", "schema": {}}),
    "more elements": lambda new: asked(new)["properties"]["ids"]["anyOf"][0].update(maxItems=20),
    "a form of an argument": lambda new: asked(new)["properties"]["number"].update(anyOf=[{}]),
    "an argument that may be left out": lambda new: asked(new).pop("required"),
    "a field of an answer": lambda new: data(new)["properties"].update(more={"type": "string"}),
    "a field that is always there": lambda new: data(new)["required"].append("text"),
    "a form less of an answer": lambda new: envelope(new).update(data={"$ref": "#/components/schemas/Given"}),
    "another status": lambda new: get(new)["responses"].update({"418": {}}),
    "other words": put(get, summary="Other words.", operationId="other"),
}

TAKEN: dict[str, tuple[Change, str]] = {
    "an operation": (lambda new: new["paths"].pop("/api/v1/thing/put"), "thing/put: it is not served any more"),
    "an older name": (lambda new: new["paths"].pop("/server/panda/getThing"), "getThing: it is not served any more"),
    "a verb": (
        lambda new: new["paths"]["/api/v1/thing/get"].pop("post"),
        "thing/get: it does not take POST any more",
    ),
    "callers": (
        put(get, **{"x-panda-permission": "production"}),
        "thing/get: its permission was secure and is production",
    ),
    "an argument": (
        lambda new: asked(new)["properties"].pop("name"),
        "thing/get: the argument name is gone",
    ),
    "a parameter": (lambda new: get(new)["parameters"].pop(), "thing/get: the argument state is gone"),
    "an argument that may be left out": (
        lambda new: asked(new)["required"].append("name"),
        "thing/get: the argument name must be there now",
    ),
    "a parameter that may be left out": (
        lambda new: get(new)["parameters"][2].update(required=True),
        "thing/get: the argument name must be there now",
    ),
    "elements": (
        lambda new: asked(new)["properties"]["ids"]["anyOf"][0].update(maxItems=9),
        "thing/get: the argument ids does not take all that it took: array maxItems 10",
    ),
    "a form of an argument": (
        lambda new: asked(new)["properties"]["name"].update(anyOf=[{"type": "integer"}]),
        "thing/get: the argument name does not take all that it took: ",
    ),
    "a kind of body": (
        lambda new: get(new, "post")["requestBody"]["content"].pop("multipart/form-data"),
        "thing/get: it does not take multipart/form-data any more",
    ),
    "a kind of answer": (
        lambda new: get(new)["responses"]["200"]["content"].update({"text/plain": {"schema": {"type": "string"}}}),
        "thing/get: it may answer text/plain now",
    ),
    "a field of an answer": (
        lambda new: data(new)["properties"].pop("text"),
        "thing/get: the answer.data has no text any more",
    ),
    "a field that is always there": (
        lambda new: data(new)["required"].remove("number"),
        "thing/get: the answer.data need not have number any more",
    ),
    "the type of a field": (
        lambda new: data(new)["properties"].update(number={"type": "string"}),
        "thing/get: the answer.data.number was integer and may be string",
    ),
    "what is deep in an answer": (
        lambda new: data(new)["properties"]["list"]["items"].update(additionalProperties={"type": ["integer", "null"]}),
        "thing/get: the answer.data.list[][] was integer and may be null",
    ),
}


@pytest.mark.parametrize("what", ADDED)
def test_what_is_added_takes_nothing(what: str) -> None:
    assert changed(ADDED[what]) == []


@pytest.mark.parametrize("what", TAKEN)
def test_what_is_taken_is_told(what: str) -> None:
    change, told = TAKEN[what]
    found = changed(change)
    assert any(each.startswith(told) for each in found), found
