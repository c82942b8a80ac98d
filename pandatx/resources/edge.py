"""From a request to its answer: who asks, may they, what do they ask, the one call, what is said. One broad except."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.http import Request

from pandatx.clock import ReactorTime
from pandatx.domain.caller import Caller
from pandatx.errors import MethodForbidden, PandaError
from pandatx.metrics import ANSWERS_LOST
from pandatx.resources import dialects
from pandatx.resources.api import MEBIBYTE, Answer, Call, Dialect, Operation, Served, Style
from pandatx.resources.bodies import BodyReader, Content
from pandatx.resources.decoding import decoder
from pandatx.resources.dialects import Response

log = Logger()

CallerOf = Callable[[Request], Caller | Awaitable[Caller]]
# operation (path or "unknown"), dialect, HTTP status, seconds
Measured = Callable[[str, str, int, float], None]

UNKNOWN = "unknown"
PIECE = 128 * 1024
_LEGACY_VERBS = frozenset((b"GET", b"HEAD", b"POST", b"PUT"))


def _not_measured(operation: str, dialect: str, status: int, seconds: float) -> None:
    pass


@define(eq=False)
class Edge:
    """Serves one request of an operation. ``origins`` are names of our own beside the Host header (rule R23)."""

    _callers: CallerOf
    _reader: BodyReader
    _time: ReactorTime
    _measured: Measured = _not_measured
    _origins: frozenset[str] = frozenset()
    _prefix: str = field(factory=lambda: secrets.token_hex(4))
    _count: count[int] = field(factory=lambda: count(1))

    def serve(self, request: Any, served: Served | None, dialect: Dialect, name: str) -> Deferred[None]:
        """Answer a request, or say that no method of that ``name`` is served.

        The Deferred fires when all is written. Nobody can cancel what it stands for: a client that hangs up does not
        stop what was begun.
        """
        call = Call(
            getattr(request, "request_id", "") or f"{self._prefix}-{next(self._count):x}",
            dialect,
            secure=request.isSecure(),
            breathe=self._breathe,
            in_thread=self._reader.in_thread,
        )
        request.notifyFinish().addErrback(_hang_up, call)
        running = Deferred.fromCoroutine(self._serve(request, served, call, name))
        over: Deferred[None] = Deferred(_go_on)  # Klein cancels this when the client hangs up
        running.addErrback(lambda failure: log.failure("request of {name}", failure, name=name))
        running.addBoth(lambda _: None if over.called else over.callback(None))
        return over

    async def _serve(self, request: Request, served: Served | None, call: Call, name: str) -> None:
        begun = self._time.seconds()
        operation = served.operation if served else None
        wants_json = _wants_json(request)
        answer: Answer | None = None
        broken = False
        try:
            if served is None:
                await self._caller(request)
                raise MethodForbidden(name[:100])
            answer = await self._perform(request, served, call)
            response = dialects.answer(call.dialect, served.operation, answer, wants_json)
        except PandaError as fault:
            response = dialects.refusal(call.dialect, operation, fault, wants_json)
        except Exception:
            log.failure("request {id} of {name} from {address}", id=call.id, name=name, address=call.address)
            response = dialects.breakdown(call.dialect, call.id)
            broken = True
        if answer is not None and answer.undelivered is not None and (broken or call.lost):
            await self._take_back(answer.undelivered, call, name)
        if call.lost:
            ANSWERS_LOST.labels(operation.path if operation else UNKNOWN).inc()
        else:
            rest = _write(request, response, call.id)
            if rest is not None:
                await rest
        self._measured(
            operation.path if operation else UNKNOWN,
            call.dialect.value,
            response.status,
            self._time.seconds() - begun,
        )

    async def _perform(self, request: Request, served: Served, call: Call) -> Answer:
        operation, dialect = served.operation, call.dialect
        caller = await self._caller(request)
        call.address = caller.address
        if operation.changes:
            self._refuse_other_sites(request)
        operation.permission(dialect).judge(caller)
        _check_verb(request, operation, dialect)
        if dialect is Dialect.LEGACY and operation.form.style is Style.PICKLED and not _wants_json(request):
            raise dialects.NoPickle
        content = self._reader.read(request, dialect, operation.limits.inflated)
        if not isinstance(content, Content):
            content = await content
        asked = decoder(operation.asks, dialect).decode(content.values, content.as_text)
        return await served.handler(caller, asked, call)

    async def _caller(self, request: Request) -> Caller:
        caller = self._callers(request)
        if not isinstance(caller, Caller):
            caller = await caller
        request.caller_name = caller.name  # type: ignore[attr-defined]  # for the access log
        return caller

    def _refuse_other_sites(self, request: Request) -> None:
        """Browsers offer certificates by themselves; only a page of ours may make them call (rule R23)."""
        if request.getHeader(b"sec-fetch-site") == b"cross-site":
            raise dialects.CrossSite
        origin = request.getHeader(b"origin")
        if origin is None:
            return
        try:
            parts = urlsplit(origin.decode("latin-1").lower())
        except ValueError:
            raise dialects.CrossSite from None
        if origin != b"null" and parts.scheme not in ("http", "https"):
            return  # Origin otherwise carries the VO of a token
        host = (request.getHeader(b"host") or b"").decode("latin-1").lower()
        if not parts.netloc or (parts.netloc != host and parts.netloc not in self._origins):
            raise dialects.CrossSite

    async def _take_back(self, undelivered: Callable[[], Awaitable[None]], call: Call, name: str) -> None:
        """Rule R3. A failure here leaves the jobs sent, for the Watcher to fail in time."""
        try:
            await undelivered()
        except Exception:
            log.failure("request {id} of {name}: an undelivered answer was not taken back", id=call.id, name=name)

    def _breathe(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._time.callLater(0, waiting.callback, None)
        return waiting


def _go_on(over: Deferred[None]) -> None:
    """What was begun is not stopped; whoever waited for it is told that it is over."""
    over.callback(None)


def _hang_up(_: Any, call: Call) -> None:
    call.lost = True


def _wants_json(request: Request) -> bool:
    return b"application/json" in (request.getHeader(b"accept") or b"")


def _check_verb(request: Request, operation: Operation, dialect: Dialect) -> None:
    verb = request.method.decode("latin-1")
    if dialect is Dialect.LEGACY:
        if request.method not in _LEGACY_VERBS:
            raise MethodForbidden(verb)
    elif verb not in operation.verbs and not (verb == "HEAD" and "GET" in operation.verbs):
        raise dialects.WrongVerb(operation.verbs, verb)


def _write(request: Any, response: Response, call_id: str) -> Deferred[None] | None:
    """Write an answer; of a long one a Deferred that fires when the last of it has been written."""
    headers = request.responseHeaders
    if response.status != 200:
        request.setResponseCode(response.status)
        headers.setRawHeaders(b"x-content-type-options", [b"nosniff"])
    if response.retry_after is not None:
        headers.setRawHeaders(b"retry-after", [b"%d" % response.retry_after])
    headers.setRawHeaders(b"content-type", [response.kind])
    headers.setRawHeaders(b"content-length", [b"%d" % len(response.body)])
    headers.setRawHeaders(b"x-request-id", [call_id.encode()])
    if len(response.body) <= MEBIBYTE:
        request.write(response.body)
        request.finish()
        return None
    pieces = _Pieces(request, memoryview(response.body))
    request.registerProducer(pieces, False)
    return pieces.done


@define(eq=False)
class _Pieces:
    """Writes a long answer as fast as the client takes it, so that to encrypt it does not hold up the others."""

    _request: Any
    _left: memoryview
    done: Deferred[None] = field(factory=Deferred)

    def resumeProducing(self) -> None:
        """Write the next piece."""
        piece, self._left = self._left[:PIECE], self._left[PIECE:]
        self._request.write(bytes(piece))
        if not self._left:
            self._request.unregisterProducer()
            self._request.finish()
            self.done.callback(None)

    def stopProducing(self) -> None:
        """The client is gone."""
        if not self.done.called:
            self.done.callback(None)
