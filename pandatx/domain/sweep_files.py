"""Files that are cleaned away, and sandboxes (reference/lifecycle.md 3.3, steps 17 and 18, and tmpwatch)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from attrs import frozen

CACHE_AGE: Final = timedelta(days=7)
LOG_AGE: Final = timedelta(days=90)
"""What Harvesters and the task engine send as logs, and add to; older servers keep it until the disk is full."""
TEST_SANDBOXES: Final = frozenset(
    (
        "sources.72c48dc5-f055-43e5-a86e-4ae9f8ea3497.tar.gz",
        "sources.090f3f51-fc81-4e80-9749-a5e4b2bd58de.tar.gz",
    )
)
"""What test jobs fetch; kept for ever."""
TEMPORARY_AGE: Final = timedelta(hours=12)
TEMPORARY_PLACES: Final = ("/tmp", "/tmp/atlpan", "/tmp/pansrv")
_ELF: Final = b"\x7fELF"
_ET_CORE: Final = 4
HEAD: Final = 18
"""Bytes of a file that say whether it is a dump."""
_CORE_OF_PROCESS: Final = re.compile(r"core\.\d+")


def is_old_in_cache(name: str, changed: datetime, now: datetime) -> bool:
    """Whether a file of cache_dir goes."""
    return name not in TEST_SANDBOXES and now - changed >= CACHE_AGE


def is_old_log(changed: datetime, now: datetime) -> bool:
    """Whether a log of a task or a worker goes."""
    return now - changed >= LOG_AGE


def is_core(name: str, head: bytes) -> bool:
    """Whether a file beside logdir is the dump of a process: by the usual name, or core.ANYTHING with a dump in it."""
    if _CORE_OF_PROCESS.fullmatch(name):
        return True
    if not name.startswith("core.") or len(head) < HEAD or not head.startswith(_ELF):
        return False
    return int.from_bytes(head[16:18], "big" if head[5] == 2 else "little") == _ET_CORE


def is_old_temporary(name: str, changed: datetime, now: datetime, age: timedelta) -> bool:
    """Whether a file of a place for temporary files goes."""
    return name.startswith("tmp") and now - changed >= age


# Sandboxes

TOUCHED_FOR: Final = timedelta(days=1)
"""A sandbox that is younger, and that nobody has touched, is touched."""
LOOKED_AT_EVERY: Final = timedelta(days=1)
UNREACHABLE: Final = timedelta(days=30)
"""A sandbox that is older is given up when its host does not answer."""
ROUNDS: Final = 100
ROUND: Final = 1000
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


@frozen(kw_only=True)
class Sandbox:
    """A file that a user has uploaded: its name in the cache of a host."""

    owner: str
    name: str
    host: str
    created: datetime

    @property
    def proper(self) -> bool:
        """Whether host and name can be those of a file in a cache."""
        return bool(_HOST.fullmatch(self.host)) and self.name not in ("", ".", "..") and "/" not in self.name


class Found(StrEnum):
    """What a look for a sandbox has met."""

    THERE = "there"
    GONE = "gone"
    AWAY = "away"


def is_lost(found: Found, created: datetime, now: datetime) -> bool:
    """Whether a sandbox is given up."""
    return found is Found.GONE or (found is Found.AWAY and now - created >= UNREACHABLE)
