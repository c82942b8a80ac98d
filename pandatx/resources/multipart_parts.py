"""A multipart body read piece by piece: its file to the disk, its fields to memory. All of it blocks."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from twisted.logger import Logger

from pandatx.domain.file_requests import CannotWrite, Uploaded
from pandatx.errors import PandaError
from pandatx.resources.api import MEBIBYTE, Upload
from pandatx.resources.bodies import Content, Inflating, Malformed
from pandatx.store.cache_folder import Gently

log = Logger()

WRAPPING: Final = 4096
"""Bytes of a body around the file in it, at most."""
MOST_TEXT: Final = MEBIBYTE // 16
MOST_PARTS: Final = 100
FILE_FIELD: Final = "file"
_HEADER: Final = 8192


class Parts:
    """Reads a body piece by piece: the file to a file of its own, other fields to memory. Blocks.

    The first fault counts: what comes after it is passed over, and ``finish`` raises it.
    """

    def __init__(self, folder: Path, upload: Upload, kind: bytes, deflated: bool, announced: int | None) -> None:
        self._folder = folder
        self._upload = upload
        self._announced = announced
        self._inflating = Inflating(deflated, upload.largest + WRAPPING)
        self._fault: PandaError | None = None
        self._texts: dict[str, bytes] = {}
        self._part: MultipartSegment | None = None
        self._field: str | None = None
        self._file: _File | None = None
        self._parser = self._parser_of(kind)

    def _parser_of(self, kind: bytes) -> Any:
        _, options = parse_options_header(kind.decode("latin-1"))
        try:
            return PushMultipartParser(
                options.get("boundary", ""), max_segment_count=MOST_PARTS, max_header_size=_HEADER
            )
        except (MultipartError, ValueError):
            self._fault = Malformed("Content-Type", "multipart without a boundary")
            return None

    def refuse(self, fault: PandaError) -> None:
        """Keep nothing of what comes."""
        if self._fault is None:
            self._fault = fault
        self.discard()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._guarded(lambda: self._read(data))

    def finish(self) -> Content:
        """What was in the body. Raises PandaError."""
        self._guarded(self._end)
        if self._fault is not None:
            raise self._fault
        values: dict[str, Any] = {name: value.decode("utf-8", "replace") for name, value in self._texts.items()}
        if self._file is not None:
            values[FILE_FIELD] = self._file.uploaded
        return Content(values, True)

    def discard(self) -> None:
        """Remove the file, unless somebody has taken it away."""
        if self._file is not None:
            self._file.remove()

    def _guarded(self, work: Callable[[], None]) -> None:
        if self._fault is not None:
            return
        whole = False
        try:
            work()
            whole = True
        except (MultipartError, ValueError, LookupError) as fault:
            self.refuse(Malformed("body", f"bad multipart: {fault}"))
        except OSError as fault:
            log.error("an upload cannot be kept: {fault}", fault=str(fault))
            self.refuse(CannotWrite())
        except PandaError as fault:
            self.refuse(fault)
        finally:
            if not whole:  # what was passed over would be a hole in the file
                self.refuse(CannotWrite())

    def _read(self, data: bytes) -> None:
        for piece in self._inflating.plain(data):
            for event in self._parser.parse(piece):
                self._take(event)

    def _end(self) -> None:
        for piece in self._inflating.rest():
            for event in self._parser.parse(piece):
                self._take(event)
        self._parser.close()

    def _take(self, event: Any) -> None:
        if event is None:
            if self._part is not None and self._is_file(self._part) and self._file is not None:
                self._file.end()
            self._part = self._field = None
        elif isinstance(event, MultipartSegment):
            self._begin(event)
        elif self._part is not None and self._is_file(self._part):
            self._add(event)
        elif self._field is not None:
            self._add_text(self._field, event)

    @staticmethod
    def _is_file(part: Any) -> bool:
        return part.filename is not None and part.name == FILE_FIELD

    def _begin(self, part: Any) -> None:
        self._part = part
        if part.filename is None and part.name not in self._texts:  # of a repeated field the first value counts
            self._field = part.name or ""
            self._texts[self._field] = b""
        if not self._is_file(part):
            return
        if self._file is not None:
            raise Malformed("body", "more than one file")
        if self._announced is not None and not self._inflating.inflates:
            self._upload.judge(part.filename, max(0, self._announced - WRAPPING))
        self._file = _File(self._folder, part.filename)

    def _add(self, data: bytes) -> None:
        assert self._file is not None
        self._upload.judge(self._file.name, self._file.size + len(data))
        self._file.write(data)

    def _add_text(self, name: str, data: bytes) -> None:
        known = self._texts[name]
        if len(known) + len(data) > MOST_TEXT:
            raise Malformed("body", f"a field is longer than {MOST_TEXT} bytes")
        self._texts[name] = known + bytes(data)


class _File:
    """A file under a name that nobody asks for."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.size = 0
        self._tail = b""
        self._path = folder / uuid4().hex
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._handle: int | None = os.open(self._path, flags, 0o644)
        self._out = Gently(self._handle)

    @property
    def uploaded(self) -> Uploaded:
        return Uploaded(name=self.name, path=self._path, size=self.size, tail=self._tail)

    def write(self, data: bytes) -> None:
        assert self._handle is not None
        self.size += self._out.write(data)

    def end(self) -> None:
        assert self._handle is not None
        self._tail = os.pread(self._handle, 8, max(0, self.size - 8))
        os.fsync(self._handle)
        self._close()

    def remove(self) -> None:
        self._close()
        with suppress(OSError):
            self._path.unlink()

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
