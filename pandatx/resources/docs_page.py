"""The API document and a page to read it, both made once and served from memory; no other host is asked."""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from attrs import frozen
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from twisted.web.resource import Resource

from pandatx.resources.encoding import accepts_gzip
from pandatx.resources.openapi import described_permission

_TEMPLATES = Path(__file__).parent / "templates"
_GZIP_LEVEL = 6
_ONE_HOUR = b"public, max-age=3600, must-revalidate"
_BARE_CSP = b"default-src 'none'; frame-ancestors 'none'"


def api_pages(document: Mapping[str, Any]) -> dict[bytes, Resource]:
    """The pages by path."""
    page, policy = render(document)
    text = orjson.dumps(document) + b"\n"
    return {
        b"/openapi.json": Kept(text, b"application/json", _BARE_CSP),
        b"/docs": Kept(page.encode(), b"text/html; charset=utf-8", policy.encode()),
    }


class Kept(Resource):
    """A text that does not change while the server runs, with a validator; gzipped for who takes that."""

    isLeaf = True

    def __init__(self, text: bytes, kind: bytes, policy: bytes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._text = text
        self._gzipped = gzip.compress(text, _GZIP_LEVEL, mtime=0)
        self._etag = b'"' + sha256(text).hexdigest()[:32].encode() + b'"'
        self._headers = {
            b"content-type": kind,
            b"cache-control": _ONE_HOUR,
            b"vary": b"Accept-Encoding",
            b"content-security-policy": policy,
            b"x-content-type-options": b"nosniff",
            b"referrer-policy": b"no-referrer",
        }

    def render_GET(self, request: Any) -> bytes:
        """The text, or 304 to who has it; HEAD comes here too."""
        for name, value in self._headers.items():
            request.setHeader(name, value)
        takes_gzip = accepts_gzip(request.getHeader(b"accept-encoding"))
        if request.setETag(self._etag[:-1] + (b'-gzip"' if takes_gzip else b'"')):
            return b""
        if takes_gzip:
            request.setHeader(b"content-encoding", b"gzip")
        body = self._gzipped if takes_gzip else self._text
        request.setHeader(b"content-length", b"%d" % len(body))
        return b"" if request.method == b"HEAD" else body


@frozen
class Argument:
    """An argument as the page shows it."""

    name: str
    kind: str
    required: bool
    notes: str


@frozen(kw_only=True)
class Shown:
    """An operation as the page shows it, both dialects together."""

    path: str
    group: str
    verbs: str
    legacy: tuple[str, ...]
    summary: str
    permission: str
    permission_legacy: str
    arguments: tuple[Argument, ...]
    legacy_names: Mapping[str, str]
    answer: str
    legacy_answer: str

    @property
    def words(self) -> str:
        """What a search looks in."""
        names = (self.path, *self.legacy, self.summary, *(each.name for each in self.arguments))
        return " ".join(names).lower()


def shown(document: Mapping[str, Any]) -> Iterator[Shown]:
    """The operations of a document, in the order of their paths."""
    paths = document["paths"]
    for path, verbs in paths.items():
        if not path.startswith("/api/v1/"):
            continue
        first = next(iter(verbs.values()))
        legacy = tuple(first.get("x-panda-legacy", ()))
        older = paths[f"/server/panda/{legacy[0]}"]["post"] if legacy else None
        arguments = tuple(_arguments(document, first))
        yield Shown(
            path=path.removeprefix("/api/v1/"),
            group=first["tags"][0],
            verbs=" ".join(verb.upper() for verb in verbs),
            legacy=legacy,
            summary=first["summary"],
            permission=first["x-panda-permission"],
            permission_legacy=older["x-panda-permission"] if older else "",
            arguments=arguments,
            legacy_names=_legacy_names(document, arguments, older),
            answer=_answer(document, first),
            legacy_answer=older["responses"]["200"]["description"] if older else "",
        )


def _answer(document: Mapping[str, Any], operation: Mapping[str, Any]) -> str:
    content = operation["responses"]["200"]["content"]
    schema = content.get("application/json", {}).get("schema", {})
    done = schema.get("anyOf", [{}])[0]
    return kind_of(document, done["properties"]["data"]) if done.get("properties") else "a plain text"


def _arguments(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[Argument]:
    for each in operation.get("parameters", ()):
        notes = " ".join((each.get("description", ""), *_bounds(each["schema"]))).strip()
        yield Argument(each["name"], _word(document, each["schema"]), each.get("required", False), notes)
    body = _body(document, operation)
    for name, schema in body.get("properties", {}).items():
        notes = " ".join((schema.get("description", ""), *_bounds(schema))).strip()
        yield Argument(name, _word(document, schema), name in body.get("required", ()), notes)


def _word(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """The type of an argument, without what else may stand for it: null for none, one element for a list of one."""
    first: Mapping[str, Any] = schema.get("x-panda-type", schema).get("anyOf", [{}])[0]
    if first.get("type") == "array":
        return kind_of(document, first)
    return kind_of(document, schema).removesuffix(" or null")


def _body(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Mapping[str, Any]:
    content = operation.get("requestBody", {}).get("content", {})
    return resolved(document, next(iter(content.values()))["schema"]) if content else {}


def _legacy_names(
    document: Mapping[str, Any], arguments: tuple[Argument, ...], older: Mapping[str, Any] | None
) -> dict[str, str]:
    """What the arguments are called in the older dialect, where it is something else; both stand in one order."""
    if older is None:
        return {}
    names = _body(document, older).get("properties", {})
    return {
        each.name: name
        for each, name in zip(arguments, names, strict=len(arguments) == len(names))
        if each.name != name
    }


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    if "default" in schema:
        yield f"Default {orjson.dumps(schema['default']).decode()}."
    for each in (schema, *schema.get("anyOf", ())):
        if "maxItems" in each:
            yield f"At most {each['maxItems']}."


def resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a reference points to, or the schema itself."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Mapping[str, Any] = document["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def kind_of(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int = 0) -> str:
    """A schema in a few words."""
    if "x-panda-type" in schema:
        return kind_of(document, schema["x-panda-type"], depth)
    if "$ref" in schema:
        return _name_of(document, schema, depth)
    if "anyOf" in schema:
        words = [kind_of(document, each, depth) for each in schema["anyOf"] if each.get("$ref") not in _NOTHING]
        return " or ".join(dict.fromkeys(words))
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " | ".join(orjson.dumps(value).decode() for value in values)
    kind = "file" if schema.get("format") == "binary" else schema.get("type", "anything")
    if kind == "array":
        inner = schema.get("items")
        if "prefixItems" in schema:
            return f"[{', '.join(kind_of(document, each, depth + 1) for each in schema['prefixItems'])}]"
        return f"list of {kind_of(document, inner, depth + 1)}" if inner else "list"
    if kind == "object":
        return _object(document, schema, depth)
    if "contentSchema" in schema:
        return f"JSON text of {kind_of(document, schema['contentSchema'], depth)}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


_NOTHING = ("#/components/schemas/NoneInText", "#/components/schemas/BlankInText")
_PLAIN_NAMES = {"Integer": "integer", "Id": "integer", "Number": "number", "Text": "string", "Truth": "boolean",
                "Moment": "time"}  # fmt: skip


def _name_of(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> str:
    """Coerced scalars by what they are, records by their fields."""
    name = schema["$ref"].rpartition("/")[2]
    plain = name.removesuffix("InText").rstrip("0123456789+e.").removesuffix("To")
    if plain in _PLAIN_NAMES:
        return _PLAIN_NAMES[plain]
    if depth > 2 or name == "Time":
        return str(name)
    return kind_of(document, resolved(document, schema), depth + 1)


def _object(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> str:
    fields = schema.get("properties")
    if not fields:
        values = schema.get("additionalProperties")
        return f"object of {kind_of(document, values, depth + 1)}" if values else "object"
    needed = schema.get("required", ())
    words = [
        f"{name}{'' if name in needed else '?'}: {kind_of(document, each, depth + 1)}" for name, each in fields.items()
    ]
    return "{" + ", ".join(words) + "}"


def render(document: Mapping[str, Any]) -> tuple[str, str]:
    """The page and its content security policy, which allows the page's own style and script by their digests."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    style, script = ((_TEMPLATES / name).read_text() for name in ("docs.css", "docs.js"))
    groups: dict[str, list[Shown]] = {}
    for each in shown(document):
        groups.setdefault(each.group, []).append(each)
    page = environment.get_template("docs.html").render(
        info=document["info"], groups=groups, style=style, script=script, permission=described_permission
    )
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
