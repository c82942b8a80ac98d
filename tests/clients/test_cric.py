"""Dumps from a web server."""

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import Site

from pandatx.clients.cric import DumpAway, fetch


class Root(Resource):
    """Serves one dump."""

    def getChild(self, name: bytes, request) -> Resource:
        return Dump() if name == b"queues.json" else notFound()


class Dump(Resource):
    isLeaf = True

    def render_GET(self, request) -> bytes:
        return b'{"A": {}}'


@pytest_twisted.async_yield_fixture
async def address():
    port = reactor.listenTCP(0, Site(Root()), interface="127.0.0.1")
    yield f"http://127.0.0.1:{port.getHost().port}"
    await port.stopListening()


async def test_a_dump_comes_over_http(address):
    assert await fetch(f"{address}/queues.json", reactor) == b'{"A": {}}'


async def test_an_answer_other_than_200_is_no_dump(address):
    with pytest.raises(DumpAway, match="404"):
        await fetch(f"{address}/nothing", reactor)


async def test_a_server_that_is_away_is_named():
    with pytest.raises(DumpAway, match=r"127\.0\.0\.1"):
        await fetch("http://127.0.0.1:1/queues.json", reactor)


@pytest.mark.parametrize("form", ["{}", "file://{}"])
async def test_a_file_may_be_named_by_path_or_address(tmp_path, form):
    path = tmp_path / "queues.json"
    path.write_bytes(b"{}")
    assert await fetch(form.format(path), reactor) == b"{}"
