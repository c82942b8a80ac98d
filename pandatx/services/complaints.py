"""Faults of what comes from outside, each told when it is new and not every time."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define
from twisted.logger import Logger


@define
class Complaints:
    """The faults of the last time; told by the logger of the part that they are of."""

    _log: Logger
    _last: frozenset[str] = frozenset()

    def about(self, faults: Iterable[str]) -> None:
        """One warning for each fault that the last time did not have."""
        now = frozenset(faults)
        for fault in sorted(now - self._last):
            self._log.warn("{fault}", fault=fault)
        self._last = now
