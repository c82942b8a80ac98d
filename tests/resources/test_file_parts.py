"""What a Range header is given, and files that change while they are sent."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from sites import Site, site_of
from twisted.web.client import ResponseFailed

from pandatx.resources.file_parts import MOST_PARTS, FileParts
from pandatx.resources.static import Cache

CONTENT = b"0123456789"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "a.log").write_bytes(CONTENT)
    (tmp_path / "empty").write_bytes(b"")
    return tmp_path / "a.log"


@pytest.fixture
def site(log: Path) -> Site:
    return site_of(trees={b"cache": Cache(log.parent, log.parent, lambda name: None)})


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=0-3", 206, b"0123"), ("bytes=8-", 206, b"89"), ("bytes=-3", 206, b"789"), ("bytes=-30", 206, CONTENT),
        ("bytes=0-99", 206, CONTENT), ("bytes=0-" + "9" * 30, 206, CONTENT), ("Bytes = 1-1 ,", 206, b"1"),
        ("bytes=10-", 416, b""), ("bytes=" + "9" * 30 + "-", 416, b""), ("bytes=-0", 416, b""),
        ("bytes=10-,11-12", 416, b""),
        ("bytes=5-2", 200, CONTENT), ("lines=1-2", 200, CONTENT), ("bytes=x", 200, CONTENT), ("bytes=", 200, CONTENT),
        ("bytes=,", 200, CONTENT), ("bytes=\xff", 200, CONTENT), ("bytes=-", 200, CONTENT), ("", 200, CONTENT),
        ("bytes=+1-2", 200, CONTENT), ("bytes=1_0-", 200, CONTENT), ("bytes=" + "9" * 5000 + "-", 200, CONTENT),
    ],
)  # fmt: skip
async def test_one_part_is_given_where_there_is_such_a_part(site: Site, asked: str, status: int, body: bytes) -> None:
    answer = await site.get("/cache/a.log", range=asked)
    assert (answer.status, answer.body) == (status, body)
    assert (answer.header("content-range") == "bytes */10") == (status == 416)
    assert answer.header("accept-ranges") == "bytes"


async def test_several_parts_are_given_in_the_order_of_the_asking(site: Site) -> None:
    answer = await site.get("/cache/a.log", range="bytes=8-9,0-1,20-30")
    kind, _, boundary = (answer.header("content-type") or "").partition("; boundary=")
    assert (answer.status, kind) == (206, "multipart/byteranges")
    parts = answer.body.split(b"\r\n--" + boundary.encode())
    assert [part.partition(b"\r\n\r\n")[2] for part in parts] == [b"", b"89", b"01", b""]
    assert b"content-range: bytes 8-9/10" in parts[1]


@pytest.mark.parametrize("asked", ["bytes=" + "0-0," * MOST_PARTS + "1-1", "bytes=0-,0-", "bytes=0-7,5-"])
async def test_more_than_the_file_or_very_many_parts_are_the_file(site: Site, asked: str) -> None:
    answer = await site.get("/cache/a.log", range=asked)
    assert (answer.status, answer.body) == (200, CONTENT)


async def test_a_head_has_no_parts_and_an_empty_file_is_a_file(site: Site) -> None:
    head = await site.ask("HEAD", "/cache/a.log", {"range": "bytes=0-1"})
    assert (head.status, head.header("content-length")) == (200, "10")
    assert (await site.get("/cache/empty")).body == b""
    assert (await site.get("/cache/empty", range="bytes=0-")).status == 416


@pytest.mark.parametrize("asked", [{}, {"range": "bytes=0-4,6-"}, {"range": "bytes=2-"}])
async def test_what_is_added_meanwhile_is_no_part_of_the_answer(
    site: Site, log: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str]
) -> None:
    start = FileParts.start
    requests: list[Any] = []
    lengths: list[str] = []

    def added(parts: FileParts, request: Any) -> None:
        with log.open("ab") as file:
            file.write(b"HTTP/1.1 200 OK\r\n\r\n")
        requests.append(request)
        lengths.append(request.responseHeaders.getRawHeaders("content-length")[0])
        start(parts, request)

    monkeypatch.setattr(FileParts, "start", added)
    answer = await site.get("/cache/a.log", **asked)
    assert requests[0].sentLength == int(lengths[0]) == len(answer.body)
    assert b"HTTP" not in answer.body


@pytest.mark.parametrize("asked", [{}, {"range": "bytes=0-4,6-"}, {"range": "bytes=2-"}])
async def test_an_answer_whose_file_is_cut_off_breaks_off(
    site: Site, log: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, str]
) -> None:
    start = FileParts.start

    def cut(parts: FileParts, request: Any) -> None:
        os.truncate(log, 3)
        start(parts, request)

    monkeypatch.setattr(FileParts, "start", cut)
    with pytest.raises(ResponseFailed):
        await site.get("/cache/a.log", **asked)


@pytest.mark.parametrize(("number", "status"), [(errno.EMFILE, 503), (errno.EIO, 503), (errno.EACCES, 404)])
async def test_a_server_without_descriptors_says_no_file_is_gone(
    site: Site, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    def none_left(*args: Any, **kwargs: Any) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("pandatx.resources.static.os.open", none_left)
        answer = await site.get("/cache/a.log")
        assert (await site.get("/cache/schedconfig/a.all.json")).status == status
    assert (answer.status, answer.header("cache-control")) == (status, "no-store")
    assert answer.header("retry-after") == ("30" if status == 503 else None)
