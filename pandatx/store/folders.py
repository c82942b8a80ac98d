"""Folders of files that others read: each file is whole at any moment, and only those of ours are removed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from attrs import define

_UNFINISHED: Final = ".pandatx-"
_LIST: Final = ".written-by-pandatx.json"
_LEFT: Final = 3600.0


@define(eq=False)
class Folder:
    """Files of one mode in a directory. All of this blocks: call it in a thread. Raises OSError."""

    path: Path
    mode: int = 0o644

    def make(self) -> None:
        """Make the directory where it lacks, for the owner alone if the files are; remove what a crash has left."""
        self.path.mkdir(mode=0o755 if self.mode & 0o044 else 0o700, parents=True, exist_ok=True)
        for left in self.path.glob(f"{_UNFINISHED}*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > _LEFT:
                    left.unlink()

    def write(self, name: str, *pieces: bytes) -> bool:
        """Make the pieces the content of the file, unless they are already; whether it was written."""
        path = self._path(name)
        if self._holds(path, pieces):
            return False
        replace(path, pieces, self.mode)
        return True

    def keep_only(self, names: Iterable[str]) -> int:
        """Remove what was written before and is not among ``names``; how many files. Strangers' files stay."""
        wanted = sorted(set(names))
        before = self._listed()
        gone = 0
        for name in sorted(before - set(wanted)):
            with contextlib.suppress(FileNotFoundError):
                self._path(name).unlink()
                gone += 1
        self.write(_LIST, json.dumps(wanted, indent=0).encode())
        return gone

    def _listed(self) -> set[str]:
        try:
            listed = json.loads((self.path / _LIST).read_bytes())
        except (FileNotFoundError, ValueError):
            return set()
        return (
            {name for name in listed if isinstance(name, str) and _is_plain(name)}
            if isinstance(listed, list)
            else set()
        )

    def _path(self, name: str) -> Path:
        if not _is_plain(name):
            raise ValueError(f"{name!r} is no name of a file")
        return self.path / name

    def _holds(self, path: Path, pieces: Sequence[bytes]) -> bool:
        try:
            about = path.lstat()
            size = sum(map(len, pieces))
            if not stat.S_ISREG(about.st_mode) or (about.st_size, about.st_mode & 0o777) != (size, self.mode):
                return False
            with path.open("rb") as file:
                return all(file.read(len(piece)) == piece for piece in pieces)
        except FileNotFoundError:
            return False


def replace(path: Path, pieces: Iterable[bytes], mode: int) -> None:
    """Write a file beside its place and put it there at once, with its mode from the start. Blocks; OSError."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=_UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)
            file.writelines(pieces)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def _is_plain(name: str) -> bool:
    return bool(name) and "/" not in name and "\0" not in name and name not in (".", "..")


def copy_newer(sources: list[str], directory: str) -> dict[str, list[str]]:
    """Copy files that are not in the directory as they are now; the names copied, absent, and failed with the reason.

    For a child of the process pool: a network file system may hang, and a child can be killed.
    """
    done: dict[str, list[str]] = {"copied": [], "absent": [], "failed": []}
    for source in map(Path, sources):
        if not source.is_file():
            done["absent"].append(str(source))
            continue
        try:
            Folder(Path(directory)).make()
            if _copy(source, Path(directory, source.name)):
                done["copied"].append(str(source))
        except OSError as error:
            done["failed"].append(f"{source}: {error}")
    return done


def _copy(source: Path, target: Path) -> bool:
    about = source.stat()
    with contextlib.suppress(FileNotFoundError):
        there = target.lstat()
        if (there.st_size, there.st_mtime_ns) == (about.st_size, about.st_mtime_ns):
            return False
    handle, beside = tempfile.mkstemp(dir=target.parent, prefix=_UNFINISHED)
    try:
        with source.open("rb") as content, os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o644)
            shutil.copyfileobj(content, file, 1 << 20)
        os.utime(beside, ns=(about.st_atime_ns, about.st_mtime_ns))
        Path(beside).replace(target)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return True
