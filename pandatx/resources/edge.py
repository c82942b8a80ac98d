"""From a request to its answer: who asks, may they, what do they ask, the one call, what is said. One broad except."""

from __future__ import annotations

import gzip
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any, cast
from urllib.parse import urlsplit

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request

from pandatx.clock import ReactorTime
from pandatx.domain.caller import Caller
from pandatx.errors import Busy, MethodForbidden, PandaError, TooSlow
from pandatx.metrics import ANSWERS_LOST, REQUESTS_OVERDUE
from pandatx.resources import dialects
from pandatx.resources.api import MEBIBYTE, Answer, Call, Dialect, Operation, Served, Style, Upload, anyone
from pandatx.resources.bodies import BodyReader, Content
from pandatx.resources.decoding import decoder
from pandatx.resources.dialects import Response
from pandatx.resources.encoding import accepts_gzip, joined
from pandatx.resources.multipart_files import UploadRoom, is_multipart
from pandatx.resources.nowhere import Nowhere
from pandatx.resources.throttle import Throttle

log = Logger()

CallerOf = Callable[[Request], Caller | Awaitable[Caller]]
# operation (path or "unknown"), dialect, HTTP status, seconds
Measured = Callable[[str, str, int, float], None]

UNKNOWN = "unknown"
PIECE = 128 * 1024
WORTH_GZIP = 1024
GZIP_LEVEL = 1
_LEGACY_VERBS = frozenset((b"GET", b"HEAD", b"POST", b"PUT"))


def _all_pass(caller: Caller) -> None:
    pass


def _not_measured(operation: str, dialect: str, status: int, seconds: float) -> None:
    pass


@define(eq=False)
class Edge:
    """Serves one request of an operation. ``origins`` are names of our own beside the Host header (rule R23).

    ``large`` counts large bodies, each until its request is over.
    ``patience``: seconds that the caller of an operation without a time of its own is kept waiting. ``admission``
    refuses a caller whose name is another's (rule R27), wherever it would act by it.
    """

    _callers: CallerOf
    _reader: BodyReader
    _time: ReactorTime
    _measured: Measured = _not_measured
    _origins: frozenset[str] = frozenset()
    _throttle: Throttle = field(factory=Throttle)
    _large: Throttle = field(factory=Throttle)
    _patience: float = 300.0
    _admission: Callable[[Caller], Awaitable[None] | None] = _all_pass
    _uploads: UploadRoom | None = None
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
        running.addBoth(self._ended, call, over)
        return over

    def _ended(self, _: Any, call: Call, over: Deferred[None]) -> None:
        if call.slot is not None:
            self._throttle.leave(call.slot)
        if call.large is not None:
            self._large.leave(call.large)
        if not over.called:
            over.callback(None)

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
        if response.pieces:
            pieces = response.pieces
            response = evolve(response, body=await self._reader.in_thread(lambda: joined(pieces)), pieces=())
        if len(response.body) > WORTH_GZIP and operation is not None and not operation.limits.hot:
            response = await self._gzipped(request, response)
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

    async def _gzipped(self, request: Request, response: Response) -> Response:
        """The answer for a client that takes gzip; what takes long is done off the reactor's thread."""
        if not accepts_gzip(request.getHeader(b"accept-encoding")):
            return response
        if len(response.body) <= PIECE:
            return evolve(response, body=gzip.compress(response.body, GZIP_LEVEL, mtime=0), gzipped=True)
        body = await self._reader.in_thread(lambda: gzip.compress(response.body, GZIP_LEVEL, mtime=0))
        return evolve(response, body=body, gzipped=True)

    async def _perform(self, request: Request, served: Served, call: Call) -> Answer:
        operation, dialect = served.operation, call.dialect
        caller = await self._caller(request)
        call.address = caller.address
        if operation.changes:
            self._refuse_other_sites(request)
        permission = operation.permission(dialect)
        permission.judge(caller)
        _check_verb(request, operation, dialect)
        # What says that the server lives looks at no database; all else may tell an owner more than others.
        named = permission is not anyone or not operation.limits.hot
        if named and (asking := self._admission(caller)) is not None:
            await _known(asking, operation, caller)
        if not operation.limits.report:
            call.slot = self._throttle.enter(caller, operation)
        pickled = dialect is Dialect.LEGACY and operation.form.style is Style.PICKLED and not _wants_json(request)
        if pickled and operation.form.unless is None:
            raise dialects.NoPickle
        upload = operation.limits.upload
        if upload is not None and self._uploads is not None and is_multipart(request):
            return await self._in_time(self._take_file(request, served, upload, caller, call), operation, call)
        content = self._reader.read(request, dialect, operation.limits.inflated)
        if not isinstance(content, Content):
            if content.large:
                await self._room_for_large(caller, operation, call)
            content = await content.read()
        if pickled and content.values.get(operation.form.unless or "") not in ("True", True):
            raise dialects.NoPickle
        asked = decoder(operation.asks, dialect).decode(content.values, content.as_text)
        limits = operation.limits
        if limits.report and call.slot is None:
            call.slot = await _turn(self._throttle, caller)
        if limits.hot or limits.report:
            return await served.handler(caller, asked, call)
        return await self._in_time(served.handler(caller, asked, call), operation, call)

    async def _room_for_large(self, caller: Caller, operation: Operation, call: Call) -> None:
        """A large body waits on the disk until its caller has fewer others in memory; for the turn of a report first,
        lest one that has a place here wait for those that wait for one.
        """
        if operation.limits.report:
            call.slot = await _turn(self._throttle, caller)
        call.large = await _turn(self._large, caller)

    def _in_time(self, work: Awaitable[Answer], operation: Operation, call: Call) -> Deferred[Answer]:
        """The answer, or TooSlow when it takes too long; the work is never stopped."""
        told: Deferred[Answer] = Deferred()
        seconds = operation.limits.seconds or self._patience
        deadline = self._time.callLater(seconds, self._overdue, operation, seconds, told)
        doing = Deferred.fromCoroutine(cast(Coroutine[Deferred[Any], Any, Answer], work))

        def done(found: Any) -> None:
            if not told.called:
                deadline.cancel()
                told.callback(found)
            else:
                self._too_late(found, call, operation.path)

        doing.addBoth(done)
        return told

    def _overdue(self, operation: Operation, seconds: float, told: Deferred[Answer]) -> None:
        REQUESTS_OVERDUE.labels(operation.path).inc()
        told.errback(TooSlow(seconds))

    def _too_late(self, found: Any, call: Call, name: str) -> None:
        """What came of work whose caller was told already that it takes too long."""
        if isinstance(found, Failure):
            if not isinstance(found.value, PandaError):
                log.failure("request {id} of {name}, answered long ago", found, id=call.id, name=name)
        elif found.undelivered is not None:
            Deferred.fromCoroutine(self._take_back(found.undelivered, call, name))

    async def _take_file(self, request: Request, served: Served, upload: Upload, caller: Caller, call: Call) -> Answer:
        """The file is on the disk before the operation begins; if that does not take it away, it is removed."""
        assert self._uploads is not None
        reading = self._uploads.reading(request, upload)
        try:
            content = await reading.whole()
            asked = decoder(served.operation.asks, call.dialect).decode(content.values, content.as_text)
            return await served.handler(caller, asked, call)
        finally:
            await reading.discard()

    def sink(self, request: Any, verb: bytes, served: Served, dialect: Dialect, length: int | None) -> Any:
        """What a body is to be written to as it arrives: an upload to a file of its own, and one that is too long for
        the memory nowhere if its caller is refused anyhow; None where twisted.web may keep it."""
        upload, found = served.operation.limits.upload, None
        if upload is not None and self._uploads is not None and verb in (b"POST", b"PUT"):
            found = self._uploads.sink(request, upload, length, lambda: self._unwanted(request, served, dialect))
        if found is None and (length is None or length > MEBIBYTE) and self._refuses(request, served, dialect):
            return Nowhere()
        return found

    def _refuses(self, request: Request, served: Served, dialect: Dialect) -> bool:
        """Whether that is sure already; who is not known at once is asked for."""
        asking = Deferred.fromCoroutine(self._unwanted(request, served, dialect))
        refusals: list[PandaError | None] = []
        asking.addCallbacks(refusals.append, lambda failure: None)  # it will fail again where it is logged
        return any(refusals)

    async def _unwanted(self, request: Request, served: Served, dialect: Dialect) -> PandaError | None:
        """Why nothing of a body need be kept that is still arriving: the refusal that it will meet."""
        try:
            served.operation.permission(dialect).judge(await self._caller(request))
        except PandaError as fault:
            return fault
        return None

    async def _caller(self, request: Request) -> Caller:
        caller = self._callers(request)
        if not isinstance(caller, Caller):
            caller = await caller
        request.caller_name = caller.name  # type: ignore[attr-defined]  # for the access log
        return caller

    def _refuse_other_sites(self, request: Request) -> None:
        """Browsers offer certificates by themselves; only a page of ours may make them call (rule R23)."""
        site, origin = request.getHeader(b"sec-fetch-site"), request.getHeader(b"origin")
        # An image of a neighbour's page is fetched without an Origin, and the older dialect takes GET for everything.
        if site == b"cross-site" or (site == b"same-site" and origin is None):
            raise dialects.CrossSite
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


async def _turn(throttle: Throttle, caller: Caller) -> str | None:
    turn = throttle.turn(caller)
    return turn if turn is None or isinstance(turn, str) else await turn


async def _known(asking: Awaitable[None], operation: Operation, caller: Caller) -> None:
    """Wait until it is known whether the caller's name is another's. A report is not to be lost for that, and a pilot
    acts by its role; anybody else comes again, lest a load on the database lend out names.
    """
    try:
        await asking
    except Busy:
        if not (operation.limits.report or (operation.limits.hot and caller.reports)):
            raise


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
    if response.gzipped:
        headers.setRawHeaders(b"content-encoding", [b"gzip"])
        headers.setRawHeaders(b"vary", [b"Accept-Encoding"])
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
