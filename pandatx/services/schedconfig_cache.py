"""The schedconfig cache: files with the descriptions of queues, for pilots and factories."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import orjson
from attrs import Factory, define, frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.domain.schedconfig_files import ALL_QUEUES, PILOT_CONFIG, all_queues, fault_in, files_of, pilot_config
from pandatx.errors import UnwritableFolder
from pandatx.services.complaints import Complaints
from pandatx.store import schedconfig_files as store
from pandatx.store.database import Database
from pandatx.store.folders import Folder

log = Logger()

AT_ONCE: Final = 50
"""Queues that are read and written together."""


@define
class _Round:
    """What one round has come by: documents by nickname, files by name, and what was refused."""

    documents: dict[str, bytes] = Factory(dict)
    copies: dict[str, bytes] = Factory(dict)
    names: set[str] = Factory(set)
    faults: list[str] = Factory(list)
    written: int = 0


@frozen(kw_only=True)
class Refreshed:
    """How many queues there are, and how many files were written and removed."""

    queues: int
    written: int
    removed: int


@define(eq=False)
class SchedconfigCache:
    """``directory`` is schedconfig_cache_dir."""

    _database: Database
    _directory: Path
    _complaints: Complaints = Factory(lambda: Complaints(log))

    async def refresh(self, breathe: Callable[[], Awaitable[None]], directory: Path | None = None) -> Refreshed:
        """Bring the files up to the stored descriptions; those that are as they should be are left alone.

        Files of queues that are gone are removed if we wrote them, unless no queue is stored at all. Raises
        UnwritableFolder.
        """
        folder = Folder(directory or self._directory)
        try:
            await deferToThread(folder.make)
            found = await self._write_queues(folder, breathe)
            rows = await self._database.transaction("schedconfig.pilot", store.pilot_config)
            removed = await deferToThread(_finish, folder, found, pilot_config(rows))
        except OSError as error:
            raise UnwritableFolder(f"{error.filename or folder.path}: {error.strerror}") from error
        self._complaints.about(found.faults)
        return Refreshed(queues=len(found.documents), written=found.written, removed=removed)

    async def _write_queues(self, folder: Folder, breathe: Callable[[], Awaitable[None]]) -> _Round:
        found, after = _Round(), ""
        while page := await self._database.transaction("schedconfig.page", store.page, after, AT_ONCE):
            await deferToThread(_write, folder, page, found)
            after = page[-1][0]
            await breathe()
        return found


def _write(folder: Folder, page: list[tuple[str, str]], found: _Round) -> None:
    for queue, text in page:
        try:
            document = orjson.loads(text)
        except ValueError as error:
            found.faults.append(f"queue {queue} gets no files: {error}")
            continue
        if not isinstance(document, dict):
            found.faults.append(f"queue {queue} gets no files: its description is no object")
            continue
        try:
            files = files_of(queue, document)
        except RecursionError:
            found.faults.append(f"queue {queue} gets no files: its description is nested too deeply")
            continue
        faults = [fault for name in (files.nickname, queue) if (fault := fault_in(name))]
        if faults:
            found.faults.append(f"queue {queue} gets no files: its name or nickname cannot name one: {faults[0]}")
            continue
        found.documents[files.nickname] = files.document
        for name, ending in files.names():
            if name == f"{files.nickname}.{ending}":
                found.names.add(name)
                found.written += folder.write(name, files.contents[ending])
            else:
                found.copies[name] = files.contents[ending]


def _finish(folder: Folder, found: _Round, for_pilots: bytes) -> int:
    """Copies by the stored name, unless that is another queue's nickname; the files of all; what is gone."""
    for name, content in found.copies.items():
        if name not in found.names:
            found.names.add(name)
            found.written += folder.write(name, content)
    found.written += folder.write(PILOT_CONFIG, for_pilots)
    if not found.documents:
        return 0
    found.written += folder.write(ALL_QUEUES, *all_queues(found.documents))
    return folder.keep_only({*found.names, PILOT_CONFIG, ALL_QUEUES})
