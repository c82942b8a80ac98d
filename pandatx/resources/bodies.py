"""The body or the query of a request as a mapping of names to values, whatever the encoding (reference/wire.md 1.2)."""

from __future__ import annotations

import io
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import IO, Any, cast

from attrs import frozen
from multipart import MultipartError, MultipartParser, parse_options_header
from twisted.web.http import Request

from pandatx.domain.json_texts import read_json
from pandatx.errors import BadRequest, TooLarge
from pandatx.resources.api import MEBIBYTE, Dialect
from pandatx.resources.percent import unquoted

MOST_RATIO = 200
MOST_MEMBERS = 1000
PIECE = MEBIBYTE // 4
"""Bytes of a body that are inflated together."""
MOST_NAMES = 10_000
_JSON = b"application/json"
MULTIPART = b"multipart/form-data"
GZIP = b"\x1f\x8b"

InThread = Callable[..., Awaitable[Any]]


class Malformed(BadRequest):
    """The body cannot be read at all."""


@frozen
class Content:
    """The names and values of a request; ``as_text`` where all values are texts (a query or a form)."""

    values: Mapping[str, Any]
    as_text: bool


@frozen
class Reading:
    """Reads a body off the reactor's thread. Of ``large`` ones there should not be many in memory at once."""

    read: Callable[[], Awaitable[Content]]
    large: bool


@frozen
class BodyReader:
    """Reads bodies. What is or inflates beyond ``threshold`` is read by ``in_thread``, off the reactor (rule R22), and
    beyond a part of it what takes its time: JSON of very many values, a form's percent signs.
    """

    in_thread: InThread
    threshold: int = MEBIBYTE

    def read(self, request: Request, dialect: Dialect, most: int) -> Content | Reading:
        """The content of a request, or what reads it; a body may hold ``most`` bytes. Raises Malformed, TooLarge."""
        if request.method in (b"GET", b"HEAD"):
            return self._of_get(request, dialect, most)
        stream = cast(IO[bytes], request.content)
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        if size > most:
            raise TooLarge("body", f"larger than {most} bytes")
        kind = request.getHeader(b"content-type") or b""
        deflated = (request.getHeader(b"content-encoding") or b"").strip().lower() == b"deflate"
        if size > self.threshold:
            return self._reading(lambda: parse(inflate_all(_whole(stream), most, deflated), kind), large=True)
        body = stream.read()
        if deflated or body[:2] == GZIP:
            whole = inflate(body, self.threshold, deflated)
            if whole is None:
                return self._reading(lambda: parse(inflate_all(body, most, deflated), kind), large=True)
            body = whole
        # Of a form's percent signs, where they stand for nothing, a MiB takes a hundred times as long as JSON.
        if len(body) > self.threshold // (4 if media_type(kind) == _JSON else 16):
            return self._reading(lambda: parse(body, kind), large=False)
        return parse(body, kind)

    def _reading(self, work: Callable[[], Content], large: bool) -> Reading:
        return Reading(lambda: self.in_thread(work), large)

    def _of_get(self, request: Request, dialect: Dialect, most: int) -> Content:
        """The query; in the older dialect a JSON body where there is one, since its servers read it so."""
        kind = request.getHeader(b"content-type") or b""
        if dialect is Dialect.LEGACY and media_type(kind) == _JSON:
            stream = cast(IO[bytes], request.content)
            body = stream.read(self.threshold)
            stream.seek(0)
            if body:
                whole = inflate(body, self.threshold, False) if body[:2] == GZIP else body
                if whole is None:
                    raise TooLarge("body", "too large for a GET")
                return parse(whole, kind)
        _, _, query = request.uri.partition(b"?")
        return Content(_pairs(query, repeated=True), True) if query else Content({}, True)


def _whole(stream: IO[bytes]) -> bytes:
    try:
        return stream.read()
    except ValueError:  # Twisted closes the file when the client hangs up
        raise Malformed("body", "the client has gone") from None


def media_type(header: bytes) -> bytes:
    """``text/plain`` of ``Text/Plain; charset=utf-8``."""
    return header.partition(b";")[0].strip().lower()


def inflate(body: bytes, most: int, deflated: bool) -> bytes | None:
    """A gzip body inflated, or None where that is more than ``most`` bytes or more than one member."""
    if deflated:
        return None
    stream = zlib.decompressobj(31)
    try:
        whole = stream.decompress(body, most)
    except zlib.error as fault:
        raise Malformed("body", f"bad gzip: {fault}") from None
    if stream.eof and not stream.unused_data:
        return whole
    if not stream.eof and not stream.unconsumed_tail and len(whole) < most:
        raise Malformed("body", "truncated gzip")
    return None


def inflate_all(body: bytes, most: int, deflated: bool = False) -> bytes:
    """A body inflated; as it is, if it is not gzip."""
    if not deflated and body[:2] != GZIP:
        return body
    inflating = Inflating(deflated, most)
    pieces = [piece for at in range(0, len(body), PIECE) for piece in inflating.plain(body[at : at + PIECE])]
    return b"".join((*pieces, *inflating.rest()))


class Inflating:
    """Undoes gzip, told or not, in a stream, to at most ``most`` bytes and 200 times what came (rule R22).

    Give it pieces: what stands behind each of its members is copied.
    """

    def __init__(self, deflated: bool, most: int) -> None:
        self._deflated = deflated
        self._most = most
        self._head = b""
        self._came = self._gave = self._members = 0
        self._stream: Any = None
        self.inflates: bool | None = None

    def plain(self, data: bytes) -> Iterator[bytes]:
        """What the next bytes make. Raises Malformed, TooLarge."""
        self._came += len(data)
        if self.inflates is None:
            data = self._head + data
            self._head = data if len(data) < 2 else b""
            if self._head or not data:
                return
            self.inflates = self._deflated or data[:2] == GZIP
            if self.inflates:
                self._stream = zlib.decompressobj(window(data, self._deflated))
        if self.inflates:
            yield from self._inflate(data)
        elif data:
            yield data

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._stream.eof:
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._next_member()
            try:
                piece = self._stream.decompress(data, PIECE)
            except zlib.error as fault:
                raise Malformed("body", f"bad compressed data: {fault}") from None
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            self._gave += len(piece)
            limit = min(self._most, max(MEBIBYTE, MOST_RATIO * self._came))
            if self._gave > limit:
                raise TooLarge("body", f"inflates to more than {limit} bytes")
            if piece:
                yield piece

    def _next_member(self) -> None:
        self._members += 1
        if self._members >= MOST_MEMBERS:
            raise Malformed("body", f"more than {MOST_MEMBERS} gzip files in one")
        self._stream = zlib.decompressobj(31)

    def rest(self) -> Iterator[bytes]:
        """What was held back for the shortest of bodies. Raises Malformed."""
        if self._head:
            yield self._head
        if self.inflates and not self._stream.eof:
            raise Malformed("body", "truncated compressed data")


def window(body: bytes, deflated: bool) -> int:
    """What zlib calls the format: gzip, zlib, or raw deflate, which some send under the name of zlib."""
    if not deflated:
        return 31
    return 15 if body[0] & 0x0F == 8 and (body[0] << 8 | body[1] if len(body) > 1 else 1) % 31 == 0 else -15


def parse(body: bytes, kind: bytes) -> Content:
    """The content of a plain body. Without a content type JSON is known by its brace, and all else is a form."""
    media = media_type(kind)
    if media == _JSON or (not media and body[:1] == b"{"):
        return Content(_object(body), False)
    if media == MULTIPART:
        return Content(_multipart(body, kind), True)
    return Content(_pairs(body, repeated=False), True)


def _object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    found = parse_json(body)
    if type(found) is not dict:
        raise Malformed("body", "received invalid JSON : not an object")
    return found


def parse_json(body: bytes | str) -> Any:
    """Any JSON (domain.json_texts)."""
    try:
        return read_json(body)
    except ValueError as fault:
        raise Malformed("body", f"received invalid JSON : {fault}") from None


def _pairs(encoded: bytes, repeated: bool) -> dict[str, Any]:
    """Urlencoded names and values, blank ones kept; of a repeated name a list if ``repeated``, else the first value."""
    if encoded.count(b"&") >= MOST_NAMES:
        raise Malformed("body", f"more than {MOST_NAMES} fields")
    parted = (pair.partition(b"=") for pair in encoded.split(b"&") if pair)
    return _grouped([(unquoted(name), unquoted(value)) for name, _, value in parted], repeated)


def _grouped(pairs: list[tuple[str, str]], repeated: bool) -> dict[str, Any]:
    values: dict[str, Any] = dict(reversed(pairs))
    if repeated and len(values) != len(pairs):
        found: dict[str, list[str]] = {}
        for name, value in pairs:
            found.setdefault(name, []).append(value)
        values = {name: each if len(each) > 1 else each[0] for name, each in found.items()}
    return values


def _multipart(body: bytes, kind: bytes) -> dict[str, Any]:
    """The text fields of a small multipart form; of a file part its bytes as text."""
    _, options = parse_options_header(kind.decode("latin-1"))
    boundary = options.get("boundary", "")
    if not boundary:
        raise Malformed("Content-Type", "multipart without a boundary")
    try:
        parser = MultipartParser(io.BytesIO(body), boundary, content_length=len(body), memory_limit=64 * MEBIBYTE)
        pairs = [(part.name, part.value) for part in parser]
    except (MultipartError, ValueError, LookupError) as fault:
        raise Malformed("body", f"bad multipart: {fault}") from None
    return _grouped(pairs, repeated=False)
