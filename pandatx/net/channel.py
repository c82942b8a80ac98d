"""The HTTP/1.1 connection: time limits for headers and bodies, body sizes, an end that loses nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import ISSLTransport
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web import http

from pandatx.metrics import REQUESTS_REFUSED

if TYPE_CHECKING:
    from pandatx.net.site import PandaSite, Request

log = Logger()

_HTTPChannel: Any = http.HTTPChannel

LINGER = 2.0
_LONGEST_PATH = 200
_WHY = {
    400: "malformed",
    408: "slow",
    413: "too large",
    414: "long request line",
    431: "long headers",
    503: "no room",
}
_TEXTS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


class Channel(_HTTPChannel):  # type: ignore[misc]
    """A client's connection.

    Its timer runs from the connection's start to the end of the first headers (so it covers the TLS handshake), from
    the first byte of any later headers, and over a body; drops that come one by one do not stretch it. A body gets
    one second more for each 16 KiB (``body_rate``) that have come. Between requests the keep-alive time runs, during an
    answer none, but while the client does not read what is there of it.
    """

    site: PandaSite
    requests: list[Request]
    address: str = ""
    served = 0
    _refused = False
    _abortingCall: Any = None
    _unread: Any = None
    _in_headers = False
    _in_body = False
    _body_started = 0.0
    _body_received = 0

    def connectionMade(self) -> None:
        self._peer = _plain_address(self.transport.getPeer())
        self._host = self.transport.getHost()
        self._secure = ISSLTransport.providedBy(self.transport)
        self.address = getattr(self._peer, "host", "")
        self.maxHeaders, self.totalHeadersSize = self.site.max_headers, self.site.max_header_bytes
        self.site.connections.opened(self)
        super().connectionMade()

    def connectionLost(self, reason: Failure) -> None:
        self._stop_waiting()
        self.site.connections.closed(self)
        super().connectionLost(reason)

    def pauseProducing(self) -> None:
        """The client does not read as fast as we write; it has a time for that."""
        super().pauseProducing()
        if self._unread is None:
            self._unread = self.callLater(self.site.answer_timeout, self._not_read)

    def resumeProducing(self) -> None:
        """All that was written has gone out."""
        self._stop_waiting()
        super().resumeProducing()

    def _stop_waiting(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _not_read(self) -> None:
        self._unread = None
        self.site.counters.timed_out += 1
        REQUESTS_REFUSED.labels("answer not read").inc()
        self.abort()

    # Asked for by every request; the socket is asked once.
    def getPeer(self) -> Any:
        return self._peer

    def getHost(self) -> Any:
        return self._host

    def isSecure(self) -> bool:
        return bool(self._secure)

    @property
    def busy(self) -> bool:
        """A request is being read or answered."""
        return bool(self.requests) or self._in_headers

    def end_when_done(self) -> None:
        """No further request on this connection; ``checkPersistence`` sees to one whose headers are still coming."""
        if not self.busy:
            # Over TLS the end waits for the client's word, which one that idles in its pool does not give.
            if self._abortingCall is None:
                self._abortingCall = self.callLater(LINGER, self.forceAbortClient)
            self.loseConnection()
        elif self.requests:
            self.persistent = False
            if not self.requests[0].startedWriting:
                self.requests[0].responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        if self._refused:
            return
        self.site.counters.bytes_in += len(data)
        served = self.served
        LineReceiver.dataReceived(self, data)  # type: ignore[no-untyped-call]
        if not self._handlingRequest and not self._refused:
            self._time_what_is_missing(began=bool(self.requests) or self.served == served)

    def _time_what_is_missing(self, began: bool) -> None:
        """A request has come in part: its headers, or its headers and a part of its body."""
        if not began:
            return
        if self._in_body:
            if not self._body_started:
                self._body_started = self.site.reactor.seconds()
                self.setTimeout(self.site.body_timeout)
        elif not self._in_headers:
            self._in_headers = True
            if self.served:
                self.setTimeout(self.site.header_timeout)

    def allHeadersReceived(self) -> None:
        self._in_headers = False
        self._in_body = self.length != 0
        self._body_started, self._body_received = 0.0, 0
        limit = self.site.body_limit(self._path)
        if self.length is not None and self.length > limit:
            self.refuse(413, too_large(self.length, limit))
            return
        self.requests[-1].body_limit = limit
        try:
            super().allHeadersReceived()
        except OSError as fault:  # no descriptor, or no room, for the file that the body goes to
            log.error("a body of {path} cannot be kept: {fault}", path=self._path, fault=str(fault))
            self.refuse(503, "no room for the body of this request")

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        if self.site.connections.draining:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return bool(super().checkPersistence(request, version))

    def body_came(self, size: int) -> None:
        self._body_received += size

    def allContentReceived(self) -> None:
        if self._refused:
            return
        self._in_body = False
        self.served += 1
        # What setTimeout(None) gives back is what requestDone sets again: the keep-alive time.
        self.timeOut = self.site.keep_alive
        super().allContentReceived()

    def timeoutConnection(self) -> None:
        if self._in_body and not self._refused and (more := self._body_deserves()) > 0:
            self.setTimeout(more)
            return
        if self.busy and not self._refused:
            self.site.counters.timed_out += 1
            self.refuse(408, "the request did not arrive in time")
            return
        self._abortingCall = self.callLater(self.abortTimeout, self.forceAbortClient)
        self.loseConnection()

    def _body_deserves(self) -> float:
        used = self.site.reactor.seconds() - self._body_started
        return float(self.site.body_timeout + self._body_received / self.site.body_rate - used)

    def lineLengthExceeded(self, line: bytes) -> None:
        """The first line, or a header, is longer than any that a client sends."""
        first = not hasattr(self, "_path")
        if first:
            self._path = line[:_LONGEST_PATH].partition(b" ")[2].partition(b" ")[0]
        self.refuse(414 if first else 431, "the request line is too long" if first else "a header is too long")

    def _respondToBadRequestAndDisconnect(self) -> None:
        if self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders:
            self.refuse(431, "the headers are too long")
        else:
            self.refuse(400, "this is no HTTP request, or one whose headers contradict each other")

    def refuse(self, status: int, why: str) -> None:
        """Answer a request that is not read to its end; then read on for a moment, lest a reset destroy the answer."""
        if self._refused:
            return
        self._refused = True
        self.persistent = False
        # What stands behind it in the same packet is no request any more.
        self.lineReceived = self.rawDataReceived = _pass_over
        self.setRawMode()
        path = getattr(self, "_path", b"")
        body, kind = refusal(path, why)
        REQUESTS_REFUSED.labels(_WHY[status]).inc()
        head = b"HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % (status, _TEXTS[status], kind, len(body)) + body)
        self.site.refused(self.address, getattr(self, "_command", b"-"), path, status, len(body))
        self.setTimeout(LINGER)


def _pass_over(data: bytes) -> None:
    pass


def refusal(path: bytes, why: str) -> tuple[bytes, bytes]:
    """The body and type of a refusal: the envelope on V1, a line of text elsewhere."""
    if path.startswith(b"/api/"):
        return json.dumps({"success": False, "message": why, "data": None}).encode(), b"application/json"
    return f"ERROR : {why}".encode(), b"text/plain"


def too_large(size: int | None, limit: int) -> str:
    came = "more" if size is None else f"{size} bytes"
    return f"the body is too large: {came} where {limit} bytes are the limit"


def _plain_address(peer: Any) -> Any:
    """An IPv4 client of a socket that serves both families, by its IPv4 address."""
    if isinstance(peer, IPv6Address) and peer.host.startswith("::ffff:") and "." in peer.host:
        return IPv4Address("TCP", peer.host.removeprefix("::ffff:"), peer.port)
    return peer
