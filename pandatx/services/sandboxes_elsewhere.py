"""Sandboxes that lie on other servers: fetched once, passed on while they come, and kept (issue 5, files)."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clients.cache_nodes import CacheNodes, Head, Missing, Taker
from pandatx.clients.sandboxes import AT_ONCE, HostAway, Sandboxes
from pandatx.domain.file_requests import OVERWRITES, SANDBOX_MOST, Placed, sandbox_name
from pandatx.domain.sweep_files import Sandbox
from pandatx.errors import Busy, NotFound
from pandatx.services.sandboxes import SandboxBook
from pandatx.store import cache_folder as folder

log = Logger()

PIECE: Final = 256 << 10
LOOKUPS_AT_ONCE: Final = 4
"""Looks into the database for files that are not here; anybody may ask for them."""
MOST_FETCHES: Final = 1000
"""Files that are looked for or fetched at a time; who asks for one more must come again."""
MOST_WAITING: Final = 1 << 20
"""Bytes that wait for the disk before the other server must wait."""


class NodeAway(Busy):
    """The server that has the file does not answer."""

    def __init__(self, host: str) -> None:
        super().__init__(f"the server {host}, which has this file, does not answer", retry_after=30)


class Growing(Taker):
    """A file that is being fetched; whoever asks for it meanwhile reads along."""

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


@define(eq=False)
class _Fetch:
    """A file that comes, and how many read along: it is closed behind the last of them."""

    growing: Growing
    readers: int = 0


@define(eq=False)
class SandboxesElsewhere:
    """Fetches files that the book places on other hosts; all who ask for the same file share one fetch."""

    _book: SandboxBook
    _nodes: CacheNodes
    _peers: Sandboxes
    _cache_dir: Path
    _fetches: dict[str, _Fetch] = field(factory=dict, init=False)
    _tokens: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(AT_ONCE), init=False)
    _lookups: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(LOOKUPS_AT_ONCE), init=False)

    async def read(self, name: str, pass_on: Callable[[Growing], Awaitable[None]]) -> None:
        """Have a file passed on while it comes. Raises NotFound where no other host has it, Busy where that cannot be
        said now.
        """
        try:
            sandbox_name(name)
        except ValueError:
            raise NotFound("no such file") from None
        fetch = self._fetches.get(name)
        if fetch is None:
            if len(self._fetches) >= MOST_FETCHES:
                raise Busy
            growing = Growing(self._cache_dir / folder.INCOMING / uuid4().hex)
            fetch = self._fetches[name] = _Fetch(growing, readers=1)
            running: Deferred[None] = Deferred.fromCoroutine(self._fetch(name, fetch))
            running.addErrback(lambda failure: log.failure("fetching {name}", failure, name=name))
        fetch.readers += 1
        try:
            await fetch.growing.begun()
            await pass_on(fetch.growing)
        finally:
            await self._leave(fetch)

    async def touch(self, name: str) -> bool:
        """Have a file counted as new where it lies; whether it lies anywhere. Raises Busy where that cannot be said.

        Only a host that has it itself is asked, so that servers never ask in a circle.
        """
        away: str | None = None
        for host in _hosts(await self._lookups.run(self._book.elsewhere, name)):
            try:
                if await self._peers.exists(host, name):
                    if not await self._peers.touch(host, name):
                        log.warn("{name} lies on {host}, which does not touch it for us", name=name, host=host)
                    return True
            except HostAway as fault:
                log.warn("{name} cannot be touched on {host}: {fault}", name=name, host=host, fault=str(fault))
                away = host
        if away is not None:
            raise NodeAway(away)
        return False

    async def _fetch(self, name: str, fetch: _Fetch) -> None:
        fault: Exception | None = Busy()
        try:
            hosts = _hosts(await self._lookups.run(self._book.elsewhere, name))
            await self._tokens.run(self._from_any, name, hosts, fetch.growing)
            fault = None
        except (NotFound, Busy, HostAway, OSError) as met:
            fault = met
            if not isinstance(met, NotFound):
                log.warn("{name} is not fetched: {fault}", name=name, fault=str(met))
        finally:
            self._fetches.pop(name, None)
            fetch.growing.end(fault)
            await self._leave(fetch)

    async def _from_any(self, name: str, hosts: list[str], growing: Growing) -> None:
        """From the first host that has it. Raises NotFound, Busy, and HostAway where it breaks off."""
        away: str | None = None
        for host in hosts:
            try:
                await self._nodes.fetch(host, name, growing)
            except Missing:
                continue
            except HostAway as fault:
                if growing.head_came:
                    raise
                log.warn("{name} is not to be had from {host}: {fault}", name=name, host=host, fault=str(fault))
                away = host
                continue
            await growing.settled()
            log.info("{name} fetched from {host}", name=name, host=host)
            if not name.endswith(OVERWRITES):  # there it may be another one tomorrow
                await self._keep(name, growing)
            return
        raise NodeAway(away) if away is not None else NotFound("no such file")

    async def _keep(self, name: str, growing: Growing) -> None:
        try:
            await deferToThread(growing.keep, self._cache_dir / name)
        except OSError as fault:  # those who ask now have it all the same
            log.error("{name} cannot be kept: {fault}", name=name, fault=str(fault))

    async def _leave(self, fetch: _Fetch) -> None:
        fetch.readers -= 1
        if not fetch.readers:
            await deferToThread(fetch.growing.close)


def _hosts(placed: list[Placed]) -> list[str]:
    """Each host once, and only what can be one."""
    return list(
        dict.fromkeys(
            each.host
            for each in placed
            if Sandbox(owner=each.owner, name=each.name, host=each.host, created=each.created).proper
        )
    )
