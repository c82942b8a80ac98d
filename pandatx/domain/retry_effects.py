"""How much memory, CPU time or input the next attempts of a task get (reference/lifecycle.md 1.8)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from attrs import frozen

STEPS: Final = (1000, 2000, 3000, 4000, 6000, 8000)
"""MB; the last one is the most that increase_memory gives."""
_COMPENSATION: Final = 0.9
_TOO_MANY: Final = 0.3
"""Of the files of a task: when more than these needed more memory, the whole task gets it."""
_PER_CORE: Final = frozenset(("MBPerCore", "MBPerCoreFixed"))
_FIXED: Final = "MBPerCoreFixed"
_MEGABYTE: Final = frozenset(("MB", None))
_MOST: Final = 2**31 - 1
"""The most that a column of a task holds."""


@frozen(kw_only=True)
class TaskNeeds:
    """What a task asks for its jobs: memory in MB, CPU time in HS06 s per event, the split rule as JEDI stores it."""

    ram_count: int = 0
    ram_unit: str | None = None
    base_ram_count: int = 0
    core_count: int | None = None
    split_rule: str = ""
    cpu_time: int | None = None
    cpu_time_unit: str | None = None
    base_wall_time: int | None = None
    cpu_efficiency: int | None = None

    @property
    def per_core(self) -> bool:
        return self.ram_unit in _PER_CORE


@frozen(kw_only=True)
class JobNeeds:
    """What a job was given: memory in MB."""

    min_ram_count: int = 0
    min_ram_unit: str | None = None
    core_count: int | None = None

    @property
    def cores(self) -> int:
        return self.core_count or 1

    @property
    def ram(self) -> int:
        """Before the compensation that the job generator made."""
        return int(self.min_ram_count / _COMPENSATION)

    def ram_of(self, task: TaskNeeds, base: int = 0) -> float:
        """Per core, where the task counts so."""
        shared = task.per_core and self.min_ram_unit in _MEGABYTE
        return (self.ram - base) / self.cores if shared else float(self.ram - base)


@frozen(kw_only=True)
class Memory:
    """New limits in MB, for the task or for the files of the job; None: as before."""

    task: int | None = None
    files: int | None = None


def more_memory(task: TaskNeeds, job: JobNeeds, files: Mapping[int, int]) -> Memory:
    """increase_memory: the next step for the files of the job, or for the task where many have needed it.

    ``files`` counts the files of the task's master inputs by their memory.
    """
    used = job.ram_of(task, task.base_ram_count)
    if task.ram_unit != _FIXED and _many_above(task, files):
        floor = max(0.0, used, max(files, default=0) - 1)
        return Memory(task=_task_limit(task.ram_count, floor, unlimited=False)) if floor else Memory()
    if used >= STEPS[-1]:
        return Memory()
    step = next(each for each in STEPS if used < each)
    return Memory() if task.ram_count > step else Memory(files=step)


def more_memory_by_task(task: TaskNeeds, job: JobNeeds, files: Mapping[int, int]) -> Memory:
    """increase_memory_xtimes: as much more as the task's RY asks, at most its RZ."""
    if not task.ram_count:
        return Memory()
    used = job.ram_of(task)
    wanted = used * _number(rule_value(task.split_rule, "RY"), 1.0) / task.ram_count
    most = _number(rule_value(task.split_rule, "RZ"), 0.0)
    if most:
        wanted = min(wanted, most / job.cores if task.per_core else most)
    if task.ram_unit != _FIXED and _many_above(task, files) and wanted > task.ram_count:
        return Memory(task=_task_limit(task.ram_count, wanted, unlimited=True))
    if task.ram_count > wanted or used >= wanted:
        return Memory()
    return Memory(files=min(round(wanted), _MOST))


def _many_above(task: TaskNeeds, files: Mapping[int, int]) -> bool:
    whole = sum(files.values())
    return whole > 0 and sum(n for ram, n in files.items() if ram > task.ram_count) / whole > _TOO_MANY


def _task_limit(now: int, floor: float, *, unlimited: bool) -> int | None:
    """The step above both, None where the task has enough or may not get more."""
    if now > floor or (now >= STEPS[-1] and not unlimited):
        return None
    least = max(now, floor)
    above = next((each for each in STEPS if least < each), None)
    if above is None:
        above = min(round(least), _MOST) if unlimited else STEPS[-1]
    return above


def _number(text: str | None, default: float) -> float:
    try:
        found = float(text) if text else default
    except ValueError:
        return default
    return found if math.isfinite(found) else default


def memory_per_core(task: TaskNeeds, ram_count: int) -> tuple[int, int]:
    """Cores, and the whole memory in MB as a job would get it, from which the resource type of the task follows."""
    cores = 1 if task.core_count is None else task.core_count or 8
    whole = ram_count * cores if task.per_core else ram_count
    return cores, int((whole + task.base_ram_count) * _COMPENSATION)


# CPU time


@frozen(kw_only=True)
class Attempt:
    """How long the job ran, where: seconds, cores of the job, HS06 of a core, events."""

    wall_time: float
    cores: int
    core_power: float
    events: int


def more_cpu_time(task: TaskNeeds, attempt: Attempt) -> tuple[int, str] | None:
    """increase_cputime: the time per event that the attempt shows, half as much again; None: as before."""
    if not task.cpu_efficiency or not task.base_wall_time or not attempt.events or attempt.wall_time < 0:
        return None
    work = (attempt.wall_time - task.base_wall_time) * attempt.core_power * attempt.cores * 1.1
    needed = work / (task.cpu_efficiency / 100) / attempt.events * 1.5
    before = task.cpu_time
    if before is not None and task.cpu_time_unit == "mHS06sPerEvent":
        known: float | None = before / 1000
    else:
        known = before if task.cpu_time_unit == "HS06sPerEvent" else None
    if needed <= 0 or (known is not None and known > needed):
        return None
    if needed < 10:
        return int(needed * 1000), "mHS06sPerEvent"
    return min(int(needed), _MOST), "HS06sPerEvent"


# Input

_EXCLUDED: Final = "nEventsPerJob,nFilesPerJob"
_SPLIT_RULES: Final = {
    "nEventsPerJob": "NE",
    "nFilesPerJob": "NF",
    "nGBPerJob": "NG",
    "nMaxFilesPerJob": "MF",
    "retryModuleRules": "RM",
}
_THRESHOLDS: Final = (2, 4, 7)
_SPLIT_RULE_WIDTH: Final = 200


def less_input(
    split_rule: str, attempt_nr: int, gigabytes: int, n_files: int, *, excluded: str | None, steps: str | None
) -> str | None:
    """reduce_input_per_job: the split rule with half, a quarter or one of what a job takes at most; None: as before.

    ``gigabytes`` and ``n_files`` are what this job had, in all and of the master input. ``steps``: from which attempts
    on, ``2,4,7`` unless given; ``excluded``: not where the task has one of these rules.
    """
    low, middle, high = (int(each) for each in steps.split(",")) if steps else _THRESHOLDS
    if attempt_nr < low:
        return None
    tags = [_SPLIT_RULES[each] for each in (excluded or _EXCLUDED).split(",") if each in _SPLIT_RULES]
    if any(rule_value(split_rule, tag) for tag in tags):
        return None
    memory = rule_value(split_rule, "RM") or ""
    now = {tag: _whole(rule_value(split_rule, tag)) for tag in ("NG", "MF")}
    began = {tag: _whole(rule_value(memory, tag, "|", ":")) for tag in ("NG", "MF")}
    first = {"NG": began["NG"] or now["NG"] or gigabytes, "MF": began["MF"] or now["MF"] or n_files}
    share = 2 if attempt_nr < middle else 4 if attempt_nr < high else None
    wanted = {tag: max(1, value // share) if share else 1 for tag, value in first.items()}
    changed = split_rule
    if first != began:
        for tag, value in first.items():
            memory = with_rule(memory, tag, value, "|", ":")
        changed = with_rule(changed, "RM", memory)
    for tag, value in wanted.items():
        if now[tag] != value:
            changed = with_rule(changed, tag, value)
    return changed if changed != split_rule and len(changed) <= _SPLIT_RULE_WIDTH else None


def gigabytes_of(size: int) -> int:
    """Bytes as whole GiB, rounded up."""
    return math.ceil(size / 1024**3)


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def rule_value(rules: str, tag: str, separator: str = ",", equals: str = "=") -> str | None:
    """The value of one tag of a split rule ``NG=10,MF=5``."""
    start = tag + equals
    found = [each.removeprefix(start) for each in rules.split(separator) if each.startswith(start)]
    return found[-1] if found else None


def with_rule(rules: str, tag: str, value: object, separator: str = ",", equals: str = "=") -> str:
    """The split rule with another value of one tag."""
    kept = [each for each in rules.split(separator) if each and not each.startswith(tag + equals)]
    return separator.join([*kept, f"{tag}{equals}{value}"])
