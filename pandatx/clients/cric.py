"""Dumps of CRIC and of services like it, from a file or over HTTPS; one that has not changed is not taken again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import unquote, urlsplit

from attrs import define, frozen
from twisted.internet.threads import deferToThread

from pandatx.clients.web import Away, Web

T = TypeVar("T")


class DumpAway(Exception):
    """A dump that cannot be had at the moment, and why."""


@frozen(kw_only=True)
class Tag:
    """By what a dump is known again: the server's validators, or the state of a file; and what was in it."""

    etag: str = ""
    modified: str = ""
    file: tuple[int, int, int] | None = None
    digest: str = ""


@frozen
class Fetched:
    """A dump and its tag."""

    content: bytes
    tag: Tag


async def fetch(url: str, web: Web, seen: Tag | None = None) -> Fetched | None:
    """The bytes behind a path, a file:// or an https:// address; None if they are those of ``seen``.

    Raises DumpAway. A file that is larger than an answer may be is refused too.
    """
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        found = await _download(url, web, seen)
    else:
        path = Path(unquote(parts.path) if parts.scheme == "file" else url)
        found = await deferToThread(_read, path, web.largest, seen)
    if found is None:
        return None
    digest = await deferToThread(lambda: hashlib.sha256(found.content).hexdigest())
    if seen is not None and digest == seen.digest:
        return None
    tag = found.tag
    return Fetched(found.content, Tag(etag=tag.etag, modified=tag.modified, file=tag.file, digest=digest))


async def _download(url: str, web: Web, seen: Tag | None) -> Fetched | None:
    conditions = {}
    if seen is not None and seen.etag:
        conditions["If-None-Match"] = seen.etag
    elif seen is not None and seen.modified:
        conditions["If-Modified-Since"] = seen.modified
    try:
        answer = await web.get(url, "cric", {"Accept": "application/json", **conditions})
    except Away as error:
        raise DumpAway(str(error)) from error
    if answer.code == 304 and conditions:
        return None
    if answer.code != 200:
        raise DumpAway(f"{urlsplit(url).hostname} answers {answer.code}")
    headers = answer.headers
    return Fetched(answer.content, Tag(etag=headers.get("etag", ""), modified=headers.get("last-modified", "")))


def _read(path: Path, largest: int, seen: Tag | None) -> Fetched | None:
    try:
        about = path.stat()
        state = about.st_ino, about.st_size, about.st_mtime_ns
        if seen is not None and seen.file == state:
            return None
        if about.st_size > largest:
            raise DumpAway(f"{path}: it has {about.st_size} bytes, more than {largest}")
        return Fetched(path.read_bytes(), Tag(file=state))
    except OSError as error:
        raise DumpAway(f"{path}: {error.strerror}") from error


@define(eq=False)
class Source(Generic[T]):
    """A dump at an address, read in a thread when it has changed; what was read last is kept."""

    _url: str
    _read: Callable[[bytes], T]
    _web: Web
    _last: tuple[Tag, T] | None = None

    async def latest(self) -> T:
        """What the dump says now. Raises DumpAway, and what the reader raises: UnreadableDump."""
        seen = self._last[0] if self._last is not None else None
        found = await fetch(self._url, self._web, seen)
        if found is None and self._last is not None:
            return self._last[1]
        assert found is not None  # nothing was seen before, so nothing can be as it was
        value = await deferToThread(self._read, found.content)
        self._last = found.tag, value
        return value
