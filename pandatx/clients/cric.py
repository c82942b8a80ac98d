"""Dumps of CRIC: queues and storage end points, from a file or over HTTPS."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import treq
from treq.client import HTTPClient
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, ResponseFailed, ResponseNeverReceived

from pandatx.metrics import OUTGOING_SECONDS

LIMIT: Final = 60.0
"""Seconds for a dump to arrive."""


class DumpAway(Exception):
    """A dump that cannot be had at the moment, and why."""


async def fetch(url: str, reactor: Any) -> bytes:
    """The bytes behind a path, a file:// or an https:// address. Raises DumpAway."""
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        return await _download(url, reactor)
    path = Path(unquote(parts.path) if parts.scheme == "file" else url)
    try:
        content: bytes = await deferToThread(path.read_bytes)
    except OSError as error:
        raise DumpAway(f"{path}: {error.strerror}") from error
    return content


async def _download(url: str, reactor: Any) -> bytes:
    where = urlsplit(url).hostname
    began = reactor.seconds()
    agent: Any = Agent(reactor, connectTimeout=LIMIT)  # type: ignore[no-untyped-call]
    client = HTTPClient(agent)
    try:
        answer = await client.get(url, timeout=LIMIT)
        content: bytes = await treq.content(answer)
    except (ConnectError, ConnectingCancelledError, ResponseFailed, ResponseNeverReceived, TimeoutError) as error:
        raise DumpAway(f"{where}: {error}") from error
    finally:
        OUTGOING_SECONDS.labels("cric").observe(reactor.seconds() - began)
    if answer.code != 200:
        raise DumpAway(f"{where} answers {answer.code}")
    return content
