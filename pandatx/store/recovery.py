"""JEDI's rows of lost files and of the jobs that made them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pandatx.domain.recovery import Content, Output, Reset, Task
from pandatx.store.database import Transaction
from pandatx.store.queries import load
from pandatx.store.results import Result

SQL = load(__file__)


async def owner_of_task(tx: Transaction, task_id: int) -> str | None:
    """Whose a task is, None where there is none."""
    found = await task(tx, task_id)
    return None if found is None else found.owner


async def owner_of_dataset(tx: Transaction, name: str) -> str | None:
    """Whose the task is that made a dataset."""
    found = await task_of_dataset(tx, name)
    return None if found is None else found.owner


async def task(tx: Transaction, task_id: int) -> Task | None:
    """A task by its number."""
    return _task(await tx.run(SQL.task, task=task_id))


async def task_of_dataset(tx: Transaction, name: str) -> Task | None:
    """The latest task that made a dataset."""
    return _task(await tx.run(SQL.task_of_dataset, names=spellings(name)))


async def output_datasets(tx: Transaction, task_id: int, dataset: str | None) -> list[tuple[int, str]]:
    """Id and name of the output datasets of a task, or of one of them."""
    names = None if dataset is None else spellings(dataset)
    return [(number, name) for number, name in (await tx.run(SQL.output_datasets, task=task_id, names=names)).rows]


async def outputs(
    tx: Transaction, task_id: int, dataset: tuple[int, str], after: int, limit: int
) -> tuple[list[Output], int]:
    """Up to ``limit`` finished outputs in a dataset after the file ``after``, and the last of these."""
    rows = (await tx.run(SQL.outputs, task=task_id, dataset=dataset[0], after=after, limit=limit)).rows
    found = [Output(dataset=dataset[1], lfn=lfn, scope=scope, rse=rse) for _, lfn, scope, rse in rows]
    return found, rows[-1][0] if rows else after


async def jobs(tx: Transaction, task_id: int, lost: Mapping[str, Sequence[str]]) -> set[int]:
    """The jobs that made finished files of a task, given by dataset."""
    pairs = [(name, lfn) for dataset, lfns in lost.items() for name in spellings(dataset) for lfn in lfns]
    result = await tx.run(SQL.jobs, task=task_id, datasets=[name for name, _ in pairs], lfns=[lfn for _, lfn in pairs])
    return set(result.column("pandaid"))


async def lock(tx: Transaction, task_id: int, of: Collection[int]) -> list[Content]:
    """All files of some jobs, and of those that they have merged the outputs of, locked."""
    before = (await tx.run(SQL.before, task=task_id, jobs=sorted(of))).column("outpandaid")
    result = await tx.run(SQL.lock, task=task_id, jobs=sorted({*of, *before}))
    return [
        Content(
            dataset_id=dataset_id,
            file_id=file_id,
            lfn=lfn,
            type=kind,
            status=status,
            panda_id=panda_id,
            out_panda_id=out_panda_id,
            dataset=dataset,
            master=master,
        )
        for dataset_id, file_id, lfn, kind, status, panda_id, out_panda_id, dataset, master in result.rows
    ]


async def write(tx: Transaction, task_id: int, reset: Reset) -> str:
    """Change files that are locked, then the counters of their datasets; the task's status by then."""
    for status, attempt, contents in (
        ("lost", 0, reset.lost_outputs),
        ("ready", 1, reset.ready_inputs),
        ("lost", 1, reset.lost_inputs),
    ):
        if contents:
            datasets, files = [each.dataset_id for each in contents], [each.file_id for each in contents]
            await tx.run(SQL.set_status, task=task_id, datasets=datasets, files=files, status=status, attempt=attempt)
    if changed := sorted({*reset.finished, *reset.used}):
        await tx.run(SQL.lock_datasets, task=task_id, datasets=changed)
    for inputs, counts in ((False, reset.finished), (True, reset.used)):
        if counts:
            await tx.run(SQL.count, task=task_id, datasets=list(counts), files=list(counts.values()), inputs=inputs)
    return str((await tx.run(SQL.not_done, task=task_id)).scalar())


def spellings(dataset: str) -> list[str]:
    """A dataset's name, and that without its scope."""
    return list(dict.fromkeys((dataset, dataset.rpartition(":")[2])))


def _task(result: Result) -> Task | None:
    row = result.one()
    return None if row is None else Task(task_id=row["jeditaskid"], owner=row["username"], status=row["status"])
