"""The twisted.web site of pandatx: cheap requests, bodies that go to disk, limits, the access log."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote_to_bytes

from attrs import field, frozen
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import datetimeToString
from twisted.web.resource import IResource

from pandatx.identity.callers import peer_address
from pandatx.net.accesslog import Entry, line
from pandatx.net.channel import Channel, too_large
from pandatx.net.connections import Connections, Counters

log = Logger()

# twisted.web has no types.
_Request: Any = server.Request
_Site: Any = server.Site

IN_MEMORY = 1 << 20
MIB = 1 << 20
KEEP_ALIVE = 600.0


def _plain_limit(path: bytes) -> int:
    """Where no resource says how large a body may be."""
    return 64 * MIB


@frozen(kw_only=True)
class Watchers:
    """Who is told of requests: ``access_log`` gets a line each, ``finished`` path, status and seconds."""

    access_log: Callable[[str], None] | None = None
    finished: Callable[[bytes, int, float], None] | None = None


@frozen(kw_only=True)
class SiteLimits:
    """Times in seconds, and where bodies over 1 MiB go while they come in.

    ``body_rate``: for so many bytes of a body that have come it has a second more. ``answer_timeout``: how long a
    client may leave unread what was written to it.
    """

    header_timeout: float = 30.0
    body_timeout: float = 600.0
    body_rate: int = 16 * 1024
    answer_timeout: float = 300.0
    keep_alive: float = KEEP_ALIVE
    max_headers: int = 500
    max_header_bytes: int = 16 * 1024
    upload_dir: Path | None = None
    body_limit: Callable[[bytes], int] = field(default=_plain_limit)


class Request(_Request):  # type: ignore[misc]
    """A request. ``request_id`` is in its answer and in the logs; ``caller_name`` is what the access log shows."""

    channel: Channel
    site: PandaSite
    path: bytes
    defaultContentType = b"text/plain"
    body_limit = 0
    request_id = ""
    caller_name = ""
    started = 0.0
    _body_size = 0
    _counted = False

    def gotLength(self, length: int | None) -> None:
        """Where the body goes: what takes files says so itself."""
        sink = getattr(self.channel.site.resource, "sink", None)
        found = None if sink is None else sink(self, self.channel._command, self.channel._path, length)
        if found is None:
            super().gotLength(length)
        else:
            self.content = found

    def handleContentChunk(self, data: bytes) -> None:
        channel = self.channel
        if channel._refused:
            return
        self._body_size += len(data)
        if self._body_size > self.body_limit:
            channel.refuse(413, too_large(None, self.body_limit))
            return
        channel.body_came(len(data))
        try:
            self.content.write(data)
        except OSError as fault:
            log.error("a body of {path} cannot be kept: {fault}", path=channel._path, fault=str(fault))
            channel.refuse(503, "no room for the body of this request")

    def process(self) -> None:
        site = self.site = self.channel.site
        self.started = site.reactor.seconds()
        self.request_id = site.next_id()
        self._counted = True
        site.counters.requests += 1
        site.counters.busy += 1
        headers = self.responseHeaders
        headers.setRawHeaders(b"Server", [b"pandatx"])
        headers.setRawHeaders(b"Date", [site.date()])
        headers.setRawHeaders(b"X-Request-Id", [self.request_id.encode("ascii")])
        if self.path == b"*":
            self._handleStar()
            return
        self.prepath: list[bytes] = []
        if not self.path.startswith(b"/"):
            self.path = _origin_form(self.path)
        try:
            self.postpath = _segments(self.path)
            self.render(site.getResourceFor(self))
        except Exception:
            self.processingFailed(Failure())  # type: ignore[no-untyped-call]

    def processingFailed(self, reason: Failure) -> Failure:
        """Our bug: logged whole, answered without any of it."""
        log.failure("{id} {method} {path}", reason, id=self.request_id, method=self.method, path=self.path)
        if not self.startedWriting and not self._disconnected:
            body = b"ERROR : internal server error " + self.request_id.encode("ascii")
            self.setResponseCode(500)
            self.setHeader(b"Content-Type", b"text/plain")
            self.setHeader(b"Content-Length", b"%d" % len(body))
            self.write(body)
            self.finish()
        elif self.channel is not None:
            self.channel.abort()
        return reason

    def connectionLost(self, reason: Failure) -> None:
        if self._counted:
            self._counted = False
            self.site.counters.lost += 1
            self.site.ended(self, 499)
        super().connectionLost(reason)

    def count_finished(self) -> None:
        if self._counted:
            self._counted = False
            self.site.ended(self, self.code)


class PandaSite(_Site):  # type: ignore[misc]
    """The site of one listener. Several share their ``connections``, that is limits, counters and the drain."""

    protocol = Channel
    requestFactory = Request
    noisy = False

    def __init__(
        self,
        resource: IResource,
        connections: Connections,
        reactor: Any,
        limits: SiteLimits | None = None,
        watchers: Watchers | None = None,
    ) -> None:
        limits = limits or SiteLimits()
        super().__init__(resource, parsePOSTFormSubmission=False, timeout=limits.header_timeout, reactor=reactor)
        self.connections = connections
        self.header_timeout, self.body_timeout = limits.header_timeout, limits.body_timeout
        self.body_rate, self.answer_timeout = limits.body_rate, limits.answer_timeout
        self.keep_alive, self.body_limit = limits.keep_alive, limits.body_limit
        self.max_headers, self.max_header_bytes = limits.max_headers, limits.max_header_bytes
        self._upload_dir = limits.upload_dir
        self._watchers = watchers or Watchers()
        self._id_prefix = os.urandom(4).hex()
        self._id_number = 0
        self._date = (-1, b"")

    @property
    def counters(self) -> Counters:
        return self.connections.counters

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A channel, or None, which closes the connection, when there are too many."""
        return self.channel(addr) if self.connections.admits(peer_address(addr)) else None

    def channel(self, addr: IAddress | None) -> Any:
        """A channel for a connection that was admitted already; TLS must ask before it wraps one."""
        return super().buildProtocol(addr)

    def startFactory(self) -> None:
        """No log file of its own: ``log`` below."""

    def stopFactory(self) -> None:
        pass

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]

    def getContentFile(self, length: int | None) -> IO[bytes]:
        """Where a body is kept: memory while it is small, else a file without a name."""
        if length is None:
            return tempfile.SpooledTemporaryFile(
                max_size=IN_MEMORY, dir=str(self._upload_dir) if self._upload_dir else None
            )
        if length <= IN_MEMORY:
            return BytesIO()
        return tempfile.TemporaryFile(dir=self._upload_dir)

    def next_id(self) -> str:
        self._id_number += 1
        return f"{self._id_prefix}-{self._id_number:x}"

    def date(self) -> bytes:
        """The Date header, made once a second."""
        now = int(self.reactor.seconds())
        if now != self._date[0]:
            self._date = (now, datetimeToString())  # type: ignore[no-untyped-call]
        return self._date[1]

    def log(self, request: Any) -> None:
        """twisted.web calls this for each answer that was finished."""
        request.count_finished()

    def ended(self, request: Request, status: int) -> None:
        """A request is over: answered, or lost with its connection (status 499)."""
        self.counters.busy -= 1
        self.counters.bytes_out += request.sentLength
        seconds = self.reactor.seconds() - request.started
        if self._watchers.finished is not None:
            self._watchers.finished(request.path, status, seconds)
        if self._watchers.access_log is None:
            return
        entry = Entry(
            address=peer_address(request.client),
            method=request.method,
            uri=request.uri,
            version=request.clientproto,
            status=status,
            size=request.sentLength,
            referrer=request.getHeader(b"referer") or b"",
            agent=request.getHeader(b"user-agent") or b"",
            request_id=_answered_id(request),
            seconds=seconds,
            caller=request.caller_name,
        )
        self._watchers.access_log(line(entry))

    def refused(self, address: str, method: bytes, path: bytes, status: int, size: int) -> None:
        """A request was refused before it was whole."""
        if self._watchers.access_log is not None:
            entry = Entry(address=address, method=method, uri=path, version=b"HTTP/1.1", status=status, size=size)
            self._watchers.access_log(line(entry))


def _answered_id(request: Request) -> str:
    """The id in the answer: the resource may have set one that its own log lines carry."""
    found = request.responseHeaders.getRawHeaders(b"X-Request-Id")
    return found[0].decode("ascii", "replace") if found else request.request_id


def _origin_form(target: bytes) -> bytes:
    """The path of ``http://host/path``, which a server must take too; anything else stays as it is."""
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in (b"http", b"https"):
        return target
    return b"/" + rest.partition(b"/")[2]


def _segments(path: bytes) -> list[bytes]:
    if b"%" in path:
        return [unquote_to_bytes(part) for part in path[1:].split(b"/")]
    return path[1:].split(b"/")
