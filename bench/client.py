"""A cheap HTTP client: one epoll loop over non-blocking sockets, requests as ready bytes, the least parsing there is.

It shares the machine with what it measures, so every microsecond here is one that the server does not get.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from attrs import define, field, frozen

from bench.figures import Tally

READ = 262_144
QUIET = (ssl.SSLWantReadError, BlockingIOError)
CLOSE = b"\r\nConnection: close\r\n"


class Answer(NamedTuple):
    """What came back; ``status`` 0 is a connection that broke."""

    status: int
    body: bytes


class Ask(NamedTuple):
    """A whole HTTP request and the name under which its latency is counted; ``paced`` ones wait for their turn."""

    label: str
    request: bytes
    paced: bool = True


Script = Generator[Ask, Answer, None]
"""What one connection does: it yields requests, is given their answers, and counts in a Tally what is wrong."""


@frozen(kw_only=True)
class Target:
    """A server and how to reach it."""

    url: str
    certificate: str | None = None
    authority: str | None = None
    keepalive: bool = True
    timeout: float = 60.0

    @property
    def secure(self) -> bool:
        return urlsplit(self.url).scheme == "https"

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "localhost", parts.port or (443 if self.secure else 80)

    def context(self) -> ssl.SSLContext | None:
        if not self.secure:
            return None
        context = ssl.create_default_context(cafile=self.authority)
        if self.authority is None:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if self.certificate:
            context.load_cert_chain(self.certificate)
        return context

    def head(self, verb: str, path: str, *, kind: str = "application/json", accept: str | None = None) -> bytes:
        """The lines of a request up to the length of its body."""
        host, port = self.address
        lines = [f"{verb} {path} HTTP/1.1", f"Host: {host}:{port}", "User-Agent: pandatx-bench"]
        lines += [f"Accept: {accept}"] if accept else []
        lines += [] if self.keepalive else ["Connection: close"]
        lines += [f"Content-Type: {kind}"] if verb == "POST" else []
        return "\r\n".join(lines).encode()


def get(head: bytes) -> bytes:
    return head + b"\r\n\r\n"


def post(head: bytes, body: bytes) -> bytes:
    return b"%b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


@define(eq=False)
class Connection:
    """One connection, made anew when it was closed, and the script that speaks through it."""

    script: Script
    ask: Ask
    sock: ssl.SSLSocket | socket.socket | None = None
    fileno: int = -1
    begun: float = 0.0
    shaking: bool = False
    unsent: memoryview | None = None
    received: bytes = b""
    wanted: int = -1  # bytes of the answer with its head; -1 while the head is incomplete, -2 until the end is seen


@define(eq=False)
class Lane:
    """Requests that go out at one pace: ``rate`` a second, taken from the connections that wait."""

    rate: float
    due: float = 0.0
    waiting: deque[Connection] = field(factory=deque)


@define(eq=False)
class Loop:
    """Drives scripts over connections until ``seconds`` have passed; ``rate`` requests/s, 0 for a closed loop.

    ``rates`` gives requests of some labels a pace of their own.
    """

    target: Target
    tally: Tally
    rate: float = 0.0
    rates: Mapping[str, float] = field(factory=dict)
    _context: ssl.SSLContext | None = None
    _family: int = 0
    _where: Any = None
    _epoll: select.epoll = field(factory=select.epoll)
    _open: dict[int, Connection] = field(factory=dict)
    _lanes: dict[str, Lane] = field(factory=dict)
    _refused: list[Connection] = field(factory=list)

    def run(self, scripts: list[Script], seconds: float, on_tick: Callable[[float], None] | None = None) -> None:
        """``on_tick`` is called about once a second with the seconds since the start."""
        host, port = self.target.address
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self._family, self._where = family, where
        self._context = self.target.context()
        start = time.perf_counter()
        end, next_tick = start + seconds, start + 1.0
        self._lanes = {label: Lane(rate, start) for label, rate in {"": self.rate, **self.rates}.items() if rate}
        for script in scripts:
            self._begin(Connection(script, next(script)))
        while (now := time.perf_counter()) < end and (self._open or self._waiting or self._refused):
            if now >= next_tick:
                next_tick += 1.0
                self._end_silent(now)
                refused, self._refused = self._refused, []
                for connection in refused:
                    self._begin(connection)
                if on_tick:
                    on_tick(now - start)
            for fileno, _ in self._epoll.poll(self._patience(now, end, next_tick)):
                if ready := self._open.get(fileno):
                    self._step(ready)
            for lane in self._lanes.values():
                self._pace(lane)
        self.close()

    @property
    def _waiting(self) -> list[Lane]:
        return [lane for lane in self._lanes.values() if lane.waiting]

    def close(self) -> None:
        for connection in list(self._open.values()):
            self._drop(connection)
        self._epoll.close()

    def _patience(self, now: float, end: float, tick: float) -> float:
        return max(0.0, min(end, tick, *(lane.due for lane in self._waiting)) - now)

    def _pace(self, lane: Lane) -> None:
        now = time.perf_counter()
        while lane.waiting and lane.due <= now:
            connection = lane.waiting.popleft()
            self._send(connection, lane.due)  # counted from when it was due, though nobody was free to send it
            lane.due += 1.0 / lane.rate

    def _begin(self, connection: Connection) -> None:
        lane = self._lanes.get(connection.ask.label) or self._lanes.get("")
        if lane is not None and connection.ask.paced:
            lane.waiting.append(connection)
        else:
            self._send(connection, time.perf_counter())

    def _send(self, connection: Connection, begun: float) -> None:
        connection.begun = begun
        connection.received, connection.wanted = b"", -1
        if connection.sock is None:
            self._connect(connection)
            return
        self._write(connection, memoryview(connection.ask.request))

    def _connect(self, connection: Connection) -> None:
        plain = socket.socket(self._family, socket.SOCK_STREAM)
        plain.setblocking(False)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.connect_ex(self._where)
        connection.sock, connection.shaking = plain, True
        connection.fileno = plain.fileno()
        self._open[connection.fileno] = connection
        self._epoll.register(connection.fileno, select.EPOLLOUT)

    def _step(self, connection: Connection) -> None:
        try:
            if connection.shaking:
                self._shake(connection)
            elif connection.unsent is not None:
                self._write(connection, connection.unsent)
            else:
                self._read(connection)
        except OSError as fault:
            self._broken(connection, type(fault).__name__)

    def _shake(self, connection: Connection) -> None:
        sock = connection.sock
        assert sock is not None
        if self._context is not None and not isinstance(sock, ssl.SSLSocket):
            if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, "connect")
            name = self.target.address[0]
            sock = self._context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
            connection.sock = sock
        if isinstance(sock, ssl.SSLSocket):
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                self._epoll.modify(connection.fileno, select.EPOLLIN)
                return
            except ssl.SSLWantWriteError:
                self._epoll.modify(connection.fileno, select.EPOLLOUT)
                return
        connection.shaking = False
        self._epoll.modify(connection.fileno, select.EPOLLIN)
        self._write(connection, memoryview(connection.ask.request))

    def _write(self, connection: Connection, data: memoryview) -> None:
        sock = connection.sock
        assert sock is not None
        try:
            sent = sock.send(data)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
            sent = 0
        except OSError as fault:
            self._broken(connection, type(fault).__name__)
            return
        if sent < len(data):
            if connection.unsent is None:
                self._epoll.modify(connection.fileno, select.EPOLLOUT | select.EPOLLIN)
            connection.unsent = data[sent:]
        elif connection.unsent is not None:
            connection.unsent = None
            self._epoll.modify(connection.fileno, select.EPOLLIN)

    def _read(self, connection: Connection) -> None:
        sock = connection.sock
        assert sock is not None
        while True:
            try:
                data = sock.recv(READ)
            except QUIET:
                return
            if not data:
                self._ended_by_server(connection)
                return
            connection.received = connection.received + data if connection.received else data
            if self._complete(connection):
                self._answered(connection)
                return
            if not (isinstance(sock, ssl.SSLSocket) and sock.pending()):
                return

    def _complete(self, connection: Connection) -> bool:
        received = connection.received
        if connection.wanted == -1:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = received[:end].lower()
            at = head.find(b"content-length:")
            if at >= 0:
                stop = head.find(b"\r\n", at)
                connection.wanted = end + 4 + int(head[at + 15 : stop if stop > 0 else end])
            else:
                connection.wanted = -2
        if connection.wanted == -2:
            return received.endswith(b"\r\n0\r\n\r\n")
        return len(received) >= connection.wanted

    def _answered(self, connection: Connection) -> None:
        now = time.perf_counter()
        received = connection.received
        self.tally.add(connection.ask.label, now - connection.begun)
        answer = Answer(int(received[9:12]), received[received.find(b"\r\n\r\n") + 4 :])
        if not self.target.keepalive or (answer.status >= 400 and b"onnection: close" in received):
            self._drop(connection)
        self._next(connection, answer)

    def _ended_by_server(self, connection: Connection) -> None:
        if connection.wanted == -2:
            self._answered(connection)
        else:
            self._broken(connection, "closed by the server")

    def _broken(self, connection: Connection, why: str) -> None:
        self._drop(connection)
        if why == "ConnectionRefusedError":
            self.tally.error(why)
            self._refused.append(connection)  # the same request again at the next tick
        else:
            self._next(connection, Answer(0, why.encode()))

    def _end_silent(self, now: float) -> None:
        idle = {id(connection) for lane in self._lanes.values() for connection in lane.waiting}
        for connection in list(self._open.values()):
            if id(connection) not in idle and now - connection.begun > self.target.timeout:
                self._broken(connection, "no answer in time")

    def _next(self, connection: Connection, answer: Answer) -> None:
        try:
            connection.ask = connection.script.send(answer)
        except StopIteration:
            self._drop(connection)
            return
        self._begin(connection)

    def _drop(self, connection: Connection) -> None:
        if connection.sock is None:
            return
        self._epoll.unregister(connection.fileno)
        self._open.pop(connection.fileno, None)
        connection.sock.close()
        connection.sock, connection.unsent, connection.shaking = None, None, False
