"""What a child prints, cut into lines of bounded length."""

from __future__ import annotations

from typing import Protocol

from attrs import define, field

LONGEST_LINE = 8192


class Writer(Protocol):
    """Where the lines go."""

    def __call__(self, lines: list[str]) -> None: ...

    @property
    def full(self) -> bool:
        """Whether it would take none now."""

    def skip(self, lines: int, size: int) -> None:
        """So many lines and bytes came while it was full."""


@define
class Lines:
    """Give the lines of one stream to ``write``, those of a piece together.

    What is longer than ``LONGEST_LINE`` bytes comes as several. While the writer is full lines are only counted, so
    that a flood costs little.
    """

    _write: Writer
    _held: bytearray = field(factory=bytearray)
    _awaited: bytes = b""

    def expect(self, mark: bytes) -> None:
        """Watch for the mark that ends the output of the call that begins now."""
        self._awaited = mark

    @property
    def ended(self) -> bool:
        """Whether the awaited mark has come."""
        return not self._awaited

    def feed(self, piece: bytes) -> None:
        """Take what came from the stream."""
        self._held += piece
        if self._awaited and (found := self._held.find(self._awaited)) >= 0:
            before, after = bytes(self._held[:found]), bytes(self._held[found + len(self._awaited) :])
            self._awaited = b""
            self._held[:] = before
            self.close()
            self._held[:] = after
        self._emit()

    def close(self) -> None:
        """Write a last line that no newline ended."""
        self._emit()
        if self._held:
            self._write(_cut(bytes(self._held)))
            self._held.clear()

    def _emit(self) -> None:
        whole, newline, rest = bytes(self._held).rpartition(b"\n")
        if (newline or len(rest) > LONGEST_LINE + len(self._awaited)) and self._write.full:
            self._skip(whole, rest)
            return
        found = [part for line in whole.split(b"\n") for part in _cut(line)] if newline else []
        while len(rest) > LONGEST_LINE + len(self._awaited):
            found += _cut(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        self._held[:] = rest
        if found:
            self._write(found)

    def _skip(self, whole: bytes, rest: bytes) -> None:
        lines, size = (whole.count(b"\n") + 1, len(whole)) if whole else (0, 0)
        if len(rest) > LONGEST_LINE:  # the beginning of a mark may stand at its end
            kept = len(self._awaited)
            lines, size, rest = lines + 1, size + len(rest) - kept, rest[len(rest) - kept :]
        self._write.skip(lines, size)
        self._held[:] = rest


def _cut(line: bytes) -> list[str]:
    if len(line) <= LONGEST_LINE:
        return [line.decode("utf-8", "replace").rstrip("\r")] if line else []
    return [
        line[start : start + LONGEST_LINE].decode("utf-8", "replace").rstrip("\r")
        for start in range(0, len(line), LONGEST_LINE)
    ]
