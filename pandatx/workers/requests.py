"""What asynchronous requests run in a child: a fixed list, never a text of a client as a command."""

from __future__ import annotations

import gzip
import os
import re
import stat
import time
import zlib
from pathlib import Path
from typing import IO, Any, Final

from pandatx.domain.async_work import LARGEST_RESULT
from pandatx.plugins.storage import path_in

LONGEST_LINE: Final = 1 << 20
"""Bytes of a line that are looked at, and kept, together."""
_FOUND, _NONE, _FAULT = 0, 1, 2


def grep(request: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The lines of a log file that a regular expression fits, with the return code that grep would have.

    It is our own reader rather than a program's, to which a pattern could be an option.
    """
    name = str(request["log_filename"])
    if Path(name).name != name or ".." in name or "\0" in name:
        return _refused(f"{name} is not the bare name of a file")
    try:
        pattern = re.compile(str(request["pattern"]).encode())
    except (re.error, OverflowError, RecursionError, UnicodeEncodeError) as fault:
        return _refused(f"the pattern cannot be used: {fault}")
    try:
        with _open(Path(settings["log_dir"]) / name) as log:
            text, truncated = _search(log, pattern)
    except (OSError, EOFError, zlib.error) as fault:
        return _refused(f"{name}: {fault.strerror if isinstance(fault, OSError) and fault.strerror else fault}")
    code = _FOUND if text else _NONE
    return {"status": "done", "result": text, "stderr": "", "return_code": code, "truncated": truncated}


def _refused(why: str) -> dict[str, Any]:
    return {"status": "done", "result": "", "stderr": f"{why}\n", "return_code": _FAULT}


def _open(path: Path) -> IO[bytes]:
    """A regular file; no symbolic link leads out of the folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path.name} is not a file")
    except BaseException:
        os.close(descriptor)
        raise
    plain = os.fdopen(descriptor, "rb", 1 << 20)
    return gzip.GzipFile(fileobj=plain) if path.name.endswith(".gz") else plain  # type: ignore[return-value]


def _search(log: IO[bytes], pattern: re.Pattern[bytes]) -> tuple[str, bool]:
    found: list[str] = []
    size = 0
    while line := log.readline(LONGEST_LINE):
        if pattern.search(line.rstrip(b"\n")):
            text = line.decode("utf-8", "replace")
            found.append(text)
            size += len(text)
            if size > LARGEST_RESULT:
                return "".join(found)[:LARGEST_RESULT], True
    return "".join(found), False


def sleep_echo(request: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Wait, then say what was asked to be said."""
    time.sleep(min(max(float(request["seconds"]), 0.0), 60.0))
    return {"status": "done", "result": f"{request['message']}\n", "stderr": "", "return_code": 0}


def missing_files(files: list[list[str]], storage: dict[str, str]) -> list[int]:
    """The places in ``files`` (RSE, scope, LFN) of those that are not where they should be.

    Raises OSError where a storage cannot be looked at at all: its files are not lost for that.
    """
    for name in {name for name, _, _ in files}:
        with os.scandir(storage[name]) as entries:
            if next(entries, None) is None:
                raise OSError(f"the storage {name} is empty: is it mounted?")
    return [place for place, (name, scope, lfn) in enumerate(files) if not _is_there(storage[name], scope, lfn)]


def _is_there(directory: str, scope: str | None, lfn: str) -> bool:
    path = path_in(directory, scope, lfn)
    return path is None or path.exists()
