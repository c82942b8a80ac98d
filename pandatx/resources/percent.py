"""Percent signs of queries and forms undone: Python's own way takes a microsecond for each, and keeps all other threads
waiting meanwhile."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from typing import Final

PIECE: Final = 1 << 16
_STRAY: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_utf8 = getincrementaldecoder("utf-8")


def unquoted(encoded: bytes) -> str:
    """The text: plus signs are blanks, %XX are bytes of UTF-8, and a percent sign before anything else is one.

    Of a long one other threads have their turn between pieces.
    """
    if len(encoded) <= PIECE:
        return _bytes(encoded).decode("utf-8", "replace")
    decoder, texts, at = _utf8("replace"), [], 0
    while at < len(encoded):
        end = at + PIECE
        cut = encoded.rfind(b"%", end - 2, end)
        if cut > 0 and end < len(encoded):
            end = cut
        texts.append(decoder.decode(_bytes(encoded[at:end]), end >= len(encoded)))
        at = end
    return "".join(texts)


def _bytes(encoded: bytes) -> bytes:
    plain = encoded.replace(b"+", b" ")
    if b"%" not in plain:
        return plain
    plain = plain.replace(b"\\", b"\\\\")
    try:
        return plain.replace(b"%", b"\\x").decode("unicode_escape").encode("latin-1")
    except UnicodeDecodeError:
        return _STRAY.sub(b"%25", plain).replace(b"%", b"\\x").decode("unicode_escape").encode("latin-1")
