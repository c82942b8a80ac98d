"""Files of the cache on the disk: whole or not at all, whatever the disk does."""

import errno
import gzip
import os
import zlib
from pathlib import Path

import pytest

from pandatx.store import cache_folder as folder
from pandatx.store.cache_folder import BadStream

MIB = 1 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "incoming"
    path.write_bytes(b"content")
    return path


@pytest.mark.parametrize("links", [True, False])
def test_the_first_of_a_name_stays(source: Path, tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*args: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    assert folder.place(source, tmp_path / "a", replace=False)
    assert not source.exists()
    source.write_bytes(b"other")
    assert not folder.place(source, tmp_path / "a", replace=False)
    assert (tmp_path / "a").read_bytes() == b"content"
    assert folder.place(source, tmp_path / "a", replace=True)
    assert (tmp_path / "a").read_bytes() == b"other"


def test_a_name_that_is_not_to_be_had_is_an_error(source: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        folder.place(source, tmp_path / "none" / "a", replace=False)
    (tmp_path / "dir").mkdir()
    assert not folder.place(source, tmp_path / "dir", replace=False)
    with pytest.raises(OSError):
        folder.place(source, tmp_path / "dir", replace=True)


def test_only_regular_files_are_touched(source: Path, tmp_path: Path) -> None:
    os.utime(source, (0, 0))
    (tmp_path / "link").symlink_to(source)
    assert not folder.touch(tmp_path / "link")
    assert not folder.touch(tmp_path)
    assert not folder.touch(tmp_path / "none")
    assert source.stat().st_mtime == 0
    assert folder.touch(source)
    assert source.stat().st_mtime > 0
    assert (folder.size_of(source), folder.size_of(tmp_path / "link"), folder.size_of(tmp_path / "x")) == (
        7,
        None,
        None,
    )


def test_a_compressed_file_takes_the_place_of_a_plain_one(source: Path) -> None:
    path, size, tail = folder.compressed(source)
    packed = path.read_bytes()
    assert gzip.decompress(packed) == b"content"
    assert (size, tail, source.exists()) == (len(packed), packed[-8:], False)


def test_a_zlib_stream_is_inflated_and_all_else_is_not(source: Path) -> None:
    source.write_bytes(zlib.compress(b"text" * MIB))
    plain = folder.inflated(source, 8 * MIB, 2000)
    assert plain is not None and plain.read_bytes() == b"text" * MIB
    plain.unlink()
    for content in (b"", b"plain", b"x\x9cplain", zlib.compress(b"a")[:-1], zlib.compress(b"a") + b"b"):
        source.write_bytes(content)
        assert folder.inflated(source, MIB, 200) is None
    assert [path.name for path in source.parent.iterdir()] == [source.name]


def test_a_stream_that_inflates_to_too_much_leaves_nothing(source: Path) -> None:
    source.write_bytes(zlib.compress(b"\0" * (3 * MIB)))
    for most, ratio in ((2 * MIB, 10_000), (100 * MIB, 200)):
        with pytest.raises(BadStream, match="inflates to more than"):
            folder.inflated(source, most, ratio)
    assert [path.name for path in source.parent.iterdir()] == [source.name]


def test_what_cannot_be_appended_whole_is_not_appended(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "log"
    folder.append(source, target)
    folder.append(source, target)
    assert target.read_bytes() == b"contentcontent"

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        folder.append(source, target)
    assert target.read_bytes() == b"contentcontent"


def test_nothing_is_appended_through_a_link(source: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "log").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError):
        folder.append(source, tmp_path / "log")
    assert folder.read_from(tmp_path / "log", 0, 100) is None
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_a_file_is_read_from_a_place_on(source: Path, tmp_path: Path) -> None:
    assert folder.read_from(source, 3, 2) == b"te"
    assert folder.read_from(source, 100, 2) == b""
    assert folder.read_from(tmp_path / "none", 0, 2) is None
    assert folder.read_from(tmp_path, 0, 2) is None


def test_what_a_crash_has_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    for name, changed in (("old", 100), ("young", 300)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (changed, changed))
    assert folder.left_over(tmp_path, 200) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["young"]
    assert folder.left_over(tmp_path / "none", 200) == 0


def test_a_name_is_free_again_when_a_file_could_not_be_given_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*args: object) -> None:
        raise OSError(errno.EPERM, "no links")

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "link", no_links)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="full"):
            folder.place(source, tmp_path / "target", replace=False)
    assert not (tmp_path / "target").exists()
    assert folder.place(source, tmp_path / "target", replace=False)


def test_a_place_that_no_file_has_is_its_end(source: Path) -> None:
    assert folder.read_from(source, 2**63 - 1, 10) == b""


def test_whatever_is_written_is_brought_to_the_disk_a_little_at_a_time(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = 0
    real = os.fdatasync

    def counted(handle: int) -> None:
        nonlocal synced
        synced += 1
        real(handle)

    monkeypatch.setattr(os, "fdatasync", counted)
    content = os.urandom(3 * MIB)
    source.write_bytes(content)
    folder.append(source, tmp_path / "log")
    assert (synced, (tmp_path / "log").read_bytes()) == (3, content)
    packed, size, tail = folder.compressed(source)
    assert synced >= 5
    assert (gzip.decompress(packed.read_bytes()), packed.stat().st_size) == (content, size)
    assert packed.read_bytes()[-8:] == tail
    source.write_bytes(zlib.compress(content))
    plain = folder.inflated(source, 9 * MIB, 200)
    assert plain is not None and plain.read_bytes() == content
    assert synced >= 7
