"""Rules on errors, and what they change in JEDI's tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from attrs import frozen

from pandatx.domain.job import Job, JobFile
from pandatx.domain.retry_effects import TaskNeeds
from pandatx.domain.retry_rules import ClassRow, RuleRow, Rules, rules_of
from pandatx.domain.task_files import MERGE
from pandatx.store.columns import json_rows
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)

_RECALCULATED: Final = timedelta(minutes=30)


@frozen(kw_only=True)
class Limit:
    """Other limits for the attempts of a job's files: no more at all, at most so many, so many more."""

    job: Job
    stops: bool = False
    most: int | None = None
    more: int = 0


@frozen(kw_only=True)
class TaskChange:
    """What becomes of a task; None: as before."""

    ram: int | None = None
    resource_type: str | None = None
    cpu_time: int | None = None
    cpu_time_unit: str | None = None
    split_rule: str | None = None


@frozen
class FileMemory:
    """How many files ask for which memory in MB, by the master inputs of a task that they are of."""

    _by_dataset: dict[int, Counter[int]]

    @property
    def files(self) -> Counter[int]:
        """Of all of them, without those that nobody asks for."""
        return sum(self._by_dataset.values(), Counter[int]())

    def raised(self, dataset: int, before: int, after: int) -> None:
        """A file asks for more."""
        if dataset in self._by_dataset:
            self._by_dataset[dataset].update({before: -1, after: 1})


async def read(tx: Transaction) -> Rules:
    """Every rule and class."""
    rows = [RuleRow(**row) for row in (await tx.run(SQL.rules)).dicts()]
    return rules_of(rows, [ClassRow(**row) for row in (await tx.run(SQL.classes)).dicts()])


async def lock_tasks(tx: Transaction, tasks: Iterable[int]) -> dict[int, TaskNeeds]:
    """What these tasks ask for, locked; after the jobs and their files (rule R1)."""
    result = await tx.run(SQL.lock_tasks, tasks=sorted(set(tasks)))
    return {
        task: TaskNeeds(
            ram_count=ram or 0,
            ram_unit=unit,
            base_ram_count=base or 0,
            core_count=cores,
            split_rule=split_rule or "",
            cpu_time=cpu_time,
            cpu_time_unit=cpu_unit,
            base_wall_time=wall_time,
            cpu_efficiency=efficiency,
        )
        for task, ram, unit, base, cores, split_rule, cpu_time, cpu_unit, wall_time, efficiency in result.rows
    }


async def limit_attempts(tx: Transaction, limits: Sequence[Limit], files: Sequence[Sequence[JobFile]]) -> None:
    """Write limits for the inputs of jobs, and count those of them that have used up their attempts by that."""
    rows = [
        _key(limit.job, each)
        | {"stops": limit.stops, "most": limit.most, "more": limit.more}
        | {"merges": limit.job.processing_type == MERGE}
        for limit, inputs in zip(limits, files, strict=True)
        for each in inputs
    ]
    if rows:
        pairs = sorted({(row["jeditaskid"], row["datasetid"]) for row in rows})
        await tx.run(SQL.lock_datasets, tasks=[task for task, _ in pairs], datasets=[each for _, each in pairs])
        await tx.run(SQL.limit_attempts, rows=json_rows(rows))


async def memory_of_files(tx: Transaction, task: int) -> FileMemory:
    """What the files of the task's master inputs ask for. There may be a million."""
    found: dict[int, Counter[int]] = {}
    for dataset, ram, n in (await tx.run(SQL.memory_of_files, task=task)).rows:
        found.setdefault(dataset, Counter())[ram] = n
    return FileMemory(found)


async def raise_memory(tx: Transaction, job: Job, files: Iterable[JobFile], ram: int, known: FileMemory) -> None:
    """Give files more memory; ``known`` follows."""
    rows = [_key(job, each) | {"ram": ram} for each in files]
    rows.sort(key=lambda row: (row["datasetid"], row["fileid"]))
    for dataset, before in (await tx.run(SQL.raise_memory, rows=json_rows(rows))).rows:
        known.raised(dataset, before, ram)


async def change_task(tx: Transaction, task: int, change: TaskChange) -> None:
    await tx.run(
        SQL.change_task,
        task=task,
        ram=change.ram,
        resource_type=change.resource_type,
        cpu_time=change.cpu_time,
        cpu_time_unit=change.cpu_time_unit,
        split_rule=change.split_rule,
    )


async def recalculate(tx: Transaction, task: int, now: datetime) -> bool:
    """Have JEDI work out again what the task needs; False where that was asked for less than half an hour ago."""
    return (await tx.run(SQL.recalculate, task=task, now=now, before=now - _RECALCULATED)).count > 0


async def has_finished(tx: Transaction, task: int) -> bool:
    """Whether a job of the task has ever finished."""
    return bool((await tx.run(SQL.has_finished, task=task)).scalar())


async def events(tx: Transaction, task: int, files: Sequence[JobFile]) -> int:
    """How many events of the task's master inputs these files hold."""
    datasets, ids = [each.dataset_id for each in files], [each.file_id for each in files]
    return int((await tx.run(SQL.events, task=task, datasets=datasets, files=ids)).scalar() or 0)


async def master_inputs(tx: Transaction, task: int) -> frozenset[int]:
    """The datasets whose files make the task's jobs."""
    return frozenset((await tx.run(SQL.master_inputs, task=task)).column("datasetid"))


def _key(job: Job, each: JobFile) -> dict[str, Any]:
    return {
        "pandaid": job.panda_id,
        "jeditaskid": job.jedi_task_id,
        "datasetid": each.dataset_id,
        "fileid": each.file_id,
    }
