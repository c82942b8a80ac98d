"""Dumps from a web server or a file: conditions, limits, and what is no dump."""

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from pandatx.clients.cric import DumpAway, Source, fetch
from pandatx.clients.web import Web
from pandatx.domain.dumps import UnreadableDump, names

WEB = Web(reactor)


class Root(Resource):
    """Serves one dump, with an ETag where it has one."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.content = b'{"A": {}}'
        self.tag: bytes | None = None
        self.answers: list[int] = []

    def render_GET(self, request):
        if request.path == b"/silent":
            return NOT_DONE_YET
        if request.path != b"/queues.json":
            request.setResponseCode(404)
        elif self.tag and request.setETag(self.tag):
            pass
        self.answers.append(request.code)
        return b"" if request.code == 304 else self.content


@pytest.fixture
def root() -> Root:
    return Root()


@pytest_twisted.async_yield_fixture
async def address(root):
    port = reactor.listenTCP(0, Site(root), interface="127.0.0.1")
    yield f"http://127.0.0.1:{port.getHost().port}"
    await port.stopListening()


async def test_a_dump_comes_over_http(address):
    assert (await fetch(f"{address}/queues.json", WEB)).content == b'{"A": {}}'


async def test_an_answer_other_than_200_is_no_dump(address):
    with pytest.raises(DumpAway, match="404"):
        await fetch(f"{address}/nothing", WEB)


async def test_a_server_that_is_away_is_named():
    with pytest.raises(DumpAway, match=r"127\.0\.0\.1"):
        await fetch("http://127.0.0.1:1/queues.json", WEB)


async def test_a_server_that_does_not_answer_is_waited_for_only_so_long(address):
    with pytest.raises(DumpAway, match=r"within 0\.2 s"):
        await fetch(f"{address}/silent", Web(reactor, limit=0.2))


async def test_an_answer_that_is_too_large_is_not_taken(address, root, tmp_path):
    root.content = b"x" * 5000
    with pytest.raises(DumpAway, match="larger"):
        await fetch(f"{address}/queues.json", Web(reactor, largest=4999))
    (tmp_path / "dump").write_bytes(root.content)
    with pytest.raises(DumpAway, match="more than 4999"):
        await fetch(str(tmp_path / "dump"), Web(reactor, largest=4999))


@pytest.mark.parametrize("form", ["{}", "file://{}"])
async def test_a_file_may_be_named_by_path_or_address(tmp_path, form):
    path = tmp_path / "queues.json"
    path.write_bytes(b"{}")
    assert (await fetch(form.format(path), WEB)).content == b"{}"


async def test_a_file_that_is_not_there_is_named():
    with pytest.raises(DumpAway, match="/nonexistent/dump: No such file"):
        await fetch("file:///nonexistent/dump", WEB)


async def test_what_has_not_changed_is_neither_sent_nor_read_again(address, root):
    root.tag = b"one"
    reads = []
    source = Source(f"{address}/queues.json", lambda content: reads.append(content) or names(content, "dump"), WEB)
    assert await source.latest() == {"A"}
    assert await source.latest() == {"A"}
    root.tag, root.content = b"two", b'{"B": {}}'
    assert await source.latest() == {"B"}
    assert root.answers == [200, 304, 200]
    assert reads == [b'{"A": {}}', b'{"B": {}}']


async def test_without_validators_the_content_tells_that_nothing_has_changed(address, root):
    first = await fetch(f"{address}/queues.json", WEB)
    assert await fetch(f"{address}/queues.json", WEB, first.tag) is None
    assert root.answers == [200, 200]


async def test_a_dump_that_could_not_be_read_is_asked_for_again(address, root):
    root.tag, root.content = b"one", b"<html>"
    source = Source(f"{address}/queues.json", lambda content: names(content, "dump"), WEB)
    for _ in range(2):
        with pytest.raises(UnreadableDump):
            await source.latest()
    assert root.answers == [200, 200]


async def test_a_file_that_is_as_it_was_is_not_read_again(tmp_path):
    path = tmp_path / "dump"
    path.write_bytes(b"{}")
    first = await fetch(str(path), WEB)
    assert await fetch(str(path), WEB, first.tag) is None
    path.write_bytes(b'{"A": 1}')
    assert (await fetch(str(path), WEB, first.tag)).content == b'{"A": 1}'
