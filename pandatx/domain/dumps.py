"""Dumps of outside services: large JSON read piece by piece, and how far one that has shrunk is believed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from attrs import define

FEW: Final = 10
"""So many rows may always go."""
SHRUNKEN_FOR: Final = timedelta(days=1)
"""A dump that has lost more than half of what is stored is believed when it has said so for so long."""

_BLANKS = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)


class UnreadableDump(ValueError):
    """A dump that is not what it should be: nothing can be learned from it, not even that something is gone."""


def entries(content: str | bytes, what: str) -> Iterator[tuple[str, Any]]:
    """The entries of a JSON object, each decoded when it is asked for.

    So another thread never waits for the interpreter longer than one entry takes; json.loads would hold it for the
    whole dump. NaN and its like are None. Raises UnreadableDump, which names the dump as ``what``.
    """
    reader = _Reader(content, what)
    if reader.opens("{"):
        yield from reader.pairs()
    else:
        raise UnreadableDump(f"the {what} is not an object")


def items(content: str | bytes, what: str) -> Iterator[Any]:
    """The values of a JSON array, likewise."""
    reader = _Reader(content, what)
    if reader.opens("["):
        yield from reader.values()
    else:
        raise UnreadableDump(f"the {what} is not an array")


def names(content: str | bytes, what: str) -> frozenset[str]:
    """What a dump names: the keys of an object, or the texts of an array."""
    if _Reader(content, what).opens("{"):
        return frozenset(key for key, _ in entries(content, what))
    return frozenset(item for item in items(content, what) if isinstance(item, str))


class _Reader:
    """A place in a JSON text."""

    def __init__(self, content: str | bytes, what: str) -> None:
        self._what = what
        try:
            self._text = content if isinstance(content, str) else content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UnreadableDump(f"the {what} is not JSON: {error}") from error
        self._at = 0

    def opens(self, mark: str) -> bool:
        """Whether the text begins with ``mark``, which is then passed. UnreadableDump where there is no JSON."""
        found = self._mark()
        if not found:
            raise UnreadableDump(f"the {self._what} is not JSON: it is empty")
        if found != mark:
            self._decode()  # what is no JSON at all is told apart from JSON of another kind
            return False
        self._at += 1
        return True

    def pairs(self) -> Iterator[tuple[str, Any]]:
        more = self._mark() != "}"
        while more:
            if self._mark() != '"':
                raise self._broken(f"no key at character {self._at}")
            key = self._decode()
            self._pass(":")
            self._mark()
            yield key, self._decode()
            more = self._goes_on()
        self._end("}")

    def values(self) -> Iterator[Any]:
        more = self._mark() != "]"
        while more:
            self._mark()
            yield self._decode()
            more = self._goes_on()
        self._end("]")

    def _mark(self) -> str:
        """The next character that is no blank."""
        found = _BLANKS.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._text[self._at : self._at + 1]

    def _pass(self, mark: str) -> None:
        if self._mark() != mark:
            raise self._broken(f"no {mark} at character {self._at}")
        self._at += 1

    def _goes_on(self) -> bool:
        if self._mark() != ",":
            return False
        self._at += 1
        return True

    def _end(self, mark: str) -> None:
        self._pass(mark)
        if self._mark():
            raise self._broken(f"more text at character {self._at}")

    def _decode(self) -> Any:
        try:
            value, self._at = _DECODER.raw_decode(self._text, self._at)
        except (ValueError, RecursionError) as error:
            raise self._broken(str(error)) from error
        return value

    def _broken(self, why: str) -> UnreadableDump:
        return UnreadableDump(f"the {self._what} is not JSON: {why}")


@define
class Caution:
    """Whether a dump that lacks much of what is stored is believed: one that was cut short must delete nothing."""

    _since: datetime | None = None

    def believes(self, stored: int, gone: int, now: datetime) -> bool:
        """Whether ``gone`` of ``stored`` rows may be deleted; one that lacks them all never deletes more than a few."""
        if gone <= max(FEW, stored // 2):
            self._since = None
            return True
        self._since = self._since or now
        return gone < stored and now - self._since >= SHRUNKEN_FOR
