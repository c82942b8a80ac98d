"""Values to JSON and to urlencoded text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import quote_plus

import orjson

_DATES_ARE_OURS = orjson.OPT_PASSTHROUGH_DATETIME
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch
_SPECIAL = re.compile(r"[^A-Za-z0-9_.~-]").sub
_ESCAPES = {chr(byte): quote_plus(chr(byte)) for byte in range(128)}


def naive(moment: datetime) -> datetime:
    """The wire's times are naive UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _marked(value: Any) -> Any:
    """What JSON has no form for: times as the marker that panda-client decodes, decimals as numbers."""
    if isinstance(value, datetime):
        return {"__datetime__": naive(value).isoformat()}
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def to_json(value: Any) -> bytes:
    """JSON; NaN is null. What the quick writer refuses (big integers, keys that are no texts) Python's own writes."""
    try:
        return orjson.dumps(value, _marked, _DATES_ARE_OURS)
    except orjson.JSONEncodeError:
        return json.dumps(value, default=_marked).encode()


def to_urlencoded(values: Mapping[str, Any]) -> bytes:
    """``k=v&k=v``; None is the text NULL, other values are their Python texts, as pilots have always read them."""
    return "&".join([f"{_name(name)}={_value(value)}" for name, value in values.items()]).encode("ascii")


@lru_cache(1024)
def _name(name: str) -> str:
    return quote_plus(name)


def _value(value: Any) -> str:
    if type(value) is int:
        return str(value)
    if value is None:
        return "NULL"
    return quoted(value if type(value) is str else str(value))


def quoted(text: str) -> str:
    """The same as quote_plus, several times faster for what jobs are made of."""
    if _PLAIN(text):
        return text
    if text.isascii():
        return _SPECIAL(_escaped, text)
    return quote_plus(text, errors="replace")


def _escaped(match: re.Match[str]) -> str:
    return _ESCAPES[match[0]]
