"""What a child's code says through Python's logging, sent to the parent with its level."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Final

from pandatx.workers.parent import Parent

LONGEST_RECORD: Final = 65536
_LEVELS: Final[Mapping[str, int]] = {"warn": logging.WARNING}


class RecordHandler(logging.Handler):
    """Hands each record to the parent; in a process that a script has forked off, prints it."""

    def __init__(self, parent: Parent) -> None:
        super().__init__()
        self._parent = parent

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record).encode("utf-8", "backslashreplace").decode()
            if self._parent.forked:
                sys.stderr.write(f"{record.levelname} {record.name}: {text}\n")
                return
            cut = f"... ({len(text)} characters)" if len(text) > LONGEST_RECORD else ""
            self._parent.say({"log": record.levelno, "logger": record.name, "text": text[:LONGEST_RECORD] + cut})
        except Exception:  # logging never breaks what it tells of
            self.handleError(record)


def collect(parent: Parent, level: str) -> None:
    """From now on every logger of this process speaks to the parent, from ``level`` on."""
    root = logging.getLogger()
    root.addHandler(RecordHandler(parent))
    root.setLevel(_LEVELS.get(level) or level.upper())
    logging.captureWarnings(True)
