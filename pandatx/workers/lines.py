"""What a child prints, cut into lines of bounded length."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

LONGEST_LINE = 8192


@define
class Lines:
    """Give the lines of one stream to ``write``, those of a piece together.

    What is longer than ``LONGEST_LINE`` bytes comes as several.
    """

    _write: Callable[[list[str]], None]
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
        found = [part for line in whole.split(b"\n") for part in _cut(line)] if newline else []
        while len(rest) > LONGEST_LINE + len(self._awaited):
            found += _cut(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        self._held[:] = rest
        if found:
            self._write(found)


def _cut(line: bytes) -> list[str]:
    if len(line) <= LONGEST_LINE:
        return [line.decode("utf-8", "replace").rstrip("\r")] if line else []
    return [
        line[start : start + LONGEST_LINE].decode("utf-8", "replace").rstrip("\r")
        for start in range(0, len(line), LONGEST_LINE)
    ]
