"""The schemas of what operations answer, from the types that they declare (JSON Schema 2020-12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, NotRequired, Required, Union, get_args, get_origin, get_type_hints
from typing import is_typeddict as is_typed_dict

import attrs
from attrs import define, field

Schema = dict[str, Any]

_PREFIX = "#/components/schemas/"
_SCALARS: dict[Any, Schema] = {
    Any: {},
    object: {},
    str: {"type": "string"},
    bytes: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    Decimal: {"type": "number"},
    None: {"type": "null"},
    NoneType: {"type": "null"},
    list: {"type": "array"},
    dict: {"type": "object"},
}
_TIME: Schema = {
    "type": "object",
    "description": "A time, naive UTC.",
    "required": ["__datetime__"],
    "properties": {"__datetime__": {"type": "string", "examples": ["2026-01-31T12:00:00"]}},
}


@define
class Components:
    """The named schemas of a document; each is made once."""

    schemas: dict[str, Schema] = field(factory=dict)
    _kinds: dict[str, Any] = field(factory=dict)

    def named(self, name: str, kind: Any, schema: Schema) -> Schema:
        """A reference to a schema that is kept under a name.

        Raises ValueError where ``kind``, that which the schema was made of, is not what the name stands for already.
        """
        if self._kinds.setdefault(name, kind) != kind:
            raise ValueError(f"two kinds of answers or requests are called {name}")
        self.schemas[name] = schema
        return reference(name)

    def knows(self, name: str, kind: Any) -> bool:
        return name in self._kinds and self._kinds[name] == kind

    def of_answer(self, kind: Any) -> Schema:
        """The schema of a type: scalars, unions, lists, dictionaries, TypedDicts, attrs classes, enums, literals."""
        if isinstance(kind, NewType):
            return self.of_answer(kind.__supertype__)
        if is_typed_dict(kind) or attrs.has(kind):
            return self._record(kind)
        if kind is datetime:
            return self.named("Time", datetime, dict(_TIME))
        if isinstance(kind, type) and issubclass(kind, Enum):
            return {"enum": [each.value for each in kind]}
        origin = get_origin(kind)
        if origin is not None:
            return self._of_generic(origin, get_args(kind))
        if kind not in _SCALARS:
            raise ValueError(f"{kind!r} is no type of an answer")
        return dict(_SCALARS[kind])

    def _of_generic(self, origin: Any, inner: tuple[Any, ...]) -> Schema:
        if origin in (Union, UnionType):
            return one_of([self.of_answer(each) for each in inner])
        if origin is Literal:
            return {"enum": list(inner)}
        if origin in (Annotated, NotRequired, Required):
            return self.of_answer(inner[0])
        if origin is tuple and inner[-1:] != (Ellipsis,):
            each = [self.of_answer(kind) for kind in inner]
            return {"type": "array", "prefixItems": each, "minItems": len(each), "maxItems": len(each)}
        if issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.of_answer(inner[1])}
        if issubclass(origin, Sequence):
            return {"type": "array", "items": self.of_answer(inner[0])}
        raise ValueError(f"{origin!r} is no type of an answer")

    def _record(self, kind: Any) -> Schema:
        """A TypedDict or an attrs class, under its name; it may hold itself."""
        name = kind.__name__.strip("_")
        if name in self._kinds and not self.knows(name, kind):
            name = f"{kind.__module__.rpartition('.')[2]}.{name}"
        if self.knows(name, kind):
            return reference(name)
        schema: Schema = {"type": "object"}
        found = self.named(name, kind, schema)
        if line := _summary(kind):
            schema["description"] = line
        hints = get_type_hints(kind, include_extras=True)
        if is_typed_dict(kind):
            required = [each for each, hint in hints.items() if _is_required(kind, each, hint)]
        else:
            hints = {each.name: hints[each.name] for each in attrs.fields(kind)}
            required = list(hints)
        if required:
            schema["required"] = required
        schema["properties"] = {each: self.of_answer(hint) for each, hint in hints.items()}
        return found


def _is_required(kind: Any, name: str, hint: Any) -> bool:
    """Where annotations are texts, the class itself does not know of its NotRequired."""
    if get_origin(hint) in (NotRequired, Required):
        return get_origin(hint) is Required
    return name in kind.__required_keys__


def reference(name: str) -> Schema:
    return {"$ref": _PREFIX + name}


def one_of(schemas: list[Schema]) -> Schema:
    """What fits any of some schemas; plain types become one list of types."""
    if {} in schemas:
        return {}
    flat: list[Schema] = []
    for each in schemas:
        flat += [inner for inner in each["anyOf"] if inner not in flat] if set(each) == {"anyOf"} else [each]
    kinds = [each["type"] for each in flat if set(each) == {"type"} and isinstance(each["type"], str)]
    rest = [each for each in flat if not (set(each) == {"type"} and isinstance(each["type"], str))]
    if not rest:
        return {"type": kinds[0] if len(kinds) == 1 else kinds}
    if not kinds:
        return rest[0] if len(rest) == 1 else {"anyOf": rest}
    return {"anyOf": [*rest, *({"type": each} for each in kinds)]}


def _summary(kind: type) -> str:
    """The first line of a docstring; attrs and dict have some of their own."""
    text = (vars(kind).get("__doc__") or "").strip().split("\n", 1)[0]
    return "" if text.startswith(("dict(", "Method generated")) else text
