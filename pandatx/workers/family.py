"""A child and the processes it has started, as the kernel knows them."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / (1 << 20)
_LOOKS: Final = 5
"""How often new descendants are looked for before a family is killed: a stopped one makes no more."""


Census = dict[int, list[int]]
"""The children of every process that has any."""


def census() -> Census:
    """Every process of this machine by its parent: some milliseconds."""
    below = defaultdict(list)
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (parent := _parent(entry.path)):
            below[parent].append(int(entry.name))
    return below


def descendants(pid: int, known: Census | None = None) -> list[int]:
    """Every process below ``pid``, as it is or as it was ``known``.

    A child adopts what its scripts leave behind (PR_SET_CHILD_SUBREAPER), so one with a session of its own, or whose
    parent is gone, stands here too.
    """
    below = census() if known is None else known
    found, waiting = [], [pid]
    while waiting:
        young = below.get(waiting.pop(), [])
        found += young
        waiting += young
    return found


def kill_family(pid: int) -> None:
    """SIGKILL a child and all that it has started, its process group and what has left that group."""
    family: set[int] = set()
    new = {pid}
    for _ in range(_LOOKS):
        _signal(new, signal.SIGSTOP)
        family |= new
        new = set(descendants(pid)) - family
        if not new:
            break
    kill_group(pid)
    _signal(family, signal.SIGKILL)


def kill_group(pid: int) -> None:
    """SIGKILL the process group of a child, which may itself have ended."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # it ended already, or is so young that it has no group of its own yet


def resident_mb(pid: int) -> float:
    """Resident memory of one process, 0 for one that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_MB
    except OSError:
        return 0.0


def family_mb(pid: int, known: Census, enough: float) -> float:
    """Resident memory of a child and all below it.

    Forked processes share pages, so where the plain sum is over ``enough`` each page is divided by who shares it.
    """
    family = [pid, *descendants(pid, known)]
    plain = sum(map(resident_mb, family))
    return plain if plain <= enough or len(family) == 1 else sum(map(_proportional_mb, family))


def _proportional_mb(pid: int) -> float:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
    except OSError:  # gone, or another user's
        return resident_mb(pid)
    return next((int(line.split()[1]) / 1024 for line in rollup.splitlines() if line.startswith(b"Pss:")), 0.0)


def _parent(process: str) -> int:
    try:
        stat = os.open(f"{process}/stat", os.O_RDONLY)
    except OSError:
        return 0
    try:
        return int(os.read(stat, 1024).rpartition(b")")[2].split(maxsplit=2)[1])
    except OSError:  # it has just ended
        return 0
    finally:
        os.close(stat)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue  # it ended, or it has become another user
