"""Sandboxes of other servers, asked for over HTTPS with certificates of a CA that this server trusts."""

import json
from datetime import UTC, datetime

import pytest
import pytest_twisted
from twisted.internet import reactor, ssl
from twisted.web.resource import Resource
from twisted.web.server import Site

from pandatx.clients.sandboxes import HostAway, Sandboxes
from pandatx.clients.web import Web
from pandatx.identity import authority


class Cache(Resource):
    """Has one file, and notes what it is asked to touch."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.touched: list[str] = []

    def render_HEAD(self, request) -> bytes:
        if request.path != b"/cache/sources.a%20b.tar.gz":
            request.setResponseCode(404 if request.path != b"/cache/broken" else 500)
        return b""

    def render_POST(self, request) -> bytes:
        assert request.path == b"/api/v1/file_server/touch_cache_file"
        name = json.loads(request.content.read())["file_name"]
        self.touched.append(name)
        return json.dumps({"success": name == "there", "message": "", "data": None}).encode()


@pytest.fixture
def ca():
    return authority.make_authority("/CN=ca", datetime.now(UTC))


@pytest_twisted.async_yield_fixture
async def served(ca):
    host = authority.make_host(ca, ["localhost"], datetime.now(UTC))
    context = ssl.PrivateCertificate.loadPEM(host.cert_pem() + host.key_pem()).options()
    cache = Cache()
    port = reactor.listenSSL(0, Site(cache), context, interface="127.0.0.1")
    yield cache, port.getHost().port
    await port.stopListening()


@pytest.fixture
def sandboxes(ca, served, tmp_path) -> Sandboxes:
    (tmp_path / "ca.pem").write_bytes(ca.cert_pem())
    return Sandboxes(Web(reactor, tmp_path / "ca.pem"), served[1])


async def test_a_file_is_there_unless_its_host_says_that_it_is_not(sandboxes):
    assert await sandboxes.exists("localhost", "sources.a b.tar.gz")
    assert not await sandboxes.exists("localhost", "sources.c")
    assert await sandboxes.exists("localhost", "broken")


async def test_a_touch_is_done_when_the_answer_says_so(sandboxes, served):
    assert await sandboxes.touch("localhost", "there")
    assert not await sandboxes.touch("localhost", "gone")
    assert served[0].touched == ["there", "gone"]


async def test_a_host_that_is_away_or_that_nobody_vouches_for_is_named(sandboxes, served):
    with pytest.raises(HostAway, match="localhost"):
        await Sandboxes(Web(reactor), served[1]).exists("localhost", "x")
    with pytest.raises(HostAway, match=r"127\.0\.0\.1"):  # its certificate is another host's
        await sandboxes.exists("127.0.0.1", "x")
    with pytest.raises(HostAway, match="localhost"):
        await Sandboxes(Web(reactor), 1).touch("localhost", "x")
