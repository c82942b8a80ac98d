"""Sandboxes that users send: into the cache under their own names, whole or not at all (reference/wire.md 3.5)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs
from attrs import frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.file_requests import (
    OVERWRITES,
    UNRECORDED,
    CannotOverwrite,
    CannotWrite,
    Uploaded,
    may_replace,
)
from pandatx.errors import NotFound, NotPermitted
from pandatx.services.sandboxes import SandboxBook, owner_name
from pandatx.store import cache_folder as folder

log = Logger()

LEFT_BY_A_CRASH: Final = 86_400.0
"""Seconds after which a file that came in and was never given a name is nobody's."""


async def _nowhere(name: str) -> bool:
    return False


@frozen
class Uploads:
    """Takes files in. Names that ``compressed`` finds are kept as gzip files; ``recorded``: sandboxes are noted."""

    _cache_dir: Path
    _book: SandboxBook
    _clock: Clock
    _compressed: Sequence[re.Pattern[str]] = ()
    _recorded: bool = True
    _touch_elsewhere: Callable[[str], Awaitable[bool]] = _nowhere

    async def put(self, caller: Caller, file: Uploaded, name: str) -> None:
        """Keep a file under a name. Of two of one name the first stays, and counts as wanted, unless the name says that
        it may be overwritten; that only its owner may, or the production role. Raises FileRefused.
        """
        try:
            if any(each.search(name) for each in self._compressed):
                file = await deferToThread(_compressed, file)
            await self._place(caller, file.path, name)
        except OSError as fault:
            log.error("{name} of {who} cannot be kept: {fault}", name=name, who=caller.name, fault=str(fault))
            raise CannotWrite from None
        finally:
            await deferToThread(_forget, file.path)
        log.info("{name} of {who}: {size} bytes", name=name, who=caller.name, size=file.size)
        if self._recorded and not name.endswith(UNRECORDED):
            await self._note(caller, file, name)

    async def _place(self, caller: Caller, source: Path, name: str) -> None:
        target = self._cache_dir / name
        if await deferToThread(folder.place, source, target, replace=False):
            return
        if not name.endswith(OVERWRITES) or not await self._may_replace(caller, name):
            await deferToThread(folder.touch, target)
            raise CannotOverwrite
        await deferToThread(folder.place, source, target, replace=True)

    async def _may_replace(self, caller: Caller, name: str) -> bool:
        owner = None if caller.production else await self._book.owner_of(name)
        return may_replace(owner_name(caller), caller.production, owner)

    async def _note(self, caller: Caller, file: Uploaded, name: str) -> None:
        try:
            await self._book.note(self._book.entry(caller, name, file.size, file.checksum))
        except OSError as fault:  # the file is there and can be used, only not again
            log.critical("{name} cannot be noted: {fault}", name=name, fault=str(fault))
        except NotPermitted:
            await deferToThread(_forget, self._cache_dir / name)
            raise

    async def touch(self, name: str) -> None:
        """Count a file as new, here or on the server that has it, so that it is kept. Raises NotFound, Busy."""
        try:
            touched = await deferToThread(folder.touch, self._cache_dir / name)
        except OSError as fault:
            raise NotFound(f"Failed to touch file with: {fault.strerror}") from None
        if not touched and not await self._touch_elsewhere(name):
            raise NotFound(f"Failed to touch file with: no file {name}")

    async def tidy(self) -> None:
        """Remove what crashes have left of files that came in."""
        before = self._clock.now().timestamp() - LEFT_BY_A_CRASH
        try:
            removed = await deferToThread(folder.left_over, self._cache_dir / folder.INCOMING, before)
        except OSError as fault:  # no reason not to serve jobs
            log.error("what crashes have left of uploads cannot be removed: {fault}", fault=str(fault))
            return
        if removed:
            log.info("removed {n} files that had not come in whole", n=removed)


def _forget(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _compressed(file: Uploaded) -> Uploaded:
    path, size, tail = folder.compressed(file.path)
    return attrs.evolve(file, path=path, size=size, tail=tail)
