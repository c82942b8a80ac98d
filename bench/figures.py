"""Latencies, errors, and the CPU that the server, the database and this program spent."""

from __future__ import annotations

import os
import resource
from array import array
from collections import Counter, defaultdict
from pathlib import Path

from attrs import define, field, frozen

TICK = os.sysconf("SC_CLK_TCK")


@define
class Tally:
    """What happened in one window of a run."""

    latencies: dict[str, array[float]] = field(factory=lambda: defaultdict(lambda: array("d")))
    errors: Counter[str] = field(factory=Counter)
    counts: Counter[str] = field(factory=Counter)
    totals: Counter[str] = field(factory=Counter)  # counts of the whole run, its warm-up included

    def add(self, label: str, seconds: float) -> None:
        self.latencies[label].append(seconds)

    def error(self, what: str) -> None:
        self.errors[what] += 1

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] += number
        self.totals[what] += number

    def clear(self) -> None:
        self.latencies.clear()
        self.errors.clear()
        self.counts.clear()

    @property
    def requests(self) -> int:
        return sum(map(len, self.latencies.values()))


def summary(latencies: array[float], seconds: float) -> dict[str, float]:
    ordered = sorted(latencies)
    if not ordered:
        return {"requests": 0, "rate": 0.0}
    last = len(ordered) - 1
    return {
        "requests": len(ordered),
        "rate": round(len(ordered) / seconds, 1),
        "p50_ms": round(ordered[last // 2] * 1000, 2),
        "p99_ms": round(ordered[int(last * 0.99)] * 1000, 2),
        "max_ms": round(ordered[last] * 1000, 2),
    }


@frozen
class Processes:
    """Processes whose CPU is asked for: each counts with its children, those that have ended too, but for ``skip``."""

    pids: tuple[int, ...]
    skip: tuple[int, ...] = ()

    def seconds(self) -> dict[int, float]:
        spent: dict[int, float] = {}
        for root in self.pids:
            for pid in (root, *_children(root, self.skip)):
                spent[pid] = _cpu(pid, ended_children=pid == root)
        return spent


def difference(before: dict[int, float], after: dict[int, float]) -> float:
    """CPU seconds between two looks; a process that is new counts from zero."""
    return sum(max(0.0, spent - before.get(pid, 0.0)) for pid, spent in after.items())


def own_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _cpu(pid: int, *, ended_children: bool) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    ticks = int(fields[11]) + int(fields[12]) + (int(fields[13]) + int(fields[14]) if ended_children else 0)
    return ticks / TICK


def _parents() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    return found


def _children(root: int, skip: tuple[int, ...] = ()) -> list[int]:
    by_parent = defaultdict(list)
    for pid, parent in _parents().items():
        by_parent[parent].append(pid)
    found, waiting = [], [root]
    while waiting:
        for child in by_parent[waiting.pop()]:
            if child not in skip:
                found.append(child)
                waiting.append(child)
    return found


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def listener(port: int) -> int | None:
    """The process that listens on a TCP port of this machine, if we may know."""
    wanted = {
        line.split()[9]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].rpartition(":")[2], 16) == port
    }
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and wanted & _sockets(entry):
            return int(entry.name)
    return None


def _sockets(entry: Path) -> set[str]:
    try:
        links = [str(link.readlink()) for link in (entry / "fd").iterdir()]
    except OSError:
        return set()
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def postmaster_below(pid: int) -> int | None:
    """The PostgreSQL that a server keeps for itself."""
    return next((child for child in _children(pid) if name_of(child).startswith("postgres")), None)
