"""Requests as they come over a wire that a test plays: limits of time and size, counters."""

import re
from time import process_time

import pytest
from klein import Klein
from serving import Page
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import capturedLogs

from pandatx.metrics import REQUESTS_REFUSED
from pandatx.net.connections import Connections
from pandatx.net.site import PandaSite, SiteLimits, Watchers


class Wire(StringTransportWithDisconnection):
    aborted = False

    def setTcpNoDelay(self, enabled):
        pass

    def abortConnection(self):
        self.aborted = True
        self.loseConnection()


class Client:
    """One connection to a site, and what came back on it."""

    def __init__(self, site, address="192.0.2.1"):
        self.wire = Wire(peerAddress=IPv4Address("TCP", address, 4000))
        self.channel = site.buildProtocol(self.wire.getPeer())
        if self.channel is not None:
            self.wire.protocol = self.channel
            self.channel.makeConnection(self.wire)

    def send(self, *parts):
        for part in parts:
            self.channel.dataReceived(part)
        return self.wire.value()

    @property
    def status(self):
        found = re.findall(rb"HTTP/1.[01] (\d+)", self.wire.value())
        return [int(status) for status in found]

    @property
    def open(self):
        return self.wire.connected


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines():
    return []


@pytest.fixture
def page():
    return Page()


@pytest.fixture
def site(clock, lines, page):
    limits = SiteLimits(
        header_timeout=30,
        body_timeout=60,
        keep_alive=600,
        body_limit=lambda path: 1000 if path == b"/small" else 1 << 22,
    )
    connections = Connections(limit=3, per_address=2)
    return PandaSite(page, connections, clock, limits, Watchers(access_log=lines.append))


def post(path, body, *headers):
    head = [b"POST %s HTTP/1.1" % path, b"Host: x", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_small_body_stays_in_memory_and_a_large_one_goes_to_disk(site):
    assert Client(site).send(post(b"/x", b"a" * 10)).endswith(b"10 BytesIO")
    assert Client(site).send(post(b"/x", b"a" * 1_500_000)).endswith(b"1500000 BufferedRandom")


def test_a_form_is_left_for_the_resource_to_read(site):
    form = post(b"/x", b"a=1&b=2", b"Content-Type: application/x-www-form-urlencoded")
    assert Client(site).send(form).endswith(b"7 BytesIO")


def test_many_requests_go_over_one_connection(site):
    client = Client(site)
    client.send(GET, GET + GET, post(b"/x", b"abc"))
    assert client.status == [200] * 4
    assert client.open
    assert (site.counters.requests, site.counters.busy) == (4, 0)


def test_each_answer_carries_its_own_request_id(site, lines):
    answers = Client(site).send(GET, GET)
    ids = re.findall(rb"X-Request-Id: (\S+)", answers, re.IGNORECASE)
    assert len(set(ids)) == 2
    assert all(request_id.decode() in text for request_id, text in zip(ids, lines, strict=True))


def test_a_body_that_announces_too_much_is_refused_before_it_comes(site):
    client = Client(site)
    answer = client.send(b"POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
    assert client.status == [413]
    assert b"ERROR : the body is too large: 1001 bytes where 1000 bytes are the limit" in answer
    assert site.counters.requests == 0


def test_a_chunked_body_is_refused_when_it_has_become_too_large(site):
    client = Client(site)
    client.send(b"POST /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"258\r\n" + b"a" * 600 + b"\r\n")
    assert client.status == []
    client.send(b"258\r\n" + b"a" * 600 + b"\r\n0\r\n\r\n")
    assert client.status == [413]
    assert site.counters.requests == 0


@pytest.mark.parametrize(
    ("begin", "status"),
    [
        (b"GET /" + b"a" * 20_000, 414),
        (b"GET /x HTTP/1.1\r\nX: " + b"a" * 20_000, 431),
        (b"GET /x HTTP/1.1\r\n" + b"X: abcdefghijklmnopqrst\r\n" * 700, 431),
        (b"GET /x HTTP/1.1\r\n" + b"X: y\r\n" * 501 + b"\r\n", 431),
        (b"\x16\x03\x01 hello\r\n", 400),
        (b"GET /x\r\n", 400),
        (b"G@T /x HTTP/1.1\r\n", 400),
        (b"GET /x HTTP/9.9\r\n", 400),
        (b"POST /x HTTP/1.1\r\nContent-Length: +3\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nContent-Length : 3\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /x HTTP/1.1\r\nX: a\0b\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused_once_and_nothing_behind_it_is_served(site, clock, lines, begin, status):
    client = Client(site)
    answer = client.send(GET, begin + b"\r\n" + GET + GET)
    assert client.status == [200, status]
    assert b"Connection: close" in answer
    assert len(lines) == 2
    client.send(GET)
    clock.advance(3)
    clock.advance(16)
    assert (client.status, client.open) == ([200, status], False)
    assert site.counters.requests == 1


def test_what_stands_behind_a_refused_request_is_not_looked_at(site):
    begun = process_time()
    for _ in range(10):
        client = Client(site)
        client.send(b"\r\n" * 32_000)
        assert client.status == [400]
        client.wire.loseConnection()
    assert process_time() - begun < 0.3


def test_a_whole_url_is_taken_for_its_path(clock):
    paths = []
    watched = PandaSite(Page(), Connections(9, 9), clock, None, Watchers(finished=lambda path, *_: paths.append(path)))
    for target in (b"http://x:25080/x/y", b"HTTPS://x", b"/x", b"ftp://x/y", b"x"):
        Client(watched).send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert paths == [b"/x/y", b"/", b"/x", b"ftp://x/y", b"x"]


@pytest.mark.parametrize(
    ("head", "stays"),
    [
        (b"HTTP/1.1\r\nHost: x", True),
        (b"HTTP/1.1\r\nHost: x\r\nConnection: close", False),
        (b"HTTP/1.0", False),
    ],
)
def test_a_connection_stays_open_as_the_client_says(site, head, stays):
    client = Client(site)
    client.send(b"GET /x " + head + b"\r\n\r\n")
    assert (client.status, client.open) == ([200], stays)


def test_the_refusal_of_a_v1_call_is_its_envelope(clock):
    small = PandaSite(Page(), Connections(9, 9), clock, SiteLimits(body_limit=lambda path: 1))
    answer = Client(small).send(post(b"/api/v1/job/submit", b"abc"))
    assert b'{"success": false, "message": "the body is too large' in answer


def test_a_refused_client_may_finish_sending_before_the_connection_ends(site, clock):
    client = Client(site)
    client.send(post(b"/small", b"a" * 1001), b"more", GET)
    assert client.status == [413]
    assert client.open
    clock.advance(3)
    assert not client.open


def test_headers_that_drip_are_cut_off_after_their_time_in_all(site, clock):
    client = Client(site)
    client.send(b"POST /x HTTP/1.1\r\n")
    for number in range(29):
        clock.advance(1)
        client.send(b"X-%d: y\r\n" % number)
    assert client.open
    assert client.status == []
    clock.advance(1)
    assert client.status == [408]
    clock.advance(5)
    assert not client.open
    assert site.counters.timed_out == 1


def test_a_connection_that_says_nothing_is_closed_after_the_time_for_headers(site, clock):
    client = Client(site)
    clock.advance(29)
    assert client.open
    clock.advance(1)
    assert not client.open
    assert client.status == []


def test_headers_of_a_later_request_have_a_time_of_their_own(site, clock):
    client = Client(site)
    client.send(GET)
    clock.advance(500)
    client.send(GET[:8])
    clock.advance(29)
    assert client.open
    clock.advance(1)
    assert client.status == [200, 408]


def test_a_connection_may_idle_between_requests_for_the_keep_alive_time(site, clock):
    client = Client(site)
    client.send(GET)
    clock.advance(599)
    client.send(GET)
    assert client.status == [200, 200]
    clock.advance(599)
    assert client.open
    clock.advance(1)
    assert not client.open


def test_a_body_that_stalls_is_cut_off(site, clock):
    client = Client(site)
    client.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
    clock.advance(59)
    assert client.status == []
    clock.advance(2)
    assert client.status == [408]


def test_a_body_that_keeps_coming_gets_more_time(site, clock):
    client = Client(site)
    client.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n")
    for _ in range(100):
        client.send(b"a" * 40_000)
        clock.advance(2)
    assert client.status == [200]


def test_a_client_that_reads_nothing_of_its_answer_is_cut_off(site, clock):
    client = Client(site)
    client.send(GET)
    client.channel.pauseProducing()
    clock.advance(299)
    client.channel.resumeProducing()
    client.send(GET)
    clock.advance(299)
    assert client.open
    before = REQUESTS_REFUSED.labels("answer not read")._value.get()
    client.channel.pauseProducing()
    client.channel.pauseProducing()
    clock.advance(300)
    assert client.wire.aborted
    assert REQUESTS_REFUSED.labels("answer not read")._value.get() == before + 1


def test_a_client_that_leaves_while_it_does_not_read_leaves_no_timer(site, clock):
    client = Client(site)
    client.send(GET)
    client.channel.pauseProducing()
    client.wire.loseConnection()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("begin", "why"),
    [
        (b"POST /x HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n", "too large"),
        (b"GET /x HTTP/1.1\r\n" + b"X-Some: header\r\n" * 502, "long headers"),
        (b"GET /x HTTP/1.1\r\n" + b"X-Some: %s\r\n" % (b"y" * 9000) * 2, "long headers"),
        (b"GET /" + b"x" * 20_000, "long request line"),
        (b"no request\r\n\r\n", "malformed"),
    ],
)
def test_each_refusal_is_counted_by_its_reason(site, begin, why):
    before = REQUESTS_REFUSED.labels(why)._value.get()
    Client(site).send(begin)
    assert REQUESTS_REFUSED.labels(why)._value.get() == before + 1


def test_slow_requests_are_counted(site, clock):
    before = REQUESTS_REFUSED.labels("slow")._value.get()
    Client(site).send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
    clock.advance(61)
    assert REQUESTS_REFUSED.labels("slow")._value.get() == before + 1


def test_limits_of_headers_and_the_rate_of_bodies_can_be_set(clock):
    limits = SiteLimits(header_timeout=30, body_timeout=10, body_rate=1, max_headers=3, max_header_bytes=200)
    site = PandaSite(Page(), Connections(limit=9, per_address=9), clock, limits)
    assert Client(site).send(b"GET /x HTTP/1.1\r\n" + b"A: b\r\n" * 4 + b"\r\n").startswith(b"HTTP/1.1 431 ")
    assert Client(site).send(b"GET /x HTTP/1.1\r\nA: " + b"b" * 300 + b"\r\n\r\n").startswith(b"HTTP/1.1 431 ")
    slow = Client(site)
    slow.send(b"POST /x HTTP/1.1\r\nContent-Length: 30\r\n\r\n")
    for _ in range(30):
        clock.advance(1)
        slow.send(b"a")
    assert slow.status == [200]


def test_no_time_runs_while_a_request_is_answered(site, clock, page):
    client = Client(site)
    client.send(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
    clock.advance(3600)
    assert client.open
    assert site.counters.busy == 1
    page.held[0].finish()
    assert client.status == [200]
    assert site.counters.busy == 0


def test_one_address_may_open_only_so_many_connections(site):
    first, second = Client(site), Client(site)
    assert Client(site).channel is None
    assert Client(site, "192.0.2.2").channel is not None
    first.wire.loseConnection()
    assert Client(site).channel is not None
    assert second.open
    assert (site.counters.refused, site.counters.refused_address) == (1, 1)


def test_an_address_that_opens_too_many_connections_is_named_once_in_the_log(site):
    with capturedLogs() as events:
        clients = [Client(site) for _ in range(5)]
    assert [event["address"] for event in events if "gets no more" in event["log_format"]] == ["192.0.2.1"]
    for client in clients[:2]:
        client.wire.loseConnection()
    with capturedLogs() as events:
        [Client(site) for _ in range(3)]
    assert len([event for event in events if "gets no more" in event["log_format"]]) == 1


def test_at_the_limit_an_idle_connection_makes_room(site):
    idle = Client(site, "192.0.2.1")
    idle.send(GET)
    others = [Client(site, f"192.0.2.{n}") for n in (2, 3)]
    late = Client(site, "192.0.2.4")
    assert late.channel is not None
    assert idle.wire.aborted
    assert len(site.connections) == 3
    assert all(other.open for other in others)


def test_at_the_limit_with_all_busy_the_next_is_refused(site):
    for number in range(3):
        Client(site, f"192.0.2.{number}").send(b"POST /x HTTP/1.1\r\n")
    assert Client(site, "192.0.2.9").channel is None


def test_a_fault_in_a_resource_is_a_plain_500_without_its_text(site):
    answer = Client(site).send(b"GET /boom HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"HTTP/1.1 500" in answer
    assert b"secret" not in answer
    assert b"Traceback" not in answer
    assert site.counters.busy == 0


def test_a_client_that_leaves_before_its_answer_is_counted_and_logged(site, lines):
    client = Client(site)
    client.send(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
    client.wire.loseConnection()
    assert (site.counters.busy, site.counters.lost) == (0, 1)
    assert '"GET /hold HTTP/1.1" 499 ' in lines[0]


def test_drained_connections_finish_what_they_have_begun(site, page):
    idle, busy, new = Client(site, "1.1.1.1"), Client(site, "1.1.1.2"), Client(site, "1.1.1.3")
    idle.send(GET)
    busy.send(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
    ended = site.connections.all_closed()
    site.connections.drain()
    assert not idle.open
    assert busy.open
    assert new.open
    new.send(GET)
    assert new.status == [200]
    assert b"Connection: close" in new.wire.value()
    assert not new.open
    assert not ended.called
    page.held[0].finish()
    assert busy.status == [200]
    assert b"Connection: close" in busy.wire.value()
    assert ended.called


def test_a_drained_connection_in_the_middle_of_its_headers_or_body_is_served(site):
    headers, body = Client(site, "1.1.1.1"), Client(site, "1.1.1.2")
    headers.send(GET)
    headers.send(GET[:12])
    body.send(post(b"/x", b"abcdef")[:-3])
    site.connections.drain()
    headers.send(GET[12:])
    body.send(b"def")
    assert headers.status == [200, 200]
    assert body.status == [200]
    assert not headers.open
    assert not body.open


def test_a_klein_application_is_served_and_its_request_id_is_the_logged_one(clock, lines):
    app = Klein()

    @app.route("/api/<name>/<method>", methods=["POST"])
    def answer(request, name, method):
        request.setHeader(b"x-request-id", b"mine-1")
        return f"{name} {method} {request.content.read().decode()}"

    site = PandaSite(app.resource(), Connections(9, 9), clock, None, Watchers(access_log=lines.append))
    client = Client(site)
    assert client.send(post(b"/api/pilot%20x/acquire_jobs?a=1", b"body")).endswith(
        b"pilot x acquire_jobs body\r\n0\r\n\r\n"
    )
    client.send(GET)
    assert client.status == [200, 404]
    assert " mine-1 " in lines[0]


@pytest.mark.parametrize("expects", [(), (b"Expect: 100-continue",)])
def test_a_body_for_which_no_file_can_be_opened_is_refused_in_words(site, monkeypatch, lines, expects):
    def too_many(length):
        raise OSError(24, "Too many open files")

    client = Client(site)
    with monkeypatch.context() as patch:
        patch.setattr(site, "getContentFile", too_many)
        answer = client.send(post(b"/api/v1/x", b"a" * 1_500_000, *expects))
    assert client.status == [503]
    assert b'"no room for the body of this request"' in answer
    assert client.wire.connected and len(lines) == 1
    assert Client(site).send(post(b"/x", b"a" * 1_500_000)).endswith(b"1500000 BufferedRandom")
