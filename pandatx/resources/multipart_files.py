"""A multipart body whose file goes to the disk as it arrives, with little of it in memory and none of it waited for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.http import Request

from pandatx.errors import PandaError
from pandatx.resources.api import MEBIBYTE, Upload
from pandatx.resources.bodies import MULTIPART, PIECE, Content, InThread, Malformed, media_type
from pandatx.resources.multipart_parts import Parts

log = Logger()

MOST_WAITING: Final = MEBIBYTE
"""Bytes of a body that wait for the disk before its client must wait too."""


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
        self._release()
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
