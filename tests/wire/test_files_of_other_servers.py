"""Sandboxes that another server has: asked for here, fetched from there, passed on while they come (issue 5)."""

from __future__ import annotations

import errno
import http.client
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define
from real import Real
from sites import USER
from test_files import Away
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

sys.path.insert(0, str(Path(__file__).parent.parent / "net"))

from serving import listeners, until

from pandatx.clients.cache_nodes import CacheNodes
from pandatx.clients.sandboxes import Sandboxes
from pandatx.clients.web import Web
from pandatx.identity import authority
from pandatx.services.growing_files import Growing
from pandatx.services.sandboxes_elsewhere import LOOKUPS_AT_ONCE, MOST_FETCHES

MIB = 1 << 20
NAME = "sources.1.tar.gz"
PATH = f"/cache/{NAME}"
CHANGED = "Wed, 21 Oct 2026 07:28:00 GMT"


class OtherNode(Resource):
    """Another server's cache: it gives its file in two halves, the second when the test says so."""

    isLeaf = True

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content
        self.asked: list[tuple[bytes, bytes | None]] = []
        self.waiting: list[Any] = []
        self.touched: list[bytes] = []
        self.at_once = True
        self.code = 200

    def render_POST(self, request: Any) -> Any:
        assert request.path == b"/api/v1/file_server/touch_cache_file"
        self.touched.append(request.content.read())
        return b'{"success": true, "message": "", "data": null}'

    def render_GET(self, request: Any) -> Any:
        self.asked.append((request.path, request.getHeader(b"x-panda-cache-node")))
        request.setResponseCode(self.code)
        if self.code != 200:
            return b"no"
        request.setHeader("content-length", str(len(self.content)))
        request.setHeader("last-modified", CHANGED)
        if self.at_once:
            return self.content
        request.write(self.content[: len(self.content) // 2])
        self.waiting.append(request)
        return NOT_DONE_YET

    def go_on(self) -> None:
        for request in self.waiting:
            request.write(self.content[len(self.content) // 2 :])
            request.finish()
        self.waiting = []

    def break_off(self) -> None:
        for request in self.waiting:
            request.transport.abortConnection()
        self.waiting = []


@define
class Nodes:
    """This server, and another one."""

    real: Real
    other: OtherNode
    port: int
    cache: Path

    def place(self, *hosts: str, name: str = NAME) -> None:
        for host in hosts:
            self.real.run(
                "INSERT INTO usercacheusage (username, filename, hostname, creationtime, filesize)"
                " VALUES ('joe', %s, %s, now() AT TIME ZONE 'UTC', 5)",
                name,
                host,
            )

    @property
    def left(self) -> list[str]:
        return [each.name for each in (*self.cache.iterdir(), *(self.cache / ".incoming").glob("*"))]

    def open(self, path: str = PATH, verb: str = "GET", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(verb, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse()

    async def ask(self, path: str = PATH, verb: str = "GET", **headers: str) -> tuple[int, bytes, Any]:
        def work() -> tuple[int, bytes, Any]:
            answer = self.open(path, verb, **headers)
            return answer.status, answer.read(), answer.headers

        return await deferToThread(work)


@pytest_twisted.async_yield_fixture
async def nodes(real: Real, tmp_path: Path) -> AsyncIterator[Nodes]:
    ca = authority.make_authority("/CN=ca", datetime.now(UTC))
    host = authority.make_host(ca, ["localhost"], datetime.now(UTC))
    context = ssl.PrivateCertificate.loadPEM(host.cert_pem() + host.key_pem()).options()
    other = OtherNode(os.urandom(3 * MIB))
    there = reactor.listenSSL(0, Site(other), context, interface="127.0.0.1")
    (tmp_path / "other.pem").write_bytes(ca.cert_pem())
    files = real.core.files
    files.book.host, files.book.own_hosts = "here.example", frozenset(("here.example",))
    web = Web(reactor, tmp_path / "other.pem")
    files.elsewhere._nodes = CacheNodes(web, reactor, there.getHost().port, "here.example")
    files.elsewhere._peers = Sandboxes(web, there.getHost().port)
    (tmp_path / "net" / "state").mkdir(parents=True)
    (tmp_path / "cache").mkdir(exist_ok=True)
    here = listeners(tmp_path / "net", real.root)
    here.bind()
    here.startService()
    yield Nodes(real, other, here.numbers["http"], tmp_path / "cache")
    other.break_off()
    await here.stopService()
    await there.stopListening()


async def test_it_is_fetched_passed_on_and_kept(nodes: Nodes) -> None:
    nodes.place("localhost")
    status, body, headers = await nodes.ask()
    assert (status, body) == (200, nodes.other.content)
    assert headers["content-length"] == str(3 * MIB)
    assert headers["last-modified"] == CHANGED
    assert headers["cache-control"] == "public, max-age=86400"
    assert headers["x-content-type-options"] == "nosniff"
    await until(lambda: nodes.left == [".incoming", NAME] or nodes.left == [NAME, ".incoming"])
    assert (nodes.cache / NAME).read_bytes() == nodes.other.content
    assert (await nodes.ask())[2]["last-modified"] == CHANGED, "it is cleaned away when the original is"
    assert nodes.other.asked == [(PATH.encode(), b"here.example")]


async def test_it_is_passed_on_while_it_comes_and_fetched_once_for_all_who_ask(nodes: Nodes) -> None:
    nodes.place("localhost")
    nodes.other.at_once = False
    answers = await gatherResults([deferToThread(nodes.open) for _ in range(3)])
    halves = await gatherResults([deferToThread(answer.read, 3 * MIB // 2) for answer in answers])
    assert all(half == nodes.other.content[: 3 * MIB // 2] for half in halves)
    nodes.other.go_on()
    rests = await gatherResults([deferToThread(answer.read) for answer in answers])
    assert all(half + rest == nodes.other.content for half, rest in zip(halves, rests, strict=True))
    assert len(nodes.other.asked) == 1


async def test_who_asks_for_another_server_is_told_the_truth(nodes: Nodes) -> None:
    nodes.place("localhost")
    assert (await nodes.ask(x_panda_cache_node="there.example"))[0] == 404
    assert nodes.other.asked == []


async def test_a_host_that_has_it_not_leads_to_the_next_and_then_to_404(nodes: Nodes) -> None:
    nodes.place("nowhere.invalid", "localhost", "a/b", "localhost.localdomain")
    nodes.other.code = 404
    status, _, headers = await nodes.ask()
    assert status == 503, "of the first nothing is known"
    assert headers["retry-after"] == "30"
    nodes.real.run("DELETE FROM usercacheusage WHERE hostname = 'nowhere.invalid'")
    status, _, headers = await nodes.ask()
    assert (status, headers["cache-control"]) == (404, "no-store")
    nodes.other.code = 500
    assert (await nodes.ask())[0] == 503
    nodes.other.code = 200
    nodes.place("nowhere.invalid")
    assert (await nodes.ask())[0] == 200
    assert await nodes.ask(path="/cache/sources.2") is not None


async def test_what_no_host_has_or_what_is_no_sandbox_is_not_asked_for(nodes: Nodes) -> None:
    nodes.place("here.example")
    nodes.place("localhost", name="hpo_cp_1_2")
    for path in (PATH, "/cache/sources.2", "/cache/hpo_cp_1_2", "/cache/.x", "/cache/jedilog/x", "/cache/a%20b"):
        assert (await nodes.ask(path))[0] == 404
    assert nodes.other.asked == []


async def test_an_answer_that_breaks_off_is_seen_to_and_leaves_nothing(nodes: Nodes) -> None:
    nodes.place("localhost")
    nodes.other.at_once = False
    answer = await deferToThread(nodes.open)
    await deferToThread(answer.read, MIB)
    nodes.other.break_off()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        await deferToThread(answer.read)
    await until(lambda: nodes.left in ([], [".incoming"]))
    nodes.other.at_once = True
    assert (await nodes.ask())[0] == 200, "the next one who asks has it"


async def test_a_client_that_goes_stops_nobody_else(nodes: Nodes) -> None:
    nodes.place("localhost")
    nodes.other.at_once = False
    first, second = await gatherResults([deferToThread(nodes.open) for _ in range(2)])
    await deferToThread(first.read, 1000)
    first.close()
    nodes.other.go_on()
    assert await deferToThread(second.read) == nodes.other.content


async def test_a_client_that_goes_before_its_part_is_there_breaks_nothing(nodes: Nodes) -> None:
    nodes.place("localhost")
    nodes.other.at_once = False

    def ask_and_go() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", nodes.port, timeout=30)
        connection.request("GET", PATH, headers={"range": "bytes=1-2"})
        connection.close()

    with capturedLogs() as events:
        await deferToThread(ask_and_go)
        await until(lambda: nodes.other.waiting)
        nodes.other.go_on()
        await until(lambda: nodes.left in ([".incoming", NAME], [NAME, ".incoming"]))
    assert [event for event in events if "log_failure" in event] == []


async def test_strangers_who_ask_for_what_is_nowhere_cannot_take_the_database(nodes: Nodes) -> None:
    book = nodes.real.core.files.book
    at_once = most = 0
    elsewhere = type(book).elsewhere

    async def counted(self: Any, name: str) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        found = await elsewhere(self, name)
        at_once -= 1
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(book), "elsewhere", counted)
        answers = await gatherResults([Deferred.fromCoroutine(nodes.ask(f"/cache/x{n}")) for n in range(9)])
    assert [status for status, _, _ in answers] == [404] * 9
    assert most <= LOOKUPS_AT_ONCE


async def test_it_is_touched_where_it_lies(nodes: Nodes) -> None:
    async def touch() -> Any:
        body = b'{"file_name": "%s"}' % NAME.encode()
        got = await nodes.real.ask(
            "POST", "/api/v1/file_server/touch_cache_file", body, content_type="application/json"
        )
        return got.json

    nodes.real.caller = USER
    assert not (await touch())["success"]
    nodes.place("localhost")
    assert (await touch())["success"]
    assert nodes.other.touched == [b'{"file_name":"%s"}' % NAME.encode()]
    assert nodes.other.asked == [(PATH.encode(), b"here")], "it is asked whether it has the file itself"
    nodes.other.code = 404
    told = await touch()
    assert (told["success"], told["message"][:22]) == (False, "Failed to touch file w")
    assert len(nodes.other.touched) == 1
    nodes.place("nowhere.invalid")
    assert "nowhere.invalid" in (await touch())["message"]


async def test_heads_and_parts_are_given_too(nodes: Nodes) -> None:
    nodes.place("localhost")
    status, body, headers = await nodes.ask(verb="HEAD")
    assert (status, body, headers["content-length"]) == (200, b"", str(3 * MIB))
    await until(lambda: (nodes.cache / NAME).exists() and not nodes.real.core.files.elsewhere._fetches)
    (nodes.cache / NAME).unlink()
    status, body, headers = await nodes.ask(range="bytes=10-19")
    assert (status, body) == (206, nodes.other.content[10:20])
    assert headers["content-range"] == f"bytes 10-19/{3 * MIB}"
    assert (await nodes.ask(verb="POST"))[1] == nodes.other.content


async def test_without_a_database_nobody_says_that_a_file_is_gone(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = nodes.real.core.files.book
    monkeypatch.setattr(book, "_database", Away(book._database))
    (nodes.cache / "sources.here").write_bytes(b"here")
    assert (await nodes.ask("/cache/sources.here"))[1] == b"here"
    assert (await nodes.ask())[0] == 503


async def test_a_disk_that_is_full_keeps_no_part_of_a_file_under_its_name(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.place("localhost")
    nodes.other.content = os.urandom(200_000)
    written = Growing._append

    def full(growing: Growing, data: bytes) -> None:
        written(growing, data[:1000])
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Growing, "_append", full)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        await nodes.ask()
    status, _, headers = await nodes.ask(range="bytes=1-2")
    assert (status, headers["retry-after"]) == (503, "30")
    await until(lambda: nodes.left == [".incoming"])
    monkeypatch.undo()
    assert (await nodes.ask())[1] == nodes.other.content


async def test_a_part_of_a_file_that_breaks_off_can_be_asked_for_again(nodes: Nodes) -> None:
    nodes.place("localhost")
    nodes.other.at_once = False
    with capturedLogs() as events:
        asking = deferToThread(nodes.open, PATH, range="bytes=1-2")
        await until(lambda: any(each.growing._written for each in nodes.real.core.files.elsewhere._fetches.values()))
        nodes.other.break_off()
        answer = await asking
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    assert [event for event in events if "log_failure" in event] == []


async def test_a_file_that_its_owner_may_change_is_passed_on_and_not_kept(nodes: Nodes) -> None:
    name = "jobO.1.__ow__"
    nodes.place("localhost", name=name)
    assert (await nodes.ask(f"/cache/{name}"))[1] == nodes.other.content
    nodes.other.content = b"changed there"
    assert (await nodes.ask(f"/cache/{name}"))[1] == b"changed there"
    assert (await nodes.ask(f"/cache/{name}", range="bytes=1-2"))[:2] == (200, b"changed there")
    await until(lambda: nodes.left == [".incoming"])


async def test_who_asks_for_very_many_names_is_told_to_come_again(nodes: Nodes) -> None:
    elsewhere = nodes.real.core.files.elsewhere
    elsewhere._fetches.update((f"x{n}", object()) for n in range(MOST_FETCHES))
    status, _, headers = await nodes.ask("/cache/sources.2")
    assert (status, headers["retry-after"]) == (503, "5")
    elsewhere._fetches.clear()
    assert (await nodes.ask("/cache/sources.2"))[0] == 404


async def test_a_lookup_that_goes_wrong_does_not_say_that_there_is_no_file(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(self: Any, name: str) -> Any:
        raise LookupError("a bug")

    monkeypatch.setattr(type(nodes.real.core.files.book), "elsewhere", wrong)
    assert (await nodes.ask())[0] == 503
