"""An open file as the body of an answer, whole or the parts that a Range header names (RFC 9110, 14)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import IO, Any, Final

from attrs import define, field
from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer  # type: ignore[import-untyped]

MOST_PARTS: Final = 16
"""Who asks for more parts of a file is given all of it, as is whoever asks for more than all of it."""
PIECE: Final = 1 << 16
_DIGITS: Final = rb"[0-9]{1,40}"
_PART: Final = rb"(?:%s-(?:%s)?|-%s)" % (_DIGITS, _DIGITS, _DIGITS)
_HEADER: Final = re.compile(rb"\s*bytes\s*=([\s,]*%s(?:[\s,]*,\s*%s)*)[\s,]*" % (_PART, _PART), re.IGNORECASE)

Part = tuple[int, int]
"""First byte, and how many."""


def parts_of(header: bytes | None, size: int) -> list[Part] | None:
    """The parts of a file that are asked for, none where it has none of them; None for all of it."""
    found = _HEADER.fullmatch(header) if header is not None else None
    if found is None:
        return None
    parts: list[Part] = []
    for index, each in enumerate(re.findall(_PART, found[1])):
        first, _, last = each.partition(b"-")
        if (first and last and int(first) > int(last)) or index >= MOST_PARTS:
            return None
        begin = int(first) if first else max(0, size - int(last))
        end = min(int(last) + 1, size) if first and last else size
        if begin < end:
            parts.append((begin, end - begin))
    return parts if len(parts) < 2 or sum(length for _, length in parts) <= size else None


@implementer(IPullProducer)
@define(eq=False)
class FileParts:
    """Sends as many bytes as it has said that there are, also of a file that grows meanwhile; of one that shrinks it
    breaks off.
    """

    _handle: IO[bytes]
    _size: int
    _request: Any = None
    _pieces: Iterator[bytes] = field(factory=lambda: iter(()))

    def prepare(self, request: Any, kind: str, asked: list[Part] | None) -> None:
        """Set the code and the headers of an answer with parts of the file, None for all of it."""
        length = self._size
        parts: list[tuple[bytes, int, int]] = [(b"", 0, length)]
        if asked == []:
            request.setResponseCode(416)
            request.setHeader(b"content-range", b"bytes */%d" % self._size)
            length, parts = 0, []
        elif asked is not None:
            request.setResponseCode(206)
            if len(asked) == 1:
                request.setHeader(b"content-range", self._range(*asked[0]))
                length, parts = asked[0][1], [(b"", *asked[0])]
            else:
                boundary = secrets.token_hex(12)
                parts = [(self._head(boundary, kind, *each), *each) for each in asked]
                parts.append((f"\r\n--{boundary}--\r\n".encode(), 0, 0))
                length = sum(len(head) + n for head, _, n in parts)
                kind = f"multipart/byteranges; boundary={boundary}"
        request.setHeader(b"content-type", kind.encode())
        request.setHeader(b"content-length", b"%d" % length)
        self._pieces = self._read(parts)

    def _range(self, begin: int, length: int) -> bytes:
        return b"bytes %d-%d/%d" % (begin, begin + length - 1, self._size)

    def _head(self, boundary: str, kind: str, begin: int, length: int) -> bytes:
        shown = self._range(begin, length).decode()
        return f"\r\n--{boundary}\r\ncontent-type: {kind}\r\ncontent-range: {shown}\r\n\r\n".encode()

    def _read(self, parts: list[tuple[bytes, int, int]]) -> Iterator[bytes]:
        """The pieces of the body. Raises EOFError where the file is shorter than it was."""
        for head, begin, left in parts:
            if head:
                yield head
            self._handle.seek(begin)
            while left:
                piece = self._handle.read(min(PIECE, left))
                if not piece:
                    raise EOFError
                left -= len(piece)
                yield piece

    def start(self, request: Any) -> None:
        """Send, as fast as the client reads."""
        self._request = request
        request.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Write the next piece."""
        request = self._request
        if request is None:
            return
        try:
            piece = next(self._pieces, None)
        except (EOFError, OSError):
            self.stopProducing()
            request.unregisterProducer()
            request.channel.transport.abortConnection()
            return
        if piece is not None:
            request.write(piece)
            return
        self.stopProducing()
        request.unregisterProducer()
        request.finish()

    def stopProducing(self) -> None:
        """Nobody reads on."""
        self._request = None
        self._handle.close()
