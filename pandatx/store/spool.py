"""Final reports on disk while there is no database: records that survive a crash, in one directory per process.

A directory is held by a lock on its file ``lock``; a process that finds one unlocked may adopt it. A segment holds
records of length, CRC-32 and JSON; a torn last record was never acknowledged and is dropped (rule R4). Everything here
blocks and runs off the reactor thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson
from attrs import define, field

_HEADER: Final = struct.Struct(">II")
_SEGMENT: Final = "*.reports"
SEGMENT_SIZE: Final = 64 * 2**20
"""Bytes after which a new segment is begun."""


@define(eq=False)
class SpoolDirectory:
    """The records of one process, or of one that is gone."""

    path: Path
    _lock: int
    _file: Any = None
    _written: int = 0
    _number: int = 0
    size: int = field(default=0)

    def append(self, records: Iterable[bytes]) -> None:
        """Write the records and wait until they are on the disk. Raises OSError, and then none of them counts."""
        records = list(records)
        if not records:
            return
        if self._file is None:
            self._begin_segment()
        start = self._file.tell()
        rest = b"".join(_HEADER.pack(len(record), zlib.crc32(record)) + record for record in records)
        grown = len(rest)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._take_back(start)
            raise
        self.size += grown
        self._written += grown
        if self._written >= SEGMENT_SIZE:
            self.end_segment()

    def _take_back(self, start: int) -> None:
        """Nothing may stand behind a record that is torn; where it cannot be cut off, another segment begins."""
        try:
            self._file.truncate(start)
            self._file.seek(start)
        except OSError:
            self.end_segment()

    def end_segment(self) -> None:
        """Close the segment that is being written, so that it can be played."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def segments(self) -> list[Path]:
        """The segments that are closed, in their order."""
        current = self._path(self._number) if self._file is not None else None
        return [path for path in sorted(self.path.glob(_SEGMENT)) if path != current]

    def remove(self, segment: Path) -> None:
        """A segment was played to its end."""
        self.size -= segment.stat().st_size
        segment.unlink()
        _sync(self.path)

    def set_aside(self, record: bytes) -> Path:
        """Keep a record that the database refuses, out of the way."""
        folder = self.path.parent.parent / "refused"
        folder.mkdir(mode=0o700, exist_ok=True)
        target = folder / f"{zlib.crc32(record):08x}-{len(record)}.json"
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(record)
            file.flush()
            os.fsync(descriptor)
        _sync(folder)
        return target

    def release(self) -> None:
        """Let go of the directory; an empty one is removed."""
        self.end_segment()
        if not any(self.path.glob(_SEGMENT)):
            (self.path / "lock").unlink(missing_ok=True)
            _remove(self.path)
        os.close(self._lock)

    def _begin_segment(self) -> None:
        self._number = 1 + max((int(path.stem) for path in self.path.glob(_SEGMENT)), default=self._number)
        path = self._path(self._number)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file, self._written = os.fdopen(descriptor, "wb", buffering=0), 0
        _sync(self.path)

    def _path(self, number: int) -> Path:
        return self.path / f"{number:08d}.reports"


def new(path: Path) -> SpoolDirectory:
    """Make a spool directory that is ours from the moment others can see it. Raises OSError where there is one."""
    hidden = path.with_name(f".{path.name}")
    hidden.mkdir(mode=0o700, parents=True)
    lock = os.open(hidden / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        hidden.rename(path)
    except OSError:
        os.close(lock)
        (hidden / "lock").unlink()
        hidden.rmdir()
        raise
    return SpoolDirectory(path, lock)


def claim(path: Path) -> SpoolDirectory | None:
    """Hold a spool directory that is there; None while another process holds it, or has just removed it."""
    try:
        lock = os.open(path / "lock", os.O_RDWR)
    except FileNotFoundError:
        _remove(path)
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.fstat(lock).st_ino == (path / "lock").stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        held = False
    if not held:
        os.close(lock)
        return None
    return SpoolDirectory(path, lock, size=sum(segment.stat().st_size for segment in path.glob(_SEGMENT)))


def _remove(path: Path) -> None:
    """Remove an empty directory that has no lock any more, unless somebody else just does."""
    with contextlib.suppress(OSError):
        path.rmdir()


def abandoned(root: Path, ours: Path) -> Iterator[SpoolDirectory]:
    """The directories beside ours that nobody holds any more, held by us from now on."""
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        hidden = path.name.startswith(".")  # somebody is about to make it
        if not hidden and path.is_dir() and path != ours and (found := claim(path)) is not None:
            yield found


def read(segment: Path) -> Iterator[bytes]:
    """The records of a segment, up to its end or to one that is torn."""
    with segment.open("rb") as file:
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            length, checksum = _HEADER.unpack(header)
            record = file.read(length)
            if len(record) < length or zlib.crc32(record) != checksum:
                return
            yield record


def packed(values: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(values)
    except TypeError:  # half a character somewhere: what is set aside unread is not lost
        return json.dumps(values, default=str).encode()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
