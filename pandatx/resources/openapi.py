"""The OpenAPI 3.1 document of all that is served, generated from the declarations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from pandatx.resources.api import Dialect, Operation, Permission, Style, Table
from pandatx.resources.openapi_fields import Way, arguments_of, request_schema
from pandatx.resources.openapi_types import Components, Schema, reference

JSON, PLAIN = "application/json", "text/plain"
_URLENCODED, _MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
_SECURITY: list[dict[str, list[str]]] = [{"certificate": []}, {"token": [], "vo": []}]

DESCRIPTION = """\
Each operation is served in two dialects.

**REST**: `/api/v1/GROUP/METHOD`, and the same under `/api/latest/`. GET takes a query, POST a JSON object or a form.
The answer is a JSON envelope; a call that fails answers 200 with `success` false and a `message`, but where another
status is listed. **The older dialect**: `/server/panda/METHOD`, any of GET, POST and PUT, with a query, a form or a
JSON object. It answers texts in the forms that pilots and older clients read, JSON where `Accept` names it.

Bodies may be gzipped. Arguments that an operation does not know are passed over, and each dialect takes the other's
names too. In a query or a form, a blank is the same as no argument where the argument is no text, and so is the text
None where the argument may be null.

Callers are known by a client certificate (an X.509 proxy with VOMS attributes, mostly), or by a bearer token with the
VO in the header `Origin`. `x-panda-permission` says who may call; what depends on a job or task is said in the summary.
"""


PERMISSIONS = {
    "anyone": "Anybody, known or not.",
    "secure": "Anybody who is known, but not by a limited proxy.",
    "pilots": "Anybody who is known, by a limited proxy too; more is decided job by job.",
    "task-owner": "The owner of the task, and holders of the production role.",
    "pilot-role": "Holders of the pilot or the production role.",
    "production": "Holders of the production role.",
}
"""What the names of permissions mean. One that is not here is described by its name."""

_REFUSED = "Refused"
_STATUSES = {
    "400": "The request cannot be read.",
    "403": "No such method, a token that is not accepted, a caller who is banned, or a call made by a page of another "
    "site.",
    "408": "The request did not arrive in time.",
    "413": "The body is too large.",
    "414": "The request line is too long.",
    "429": "The caller has too many requests under way. Retry-After has seconds.",
    "431": "The headers are too long.",
    "503": "The server or its database is busy or away. Retry-After, where it is given, has seconds.",
}
_RETRY = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
_REQUEST_ID = {"X-Request-Id": {"schema": {"type": "string"}, "description": "The id of the request in the logs."}}


def document(table: Table, version: str) -> dict[str, Any]:
    """The document of a table of operations, as a JSON value. ``version`` is the server's.

    Raises ValueError for a type that has no schema, and where two types have one name.
    """
    components = Components()
    components.named(_REFUSED, _REFUSED, _refused())
    paths: dict[str, Any] = {}
    operations = sorted(table.operations, key=lambda each: each.path)
    for operation in operations:
        paths[f"/api/v1/{operation.path}"] = dict(_rest(operation, components))
    for operation in operations:
        for name in operation.legacy:
            paths[f"/server/panda/{name}"] = dict(_legacy(operation, name, components))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "PanDA server",
            "version": version,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": group} for group in sorted({each.path.partition("/")[0] for each in operations})],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.schemas.items())),
            "responses": _responses(),
            "securitySchemes": _security_schemes(),
        },
    }


def _rest(operation: Operation, components: Components) -> Iterator[tuple[str, Any]]:
    """The verbs of an operation on REST, in lower case, with what each takes and answers."""
    group, _, method = operation.path.partition("/")
    for verb in operation.verbs:
        suffix = f"_{verb.lower()}" if len(operation.verbs) > 1 else ""
        described = _described(operation, Dialect.V1, f"{group}_{method}{suffix}")
        if operation.legacy:
            described["x-panda-legacy"] = list(operation.legacy)
        _put_arguments(described, operation, Dialect.V1, verb, components)
        done = _FORM_PLAIN if operation.plain else _envelope(operation, components)
        described["responses"] = {"200": done, **_refusals(operation, Dialect.V1)}
        yield verb.lower(), described


def _legacy(operation: Operation, name: str, components: Components) -> Iterator[tuple[str, Any]]:
    """POST always; GET where it changes nothing. The server takes either for every operation."""
    for verb in ("GET", "POST") if "GET" in operation.verbs else ("POST",):
        described = _described(operation, Dialect.LEGACY, f"legacy_{name}_{verb.lower()}")
        described["x-panda-rest"] = operation.path
        _put_arguments(described, operation, Dialect.LEGACY, verb, components)
        described["responses"] = {"200": _form(operation), **_refusals(operation, Dialect.LEGACY)}
        yield verb.lower(), described


def _described(operation: Operation, dialect: Dialect, name: str) -> dict[str, Any]:
    permission = operation.permission(dialect)
    group = operation.path.partition("/")[0]
    return {
        "operationId": name,
        "tags": [group],
        "summary": operation.summary.replace("``", ""),
        "security": [] if permission.name == "anyone" else _SECURITY,
        "x-panda-permission": permission.name,
    }


def _put_arguments(
    described: dict[str, Any], operation: Operation, dialect: Dialect, verb: str, components: Components
) -> None:
    asks = operation.asks
    if verb == "GET":
        parameters = [
            _parameter(name, required, schema)
            for name, required, schema in arguments_of(asks, dialect, Way.QUERY, components)
        ]
        if parameters:
            described["parameters"] = parameters
        return
    form = {"schema": request_schema(asks, dialect, Way.FORM, components)}
    if operation.limits.upload is not None:
        content = {_MULTIPART: form}
    else:
        in_json = {"schema": request_schema(asks, dialect, Way.JSON, components)}
        content = {JSON: in_json, _URLENCODED: form, _MULTIPART: form}
    needed = any(each.default is attrs.NOTHING for each in attrs.fields(asks))
    described["requestBody"] = {"required": needed, "content": content}


def _parameter(name: str, required: bool, schema: Schema) -> dict[str, Any]:
    """A list is a name that is repeated."""
    described: dict[str, Any] = {"name": name, "in": "query"}
    if required:
        described["required"] = True
    if "description" in schema:
        schema = dict(schema)
        described["description"] = schema.pop("description")
    return {**described, "schema": schema}


def _envelope(operation: Operation, components: Components) -> dict[str, Any]:
    """The answer on REST: what was asked for, or why not."""
    done = {
        "type": "object",
        "required": ["success", "message", "data"],
        "properties": {
            "success": {"const": True},
            "message": {"type": "string"},
            "data": components.of_answer(operation.gives),
        },
    }
    return {
        "description": "The envelope.",
        "headers": _REQUEST_ID,
        "content": {JSON: {"schema": {"anyOf": [done, reference(_REFUSED)]}}},
    }


def _refused() -> Schema:
    return {
        "type": "object",
        "description": "The call was not done; message says why.",
        "required": ["success", "message", "data"],
        "properties": {
            "success": {"const": False},
            "message": {"type": "string"},
            "data": {"description": "What some operations tell beside the message; null else."},
        },
    }


_FORMS_OF_ANSWERS: dict[Style, tuple[str, dict[str, Schema]]] = {
    Style.STATUS: (
        "StatusCode and fields, urlencoded; a JSON object where Accept names JSON.",
        {PLAIN: {"type": "string"}, JSON: {"type": "object", "required": ["StatusCode"]}},
    ),
    Style.URLENCODED: ("StatusCode and fields, urlencoded.", {PLAIN: {"type": "string"}}),
    Style.STATUS_JSON: (
        "StatusCode and fields, a JSON object.",
        {JSON: {"type": "object", "required": ["StatusCode"]}, PLAIN: {"type": "string"}},
    ),
    Style.JSON: ("A JSON text.", {PLAIN: {"type": "string"}}),
    Style.TEXT: ("A text.", {PLAIN: {"type": "string"}}),
    Style.PICKLED: ("A JSON text; only where Accept names JSON.", {PLAIN: {"type": "string"}}),
}


_FORM_PLAIN = {
    "description": "A text; a refusal is the envelope.",
    "headers": _REQUEST_ID,
    "content": {PLAIN: {"schema": {"type": "string"}}, JSON: {"schema": reference(_REFUSED)}},
}


def _form(operation: Operation) -> dict[str, Any]:
    """The answer in the older dialect; refusals stand in it too, as StatusCode or as a text."""
    description, content = _FORMS_OF_ANSWERS[operation.form.style]
    if operation.form.unless is not None:
        description = f"{description[:-1]}, or {operation.form.unless} is True."
    return {
        "description": description,
        "headers": _REQUEST_ID,
        "content": {kind: {"schema": schema} for kind, schema in content.items()},
    }


def _refusals(operation: Operation, dialect: Dialect) -> dict[str, Any]:
    """The other statuses of an operation. A report is never told to come again (it waits)."""
    of = "" if dialect is Dialect.V1 else "Legacy"
    passed_over = ("429",) if operation.limits.report else ()
    return {
        status: {"$ref": f"#/components/responses/{of}{status}"} for status in _STATUSES if status not in passed_over
    }


def _responses() -> dict[str, Any]:
    """The refusals of both dialects: the envelope, or a line of text."""
    found = {}
    for of, content in (
        ("", {JSON: {"schema": reference(_REFUSED)}}),
        ("Legacy", {PLAIN: {"schema": {"type": "string"}}}),
    ):
        for status, description in _STATUSES.items():
            response: dict[str, Any] = {"description": description, "content": content}
            if status in ("429", "503"):
                response["headers"] = _RETRY
            found[of + status] = response
    return found


def _security_schemes() -> dict[str, Any]:
    return {
        "certificate": {"type": "mutualTLS", "description": "A certificate, or an RFC 3820 proxy of one."},
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "Over TLS only."},
        "vo": {
            "type": "apiKey",
            "in": "header",
            "name": "Origin",
            "description": "The VO of the token: vo, vo:role or vo.role.",
        },
    }


def described_permission(permission: Permission | str) -> str:
    """A permission in words."""
    name = permission if isinstance(permission, str) else permission.name
    return PERMISSIONS.get(name, f"Holders of: {name}.")
