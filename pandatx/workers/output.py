"""What a child says, as events of the log: under its call's name, and no more than a log can bear."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from attrs import define, field, frozen
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
class Budget:
    """How much may still be said.

    One for all runs of a daemon: a script that is killed again and again says no more than one that is not.
    """

    _seconds: Callable[[], float]
    cut_lines: int = field(init=False, default=0)
    cut_bytes: int = field(init=False, default=0)
    _left: float = field(init=False, default=float(BURST))
    _counted: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._counted = self._seconds()

    @property
    def full(self) -> bool:
        """Whether nothing is taken now: after a cut, until a quarter is free again."""
        now = self._seconds()
        self._left = min(self._left + (now - self._counted) * RATE, float(BURST))
        self._counted = now
        return bool(self.cut_lines) and self._left < ENOUGH

    def take(self, lines: list[str]) -> list[str]:
        """As many of the lines as may be said now; after a cut the room is empty, so that cuts are few and long."""
        cost = sum(map(len, lines)) + A_LINE * len(lines)
        if cost <= self._left:
            self._left -= cost
            return lines
        number = 0
        while (cost := len(lines[number]) + A_LINE) <= self._left:
            self._left -= cost
            number += 1
        self._left = 0.0
        self.skip(len(lines) - number, sum(map(len, lines[number:])))
        return lines[:number]

    def skip(self, lines: int, size: int) -> None:
        """Count what is cut."""
        self.cut_lines += lines
        self.cut_bytes += size


@define(eq=False)
class Output:
    """Says lines of a child as events, several in one.

    ``log_lines`` of an event are its lines; its namespace ends with ``stdout.NAME``, ``stderr.NAME`` or
    ``record.NAME`` for the daemon NAME, whose files ops/logs.py knows.
    """

    _budget_of: Callable[[str], Budget]
    pid: int = field(init=False, default=0)
    budget: Budget = field(init=False)
    _label: str = field(init=False, default="child")
    _call: str = field(init=False, default="")
    _script: str = field(init=False, default="")
    _level: object = field(init=False, default=LogLevel.info)
    _records: list[str] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self.budget = self._budget_of("")

    def begin(self, label: str, call: str, script: str) -> None:
        """What comes now belongs to this call; ``script`` is the daemon's name, or empty."""
        self.flush()
        self._tell_cut()
        self._label, self._call, self._script = label, call, script
        self.budget = self._budget_of(script)

    def end(self) -> None:
        """All that belongs to the call has come."""
        self.begin("child", "", "")

    def stream(self, name: str) -> Stream:
        """The writer of stdout or stderr."""
        return Stream(self, name)

    def say(self, level: object, stream: str, lines: list[str]) -> None:
        """Log lines, as far as there is room for them; of what was cut before, tell first."""
        if self.budget.full:
            self.budget.skip(len(lines), sum(map(len, lines)))
            return
        self._tell_cut()
        if taken := self.budget.take(lines):
            self._emit(level, stream, taken)

    def recorded(self, level: int, logger: str, text: str) -> None:
        """A record of Python's logging; it is written by ``flush``, together with others of its level."""
        name = f"{logger}: " if logger not in ("", "root") else ""
        ours = next((ours for least, ours in _LEVELS if level >= least), LogLevel.debug)
        if ours is not self._level:
            self.flush()
        self._level = ours
        self._records += [name + line for line in text.splitlines() or [""]]

    def flush(self) -> None:
        """Write the records that have come."""
        records, self._records = self._records, []
        if records:
            self.say(self._level, RECORD, records)

    def _tell_cut(self) -> None:
        budget = self.budget
        if budget.cut_lines:
            told = f"{budget.cut_lines} lines of {budget.cut_bytes} bytes in all were cut here: "
            budget.cut_lines = budget.cut_bytes = 0
            self._emit(LogLevel.warn, RECORD, [f"{told}it says more than {RATE / 1024:.0f} KiB/s"])

    def _emit(self, level: object, stream: str, lines: list[str]) -> None:
        log = Logger(f"{NAMES}.{stream}.{file_part(self._script)}" if self._script else f"{NAMES}.process")
        told = {"log_lines": lines, "label": self._label, "call": self._call, "pid": self.pid}
        log.emit(level, "{label}: {text}", text=_Text(lines), **told)  # type: ignore[arg-type]


@frozen
class Stream:
    """What Lines writes one stream to."""

    _output: Output
    _name: str

    def __call__(self, lines: list[str]) -> None:
        self._output.say(LogLevel.info, self._name, lines)

    @property
    def full(self) -> bool:
        return self._output.budget.full

    def skip(self, lines: int, size: int) -> None:
        self._output.budget.skip(lines, size)


@define
class _Text:
    """The lines as one text, made only where somebody wants it."""

    _lines: list[str]

    def __str__(self) -> str:
        return "\n".join(self._lines)


def file_part(name: str) -> str:
    """A daemon's name as it stands in the name of a file."""
    return re.sub(r"[^\w+-]", "_", name)
