"""Logs that Harvester and the task engine leave with the server (reference/wire.md 3.5; 7, items 22 and 23)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from attrs import frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.domain.caller import Caller
from pandatx.domain.file_requests import INFLATED_LOG_MOST, LOG_FOLDER, CannotOverwrite, CannotWrite, Uploaded
from pandatx.errors import BadRequest
from pandatx.store import cache_folder as folder
from pandatx.store.cache_folder import BadStream

log = Logger()

MOST_RATIO: Final = 200
READ_AT_ONCE: Final = 8 << 20
"""Bytes of a log that one answer holds; the rest is asked for by its offset."""


@frozen
class TaskLogs:
    """Keeps logs below the cache, where they are read as /cache/jedilog/NAME."""

    _cache_dir: Path

    async def put(self, caller: Caller, file: Uploaded, name: str) -> None:
        """Keep a log. Harvester sends one in pieces, each a zlib stream, which are put together as plain text; any
        other file takes the place of an older one, which only the production role may do. Raises FileRefused,
        BadRequest.
        """
        try:
            await deferToThread(self._put, file, name, caller.production)
        except BadStream as fault:
            raise BadRequest("file", str(fault)) from None
        except OSError as fault:
            log.error("the log {name} cannot be kept: {fault}", name=name, fault=str(fault))
            raise CannotWrite from None

    def _put(self, file: Uploaded, name: str, production: bool) -> None:
        target = self._target(name)
        if not production and folder.size_of(target) is not None:
            raise CannotOverwrite
        plain = folder.inflated(file.path, INFLATED_LOG_MOST, MOST_RATIO)
        if plain is None:
            folder.place(file.path, target, replace=True)
        else:
            _append(plain, target)

    async def extend(self, file: Uploaded, name: str) -> None:
        """Put the text of a zlib stream at the end of a log. Raises BadRequest for what is no such stream."""
        try:
            found = await deferToThread(self._extend, file, name)
        except BadStream as fault:
            raise BadRequest("file", str(fault)) from None
        except OSError as fault:
            log.error("the log {name} cannot be kept: {fault}", name=name, fault=str(fault))
            raise CannotWrite from None
        if not found:
            raise BadRequest("file", "not a whole zlib stream")

    def _extend(self, file: Uploaded, name: str) -> bool:
        plain = folder.inflated(file.path, INFLATED_LOG_MOST, MOST_RATIO)
        if plain is None:
            return False
        _append(plain, self._target(name))
        return True

    async def read(self, name: str, offset: int) -> str:
        """The text of a log from a byte on; nothing where there is none."""
        found: str = await deferToThread(self._read, name, offset)
        return found

    def _read(self, name: str, offset: int) -> str:
        for path in (self._cache_dir / LOG_FOLDER / name, self._cache_dir / name):
            found = folder.read_from(path, offset, READ_AT_ONCE)
            if found is not None:
                return found.decode("utf-8", "replace")
        return ""

    def _target(self, name: str) -> Path:
        below = self._cache_dir / LOG_FOLDER
        below.mkdir(parents=True, exist_ok=True)
        return below / name


def _append(plain: Path, target: Path) -> None:
    try:
        folder.append(plain, target)
    finally:
        plain.unlink(missing_ok=True)
