"""Telling JEDI's tables what becomes of the jobs of tasks, in the transactions that change the jobs (promise 8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from attrs import frozen

from pandatx.domain.task_files import (
    PROC_STATUS,
    TASK_OVER,
    Copy,
    Key,
    Settlement,
    TaskFile,
    TaskJob,
    copies_of,
    keys_of,
    settle,
)
from pandatx.store.columns import json_rows
from pandatx.store.database import Transaction
from pandatx.store.queries import load
from pandatx.store.results import Result

LOCK_WAIT: Final = 2.0
"""Seconds that a batch of reports waits for others that hold rows of its tasks; then each report is stored alone."""

_KEY: Final = {
    "task_id": ("jeditaskid", "bigint"),
    "dataset_id": ("datasetid", "bigint"),
    "file_id": ("fileid", "bigint"),
}
_WRITTEN: Final = {
    "lfn": ("lfn", "varchar(4000)"),
    "guid": ("guid", "varchar(64)"),
    "fsize": ("fsize", "bigint"),
    "checksum": ("checksum", "varchar(36)"),
    "status": ("status", "varchar(64)"),
    "attempt_nr": ("attemptnr", "smallint"),
    "max_attempt": ("maxattempt", "smallint"),
    "failed_attempt": ("failedattempt", "smallint"),
    "keep_track": ("keeptrack", "smallint"),
    "boundary_id": ("boundaryid", "bigint"),
    "panda_id": ("pandaid", "bigint"),
    "out_panda_id": ("outpandaid", "bigint"),
    "n_events": ("nevents", "bigint"),
    "proc_status": ("proc_status", "varchar(64)"),
}
_READ: Final = {
    **_KEY,
    **_WRITTEN,
    "max_failure": ("maxfailure", "smallint"),
    "start_event": ("startevent", "bigint"),
    "end_event": ("endevent", "bigint"),
}
_ATTRIBUTE: Final = {column: name for name, (column, _) in _READ.items()}
_OVER: Final = ", ".join(f"'{status}'" for status in sorted(TASK_OVER))

# The rows that are still in these jobs, in tasks that still listen.
_FILES_OF_JOBS: Final = f"""
    FROM unnest(%(jobs)s, %(statuses)s) v(job, status)
    JOIN {{panda}}.filestable4 f ON f.pandaid = v.job AND f.type IN ('input', 'pseudo_input')
    JOIN {{panda}}.jedi_tasks t ON t.jeditaskid = f.jeditaskid AND t.status NOT IN ({_OVER})
    JOIN {{panda}}.jedi_datasets d ON d.jeditaskid = f.jeditaskid AND d.datasetid = f.datasetid
     AND d.type IN ('input', 'pseudo_input')
    JOIN {{panda}}.jedi_dataset_contents c ON c.jeditaskid = f.jeditaskid AND c.datasetid = f.datasetid
     AND c.fileid = f.fileid
   WHERE c.pandaid = v.job AND c.attemptnr = f.attemptnr AND c.keeptrack = 1 AND f.lfn NOT LIKE '%%.lib.tgz'"""

SQL = load(
    __file__,
    columns_of_c=", ".join(f"c.{column}" for column, _ in _READ.values()),
    typed=", ".join(f"{column} {kind}" for column, kind in {**_KEY, **_WRITTEN}.values()),
    assignments=", ".join(f"{column} = w.{column}" for column, _ in _WRITTEN.values()),
    over=_OVER,
    files_of_jobs=_FILES_OF_JOBS,
)


@frozen(kw_only=True)
class Move:
    """A job of a task that changes its status and goes on."""

    panda_id: int
    old: str
    new: str


async def report(tx: Transaction, jobs: Sequence[TaskJob], now: datetime) -> None:
    """Count the ends and changes of jobs of tasks, whose rows the caller has locked and changed."""
    keys = keys_of(jobs)
    if not keys:
        return
    await _copy(tx, copies_of(jobs), now)
    tasks, datasets, files = (list(column) for column in zip(*(key for key, _ in keys), strict=True))
    blocks = [block for _, block in keys]
    rows = await tx.run(SQL.lock_files, tasks=tasks, datasets=datasets, files=files, blocks=blocks)
    found = settle(jobs, _rows(rows))
    if found.files:
        await tx.run(SQL.write_files, files=_file_rows(found))
    await count(tx, found.datasets)
    if found.done:
        ids = sorted(found.done)
        await tx.run(
            SQL.done,
            tasks=ids,
            jobs=[found.done[task_id]["jobs"] for task_id in ids],
            events=[found.done[task_id]["events"] for task_id in ids],
            now=now,
        )
    await wait(tx, found.queued, now)


async def file_ids(tx: Transaction, n: int) -> list[int]:
    """Ids for new files of tasks."""
    return (await tx.run(SQL.file_ids, n=n)).column("id")


async def _copy(tx: Transaction, copies: Sequence[Copy], now: datetime) -> None:
    if copies:
        await tx.run(
            SQL.copy_files,
            jobs=[one.panda_id for one in copies],
            tasks=[one.key[0] for one in copies],
            datasets=[one.key[1] for one in copies],
            files=[one.key[2] for one in copies],
            originals=[one.original for one in copies],
            lfns=[one.lfn for one in copies],
            now=now,
        )


async def count(tx: Transaction, datasets: Mapping[tuple[int, int], Counter[str]]) -> None:
    """Add to the counters of datasets, by task and dataset; the names are those of the columns."""
    rows = [
        {"jeditaskid": key[0], "datasetid": key[1], **{name: n for name, n in counter.items() if n}}
        for key, counter in sorted(datasets.items())
        if any(counter.values())
    ]
    if rows:
        await tx.run(SQL.count, datasets=json_rows(rows))


async def wait(tx: Transaction, tasks: Collection[int], now: datetime) -> None:
    """Say of tasks that they have files again for which there is no job yet."""
    if tasks:
        await tx.run(SQL.wait, tasks=sorted(tasks), now=now)


async def move(tx: Transaction, moves: Sequence[Move]) -> None:
    """Follow jobs that go on, in a batch of reports; LockNotAvailable where others hold a row for long."""
    held = {one.panda_id: (one.new == "transferring") - (one.old == "transferring") for one in moves}
    held = {panda_id: n for panda_id, n in held.items() if n}
    following = {one.panda_id: one.new for one in moves if one.new in _FOLLOWED}
    following |= {one.panda_id: "running" for one in moves if one.old == "transferring" and one.new == "holding"}
    if not held and not following:
        return
    await tx.run(SQL.limit_lock_wait, milliseconds=str(int(LOCK_WAIT * 1000)))
    if following:
        await tx.run(SQL.follow, jobs=list(following), statuses=[PROC_STATUS[status] for status in following.values()])
    if held:
        await tx.run(SQL.hold, jobs=list(held), statuses=list(held.values()))


_FOLLOWED: Final = frozenset(("running", "transferring"))


async def follow(tx: Transaction, jobs: Iterable[int], status: str) -> None:
    """Say what the files of these jobs are doing, where nobody holds their rows: a pilot must not wait for that."""
    ids = sorted(jobs)
    if ids:
        await tx.run(SQL.follow_free, jobs=ids, statuses=[PROC_STATUS[status]] * len(ids))


def _rows(result: Result) -> dict[Key, TaskFile]:
    names = [_ATTRIBUTE.get(column, column) for column in result.columns]
    rows = (TaskFile(**dict(zip(names, row, strict=True))) for row in result.rows)
    return {row.key: row for row in rows}


def _file_rows(found: Settlement) -> str:
    """Every column that can change, since the rows are locked."""
    columns = {**_KEY, **_WRITTEN}
    return json_rows(
        {column: value for name, (column, _) in columns.items() if (value := getattr(row, name)) is not None}
        for row in found.files.values()
    )
