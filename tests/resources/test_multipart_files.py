"""A multipart body on its way to the disk: what is kept of it, and that nothing stays of what is not whole."""

from __future__ import annotations

import gzip
import os
import random
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from pandatx.domain.file_requests import FileRefused, Uploaded
from pandatx.errors import NotSecure, PandaError, TooLarge
from pandatx.resources import multipart_parts
from pandatx.resources.api import Upload
from pandatx.resources.bodies import PIECE, Content, Malformed
from pandatx.resources.multipart_files import MOST_WAITING, Sink
from pandatx.resources.multipart_parts import Parts

BOUNDARY = "xYzZy"
KIND = f"multipart/form-data; boundary={BOUNDARY}".encode()
MOST = 4 << 20


def judge(name: str, size: int) -> None:
    if size > (100 if name.startswith("small") else MOST):
        raise FileRefused(f"too large: {name}")


UPLOAD = Upload(judge, MOST)


def form(*parts: tuple[str, str | None, bytes], end: bytes = b"--\r\n") -> bytes:
    """As clients write it; a part without a file name is a field."""
    pieces = []
    for name, filename, content in parts:
        named = f'; filename="{filename}"' if filename is not None else ""
        pieces.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode())
        pieces += [content, b"\r\n"]
    return b"".join((*pieces, f"--{BOUNDARY}".encode(), end))


def parts(folder: Path, kind: bytes = KIND, deflated: bool = False, announced: int | None = None) -> Parts:
    return Parts(folder, UPLOAD, kind, deflated, announced)


def read(folder: Path, body: bytes, step: int = 1 << 20, **how: Any) -> Content:
    reading = parts(folder, **how)
    for start in range(0, len(body), step):
        reading.feed(body[start : start + step])
    return reading.finish()


def file_of(content: Content) -> Uploaded:
    found: Uploaded = content.values["file"]
    return found


def test_a_file_lies_on_the_disk_and_fields_are_texts(tmp_path: Path) -> None:
    content = read(tmp_path, form(("a", None, b"1"), ("file", "x.tar.gz", b"content!"), ("a", None, "ü".encode())))
    file = file_of(content)
    assert (file.name, file.size, file.tail, file.path.read_bytes()) == ("x.tar.gz", 8, b"content!", b"content!")
    assert content.values["a"] == "1", "the first of a repeated field"
    assert content.as_text


def test_a_part_needs_no_content_type_and_a_file_may_be_empty(tmp_path: Path) -> None:
    file = file_of(read(tmp_path, form(("file", "x", b""))))
    assert (file.size, file.tail, file.path.read_bytes()) == (0, b"", b"")


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=4000), step=st.integers(1, 700), seed=st.integers(0, 99), packed=st.booleans())
def test_however_a_body_is_cut_its_file_is_the_same(content: bytes, step: int, seed: int, packed: bool) -> None:
    noise = random.Random(seed).choice((b"", b"\r\n--xYzZ", b"\r\n--", b"\r", f"--{BOUNDARY}".encode()))
    body = form(("a", None, b"1"), ("file", "x", content + noise))
    with tempfile.TemporaryDirectory() as folder:
        file = file_of(read(Path(folder), gzip.compress(body) if packed else body, step))
        assert file.path.read_bytes() == content + noise
        assert file.tail == (content + noise)[-8:]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (form(("file", "x", b"1234"), end=b""), "bad multipart"),
        (form(("file", "x", b"1234"))[:-30], "bad multipart"),
        (b"", "bad multipart"),
        (b"no form", "bad multipart"),
        (form(("file", "x", b"1"), ("file", "y", b"2")), "more than one file"),
        (form(("a", None, b"x" * 70_000)), "a field is longer"),
        (b"--xYzZy\r\n" + b"a: " + b"x" * 9000 + b"\r\n\r\n", "bad multipart"),
        (form(*[("a", None, b"1")] * 101), "bad multipart"),
    ],
)
def test_what_is_no_whole_form_leaves_nothing(tmp_path: Path, body: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        read(tmp_path, body)
    assert list(tmp_path.iterdir()) == []


def test_a_form_without_a_boundary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="Content-Type: multipart without a boundary"):
        read(tmp_path, b"x", kind=b"multipart/form-data")


def test_a_file_is_refused_as_soon_as_it_is_too_large_for_its_name(tmp_path: Path) -> None:
    reading = parts(tmp_path)
    body = form(("file", "small.x", b"1" * 200))
    reading.feed(body[:150])
    assert len(list(tmp_path.iterdir())) == 1
    reading.feed(body[150:])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileRefused, match="too large: small"):
        reading.finish()


def test_a_body_that_says_that_it_is_too_large_is_not_begun(tmp_path: Path) -> None:
    reading = parts(tmp_path, announced=5000)
    reading.feed(form(("file", "small.x", b"1"))[:-14])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileRefused, match="too large: small"):
        reading.finish()


def test_compressed_bodies_are_inflated_in_pieces_and_no_further_than_they_may(tmp_path: Path) -> None:
    body = form(("file", "x", os.urandom(300_000)))
    for packed, deflated in ((gzip.compress(body), False), (zlib.compress(body), True)):
        file = file_of(read(tmp_path, packed, 1000, deflated=deflated))
        assert file.size == 300_000
    bomb = gzip.compress(form(("file", "x", b"\0" * (3 << 20))))
    with pytest.raises(TooLarge, match="inflates to more than"):
        read(tmp_path, bomb)
    with pytest.raises(Malformed, match="truncated compressed data"):
        read(tmp_path, gzip.compress(body)[:-20])
    with pytest.raises(Malformed, match="bad compressed data"):
        read(tmp_path, b"\x1f\x8b\x08 nothing that inflates")


def test_a_disk_that_takes_nothing_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    with pytest.raises(FileRefused, match="ERROR: cannot write file"):
        read(tmp_path / "plain", form(("file", "x", b"1")))


class Network:
    """The client's side of a sink, and threads that the test lets go on."""

    def __init__(self, folder: Path, fault: PandaError | None = None) -> None:
        self.folder = folder
        self.work: list[tuple[Any, Deferred[Any]]] = []
        self.held = 0
        self.asked = 0
        self.fault = fault
        self.parts = parts(folder)
        self.sink = Sink(self.parts, self.in_thread, self.hold, self.go_on, self.admits)

    def in_thread(self, work: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.work.append((work, done))
        return done

    def go(self) -> bool:
        """One piece of work ends; whether there was one."""
        if not self.work:
            return False
        work, done = self.work.pop(0)
        try:
            done.callback(work())
        except (PandaError, MemoryError) as fault:
            done.errback(fault)
        return True

    def hold(self) -> None:
        self.held += 1

    def go_on(self) -> None:
        self.held -= 1

    async def admits(self) -> PandaError | None:
        self.asked += 1
        return self.fault

    def send(self, body: bytes, step: int = 64 << 10) -> None:
        for start in range(0, len(body), step):
            self.sink.write(body[start : start + step])

    def end(self, work: Any) -> Any:
        """What becomes of it when all threads have done theirs."""
        found: list[Any] = []
        running = Deferred.fromCoroutine(work)
        running.addBoth(found.append)
        while self.go():
            pass
        return found[0]


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path)


def test_little_of_a_body_is_in_memory_since_its_client_waits_for_the_disk(network: Network) -> None:
    body = form(("file", "x", os.urandom(MOST)))
    network.send(body[:PIECE])
    assert (len(network.work), network.held) == (1, 0)
    network.send(body[PIECE : PIECE + MOST_WAITING])
    assert network.held == 1
    network.go()
    assert network.held == 0
    network.send(body[PIECE + MOST_WAITING :])
    content = network.end(network.sink.whole())
    assert file_of(content).size == MOST
    assert (network.held, network.asked) == (0, 1)


def test_a_small_body_is_read_when_it_is_asked_for(network: Network) -> None:
    network.send(form(("file", "x", b"1234")))
    assert network.work == []
    assert file_of(network.end(network.sink.whole())).path.read_bytes() == b"1234"
    network.sink.close()
    assert not network.work, "who has asked for it removes it"
    network.end(network.sink.discard())
    assert list(network.folder.iterdir()) == []


def test_nothing_is_kept_of_what_its_caller_may_not_send(tmp_path: Path) -> None:
    network = Network(tmp_path, NotSecure())
    network.send(form(("file", "x", os.urandom(MOST))))
    while network.go():
        assert list(tmp_path.iterdir()) == []
    found = network.end(network.sink.whole())
    assert isinstance(found.value, NotSecure)


@pytest.mark.parametrize("busy", [True, False])
def test_nothing_stays_when_the_client_goes(network: Network, busy: bool) -> None:
    network.send(form(("file", "x", os.urandom(MOST)))[: PIECE * 3 + 5], 1000)
    network.go()
    if not busy:
        while network.go():
            pass
    assert len(list(network.folder.iterdir())) == 1
    network.sink.close()
    network.sink.write(b"more")
    while network.go():
        pass
    assert list(network.folder.iterdir()) == []


def test_who_asks_for_the_body_of_a_client_that_has_gone_is_told_so(network: Network) -> None:
    network.send(form(("file", "x", b"1234")))
    network.sink.close()
    found = network.end(network.sink.whole())
    assert "the client has gone" in str(found.value)
    network.end(network.sink.discard())
    assert list(network.folder.iterdir()) == []


def test_it_behaves_like_the_file_that_twisted_takes_it_for(network: Network) -> None:
    network.sink.write(b"1234")
    assert (network.sink.tell(), network.sink.seek(0, 0), network.sink.read()) == (4, 0, b"")


def test_a_piece_that_was_not_written_is_no_hole_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(self: object, data: bytes) -> None:
        raise MemoryError

    body = form(("file", "x", b"1" * 300))
    reading = parts(tmp_path)
    reading.feed(body[:100])
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(multipart_parts._File, "write", no_memory)
        reading.feed(body[100:200])
    reading.feed(body[200:])
    with pytest.raises(FileRefused, match="ERROR: cannot write file"):
        reading.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('form-data; name="file"; filename="a b;c.tar"', "a b;c.tar"),
        ("form-data; name=file; filename=a.tar", "a.tar"),
        (r'form-data; name="file"; filename="a\"b"', 'a"b'),
        ('form-data; filename="a.tar"; name="file"', "a.tar"),
        ('form-data; name="file"; filename="a.tar"; filename*=UTF-8\'\'b.tar', "a.tar"),
        ('form-data; name="file"; filename*=UTF-8\'\'b.tar; filename="a.tar"', "a.tar"),
    ],
)
def test_the_name_of_a_file_is_read_however_it_is_quoted(tmp_path: Path, disposition: str, name: str) -> None:
    body = form(("file", "x", b"1")).replace(b'form-data; name="file"; filename="x"', disposition.encode())
    assert file_of(read(tmp_path, body)).name == name


def test_a_part_without_a_name_is_passed_over_and_a_boundary_may_be_long(tmp_path: Path) -> None:
    long = b"-" * 50 + b"x" * 50
    body = form(("", None, b"1"), ("other", "y", b"2"), ("file", "x", b"3"))
    body = body.replace(b' name="";', b"").replace(BOUNDARY.encode(), long)
    content = read(tmp_path, body, 7, kind=b'multipart/form-data; boundary="%s"' % long)
    assert file_of(content).path.read_bytes() == b"3"
    assert set(content.values) == {"", "file"}


def test_a_client_does_not_wait_for_ever_behind_a_fault_of_ours(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(data: bytes) -> None:
        raise MemoryError

    body = form(("file", "x", os.urandom(MOST)))
    monkeypatch.setattr(network.parts, "_read", no_memory)
    network.send(body[: PIECE + MOST_WAITING])
    assert network.held == 1
    network.go()
    assert network.held == 0
    found = network.end(network.sink.whole())
    assert str(found.value) == "ERROR: cannot write file"
