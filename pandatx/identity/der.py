"""A few steps through DER: enough to look at a structure before a parser is let near it."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

INTEGER, OCTETS, OID, UTF8, SEQUENCE, SET = 0x02, 0x04, 0x06, 0x0C, 0x30, 0x31
_CONSTRUCTED = 0x20
_TWO_BYTES = 0x1F


@frozen
class Element:
    """``whole`` is the element with its header, ``content`` without."""

    tag: int
    whole: bytes
    content: bytes


def elements(data: bytes) -> Iterator[Element]:
    """The elements that stand side by side. ValueError for what is no DER, or is cut short."""
    at = 0
    while at < len(data):
        tag, start, end = _header(data, at)
        yield Element(tag, data[at:end], data[start:end])
        at = end


def only(data: bytes, tag: int) -> bytes:
    """The content of the one element that there is. ValueError if it is another, or there is more."""
    first, rest = first_of(data, tag)
    if rest:
        raise ValueError("something stands behind a DER element")
    return first.content


def first_of(data: bytes, tag: int) -> tuple[Element, bytes]:
    """The first element, and what follows. ValueError if it is another."""
    if not data:
        raise ValueError(f"nothing where DER tag {tag:#x} was expected")
    found, start, end = _header(data, 0)
    if found != tag:
        raise ValueError(f"DER tag {found:#x} where {tag:#x} was expected")
    return Element(found, data[:end], data[start:end]), data[end:]


def measure(data: bytes, largest: int, deepest: int, most: int) -> None:
    """ValueError for DER that is larger, deeper, or of more elements than allowed, or that is none.

    What passes costs a parser a bounded time, and no recursion that ends badly.
    """
    if len(data) > largest:
        raise ValueError(f"{len(data)} bytes where {largest} are the limit")
    number, open_ends = 0, [len(data)]
    at = 0
    while open_ends:
        if at == open_ends[-1]:
            open_ends.pop()
            continue
        tag, start, end = _header(data, at, open_ends[-1])
        number += 1
        if number > most:
            raise ValueError(f"more than {most} elements")
        if tag & _CONSTRUCTED:
            if len(open_ends) > deepest:
                raise ValueError(f"nested more than {deepest} deep")
            open_ends.append(end)
            at = start
        else:
            at = end


def _header(data: bytes, at: int, limit: int | None = None) -> tuple[int, int, int]:
    """Tag, start and end of the content of the element at ``at``."""
    limit = len(data) if limit is None else limit
    if at + 2 > limit:
        raise ValueError("DER element is cut short")
    tag, size, start = data[at], data[at + 1], at + 2
    if tag & _TWO_BYTES == _TWO_BYTES:
        raise ValueError("DER tag of several bytes")
    if size & 0x80:
        digits = size & 0x7F
        if not 1 <= digits <= 4:
            raise ValueError("DER element without a length that is definite")
        if start + digits > limit:
            raise ValueError("DER element is cut short")
        size = int.from_bytes(data[start : start + digits], "big")
        start += digits
    if start + size > limit:
        raise ValueError("DER element is cut short")
    return tag, start, start + size
