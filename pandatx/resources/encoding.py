"""Values to JSON and to urlencoded text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote_plus, urlencode

import orjson
from attrs import frozen

_DATES_ARE_OURS = orjson.OPT_PASSTHROUGH_DATETIME
_BETWEEN, _EQUALS = "\1", "\2"
# A percent sign first, since it comes into the text with the others, and the plus sign before the blank.
_ESCAPES = tuple((special, quote_plus(special)) for special in "%+ \n\r\t" + "!\"#$&'()*,/:;<=>?@[\\]^`{|}")


@frozen
class Encoded:
    """A long JSON text in pieces; only the edge puts them together, off the reactor's thread."""

    pieces: Sequence[bytes]


def json_list(elements: Iterable[bytes]) -> Encoded:
    """A list of what is JSON already: elements, or runs of them with commas between."""
    return _between(b"[", elements, b"]")


def json_object(members: Iterable[tuple[str, bytes]]) -> Encoded:
    """An object of values that are JSON already."""
    return _between(b"{", (to_json(name) + b":" + value for name, value in members), b"}")


def _between(first: bytes, elements: Iterable[bytes], last: bytes) -> Encoded:
    pieces = [piece for element in elements for piece in (b",", element)]
    return Encoded([first, *pieces[1:], last])


def joined(pieces: Sequence[bytes]) -> bytearray:
    """For a thread: what is long is copied piece by piece, so that others run in between."""
    whole = bytearray()  # of its whole length at once it would be filled with zeros first
    for piece in pieces:
        whole += piece
    return whole


def naive(moment: datetime) -> datetime:
    """The wire's times are naive UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _marked(value: Any) -> Any:
    """What JSON has no form for: times as the marker that panda-client decodes, decimals as numbers."""
    if isinstance(value, datetime):
        return {"__datetime__": naive(value).isoformat()}
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Encoded):
        return orjson.Fragment(b"".join(value.pieces))
    raise TypeError(f"{type(value).__name__} has no JSON form")


def to_json(value: Any) -> bytes:
    """JSON; NaN is null. What the quick writer refuses (big integers, keys that are no texts) Python's own writes."""
    try:
        return orjson.dumps(value, _marked, _DATES_ARE_OURS)
    except orjson.JSONEncodeError:
        return json.dumps(_finite(value), default=_marked).encode()


def _finite(value: Any) -> Any:
    """The value without NaN and infinities, which are no JSON."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def to_urlencoded(values: Mapping[str, Any]) -> bytes:
    """``k=v&k=v``; None is the text NULL, other values are their Python texts, as pilots have always read them.

    The usual case escapes the whole text at once: several times faster than value by value.
    """
    text = _BETWEEN.join([f"{name}{_EQUALS}{'NULL' if value is None else value}" for name, value in values.items()])
    if text.isascii() and text.count(_EQUALS) == len(values) == text.count(_BETWEEN) + 1:
        for special, escaped in _ESCAPES:
            if special in text:
                text = text.replace(special, escaped)
        text = text.replace(_BETWEEN, "&").replace(_EQUALS, "=")
        if text.isprintable():
            return text.encode()
    return urlencode({name: _text(value) for name, value in values.items()}).encode()


def _text(value: Any) -> bytes:
    return b"NULL" if value is None else str(value).encode("utf-8", "replace")


def accepts_gzip(header: bytes | None) -> bool:
    """Whether an Accept-Encoding names gzip, or all, and does not rule it out."""
    if not header:
        return False
    weights: dict[bytes, float] = {}
    for item in header.lower().split(b","):
        name, _, rest = item.partition(b";")
        _, _, weight = rest.partition(b"q=")
        try:
            weights[name.strip()] = float(weight) if weight.strip() else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    return weights.get(b"gzip", weights.get(b"*", 0.0)) > 0
