"""The schemas of answers and of arguments, from the types that are declared."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NotRequired, TypedDict

import pytest
from attrs import field, frozen, make_class

from pandatx.domain.requests import INTEGER, wire
from pandatx.resources.api import Dialect
from pandatx.resources.openapi_fields import Way, arguments_of
from pandatx.resources.openapi_types import Components

V1, LEGACY = Dialect.V1, Dialect.LEGACY


INTEGERS = {"type": "array", "items": {"type": "integer"}}


class Inner(TypedDict):
    """Inside."""

    name: str


class Outer(Inner):
    number: NotRequired[int | None]
    others: list[Outer]


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@frozen
class Record:
    """A record of attrs."""

    when: datetime
    colour: Colour


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (None, {"type": "null"}),
        (Any, {}),
        (bool, {"type": "boolean"}),
        (int | None, {"type": ["integer", "null"]}),
        (str | Any, {}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (tuple[float, ...], {"type": "array", "items": {"type": "number"}}),
        (
            tuple[int, str],
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
        ),
        (dict[str, list[int]], {"type": "object", "additionalProperties": INTEGERS}),
        (dict, {"type": "object"}),
        (Literal["a", 1], {"enum": ["a", 1]}),
        (Colour, {"enum": ["red", "blue"]}),
        (Inner | None, {"anyOf": [{"$ref": "#/components/schemas/Inner"}, {"type": "null"}]}),
    ],
)  # fmt: skip
def test_each_type_of_an_answer_has_its_schema(kind: Any, schema: dict[str, Any]) -> None:
    assert Components().of_answer(kind) == schema


def test_records_have_a_name_say_what_must_be_there_and_may_hold_themselves() -> None:
    components = Components()
    assert components.of_answer(Outer) == {"$ref": "#/components/schemas/Outer"}
    assert components.schemas["Outer"] == {
        "type": "object",
        "required": ["name", "others"],
        "properties": {
            "name": {"type": "string"},
            "number": {"type": ["integer", "null"]},
            "others": {"type": "array", "items": {"$ref": "#/components/schemas/Outer"}},
        },
    }
    components.of_answer(Inner)
    assert components.schemas["Inner"]["description"] == "Inside."


def test_records_of_attrs_and_times_are_described_too() -> None:
    components = Components()
    components.of_answer(list[Record])
    assert components.schemas["Record"]["required"] == ["when", "colour"]
    assert components.schemas["Record"]["properties"]["when"] == {"$ref": "#/components/schemas/Time"}
    assert components.schemas["Time"]["required"] == ["__datetime__"]


def test_two_records_of_one_name_are_told_apart_by_their_modules() -> None:
    components = Components()
    other = make_class("Inner", {"x": field(type=int)})
    other.__module__ = "some.room"
    assert components.of_answer(Inner) == {"$ref": "#/components/schemas/Inner"}
    assert components.of_answer(other) == {"$ref": "#/components/schemas/room.Inner"}


@pytest.mark.parametrize("kind", [set[int], complex, list[complex]])
def test_a_type_without_a_schema_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="is no type of an answer"):
        Components().of_answer(kind)


@frozen(kw_only=True)
class Asked:
    """A request."""

    ids: tuple[int, ...] = wire(legacy="theIds", most=5)
    count: int = wire(7, bound=INTEGER, least=0)
    node: str | None = wire(None, cut=20, aliases=("host",))
    guess: int = wire(0, forgiving=True)


def schemas(dialect: Dialect, way: Way) -> dict[str, tuple[bool, dict[str, Any]]]:
    return {name: (required, schema) for name, required, schema in arguments_of(Asked, dialect, way, Components())}


def test_arguments_have_the_names_of_their_dialect() -> None:
    assert list(schemas(V1, Way.JSON)) == ["ids", "count", "node", "guess"]
    assert list(schemas(LEGACY, Way.JSON)) == ["theIds", "count", "node", "guess"]


def test_a_list_may_be_one_element_or_a_text_with_commas_and_has_a_most() -> None:
    required, schema = schemas(V1, Way.JSON)["ids"]
    assert required
    array, one, commas = schema["anyOf"]
    assert (array["maxItems"], one, commas["type"]) == (5, {"$ref": "#/components/schemas/Id64"}, "string")
    assert schemas(V1, Way.QUERY)["ids"][1]["minItems"] == 1
    assert schemas(V1, Way.FORM)["ids"][1]["type"] == "string"


def test_what_is_cut_or_raised_is_said_and_refuses_nothing() -> None:
    found = schemas(V1, Way.JSON)
    assert found["node"][1]["description"] == "Cut to 20 characters. Also spelt host."
    assert "description" not in found["ids"][1], "that each dialect knows the other's names is said once for all"
    assert found["node"][1]["anyOf"] == [{"$ref": "#/components/schemas/Text"}, {"type": "null"}]
    assert found["count"][1]["description"] == "Less than 0 is taken as 0."
    assert found["count"][1]["default"] == 7


def test_an_argument_that_is_left_out_where_it_does_not_fit_takes_anything() -> None:
    _, schema = schemas(V1, Way.JSON)["guess"]
    assert set(schema) == {"x-panda-type", "description", "default"}
