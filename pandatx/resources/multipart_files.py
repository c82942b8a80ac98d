"""A multipart body whose file goes to the disk as it arrives, with little of it in memory and none of it waited for."""

from __future__ import annotations

import os
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Final
from uuid import uuid4

from attrs import define, field, frozen
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.http import Request

from pandatx.domain.file_requests import CannotWrite, Uploaded
from pandatx.errors import PandaError, TooLarge
from pandatx.resources.api import MEBIBYTE, Upload
from pandatx.resources.bodies import GZIP, MOST_RATIO, MULTIPART, Content, InThread, Malformed, media_type, window

log = Logger()

PIECE: Final = MEBIBYTE // 4
"""Bytes that go to a thread together."""
MOST_WAITING: Final = MEBIBYTE
"""Bytes of a body that wait for the disk before its client must wait too."""
SYNCED: Final = 2 * MEBIBYTE
"""Bytes after which a file is brought to the disk, so that others' commits never wait behind all of it."""
WRAPPING: Final = 4096
"""Bytes of a body around the file in it, at most."""
MOST_TEXT: Final = MEBIBYTE // 16
MOST_PARTS: Final = 100
FILE_FIELD: Final = "file"
_HEADER: Final = 8192

Judge = Callable[[str, int], None]


class Parts:
    """Reads a body piece by piece: the file to a file of its own, other fields to memory. Blocks.

    The first fault counts: what comes after it is passed over, and ``finish`` raises it.
    """

    def __init__(self, folder: Path, upload: Upload, kind: bytes, deflated: bool, announced: int | None) -> None:
        self._folder = folder
        self._upload = upload
        self._announced = announced
        self._inflating = _Inflating(deflated, upload.largest + WRAPPING)
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
        try:
            work()
        except (MultipartError, ValueError, LookupError) as fault:
            self.refuse(Malformed("body", f"bad multipart: {fault}"))
        except OSError as fault:
            log.error("an upload cannot be kept: {fault}", fault=str(fault))
            self.refuse(CannotWrite())
        except PandaError as fault:
            self.refuse(fault)

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
        self._unsynced = 0
        self._tail = b""
        self._path = folder / uuid4().hex
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._handle: int | None = os.open(self._path, flags, 0o644)

    @property
    def uploaded(self) -> Uploaded:
        return Uploaded(name=self.name, path=self._path, size=self.size, tail=self._tail)

    def write(self, data: bytes) -> None:
        assert self._handle is not None
        left = memoryview(data)
        while left:
            left = left[os.write(self._handle, left) :]
        self.size += len(data)
        self._unsynced += len(data)
        if self._unsynced >= SYNCED:
            os.fdatasync(self._handle)
            self._unsynced = 0

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


class _Inflating:
    """Undoes gzip, told or not, in a stream (rule R22)."""

    def __init__(self, deflated: bool, most: int) -> None:
        self._deflated = deflated
        self._most = most
        self._head = b""
        self._came = self._gave = 0
        self._stream: Any = None
        self.inflates: bool | None = None

    def plain(self, data: bytes) -> Iterator[bytes]:
        self._came += len(data)
        if self.inflates is None:
            data = self._head + data
            self._head = data if len(data) < 2 else b""
            if self._head:
                return
            self.inflates = self._deflated or data[:2] == GZIP
            if self.inflates:
                self._stream = zlib.decompressobj(window(data, self._deflated))
        if self.inflates:
            yield from self._inflate(data)
        elif data:
            yield data

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._stream.eof:
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._stream = zlib.decompressobj(31)
            try:
                piece = self._stream.decompress(data, PIECE)
            except zlib.error as fault:
                raise Malformed("body", f"bad compressed data: {fault}") from None
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            self._gave += len(piece)
            limit = min(self._most, max(MEBIBYTE, MOST_RATIO * self._came))
            if self._gave > limit:
                raise TooLarge("body", f"inflates to more than {limit} bytes")
            if piece:
                yield piece

    def rest(self) -> Iterator[bytes]:
        """What was held back for the shortest of bodies."""
        if self._head:
            yield self._head
        if self.inflates and not self._stream.eof:
            raise Malformed("body", "truncated compressed data")


@define(eq=False)
class Sink:
    """What twisted.web writes a body to while it arrives; threads take it from here.

    ``hold`` and ``go_on`` stop and start the client. ``admits`` says, once a body is long enough for it to matter,
    whether its caller may send one; nothing is kept of the others'. Whoever calls ``whole`` must call ``discard``.
    """

    _parts: Parts
    _in_thread: InThread
    _hold: Callable[[], None]
    _go_on: Callable[[], None]
    _admits: Callable[[], Awaitable[PandaError | None]]
    _pieces: list[bytes] = field(factory=list)
    _waiting: int = 0
    _size: int = 0
    _admitted: bool = False
    _busy: bool = False
    _held: bool = False
    _ended: bool = False
    _claimed: bool = False
    _dropped: bool = False
    _idle: list[Deferred[None]] = field(factory=list)

    # As twisted.web uses it

    def write(self, data: bytes) -> None:
        """Take bytes."""
        if self._dropped:
            return
        self._pieces.append(data)
        self._waiting += len(data)
        self._size += len(data)
        if self._waiting >= PIECE and not self._busy:
            self._start()
        elif self._waiting >= MOST_WAITING and not self._held:
            self._held = True
            self._hold()

    def tell(self) -> int:
        return self._size

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._size if whence else 0

    def read(self, size: int = -1) -> bytes:
        """Nothing: what came is elsewhere."""
        return b""

    def close(self) -> None:
        """The request is over, or its client has gone: nothing stays of a body that nobody waits for."""
        if not self._claimed and not self._dropped:
            self._drop()

    # As the edge uses it

    async def whole(self) -> Content:
        """What was in the body, when all of it is on the disk. Raises PandaError."""
        self._claimed = self._ended = True
        if not self._busy and not self._dropped:
            self._start()
        if self._dropped:
            raise Malformed("body", "the client has gone")
        if self._busy:
            idle: Deferred[None] = Deferred()
            self._idle.append(idle)
            await idle
        content: Content = await self._in_thread(self._parts.finish)
        return content

    async def discard(self) -> None:
        """Remove what nobody has taken away."""
        await self._in_thread(self._parts.discard)

    def _drop(self) -> None:
        self._dropped = True
        self._pieces, self._waiting = [], 0
        if not self._busy:
            self._start()

    def _start(self) -> None:
        self._busy = True
        running: Deferred[None] = Deferred.fromCoroutine(self._drain())
        running.addErrback(lambda failure: log.failure("an upload", failure))
        running.addBoth(lambda _: self._rest())

    def _rest(self) -> None:
        self._busy = False
        idle, self._idle = self._idle, []
        for waiting in idle:
            waiting.callback(None)

    async def _drain(self) -> None:
        if not self._admitted and not self._dropped and not self._claimed:
            fault = await self._admits()
            self._admitted = True
            if fault is not None:
                await self._in_thread(partial(self._parts.refuse, fault))
        while self._pieces and (self._ended or self._waiting >= PIECE):
            data = b"".join(self._pieces)
            self._pieces, self._waiting = [], 0
            self._release()
            await self._in_thread(partial(self._parts.feed, data))
        self._release()
        if self._dropped:
            await self._in_thread(self._parts.discard)

    def _release(self) -> None:
        if self._held:
            self._held = False
            self._go_on()


@define(eq=False)
class Stored:
    """A body that is there as a whole, read as one that arrives is."""

    _parts: Parts
    _in_thread: InThread
    _stream: IO[bytes]

    async def whole(self) -> Content:
        """What was in the body. Raises PandaError."""
        content: Content = await self._in_thread(self._read)
        return content

    def _read(self) -> Content:
        try:
            self._stream.seek(0)
            while data := self._stream.read(PIECE):
                self._parts.feed(data)
        except ValueError:  # Twisted closes the file when the client hangs up
            self._parts.refuse(Malformed("body", "the client has gone"))
        return self._parts.finish()

    async def discard(self) -> None:
        """Remove what nobody has taken away."""
        await self._in_thread(self._parts.discard)


@frozen
class UploadRoom:
    """Where files are while they arrive: ``folder`` is on the file system that they will stay on."""

    folder: Path
    in_thread: InThread

    def sink(
        self, request: Any, upload: Upload, length: int | None, admits: Callable[[], Awaitable[PandaError | None]]
    ) -> Sink | None:
        """What the body of a request is to be written to; None where it is no multipart form."""
        if not is_multipart(request):
            return None
        network = request.channel.transport
        parts = self._parts(request, upload, length)
        return Sink(parts, self.in_thread, network.pauseProducing, network.resumeProducing, admits)

    def reading(self, request: Any, upload: Upload) -> Sink | Stored:
        """What reads the body of a request that is there."""
        content = request.content
        if isinstance(content, Sink):
            return content
        return Stored(self._parts(request, upload, None), self.in_thread, content)

    def _parts(self, request: Any, upload: Upload, length: int | None) -> Parts:
        kind = request.getHeader(b"content-type") or b""
        deflated = (request.getHeader(b"content-encoding") or b"").strip().lower() == b"deflate"
        return Parts(self.folder, upload, kind, deflated, length)


def is_multipart(request: Request) -> bool:
    return media_type(request.getHeader(b"content-type") or b"") == MULTIPART
