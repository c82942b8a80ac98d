"""Requests that an older front end has left as files in cache_dir (reference/lifecycle.md 3.5)."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

from attrs import define, field, frozen
from twisted.logger import Logger

from pandatx.clock import EPOCH, Clock
from pandatx.domain.async_requests import FileRequest, event_picking_file, recovery_file, workflow_file
from pandatx.domain.async_work import EVENT_PICKING, FILE_RECOVERY, WORKFLOW, FileStep, Kind, file_step
from pandatx.services.async_requests import AsyncRequests

log = Logger()

LARGEST: Final = 16 << 20
"""Bytes of a file that is read at all."""
_READERS: Final[Mapping[str, Callable[[str], FileRequest]]] = {
    WORKFLOW.name: workflow_file,
    FILE_RECOVERY.name: recovery_file,
    EVENT_PICKING.name: event_picking_file,
}
_NAMES: Final = UUID("6f0c1f5e-6b4b-4f2e-9d0a-6d2f3a0f9a11")
"""Files whose names hold no UUID get ids from this one."""

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


@frozen
class _Found:
    """A file that asks for something."""

    path: Path
    written: datetime


@define(eq=False)
class RequestFiles:
    """Turn files into requests. ``handled`` are the kinds that somebody here can do: files of other kinds stay until
    they are past their time, since an older server beside us may do what they ask.
    """

    _directory: Path
    _requests: AsyncRequests
    _clock: Clock
    _in_thread: InThread
    _handled: Collection[str]
    _told: set[str] = field(factory=set)

    async def take(self, kind: Kind, pause: Callable[[], Awaitable[None]]) -> int:
        """Take the files of a kind, one after the other, the first by name first; how many became requests."""
        taken = 0
        for found in await self._in_thread(lambda: _files(self._directory, kind.prefix)):
            step = file_step(kind, self._clock.now() - found.written)
            if step is FileStep.LAST or (step is FileStep.TRY and self._does(kind)):
                taken += await self._take(kind, found, last=step is FileStep.LAST)
                await pause()
        return taken

    def _does(self, kind: Kind) -> bool:
        if kind.name in self._handled:
            return True
        self._tell(
            kind.name,
            f"files {kind.prefix}* stay in {self._directory}: [pandatx] request_handlers names no {kind.name}",
        )
        return False

    async def _take(self, kind: Kind, found: _Found, last: bool) -> bool:
        """A file that cannot be read may still be written; the last attempt deletes it in any case."""
        name = found.path.name
        try:
            request = await self._in_thread(lambda: _READERS[kind.name](_read(found.path)))
        except FileNotFoundError:
            return False  # an older server was quicker
        except (OSError, ValueError, TypeError, OverflowError) as fault:
            self._tell(name, f"{name} is no request: {fault}{', deleted' if last else ''}")
            if last:
                await self._delete(found.path)
            return False
        await self._requests.submit_file(kind, id_of(name, kind.prefix), request, found.written)
        await self._delete(found.path)
        return True

    async def _delete(self, path: Path) -> None:
        try:
            await self._in_thread(lambda: path.unlink(missing_ok=True))
        except OSError as fault:
            self._tell(f"delete {path.name}", f"{path.name} cannot be deleted: {fault}")
        else:
            self._told.discard(path.name)

    def _tell(self, key: str, text: str) -> None:
        if key not in self._told:
            self._told.add(key)
            log.warn("{text}", text=text)


def id_of(name: str, prefix: str) -> str:
    """The id of what a file asks for: the UUID in its name, or one that is always the same for that name."""
    rest = name.removeprefix(prefix)
    return rest if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", rest) else str(uuid5(_NAMES, name))


def _files(directory: Path, prefix: str) -> list[_Found]:
    """The regular files of a prefix, by name."""
    try:
        with os.scandir(directory) as entries:
            named = [entry for entry in entries if entry.name.startswith(prefix)]
    except FileNotFoundError:
        return []
    found = []
    for entry in sorted(named, key=lambda entry: entry.name):
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode):
            found.append(_Found(Path(entry.path), EPOCH + timedelta(seconds=status.st_mtime)))
    return found


def _read(path: Path) -> str:
    """The text of a file. Raises OSError, ValueError."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
        content = opened.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    return content.decode("utf-8")
