"""The access log: Apache's combined form, then request id, seconds and the caller's name."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from time import time

from attrs import frozen

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SECRET = re.compile(rb"token|secret|passw|key|value", re.IGNORECASE)
_UNPRINTABLE = re.compile(r'["\\\x00-\x1f\x7f-\xff]')


@frozen(kw_only=True)
class Entry:
    """One request that is over."""

    address: str
    method: bytes
    uri: bytes
    version: bytes
    status: int
    size: int
    referrer: bytes = b""
    agent: bytes = b""
    request_id: str = "-"
    seconds: float = 0.0
    caller: str = ""


def line(entry: Entry, now: float | None = None) -> str:
    """The line, without its end. Values of query arguments that sound like secrets are not in it."""
    uri = _without_secrets(entry.uri) if b"?" in entry.uri else entry.uri
    request = f"{_text(entry.method)} {_text(uri)} {_text(entry.version)}"
    return (
        f'{entry.address or "-"} - - [{_stamp(time() if now is None else now)}] "{request}" {entry.status} '
        f'{entry.size or "-"} "{_text(entry.referrer) or "-"}" "{_text(entry.agent) or "-"}" '
        f'{entry.request_id} {entry.seconds:.4f} "{_escaped(entry.caller) or "-"}"'
    )


def _without_secrets(uri: bytes) -> bytes:
    path, _, query = uri.partition(b"?")
    return path + b"?" + b"&".join(map(_shown, query.split(b"&")))


def _shown(argument: bytes) -> bytes:
    name, equals, _ = argument.partition(b"=")
    return name + b"=***" if equals and _SECRET.search(name) else argument


@lru_cache(maxsize=4096)
def _text(raw: bytes) -> str:
    """Methods, versions, agents and most paths are the same all day."""
    return _escaped(raw.decode("latin-1"))


def _escaped(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


_last_stamp: tuple[int, str] = (-1, "")


def _stamp(now: float) -> str:
    """[day/Mon/year:time zone], always UTC, made once a second."""
    global _last_stamp
    second = int(now)
    if _last_stamp[0] != second:
        at = datetime.fromtimestamp(second, UTC)
        _last_stamp = (second, f"{at.day:02}/{_MONTHS[at.month - 1]}/{at:%Y:%H:%M:%S} +0000")
    return _last_stamp[1]
