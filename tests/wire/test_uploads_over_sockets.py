"""Uploads through real connections: to the disk as they come, at the pace of the disk, and whole or not at all."""

from __future__ import annotations

import gzip
import http.client
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import frozen
from real import Real
from sites import ANYBODY, USER
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

sys.path.insert(0, str(Path(__file__).parent.parent / "net"))

from serving import CA, client_context, listeners, until

from pandatx.clients.sandboxes import Sandboxes
from pandatx.clients.web import Web
from pandatx.resources import multipart_parts
from pandatx.resources.bodies import PIECE
from pandatx.resources.multipart_files import MOST_WAITING, Sink, UploadRoom

PATH = "/api/v1/file_server/upload_cache_file"
MIB = 1 << 20


@frozen
class Served:
    """A server on loopback."""

    real: Real
    port: int
    context: ssl.SSLContext
    cache: Path

    @property
    def incoming(self) -> list[Path]:
        folder = self.cache / ".incoming"
        return list(folder.iterdir()) if folder.exists() else []

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return self.context.wrap_socket(plain, server_hostname="localhost")

    def post(self, name: str, content: bytes, **headers: str) -> tuple[int, bytes]:
        return self.post_body(form(name, content), **headers)

    def post_body(self, body: Any, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=60, context=self.context)
        named = {"Content-Type": "multipart/form-data; boundary=b"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        connection.request("POST", PATH, body, named, encode_chunked=named.get("Transfer-Encoding") == "chunked")
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found


def form(name: str, content: bytes) -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n--b--\r\n"


@pytest_twisted.async_yield_fixture
async def served(real: Real, tmp_path: Path) -> AsyncIterator[Served]:
    net = tmp_path / "net"
    (net / "state").mkdir(parents=True)
    real.caller = USER
    made = listeners(net, real.root, body_limit=real.root.body_limit)
    made.bind()
    made.startService()
    yield Served(real, made.numbers["https"], client_context(net), tmp_path / "cache")
    await made.stopService()


async def test_a_large_file_comes_through_unharmed(served: Served) -> None:
    content = os.urandom(24 * MIB + 12345)
    status, answer = await deferToThread(served.post, "sources.1.tar.gz", content)
    assert (status, answer) == (200, b'{"success":true,"message":"","data":null}')
    assert (served.cache / "sources.1.tar.gz").read_bytes() == content
    assert served.incoming == []


async def test_a_client_waits_for_a_disk_that_is_slower(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    write = Sink.write

    def watched(sink: Sink, data: bytes) -> None:
        nonlocal most
        write(sink, data)
        most = max(most, sink._waiting)

    async def slowly(work: Any) -> Any:
        await deferLater(reactor, 0.02)
        return await deferToThread(work)

    monkeypatch.setattr(Sink, "write", watched)
    edge = served.real.root._edge
    monkeypatch.setattr(edge, "_uploads", UploadRoom(served.cache / ".incoming", slowly))
    content = os.urandom(16 * MIB)
    status, _ = await deferToThread(served.post, "sources.1.tar.gz", content)
    assert status == 200
    assert (served.cache / "sources.1.tar.gz").read_bytes() == content
    assert PIECE < most <= MOST_WAITING + (64 << 10)


async def test_nothing_stays_of_a_file_whose_client_goes(served: Served) -> None:
    def begin() -> ssl.SSLSocket:
        client = served.connect()
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        client.sendall(f"{head}Content-Length: {9 * MIB}\r\n\r\n".encode() + form("x", os.urandom(2 * MIB))[: 2 * MIB])
        return client

    client = await deferToThread(begin)
    await until(lambda: served.incoming and served.incoming[0].stat().st_size > MIB)
    await deferToThread(client.close)
    await until(lambda: served.incoming == [])
    assert not (served.cache / "x").exists()


async def test_nothing_is_ever_kept_of_what_strangers_send(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real_file = multipart_parts._File
    monkeypatch.setattr(multipart_parts, "_File", lambda *args: made.append(args) or real_file(*args))
    served.real.caller = ANYBODY
    status, answer = await deferToThread(served.post, "sources.1.tar.gz", os.urandom(8 * MIB))
    assert (status, b"SSL secure connection is required" in answer) == (200, True)
    assert made == []


async def test_a_body_may_come_in_chunks_or_compressed_or_after_a_question(served: Served) -> None:
    content = os.urandom(3 * MIB)
    body = form("jobO.1", content)

    def pieces() -> Any:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    status, answer = await deferToThread(lambda: served.post_body(pieces(), Transfer_Encoding="chunked"))
    assert (status, b"true" in answer) == (200, True)
    packed = gzip.compress(form("jobO.2", content))
    assert b"true" in (await deferToThread(lambda: served.post_body(packed)))[1]
    packed = gzip.compress(form("jobO.3", content))
    assert b"true" in (await deferToThread(lambda: served.post_body(packed, Content_Encoding="gzip")))[1]
    assert b"true" in (await deferToThread(_with_question, served, form("jobO.4", content)))
    for name in ("jobO.1", "jobO.2", "jobO.3", "jobO.4"):
        assert (served.cache / name).read_bytes() == content


def _with_question(served: Served, body: bytes) -> bytes:
    """As curl does with long bodies."""
    client = served.connect()
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nConnection: close\r\n"
    client.sendall(f"{head}Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
    client.sendall(body)
    answer = b""
    while piece := client.recv(65536):
        answer += piece
    client.close()
    return answer


async def test_what_is_larger_than_any_file_is_refused_before_its_body(served: Served) -> None:
    def ask() -> bytes:
        client = served.connect()
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        client.sendall(f"{head}Content-Length: {900 * MIB}\r\n\r\n".encode())
        answer: bytes = client.recv(65536)
        client.close()
        return answer

    answer = await deferToThread(ask)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"the body is too large" in answer


async def test_two_files_on_one_connection_are_two_files(served: Served) -> None:
    def both() -> list[bytes]:
        connection = http.client.HTTPSConnection("localhost", served.port, timeout=60, context=served.context)
        found = []
        for name in ("jobO.1", "jobO.2"):
            headers = {"Content-Type": "multipart/form-data; boundary=b"}
            connection.request("POST", PATH, form(name, name.encode() * MIB), headers)
            found.append(connection.getresponse().read())
        connection.close()
        return found

    assert [b"true" in answer for answer in await deferToThread(both)] == [True, True]
    assert (served.cache / "jobO.2").read_bytes() == b"jobO.2" * MIB


async def test_many_at_once_are_all_taken(served: Served) -> None:
    contents = {f"jobO.{n}": os.urandom(2 * MIB) for n in range(8)}
    asked: list[Deferred[Any]] = [deferToThread(served.post, name, content) for name, content in contents.items()]
    for each in asked:
        assert b"true" in (await each)[1]
    assert {name: (served.cache / name).read_bytes() for name in contents} == contents


async def test_copyarchive_of_another_server_finds_and_touches_what_is_here(served: Served, tmp_path: Path) -> None:
    (tmp_path / "authority.pem").write_bytes(CA.cert_pem())
    there = Sandboxes(Web(reactor, tmp_path / "authority.pem"), served.port)
    served.cache.mkdir()
    (served.cache / "sources.1").write_bytes(b"x")
    os.utime(served.cache / "sources.1", (0, 0))
    assert await there.exists("localhost", "sources.1")
    assert await there.touch("localhost", "sources.1")
    assert (served.cache / "sources.1").stat().st_mtime > 1
    assert not await there.exists("localhost", "sources.2")
    assert not await there.touch("localhost", "sources.2")
    served.real.caller = ANYBODY
    assert not await there.touch("localhost", "sources.1"), "it must come with a certificate"


async def test_every_path_that_takes_files_has_room_for_its_largest(served: Served) -> None:
    limit = served.real.root.body_limit
    for path in (PATH, "/server/panda/putFile"):
        assert limit(path.encode()) == 770 * MIB
    assert limit(b"/file_server/upload_hpo_checkpoint") == limit(b"/server/panda/put_checkpoint") == 502 * MIB
    assert limit(b"/server/panda/uploadLog") == 102 * MIB
    assert limit(b"/server/panda/touchFile") == 64 * MIB


def _raw(served: Served, sent: bytes, then: bytes = b"") -> bytes:
    """What is answered to bytes as they are; ``then`` comes behind the first of the answer."""
    client = served.connect()
    client.sendall(sent)
    answer = b""
    while piece := client.recv(65536):
        answer += piece
        if then:
            client.sendall(then)
            then = b""
    client.close()
    return answer


_HEAD = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nConnection: close\r\n"


async def test_chunks_may_end_with_trailers_and_bad_ones_leave_nothing(served: Served) -> None:
    body = form("jobO.1", b"content")
    head = f"{_HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"%x\r\n%s\r\n" % (len(body), body)
    assert b'"success":true' in await deferToThread(_raw, served, head + chunk + b"0\r\nX-Sum: 1\r\n\r\n")
    assert (served.cache / "jobO.1").read_bytes() == b"content"
    large = form("jobO.2", os.urandom(MIB))
    chunk = b"%x\r\n%s\r\n" % (len(large), large)
    for bad in (b"x\r\n", b"-1\r\n", b"0\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n"):
        assert (await deferToThread(_raw, served, head + chunk + bad)).startswith(b"HTTP/1.1 400 "), bad[:9]
    await until(lambda: served.incoming == [])
    assert not (served.cache / "jobO.2").exists()


async def test_a_length_that_is_not_that_of_the_form_leaves_nothing(served: Served) -> None:
    body = form("jobO.1", b"content")
    for length in (len(body) - 3, len(body) - 20, 10, 0):
        head = f"{_HEAD}Content-Length: {length}\r\n\r\n".encode()
        answer = await deferToThread(_raw, served, head + body[:length])
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'"success":false' in answer
        assert b"body: bad multipart" in answer
    both = f"{_HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert (await deferToThread(_raw, served, both + body)).startswith(b"HTTP/1.1 400 ")
    assert served.incoming == []
    assert list(served.cache.glob("jobO*")) == []


async def test_of_many_who_send_one_name_at_once_one_has_it(served: Served) -> None:
    contents = [os.urandom(MIB) for _ in range(6)]
    asked: list[Deferred[Any]] = [deferToThread(served.post, "sources.1", content) for content in contents]
    answers = [(await each)[1] for each in asked]
    taken = [content for content, answer in zip(contents, answers, strict=True) if b'"success":true' in answer]
    assert len(taken) == 1
    assert sum(b"ERROR: cannot overwrite file" in answer for answer in answers) == 5
    assert (served.cache / "sources.1").read_bytes() == taken[0]
    assert served.incoming == []


async def test_who_reads_a_file_while_another_takes_its_place_reads_one_of_them(served: Served) -> None:
    first, second = os.urandom(6 * MIB), os.urandom(5 * MIB)
    assert b"true" in (await deferToThread(served.post, "a.__ow__", first))[1]

    def begin() -> Any:
        connection = http.client.HTTPSConnection("localhost", served.port, timeout=60, context=served.context)
        connection.request("GET", "/cache/a.__ow__")
        answer = connection.getresponse()
        return answer, answer.read(1000)

    answer, begun = await deferToThread(begin)
    assert b"true" in (await deferToThread(served.post, "a.__ow__", second))[1]
    assert begun + await deferToThread(answer.read) == first
    answer, begun = await deferToThread(begin)
    assert begun + await deferToThread(answer.read) == second
