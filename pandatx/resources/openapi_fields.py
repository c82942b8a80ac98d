"""The schemas of what operations ask: each says what the decoder takes, its coercions among it, and nothing else."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any, get_args, get_origin, get_type_hints

import attrs

from pandatx.domain.file_requests import Uploaded
from pandatx.domain.requests import BIG, INTEGER, SMALL, Wire
from pandatx.resources.api import Dialect
from pandatx.resources.convert import base_of
from pandatx.resources.decoding import decoder
from pandatx.resources.openapi_types import Components, Schema, one_of

NO_NUL = r"^[^\u0000]*$"
_BLANKS = r"[ \t\r\n]*"
_TRUTH = rf"^{_BLANKS}([tT][rR][uU][eE]|[fF][aA][lL][sS][eE]|[01]?){_BLANKS}$"
_NAMED_BOUNDS = {SMALL: "16", INTEGER: "32", BIG: "64"}
_END_OF_TIME = 253402300800
_TIME_TEXT = (
    r"^(19[7-9][1-9]|20[0-9]{2})-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
    r"([ T]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?)?$"
)
_TIMES = "Seconds since 1970, Y-m-d H:M:S, ISO 8601, or the object that panda-client makes of a time; UTC."
_COMMAS = "Elements with commas between."
_SOME_IDS = rf"^{_BLANKS}[+-]?[0-9]{{1,18}}([,\s]+[+-]?[0-9]{{1,18}})*{_BLANKS}$"
_IDS = rf"^({_SOME_IDS[1:-1]})?$"
_NOT_NULL = ("object", "array", "string", "number", "boolean")
_IN_JSON: Schema = {"contentMediaType": "application/json"}


class Way(Enum):
    """How values travel: in a JSON object, in a query, or in a form, where all values are texts."""

    JSON = ""
    QUERY = "Query"
    FORM = "Form"


def request_schema(asks: type, dialect: Dialect, way: Way, components: Components) -> Schema:
    """The object of all arguments of a request class, named after it."""
    name = "Ask." + asks.__name__ + ("Legacy" if dialect is Dialect.LEGACY else "") + way.value
    kind = (asks, dialect, way)
    if components.knows(name, kind):
        return components.named(name, kind, components.schemas[name])
    arguments = list(arguments_of(asks, dialect, way, components))
    schema: Schema = {"type": "object"}
    if needed := [name for name, required, _ in arguments if required]:
        schema["required"] = needed
    schema["properties"] = {name: each for name, _, each in arguments}
    return components.named(name, kind, schema)


def arguments_of(asks: type, dialect: Dialect, way: Way, components: Components) -> list[tuple[str, bool, Schema]]:
    """The arguments of a request class in a dialect: the name, whether it must be there, and its schema."""
    hints = get_type_hints(asks)
    spellings = decoder(asks, dialect).spellings
    found = []
    for attribute in attrs.fields(asks):
        how = attribute.metadata.get("wire", Wire())
        name = (how.legacy or attribute.name) if dialect is Dialect.LEGACY else attribute.name
        entry = spellings[name]
        schema = _schema(hints[attribute.name], how, way, components)
        required = attribute.default is attrs.NOTHING
        if required:
            schema = _present(schema, way)
        notes = _notes(attribute, how, dialect, [each for each, other in spellings.items() if other.name == entry.name])
        if entry.lenient or entry.forgiving:
            notes.append("What does not fit is left out.")
            schema = {"x-panda-type": schema}
        elif not required:
            schema = _absent(schema, way, nullable=entry.nullable, textual=entry.textual, components=components)
        if notes:
            schema = {**schema, "description": " ".join(notes)}
        default = _default(attribute, how, dialect)
        if default is not None:
            schema = {**schema, "default": default}
        found.append((name, required, schema))
    return found


def _absent(schema: Schema, way: Way, *, nullable: bool, textual: bool, components: Components) -> Schema:
    """Of an argument that may be left out: what else leaves it out."""
    if way is Way.JSON:
        return one_of([schema, {"type": "null"}])
    if textual or not schema or schema.get("type") == "array":
        return schema
    name, words = ("NoneInText", ["", "None"]) if nullable else ("BlankInText", [""])
    blank = {"description": "The same as no argument.", "enum": words}
    return {"anyOf": [schema, components.named(name, name, blank)]}


def _present(schema: Schema, way: Way) -> Schema:
    """Of an argument that must be there: no null, and in a query or form no blank but of a text."""
    if way is Way.JSON:
        return schema or {"type": list(_NOT_NULL)}
    if schema.get("type") == "array":
        return {**schema, "minItems": 1}
    if not schema or "contentSchema" in schema:
        return {"type": "string", **schema, "minLength": 1}
    if schema.get("pattern") == _IDS:
        return {**schema, "pattern": _SOME_IDS}
    return {**schema, "minLength": 1} if schema.get("description") == _COMMAS else schema


def _notes(attribute: Any, how: Wire, dialect: Dialect, spellings: list[str]) -> list[str]:
    """What a schema cannot say of a field."""
    own = (how.legacy or attribute.name) if dialect is Dialect.LEGACY else attribute.name
    notes = []
    if how.cut:
        notes.append(f"Cut to {how.cut} characters.")
    if how.least is not None:
        notes.append(f"Less than {how.least} is taken as {how.least}.")
    if how.kilo:
        notes.append("Bytes.")
    if how.null_as is not attrs.NOTHING:
        notes.append("The text NULL stands for none.")
    if others := [each for each in spellings if each not in (own, attribute.name, how.legacy)]:
        notes.append(f"Also spelt {', '.join(others)}.")
    return notes


def _default(attribute: Any, how: Wire, dialect: Dialect) -> Any:
    value = attribute.default
    if dialect is Dialect.LEGACY and how.legacy_default is not attrs.NOTHING:
        value = how.legacy_default
    if isinstance(value, tuple):
        value = list(value)
    return value if isinstance(value, bool | int | float | str | list) and value not in ("", []) else None


def _schema(annotation: Any, how: Wire, way: Way, components: Components) -> Schema:
    base = base_of(annotation)
    origin = get_origin(base)
    if origin is tuple:
        return _listing(get_args(base)[0], how, way, components)
    if base is dict or origin is dict:
        most = {} if how.most is None else {"maxProperties": how.most}
        return _document({"type": "object", **most}, way)
    schema = _scalar(base, how, way, components)
    if how.document and way is Way.JSON:
        schema = one_of([schema, {"type": "object"}, {"type": "array"}])
    if how.null_as is not attrs.NOTHING:
        schema = {"anyOf": [schema, {"const": "NULL"}]}
    return schema


def _scalar(base: Any, how: Wire, way: Way, components: Components) -> Schema:
    as_text = way is not Way.JSON
    if base is str:
        return _shared("Text", _text(as_text), as_text, components)
    if base is bool:
        return _shared("Truth", _truth(as_text), as_text, components)
    if base is datetime:
        return _shared("Moment", _time(as_text), as_text, components)
    if base is Uploaded:
        return {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    if base is Any:
        return {}
    if base not in (int, float):
        raise ValueError(f"{base!r} is no type of an argument")
    bound = how.bound or (BIG if base is int else 1e300)
    if base is float or how.kilo:
        name = "Number" if bound == 1e300 else f"NumberTo{bound:g}"
        return _shared(name, _number(bound, as_text), as_text, components)
    size = _NAMED_BOUNDS.get(int(bound), f"To{bound:g}")
    if how.exact:
        return _shared(f"Id{size}", _identifier(int(bound)), False, components)
    return _shared(f"Integer{size}", _integer(int(bound), as_text), as_text, components)


def _shared(name: str, schema: Schema, as_text: bool, components: Components) -> Schema:
    name += "InText" if as_text else ""
    return components.named(name, name, schema)


def _text(as_text: bool) -> Schema:
    if as_text:
        return {"type": "string", "pattern": NO_NUL}
    return {"type": ["string", "number", "boolean"], "pattern": NO_NUL, "description": "A text, or a scalar for one."}


def _truth(as_text: bool) -> Schema:
    texts: Schema = {"type": "string", "pattern": _TRUTH}
    return texts if as_text else {"anyOf": [{"type": "boolean"}, {"enum": [0, 1]}, texts]}


def _time(as_text: bool) -> Schema:
    number: Schema = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": _END_OF_TIME}
    text = {"type": "string", "pattern": _TIME_TEXT}
    if as_text:
        return {"description": _TIMES, "anyOf": [number, text]}
    marked = [
        {"type": "object", "required": [name], "properties": {name: text}}
        for name in ("__datetime__", "_datetime_object")
    ]
    return {"description": _TIMES, "anyOf": [number, text, *marked]}


def _integer(bound: int, as_text: bool) -> Schema:
    """Of a number with a fraction the whole part counts."""
    digits = len(str(bound)) - 1
    return _coerced(
        "An integer; of another number the fraction is cut off.",
        [
            {"type": "integer", "minimum": -bound, "maximum": bound},
            {"type": "number", "exclusiveMinimum": -bound - 1, "exclusiveMaximum": bound + 1},
            {"type": "string", "pattern": rf"^{_BLANKS}[+-]?0*[0-9]{{1,{digits}}}(\.[0-9]*)?{_BLANKS}$"},
        ],
        as_text,
    )


def _identifier(bound: int) -> Schema:
    digits = min(18, len(str(bound)) - 1)
    return {
        "description": "An integer, or its text; never cut.",
        "anyOf": [
            {"type": "integer", "minimum": -bound, "maximum": bound},
            {"type": "string", "pattern": rf"^{_BLANKS}[+-]?[0-9]{{1,{digits}}}(\.0*)?{_BLANKS}$"},
        ],
    }


def _number(bound: float, as_text: bool) -> Schema:
    huge = bound >= 1e200
    digits = 15 if huge else len(str(int(bound))) - 1
    exponent = "([eE][+-]?[0-9]{1,2})?" if huge else ""
    return _coerced(
        "A finite number.",
        [
            {"type": "number", "minimum": -bound, "maximum": bound},
            {"type": "string", "pattern": rf"^{_BLANKS}[+-]?0*[0-9]{{1,{digits}}}(\.[0-9]*)?{exponent}{_BLANKS}$"},
        ],
        as_text,
    )


def _coerced(description: str, alternatives: list[Schema], as_text: bool) -> Schema:
    """In JSON true and false count as one and nought, as they always did."""
    rest: list[Schema] = [] if as_text else [{"type": "boolean"}]
    return {"description": description, "anyOf": [*alternatives, *rest]}


def _listing(element: Any, how: Wire, way: Way, components: Components) -> Schema:
    """An array; also one element for a list of one, and a text of elements with commas between."""
    if element is int:
        each = _shared("Id64", _identifier(BIG), False, components)
    else:
        each = _scalar(element, Wire(), way, components) if element is not dict else {"type": "object"}
    array: Schema = {"type": "array", "items": each}
    if how.most is not None:
        array["maxItems"] = how.most
    if way is Way.QUERY:
        return array
    if element in (Any, dict):
        return _document(array, way)
    commas: Schema = {"type": "string", "description": _COMMAS}
    if element is int:
        commas["pattern"] = _IDS
    elif element is str:
        commas["pattern"] = r"^([^\[\u0000][^\u0000]*)?$"
    else:
        return one_of([array, each])
    if way is Way.FORM:
        return one_of([array, commas]) if element is str else commas
    return {"anyOf": [array, each, commas]}


def _document(schema: Schema, way: Way) -> Schema:
    """An object or array, which may come as its JSON text; in a form it always does."""
    text: Schema = {"type": "string", **_IN_JSON, "contentSchema": schema}
    if way is not Way.JSON:
        return text
    others: list[Schema] = [] if schema["type"] == "object" else [{"type": "object"}, {"type": ["number", "boolean"]}]
    return {"anyOf": [schema, text, *others]}
