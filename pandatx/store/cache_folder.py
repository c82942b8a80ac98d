"""Files of the cache on this host's disk. Everything here blocks and runs off the reactor thread."""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
import shutil
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from attrs import define

INCOMING: Final = ".incoming"
"""The folder below the cache where files are while they come in."""
PIECE: Final = 1 << 20
_NO_LINKS: Final = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.EXDEV))


SYNCED: Final = 1 << 20
"""Bytes after which a file is brought to the disk: a commit of the database never waits behind more than these."""


@define(eq=False)
class Gently:
    """Writes to an open file, and brings it to the disk as it grows. Raises OSError."""

    _handle: int
    _unsynced: int = 0

    def write(self, data: bytes) -> int:
        """Write all of it."""
        left = memoryview(data)
        while left:
            left = left[os.write(self._handle, left) :]
        self._unsynced += len(data)
        if self._unsynced >= SYNCED:
            os.fdatasync(self._handle)
            self._unsynced = 0
        return len(data)


class BadStream(ValueError):
    """What should be a zlib stream is none, or it inflates to too much."""


def place(source: Path, target: Path, *, replace: bool) -> bool:
    """Give a file its name; False where something has that name and is not to be replaced. Raises OSError.

    The file is on the disk under its new name when this returns; there is never a half of it.
    """
    if replace:
        source.replace(target)
    elif not _named_anew(source, target):
        return False
    _sync(target.parent)
    return True


def _named_anew(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError as fault:
        if fault.errno not in _NO_LINKS:
            raise
        return _named_without_links(source, target)
    source.unlink()
    return True


def _named_without_links(source: Path, target: Path) -> bool:
    """On a file system without links the name is taken first."""
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except FileExistsError:
        return False
    try:
        source.replace(target)
    except OSError:
        with suppress(OSError):
            target.unlink()
        raise
    return True


def touch(path: Path) -> bool:
    """Count a regular file as new; whether there is one. Raises OSError."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        os.utime(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def size_of(path: Path) -> int | None:
    """The bytes of a regular file; None where there is none."""
    try:
        about = path.lstat()
    except OSError:
        return None
    return about.st_size if stat.S_ISREG(about.st_mode) else None


def remove(path: Path) -> bool:
    """Remove a file; whether there was one. Raises OSError."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def compressed(source: Path) -> tuple[Path, int, bytes]:
    """A gzip file in the place of one that came in: where it is, its size and last eight bytes. Raises OSError."""
    target = source.with_name(uuid4().hex)
    try:
        with source.open("rb") as plain, target.open("xb") as packed:
            out: Any = Gently(packed.fileno())
            with gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=0) as stream:
                shutil.copyfileobj(plain, stream, PIECE)
            os.fsync(packed.fileno())
            size = os.fstat(packed.fileno()).st_size
        with target.open("rb") as packed:
            packed.seek(max(0, size - 8))
            tail = packed.read(8)
    except OSError:
        with suppress(OSError):
            target.unlink()
        raise
    source.unlink()
    return target, size, tail


def inflated(source: Path, most: int, ratio: int) -> Path | None:
    """A zlib stream written out beside its file, at most ``most`` bytes and ``ratio`` times its size; None where it is
    no such stream. Raises BadStream for one that inflates to more, OSError.
    """
    limit = min(most, max(PIECE, ratio * source.stat().st_size))
    target = source.with_name(uuid4().hex)
    stream = zlib.decompressobj()
    given = 0
    try:
        with source.open("rb") as packed, target.open("xb") as plain:
            out = Gently(plain.fileno())
            while not stream.eof and (data := stream.unconsumed_tail or packed.read(PIECE)):
                piece = stream.decompress(data, PIECE)
                given += len(piece)
                if given > limit:
                    raise BadStream(f"inflates to more than {limit} bytes")
                out.write(piece)
            whole = stream.eof and not stream.unused_data and not packed.read(1)
    except zlib.error:
        whole = False
    except (OSError, BadStream):
        target.unlink(missing_ok=True)
        raise
    if not whole:
        target.unlink()
        return None
    return target


def append(source: Path, target: Path) -> None:
    """Put the bytes of a file at the end of another, which is made where there is none. Raises OSError.

    All or nothing is added; who adds at the same time waits.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(target, flags, 0o644)
    with os.fdopen(handle, "ab"), source.open("rb") as plain, _locked(handle):
        before = os.fstat(handle).st_size
        try:
            shutil.copyfileobj(plain, Gently(handle), PIECE)
            os.fsync(handle)
        except OSError:
            with suppress(OSError):
                os.ftruncate(handle, before)
            raise


@contextmanager
def _locked(handle: int) -> Iterator[None]:
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)


def read_from(path: Path, offset: int, most: int) -> bytes | None:
    """At most so many bytes of a regular file from an offset on; None where there is no such file. Raises OSError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        return None
    with os.fdopen(handle, "rb") as file:
        file.seek(min(offset, about.st_size))
        return file.read(most)


def left_over(folder: Path, before: float) -> int:
    """Remove what uploads have left that a crash ended before a time; how many."""
    removed = 0
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < before:
                    Path(entry.path).unlink()
                    removed += 1
    return removed


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
