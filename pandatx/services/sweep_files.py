"""Cleaning directories: one level, regular files only, a slice at a time in a thread."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attrs import define, frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain import sweep_files as rules
from pandatx.domain.file_requests import LOG_FOLDER
from pandatx.services.sweeper import Pause, Step

log = Logger()

SLICE: Final = 500
"""Files that are looked at before others have the thread."""


@frozen
class Entry:
    """A regular file below an open directory."""

    name: str
    changed: datetime
    owner: int
    _directory: int

    def head(self, n: int) -> bytes:
        """Its first bytes; none where it may not be read."""
        try:
            handle = os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._directory)
        except OSError:
            return b""
        try:
            return os.read(handle, n)
        finally:
            os.close(handle)

    def remove(self) -> None:
        os.unlink(self.name, dir_fd=self._directory)


@define(eq=False)
class _Directory:
    """An open directory; whatever happens to its path meanwhile, its files are meant."""

    _handle: int
    _entries: Iterator[os.DirEntry[str]]
    removed: int = 0
    refused: int = 0

    @classmethod
    def open(cls, path: str, follow: bool) -> _Directory | None:
        """None where there is none, or where it is a symbolic link that is not to be followed."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        try:
            handle = os.open(path, flags)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return cls(handle, os.scandir(handle))

    def slice(self, doomed: Callable[[Entry], bool], remove: bool) -> bool:
        """Look at some files, and remove the doomed ones; whether there are more."""
        for n, found in enumerate(self._entries, 1):
            try:
                about = found.stat(follow_symlinks=False)
                if stat.S_ISREG(about.st_mode):
                    self._judge(Entry(found.name, _time(about), about.st_uid, self._handle), doomed, remove)
            except FileNotFoundError:
                continue
            except OSError:
                self.refused += 1
            if n == SLICE:
                return True
        return False

    def _judge(self, entry: Entry, doomed: Callable[[Entry], bool], remove: bool) -> None:
        if doomed(entry):
            if remove:
                entry.remove()
            self.removed += 1

    def close(self) -> None:
        os.close(self._handle)


def _time(about: os.stat_result) -> datetime:
    return datetime.fromtimestamp(about.st_mtime, UTC)


async def clean(
    path: str, doomed: Callable[[Entry], bool], pause: Pause, *, follow: bool = True, remove: bool = True
) -> int:
    """Remove the doomed files that stand directly in a directory; how many (with ``remove`` off: would be).

    Symbolic links, directories and all else that is no regular file stay; so does what may not be removed, with a
    warning. ``doomed`` is called in a thread. OSError where the directory cannot be read.
    """
    directory = await deferToThread(_Directory.open, path, follow)
    if directory is None:
        return 0
    try:
        while await deferToThread(directory.slice, doomed, remove):
            await pause()
    finally:
        directory.close()
    if directory.refused:
        log.warn("{path}: {n} files could not be removed", path=path, n=directory.refused)
    return directory.removed


@frozen
class FileSweep:
    """Old files of the cache, old logs below it, and core dumps beside the server's own (step 17)."""

    _clock: Clock
    _cache_dir: Path
    _logdir: Path

    def steps(self) -> tuple[Step, ...]:
        return (
            Step("old files of the cache", self.clean_cache),
            Step("old logs of tasks", self.clean_logs),
            Step("core dumps", self.remove_cores),
        )

    async def clean_cache(self, pause: Pause) -> int:
        now = self._clock.now()
        return await clean(
            str(self._cache_dir), lambda entry: rules.is_old_in_cache(entry.name, entry.changed, now), pause
        )

    async def clean_logs(self, pause: Pause) -> int:
        now = self._clock.now()
        return await clean(
            str(self._cache_dir / LOG_FOLDER), lambda entry: rules.is_old_log(entry.changed, now), pause, follow=False
        )

    async def remove_cores(self, pause: Pause) -> int:
        return await clean(os.path.join(self._logdir, os.pardir), _is_core, pause)  # noqa: PTH118


def _is_core(entry: Entry) -> bool:
    return entry.name.startswith("core.") and rules.is_core(entry.name, entry.head(rules.HEAD))
