"""How parent and child speak: frames of JSON with a length before them, and marks at the end of a call's output."""

from __future__ import annotations

import struct
from typing import Any, Final

import orjson
from attrs import define, field

CALLS_FD: Final = 3
ANSWERS_FD: Final = 4
LARGEST: Final = 1 << 30

_LENGTH = struct.Struct(">Q")
# Bytes that no text line holds: NUL stands in neither UTF-8 prose nor a traceback.
_MARK = b"\0pandatx-end %d\0\n"


def frame(message: Any) -> bytes:
    """A message as it goes through a pipe. Raises TypeError for what JSON cannot say."""
    body = orjson.dumps(message, option=orjson.OPT_NON_STR_KEYS)
    return _LENGTH.pack(len(body)) + body


def mark(call: int) -> bytes:
    """What a child writes to stdout and stderr when a call is over, so that lines can be told from the next call's."""
    return _MARK % call


@define
class Frames:
    """Put frames together from the pieces that a pipe delivers. Grows in place: joining bytes would cost the square."""

    _held: bytearray = field(factory=bytearray)

    def feed(self, piece: bytes) -> list[Any]:
        """Take a piece; give the messages that are whole with it. Raises ValueError for what is no message."""
        self._held += piece
        messages, start = [], 0
        while len(self._held) - start >= _LENGTH.size:
            begin = start + _LENGTH.size
            length = _LENGTH.unpack_from(self._held, start)[0]
            if length > LARGEST:
                raise ValueError(f"a message of {length} bytes")
            end = begin + length
            if len(self._held) < end:
                break
            with memoryview(self._held) as held, held[begin:end] as body:
                messages.append(orjson.loads(body))
            start = end
        if start:
            del self._held[:start]
        return messages
