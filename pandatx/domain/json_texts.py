"""JSON as Python's writers emit it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

MOST_VALUES: Final = 1_000_000
"""Values in one text. Meanwhile the reader holds up all other threads: 0.1 s for so many; each takes 70 bytes."""
_MARKS: Final = ",[{"
_SHORTEST: Final = 2
"""Characters of a value and its mark."""
_PIECE: Final = 1 << 16


def read_json(text: bytes | str) -> Any:
    """Any JSON; where the strict reader fails, NaN too, and halves of surrogate pairs, which become question marks.

    Raises ValueError with what the strict reader has to say, or for more than ``MOST_VALUES``.
    """
    if len(text) > MOST_VALUES * _SHORTEST and has_more_values(text, MOST_VALUES):
        raise ValueError(f"more than {MOST_VALUES} values")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        why = str(fault)
    try:
        return _scrubbed(json.loads(text))
    except (ValueError, RecursionError):
        raise ValueError(why) from None


def has_more_values(text: bytes | str, most: int) -> bool:
    """Whether JSON has more values than ``most``, by its commas and brackets. Those in its texts count only where it
    comes as a text itself: what comes as bytes is read in a thread, which has the time."""
    pieces = (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
    if not _are_more(pieces, most):
        return False
    return isinstance(text, str) or _are_more(_outside_texts(text), most)


def _are_more(pieces: Iterable[bytes | str], most: int) -> bool:
    found = 0
    for piece in pieces:
        found += sum(map((piece if isinstance(piece, str) else piece.decode("latin-1")).count, _MARKS))
        if found > most:
            return True
    return False


def _outside_texts(body: bytes) -> Iterator[bytes]:
    """Some of JSON at a time, without what stands between quotes."""
    at, inside = 0, False
    while at < len(body):
        end = at + _PIECE
        while body[end - 1 : end] == b"\\":  # and what it escapes
            end += 1
        parts = body[at:end].replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        yield b"".join(parts[inside::2])
        inside ^= len(parts) % 2 == 0
        at = end


def _scrubbed(value: Any) -> Any:
    """The value with every half of a surrogate pair replaced: no UTF-8 can hold it."""
    if type(value) is str:
        return value.encode("utf-8", "replace").decode()
    if type(value) is list:
        return [_scrubbed(each) for each in value]
    if type(value) is dict:
        return {_scrubbed(name): _scrubbed(each) for name, each in value.items()}
    return value
