"""Open files: a process that has none left can neither ask the database nor keep a report."""

from __future__ import annotations

import resource
from typing import Final

from twisted.logger import Logger

log = Logger()

RESERVED: Final = 512
"""Open files that are no connections': sessions of the database, logs, the spool, pipes to children."""
EACH: Final = 2
"""Open files of a connection: itself, and a body that comes or a file that goes by it."""


def room_for(connections: int) -> int:
    """How many connections there may be, ``connections`` if possible; the limit of open files is raised for them.

    Many systems begin with 1024, which 500 connections would use up.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections * EACH + RESERVED
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):  # more than the system has for one process
        allowed = soft
    if allowed == wanted:
        return connections
    room = max((allowed - RESERVED) // EACH, allowed // 4)
    log.warn(
        "{connections} connections need {wanted} open files and {allowed} are allowed: {room} are taken; raise "
        "LimitNOFILE or ulimit -Hn",
        connections=connections,
        wanted=wanted,
        allowed=allowed,
        room=room,
    )
    return room
