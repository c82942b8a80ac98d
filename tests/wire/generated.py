"""Generated requests over a served tree: sent as bytes, judged by the API document, counted by the database."""

from __future__ import annotations

import copy
import gzip
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

import psycopg2
import requests
import schemathesis
from attrs import define, field, frozen
from real import Real
from schemathesis.checks import not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure

from pandatx.net.connections import Connections
from pandatx.net.site import PandaSite
from pandatx.store.queries import Query

HOST = "https://panda.example:25443"
CONFORM = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
FLUSH = Query(name="force_next_flush", text="SELECT pg_stat_force_next_flush()")
WRITTEN = "SELECT schemaname || '.' || relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables"
UNREAD = (
    "Argument error: ",
    "Type error: ",
    ": missing a required argument",
    " must be of type ",
    ": All elements must be ",
    " elements",
    "must not hold a NUL",
)
REFUSALS = (
    "ERROR",
    "StatusCode=",
    '{"StatusCode":',
    "[false,",
    "[100,",
    "[101,",
    "[102,",
    "SSL secure connection is required",
    "failed to retrieve DN",
    "production or pilot role ",
    "Failed : production or pilot role ",
    "[3,",
)
PATIENCE = 30


def closed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with no field allowed in a named answer but those that are listed."""
    found: dict[str, Any] = copy.deepcopy(dict(document))
    for name, schema in found["components"]["schemas"].items():
        if not name.startswith("Ask.") and schema.get("type") == "object" and "properties" in schema:
            schema.setdefault("additionalProperties", False)
    for schema in _within(found):
        # Of answers schemathesis 4.32 makes prefixItems a form that it then takes for no schema.
        if each := schema.pop("prefixItems", None):
            schema["items"] = {"anyOf": each}
    return found


def _within(value: Any) -> Iterator[dict[str, Any]]:
    """All objects in a JSON value."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _within(each)


@define
class Door:
    """A site in memory that takes whole requests as bytes."""

    real: Real
    _site: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._site = PandaSite(self.real.root, Connections(limit=100, per_address=100), reactor)

    def send(self, request: requests.PreparedRequest) -> Response:
        """Send a request and wait for the whole answer, off the reactor's thread."""
        return _parsed(in_reactor(self._exchange, _bytes_of(request)), request)

    async def _exchange(self, request: bytes) -> bytes:
        protocol = self._site.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(request)
        end = reactor.seconds() + PATIENCE
        while not transport.disconnecting:
            assert reactor.seconds() < end, "no answer"
            await deferLater(reactor, 0)
        protocol.connectionLost(Failure(ConnectionDone()))
        return transport.value()


def in_reactor(work: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
    """Wait in another thread for what the reactor's thread does."""
    return blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(work(*args)))


def prepared(case: Any) -> requests.PreparedRequest:
    """A generated case as it goes over the wire."""
    return requests.Request(**case.as_transport_kwargs(base_url=HOST)).prepare()


def _bytes_of(request: requests.PreparedRequest) -> bytes:
    body = request.body or b""
    if isinstance(body, str):
        body = body.encode()
    head = [f"{request.method} {request.path_url} HTTP/1.1", "Host: panda.example:25443", "Connection: close"]
    taken = ("host", "connection", "content-length", "transfer-encoding")
    for name, value in request.headers.items():
        if name.lower() not in taken:
            head.append(f"{name}: {value if isinstance(value, str) else value.decode('latin-1')}")
    head.append(f"Content-Length: {len(body)}")
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def _parsed(answer: bytes, request: requests.PreparedRequest) -> Response:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers.setdefault(name.lower(), []).append(value)
    if headers.get("content-encoding") == ["gzip"]:
        body = gzip.decompress(body)
    code = int(status.split(" ")[1])
    return Response(code, headers, body, request, elapsed=0.01, verify=True, message=status.split(" ", 2)[2])


@define
class Counters:
    """How many rows were ever written, table by table. The server has one session, so that its numbers can be had."""

    real: Real
    database: Any
    _connection: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._connection = psycopg2.connect(self.real.dsn)
        self._connection.autocommit = True

    def read(self) -> dict[str, tuple[int, ...]]:
        in_reactor(self.database.statement, "flush", FLUSH)
        with self._connection.cursor() as cursor:
            cursor.execute(WRITTEN)
            return {name: tuple(numbers) for name, *numbers in cursor.fetchall()}

    def close(self) -> None:
        self._connection.close()


@frozen
class Verdict:
    """What an answer says: ``refused`` the call, or even ``unread`` what was asked."""

    refused: bool
    unread: bool


def verdict(path: str, response: Response) -> Verdict:
    """A refusal in either dialect. That there is no job for a pilot is none."""
    text = response.content.decode("utf-8", "replace")
    unread = any(words in text for words in UNREAD)
    refused = response.status_code >= 400
    if path.startswith("/api/"):
        refused = refused or '"success":false' in text
    else:
        refused = refused or text.startswith(REFUSALS)
        refused = refused and not text.startswith(("StatusCode=0", '{"StatusCode":0'))
    if "o jobs in PanDA" in text or "StatusCode=20" in text:
        refused = False
    return Verdict(refused, refused and unread)


def judge(case: Any, response: Response) -> Verdict:
    """Raise what is wrong with an answer: not in the document, or bad data taken, or good data not."""
    case.validate_response(response, checks=CONFORM)
    found = verdict(case.path, response)
    bad = case.meta.generation.mode.is_negative
    code = 400 if found.refused and (found.unread or bad) else 200
    as_http = Response(code, response.headers, response.content, response.request, 0.01, True)
    if has_list(case, of_one_blank=not bad):
        return found
    if bad or not asks_for_documents(case):
        case.validate_response(as_http, checks=[negative_data_rejection, positive_data_acceptance])
    return found


def has_list(case: Any, *, of_one_blank: bool) -> bool:
    """Whether a form has a field more than once: each of them is a text, whatever it was generated as. A list of one
    blank text is on the wire what a field without a value is, which no schema can say that generators understand."""
    form = case.media_type is not None and "form" in case.media_type and isinstance(case.body, dict)
    lists = [each for each in case.body.values() if isinstance(each, list)] if form else []
    return [""] in lists if of_one_blank else bool(lists)


def asks_for_documents(case: Any) -> bool:
    """Whether an argument is the text of a JSON document, which a schema names and no generator writes."""
    definition = case.operation.definition.raw
    schemas = [each["schema"] for each in definition.get("parameters", ())]
    if case.media_type is not None:
        schemas.append(definition["requestBody"]["content"][case.media_type]["schema"])
    components = case.operation.schema.raw_schema["components"]["schemas"]
    texts = str([components[each["$ref"].rpartition("/")[2]] if "$ref" in each else each for each in schemas])
    return "contentSchema" in texts


def loaded(document: Mapping[str, Any]) -> Any:
    """The document as schemathesis has it."""
    return schemathesis.openapi.from_dict(closed(document))
