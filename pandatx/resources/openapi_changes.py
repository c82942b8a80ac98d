"""What an older API document promises to clients and a newer one does not: operations, arguments, answers, callers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

Json = Mapping[str, Any]

_STRICTER = ("anyone", "pilots", "secure", "task-owner", "pilot-role", "production")
"""Permissions; each admits no one whom those before it do not."""


@frozen
class Lost:
    """A promise that is not kept any more."""

    operation: str
    what: str

    def __str__(self) -> str:
        return f"{self.operation}: {self.what}"


def name_of(path: str) -> str:
    """How people call an operation: group/method, or the name in the older dialect."""
    return path.removeprefix("/api/v1/").removeprefix("/server/panda/")


def lost(old: Json, new: Json) -> list[Lost]:
    """What a client of the old document may count on, and would not get by the new one."""
    found: list[Lost] = []
    for path, verbs in old["paths"].items():
        now = new["paths"].get(path)
        if now is None:
            found.append(Lost(name_of(path), "it is not served any more"))
            continue
        for verb, operation in verbs.items():
            if verb not in now:
                found.append(Lost(name_of(path), f"it does not take {verb.upper()} any more"))
            else:
                what = _Comparison(old, new).of_operations(operation, now[verb])
                found += [Lost(name_of(path), each) for each in dict.fromkeys(what)]
    return found


@frozen
class _Comparison:
    """Two documents, whose references point into each."""

    _old: Json
    _new: Json

    def of_operations(self, old: Json, new: Json) -> Iterator[str]:
        before, now = old["x-panda-permission"], new["x-panda-permission"]
        if _rank(now) > _rank(before) or (_rank(now) == _rank(before) and now != before):
            yield f"its permission was {before} and is {now}"
        yield from self._of_parameters(old, new)
        taken = new.get("requestBody", {}).get("content", {})
        for kind, content in old.get("requestBody", {}).get("content", {}).items():
            if kind not in taken:
                yield f"it does not take {kind} any more"
            else:
                yield from self._asked(content["schema"], taken[kind]["schema"], "")
        yield from self._of_answers(old["responses"]["200"], new["responses"]["200"])

    def _of_parameters(self, old: Json, new: Json) -> Iterator[str]:
        before = {each["name"]: each for each in old.get("parameters", ())}
        now = {each["name"]: each for each in new.get("parameters", ())}
        for name, each in before.items():
            if name not in now:
                yield f"the argument {name} is gone"
            else:
                yield from self._asked(each["schema"], now[name]["schema"], name)
        for name, each in now.items():
            if each.get("required") and not before.get(name, {}).get("required"):
                yield f"the argument {name} must be there now"

    def _of_answers(self, old: Json, new: Json) -> Iterator[str]:
        for kind in new["content"]:
            if kind not in old["content"]:
                yield f"it may answer {kind} now"
        for kind, content in old["content"].items():
            if kind not in new["content"]:
                yield f"it does not answer {kind} any more"
            else:
                yield from self._given(content["schema"], new["content"][kind]["schema"], "the answer")

    def _asked(self, old: Json, new: Json, where: str) -> Iterator[str]:
        """A request's schema may only grow: each form of the old one must fit some form of the new one."""
        forms = list(_alternatives(self._new, new))
        for each in _alternatives(self._old, old):
            if not any(self._takes_all(each, form) for form in forms):
                yield from self._why_not(each, forms, where)

    def _why_not(self, old: Json, forms: list[Json], where: str) -> Iterator[str]:
        objects = [form for form in forms if form.get("type") == "object" and form.get("properties")]
        if old.get("type") == "object" and len(objects) == 1:
            new, before = objects[0], old.get("properties", {})
            for name in new.get("required", ()):
                if name not in old.get("required", ()):
                    yield f"the argument {_under(where, name)} must be there now"
            for name, schema in before.items():
                if name not in new["properties"]:
                    yield f"the argument {_under(where, name)} is gone"
                else:
                    yield from self._asked(schema, new["properties"][name], _under(where, name))
        else:
            yield f"the argument {where} does not take all that it took: {_word(old)}"

    def _takes_all(self, old: Json, new: Json) -> bool:
        """Whether a form of a request takes all that another one took."""
        if not _types(old) <= _types(new) or not _values_within(old, new) or not _within(old, new):
            return False
        for inner in ("items", "contentSchema"):
            if inner in new and not self._all_taken(old.get(inner, {}), new[inner]):
                return False
        if not set(new.get("required", ())) <= set(old.get("required", ())):
            return False
        now = new.get("properties", {})
        return all(
            name in now and self._all_taken(schema, now[name]) for name, schema in old.get("properties", {}).items()
        )

    def _all_taken(self, old: Json | bool, new: Json | bool) -> bool:
        if isinstance(old, bool) or isinstance(new, bool):
            return old == new
        return not list(self._asked(old, new, ""))

    def _given(self, old: Json, new: Json, where: str, depth: int = 0) -> Iterator[str]:
        """An answer's schema may only gain fields: each form of the new one must fit some form of the old one."""
        forms = list(_alternatives(self._old, old))
        for each in _alternatives(self._new, new):
            reasons = [list(self._breaks(form, each, where, depth)) for form in forms]
            if all(reasons):
                yield from min(reasons, key=len)

    def _breaks(self, old: Json, new: Json, where: str, depth: int) -> Iterator[str]:
        """Why a client that reads the one form cannot read the other."""
        if not _types(new) <= _types(old) or not _values_within(new, old):
            yield f"{where} was {_word(old)} and may be {_word(new)}"
            return
        for name in old.get("required", ()):
            if name not in new.get("required", ()):
                yield f"{where} need not have {name} any more"
        if depth > 8:
            return
        for name, schema in old.get("properties", {}).items():
            if name not in new.get("properties", {}):
                yield f"{where} has no {name} any more"
            else:
                yield from self._given(schema, new["properties"][name], f"{where}.{name}", depth + 1)
        for inner in ("items", "additionalProperties"):
            if isinstance(old.get(inner), Mapping):
                yield from self._given(old[inner], new.get(inner) or {}, f"{where}[]", depth + 1)
        if old.get("prefixItems"):
            pairs = zip(old["prefixItems"], new.get("prefixItems", ()), strict=False)
            for index, (before, now) in enumerate(pairs):
                yield from self._given(before, now, f"{where}[{index}]", depth + 1)


def _rank(permission: str) -> int:
    return _STRICTER.index(permission) if permission in _STRICTER else len(_STRICTER)


def _alternatives(document: Json, schema: Json) -> Iterator[Json]:
    """The forms of a schema, without references and unions."""
    if "$ref" in schema:
        yield from _alternatives(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    elif "anyOf" in schema:
        for each in schema["anyOf"]:
            yield from _alternatives(document, each)
    elif isinstance(schema.get("type"), list):
        for each in schema["type"]:
            yield {**schema, "type": each}
    else:
        yield schema


def _types(schema: Json) -> set[str]:
    """The types of JSON that a form may have; an integer is a number too."""
    if "type" not in schema and "const" not in schema and "enum" not in schema:
        return {"null", "boolean", "object", "array", "integer", "number", "string"}
    if "type" not in schema:
        return set()
    return {"integer", "number"} if schema["type"] == "number" else {schema["type"]}


def _values_within(few: Json, many: Json) -> bool:
    """Whether what is listed of the one is listed, or of a type that is named, in the other."""
    wanted, listed = _values(few), _values(many)
    if wanted is None:
        return listed is None
    if listed is not None:
        return all(any(value == each and type(value) is type(each) for each in listed) for value in wanted)
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    return all(names.get(type(value)) in _types(many) for value in wanted)


def _values(schema: Json) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    found: list[Any] | None = schema.get("enum")
    return found


def _within(old: Json, new: Json) -> bool:
    """Whether the bounds and the pattern of the old form are not narrower in the new one."""
    for name, sign in (("minimum", 1), ("exclusiveMinimum", 1), ("maximum", -1), ("exclusiveMaximum", -1),
                       ("minItems", 1), ("maxItems", -1), ("minLength", 1), ("maxLength", -1)):  # fmt: skip
        if name in new and (name not in old or sign * new[name] > sign * old[name]):
            return False
    return "pattern" not in new or new["pattern"] == old.get("pattern")


def _under(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _word(schema: Json) -> str:
    values = _values(schema)
    if values is not None:
        return " or ".join(map(str, values))
    words = [f"{name} {schema[name]}" for name in ("minimum", "maximum", "maxItems", "pattern") if name in schema]
    return " ".join([str(schema.get("type", "anything")), *words])
