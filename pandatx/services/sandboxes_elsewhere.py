"""Sandboxes that lie on other servers: fetched once, passed on while they come, and kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from uuid import uuid4

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clients.cache_nodes import CacheNodes, Missing
from pandatx.clients.sandboxes import AT_ONCE, HostAway, Sandboxes
from pandatx.domain.file_requests import OVERWRITES, Placed, sandbox_name
from pandatx.domain.sweep_files import Sandbox
from pandatx.errors import Busy, NotFound
from pandatx.services.growing_files import Growing
from pandatx.services.sandboxes import SandboxBook
from pandatx.store import cache_folder as folder

log = Logger()

LOOKUPS_AT_ONCE: Final = 4
"""Looks into the database for files that are not here; anybody may ask for them."""
MOST_FETCHES: Final = 1000
"""Files that are looked for or fetched at a time; who asks for one more must come again."""


class NodeAway(Busy):
    """The server that has the file does not answer."""

    def __init__(self, host: str) -> None:
        super().__init__(f"the server {host}, which has this file, does not answer", retry_after=30)


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
