"""A file that is being fetched from another server: on the disk as it comes, and read along by all who want it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from pandatx.clients.cache_nodes import Head, Taker
from pandatx.clients.sandboxes import HostAway
from pandatx.domain.file_requests import SANDBOX_MOST
from pandatx.errors import NotFound
from pandatx.store import cache_folder as folder

PIECE: Final = 256 << 10
"""Bytes that a reader gets at a time."""
MOST_WAITING: Final = 1 << 20
"""Bytes that wait for the disk before the other server must wait."""


class Growing(Taker):
    """Takes the file from the server that has it; whoever asks for it meanwhile reads along."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head = Head(size=None, changed=None)
        self.fault: Exception | None = None
        self.over = False
        self.head_came = False
        self._written = 0
        self._handle: int | None = None
        self._out: folder.Gently | None = None
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._busy = self._held = False
        self._watchers: list[Deferred[None]] = []

    # The side of the server that has it

    def begin(self, head: Head) -> None:
        """The file is there."""
        if head.size is not None and head.size > SANDBOX_MOST:
            self.flow.stop("larger than any sandbox")
            return
        self.head = head
        self.head_came = True
        self._tell()

    def take(self, data: bytes) -> None:
        """The next bytes."""
        if self.fault is not None:
            return
        self._pieces.append(data)
        self._waiting += len(data)
        if not self._busy:
            self._busy = True
            Deferred.fromCoroutine(self._write()).addErrback(self._broken).addBoth(self._written_out)
        elif self._waiting >= MOST_WAITING and not self._held:
            self._held = True
            self.flow.pause()

    async def _write(self) -> None:
        while self._pieces:
            data = b"".join(self._pieces)
            self._pieces, self._waiting = [], 0
            if self._held:
                self._held = False
                self.flow.resume()
            await deferToThread(self._append, data)
            self._written += len(data)
            if self._written > SANDBOX_MOST:
                raise HostAway("larger than any sandbox")
            self._tell()

    def _append(self, data: bytes) -> None:
        if self._out is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._handle = os.open(self.path, flags, 0o644)
            self._out = folder.Gently(self._handle)
        self._out.write(data)

    def _broken(self, failure: Any) -> None:
        self.fault = failure.value
        self._pieces = []
        self.flow.stop("it cannot be kept")

    def _written_out(self, _: None) -> None:
        """Those who wait are told behind a fault, lest one takes a part of a file for the whole."""
        self._busy = False
        self._tell()

    async def settled(self) -> None:
        """Wait until all that came is written. Raises what kept it from being written."""
        while self._busy:
            await self._news()
        if self.fault is not None:
            raise self.fault

    def keep(self, target: Path) -> None:
        """Give the whole file its name. Blocks; raises OSError."""
        if self._handle is None:  # it is empty
            self._append(b"")
        assert self._handle is not None
        os.fsync(self._handle)
        if self.head.changed is not None:
            os.utime(self._handle, (self.head.changed, self.head.changed))
        folder.place(self.path, target, replace=False)

    def close(self) -> None:
        """Nobody reads it any more. Blocks."""
        self.path.unlink(missing_ok=True)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def end(self, fault: Exception | None) -> None:
        """It is whole, or it will never be."""
        self.fault = self.fault or fault
        self.over = True
        self._tell()

    # The side of those who ask

    async def begun(self) -> None:
        """Wait until the file begins to come. Raises NotFound, Busy."""
        while not self.head_came and not self.over:
            await self._news()
        if not self.head_came:
            raise self.fault or NotFound("no such file")

    async def whole(self) -> None:
        """Wait until all of it has come. Raises what keeps it from coming."""
        while not self.over:
            await self._news()
        if self.fault is not None:
            raise self.fault

    async def piece(self, at: int) -> bytes:
        """The next bytes from a place on, none at the end. Raises what kept the rest from coming."""
        while at >= self._written:
            if self.over:
                if self.fault is not None:
                    raise self.fault
                return b""
            await self._news()
        handle = self._handle
        assert handle is not None
        found: bytes = await deferToThread(os.pread, handle, min(PIECE, self._written - at), at)
        return found

    def _news(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._watchers.append(waiting)
        return waiting

    def _tell(self) -> None:
        watchers, self._watchers = self._watchers, []
        for each in watchers:
            each.callback(None)
