"""Files in the caches of other servers, taken piece by piece over HTTPS."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol
from urllib.parse import quote

from attrs import define, frozen
from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from pandatx.clients.sandboxes import HostAway
from pandatx.clients.web import Away, Web
from pandatx.domain.file_requests import MARK

CONNECT: Final = 20.0
QUIET: Final = 60.0
"""Seconds without a byte after which a host counts as away."""
SLOWEST: Final = 16 << 10
"""Bytes a second that must come, but for the first minute: whoever gives less keeps others waiting."""
_TARGET: Final = "cache nodes"


@frozen(kw_only=True)
class Head:
    """What is known of a file before its bytes: how many, and when it was changed, Unix time."""

    size: int | None
    changed: float | None


class Missing(Exception):
    """The host has no such file."""


class Taker(Protocol):
    """Takes a file. ``flow`` is told to stop and to go on; it is set before the first bytes come."""

    flow: Any = None

    def begin(self, head: Head) -> None:
        """The file is there, and its bytes come next."""

    def take(self, data: bytes) -> None:
        """The next bytes."""


@define(eq=False)
class CacheNodes:
    """Asks the hosts that have the files, at the ``port`` that URLs name, and says that it is ``host`` who asks."""

    _web: Web
    _reactor: Any
    _port: int
    _host: str

    async def fetch(self, host: str, name: str, taker: Taker) -> None:
        """Have a file of a host taken; ends with its last byte. Raises Missing, HostAway."""
        url = f"https://{host}:{self._port}/cache/{quote(name, safe='')}"
        try:
            answer = await self._web.opened(url, _TARGET, {MARK: self._host}, CONNECT)
        except Away as fault:
            raise HostAway(str(fault)) from fault
        if answer.code != 200:
            answer.deliverBody(_Unread())
            if answer.code in (404, 410):
                raise Missing
            raise HostAway(f"{host} answers {answer.code}")
        body = _Body(self._reactor, taker, _head(answer))
        answer.deliverBody(body)
        await body.over


class _Unread(protocol.Protocol):
    """Does not wait for what an answer says beside its status."""

    def connectionMade(self) -> None:
        _do(self.transport, "loseConnection")


class _Body(protocol.Protocol):
    """Hands the bytes of an answer on; ends one that does not come any more."""

    def __init__(self, reactor: Any, taker: Taker, head: Head) -> None:
        self.over: Deferred[None] = Deferred()
        self._reactor = reactor
        self._taker = taker
        self._head = head
        self._came = 0
        self._began = reactor.seconds()
        self._deadline: Any = None

    def connectionMade(self) -> None:
        self._watch()
        self._taker.flow = self
        self._taker.begin(self._head)

    def dataReceived(self, data: bytes) -> None:
        if self.over.called:  # it ends when the other side has understood
            return
        self._watch()
        self._came += len(data)
        if self._came < SLOWEST * (self._reactor.seconds() - self._began - QUIET):
            self.stop(f"less than {SLOWEST} bytes a second")
        else:
            self._taker.take(data)

    def pause(self) -> None:
        """Wait: the disk is slower."""
        self._unwatch()
        _do(self.transport, "pauseProducing")

    def resume(self) -> None:
        """Go on."""
        if not self.over.called:
            self._watch()
            _do(self.transport, "resumeProducing")

    def stop(self, why: str) -> None:
        """The rest is not wanted."""
        self._end(HostAway(why))
        _do(self.transport, "stopProducing")  # loseConnection would wait for a word of the other side

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not isinstance(reason.value, ResponseDone):
            self._end(HostAway(f"the answer breaks off: {reason.getErrorMessage()}"))
        elif self._head.size is not None and self._came != self._head.size:
            self._end(HostAway(f"{self._came} bytes came of {self._head.size}"))
        else:
            self._end(None)

    def _watch(self) -> None:
        self._unwatch()
        self._deadline = self._reactor.callLater(QUIET, self.stop, f"no byte within {QUIET:g} s")

    def _unwatch(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _end(self, fault: HostAway | None) -> None:
        self._unwatch()
        if self.over.called:
            return
        if fault is None:
            self.over.callback(None)
        else:
            self.over.errback(fault)


def _do(transport: Any, what: str) -> None:
    """What of a transport is there for a body, and as long as it is."""
    act = getattr(transport, what, None)
    if act is not None:
        act()


def _head(answer: Any) -> Head:
    length = answer.length if type(answer.length) is int else None
    told = answer.headers.getRawHeaders("last-modified")
    try:
        changed = parsedate_to_datetime(told[0]).timestamp() if told else None
    except (ValueError, TypeError, OverflowError):
        changed = None
    return Head(size=length, changed=changed)
