"""Files of other servers' caches: what comes too slowly, too long or after its end."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from pandatx.clients.cache_nodes import QUIET, SLOWEST, Head, Taker, _Body
from pandatx.clients.sandboxes import HostAway


class Pieces(Taker):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.refuses = False

    def begin(self, head: Head) -> None:
        if self.refuses:
            self.flow.stop("not wanted")

    def take(self, data: bytes) -> None:
        self.came.append(data)


class Transport:
    """A connection that stays until the other side has understood."""

    stopped = 0

    def stopProducing(self) -> None:
        self.stopped += 1


@pytest.fixture
def time() -> Clock:
    return Clock()


@pytest.fixture
def pieces() -> Pieces:
    return Pieces()


def body_of(time: Clock, pieces: Pieces, size: int | None = None) -> _Body:
    body = _Body(time, pieces, Head(size=size, changed=None))
    body.makeConnection(Transport())
    return body


def fault_of(body: _Body) -> str:
    found: list[Failure] = []
    body.over.addErrback(found.append)
    assert found[0].check(HostAway)
    return str(found[0].value)


def test_a_host_that_says_nothing_is_away(time: Clock, pieces: Pieces) -> None:
    body = body_of(time, pieces)
    time.advance(QUIET - 1)
    body.dataReceived(b"x" * SLOWEST)
    time.advance(QUIET)
    assert fault_of(body) == "no byte within 60 s"
    assert body.transport.stopped == 1
    assert time.getDelayedCalls() == []


def test_a_host_that_gives_a_byte_now_and_then_is_away(time: Clock, pieces: Pieces) -> None:
    body = body_of(time, pieces)
    for _ in range(3):
        time.advance(QUIET / 2 - 1)
        body.dataReceived(b"x")
    assert fault_of(body) == f"less than {SLOWEST} bytes a second"
    assert pieces.came == [b"x", b"x"]


def test_what_comes_behind_the_end_is_passed_over(time: Clock, pieces: Pieces) -> None:
    pieces.refuses = True
    body = body_of(time, pieces)
    body.dataReceived(b"x")
    body.connectionLost(Failure(ResponseDone()))
    assert fault_of(body) == "not wanted"
    assert pieces.came == []
    assert time.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("size", "reason", "fault"),
    [(3, ResponseDone(), "2 bytes came of 3"), (None, ConnectionDone(), "the answer breaks off")],
)
def test_an_answer_that_is_not_whole_is_none(
    time: Clock, pieces: Pieces, size: int | None, reason: Exception, fault: str
) -> None:
    body = body_of(time, pieces, size)
    body.dataReceived(b"xx")
    body.connectionLost(Failure(reason))
    assert fault in fault_of(body)
