"""What a child says, as events of the log: under its call's name, and no more than a log can bear."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.logger import Logger, LogLevel

BURST: Final = 2 << 20
RATE: Final = 65536.0
"""Bytes that a child may say at once, and per second for as long as it likes."""
A_LINE: Final = 200
"""Bytes that a line counts beside its own: time, name and level stand before it in each file."""
ENOUGH: Final = BURST / 4
"""Bytes that must be free again before anything is written after a cut: so that cuts are few and long."""
NAMES: Final = "pandatx.workers"
STDOUT, STDERR, RECORD = "stdout", "stderr", "record"

_LEVELS: Final = ((50, LogLevel.critical), (40, LogLevel.error), (30, LogLevel.warn), (20, LogLevel.info))


@define(eq=False)
class Output:
    """Says lines of a child as events, several in one.

    ``log_lines`` of an event are its lines; its namespace ends with ``stdout.NAME``, ``stderr.NAME`` or
    ``record.NAME`` for the daemon NAME, whose files ops/logs.py knows.
    """

    _seconds: Callable[[], float]
    pid: int = field(init=False, default=0)
    _label: str = field(init=False, default="child")
    _call: str = field(init=False, default="")
    _script: str = field(init=False, default="")
    _left: float = field(init=False, default=float(BURST))
    _counted: float = field(init=False)
    _cut_lines: int = field(init=False, default=0)
    _cut_bytes: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._counted = self._seconds()

    def begin(self, label: str, call: str, script: str) -> None:
        """What comes now belongs to this call; ``script`` is the daemon's name, or empty."""
        self.end()
        self._label, self._call, self._script = label, call, script

    def end(self) -> None:
        """All that belongs to the call has come."""
        self._tell_cut()
        self._label, self._call, self._script = "child", "", ""

    def printed(self, stream: str, lines: list[str]) -> None:
        """Lines of stdout or stderr."""
        if (fitting := self._fitting(lines)) is not None:
            self._say(LogLevel.info, stream, fitting)

    def recorded(self, level: int, logger: str, text: str) -> None:
        """A record of Python's logging."""
        name = f"{logger}: " if logger not in ("", "root") else ""
        lines = [name + line for line in text.splitlines() or [""]]
        if (fitting := self._fitting(lines)) is not None:
            ours = next((ours for least, ours in _LEVELS if level >= least), LogLevel.debug)
            self._say(ours, RECORD, fitting)

    def _fitting(self, lines: list[str]) -> list[str] | None:
        """The lines, if there is room for them now."""
        now = self._seconds()
        self._left = min(self._left + (now - self._counted) * RATE, float(BURST))
        self._counted = now
        size = sum(map(len, lines))
        cost = size + A_LINE * len(lines)
        if cost > self._left or (self._cut_lines and self._left < ENOUGH):
            self._cut_lines += len(lines)
            self._cut_bytes += size
            return None
        self._tell_cut()
        self._left -= cost
        return lines

    def _tell_cut(self) -> None:
        if self._cut_lines:
            number, size = self._cut_lines, self._cut_bytes
            self._cut_lines = self._cut_bytes = 0
            told = f"{number} lines of {size} bytes in all were cut here: it says more than {RATE / 1024:.0f} KiB/s"
            self._say(LogLevel.warn, RECORD, [told])

    def _say(self, level: object, stream: str, lines: list[str]) -> None:
        log = Logger(f"{NAMES}.{stream}.{file_part(self._script)}" if self._script else f"{NAMES}.process")
        told = {"log_lines": lines, "label": self._label, "call": self._call, "pid": self.pid}
        log.emit(level, "{label}: {text}", text=_Text(lines), **told)  # type: ignore[arg-type]


@define
class _Text:
    """The lines as one text, made only where somebody wants it."""

    _lines: list[str]

    def __str__(self) -> str:
        return "\n".join(self._lines)


def file_part(name: str) -> str:
    """A daemon's name as it stands in the name of a file."""
    return re.sub(r"[^\w+-]", "_", name)
