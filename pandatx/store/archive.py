"""Ending jobs: locking them, moving them to the archive in batches, changing those that go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import evolve, field, frozen

from pandatx.domain.event_leases import end_in_parts, is_clone, lease_of
from pandatx.domain.events import FINE_GRAINED
from pandatx.domain.heartbeat import queued_since
from pandatx.domain.job import Job, JobFile
from pandatx.domain.lifecycle import JobStatus
from pandatx.domain.task_files import TaskJob
from pandatx.store import columns, events, jedi
from pandatx.store.columns import FILE, JOB, JOB_ATTRIBUTE, json_rows
from pandatx.store.database import Transaction
from pandatx.store.job_metrics import Queued, add_queuing_times
from pandatx.store.queries import load
from pandatx.store.results import Result

CHANGED: Final = (
    "job_status modification_time state_change_time start_time end_time command_to_pilot job_sub_status "
    "pilot_error_code pilot_error_diag exe_error_code exe_error_diag sup_error_code sup_error_diag ddm_error_code "
    "ddm_error_diag job_dispatcher_error_code job_dispatcher_error_diag task_buffer_error_code task_buffer_error_diag "
    "n_output_data_files output_file_bytes hs06sec"
).split()
"""The attributes of a job that its end can change."""
_FILE_CHANGED: Final = ("guid", "lfn", "status", "fsize", "md5sum", "checksum")
_OUTPUTS: Final = frozenset(("output", "log"))
_PRODUCTION: Final = frozenset(("managed", "test"))
_CLOSED_CLONE: Final = {
    "job_status": "closed",
    "job_sub_status": "jc_unlock",
    "task_buffer_error_code": 200,
    "task_buffer_error_diag": "closed since failed to lock semaphore",
}

_NEW_FILE: Final = {name: how for name, how in FILE.items() if name != "row_id"}
# The jobs that a build is for: those of its task, whenever they were stored, else those that were submitted with it.
_BEHIND: Final = """(
   SELECT pandaid FROM {panda}.jobsdefined4
    WHERE b.task IS NULL AND jobdefinitionid = b.definition AND produsername = b.owner
   UNION ALL SELECT pandaid FROM {panda}.jobsdefined4 WHERE jeditaskid = b.task) j ON true"""

SQL = load(
    __file__,
    columns=columns.names(JOB),
    changed=", ".join(JOB[name][0] for name in CHANGED),
    typed=", ".join(f"{JOB[name][0]} {JOB[name][1]}" for name in CHANGED),
    moved=columns.renamed(JOB, pandaid="j.pandaid", **{JOB[name][0]: f"v.{JOB[name][0]}" for name in CHANGED}),
    assignments=", ".join(f"{JOB[name][0]} = v.{JOB[name][0]}" for name in CHANGED),
    file_columns=columns.names(FILE),
    file_typed=", ".join(f"{FILE[name][0]} {FILE[name][1]}" for name in ("row_id", *_FILE_CHANGED)),
    file_assignments=", ".join(
        f"{FILE[name][0]} = coalesce(w.{FILE[name][0]}, f.{FILE[name][0]})" for name in _FILE_CHANGED
    ),
    behind=_BEHIND,
    new_file_columns=columns.names(_NEW_FILE),
    new_file_values=columns.renamed(_NEW_FILE, fsize="coalesce(fsize, 0)"),
    new_file_typed=columns.typed(_NEW_FILE),
)


@frozen(kw_only=True)
class Change:
    """What becomes of a job that the transaction has locked.

    ``job`` is as it was, with its files; ``changes`` are attributes of CHANGED, None meaning NULL; ``file_changes`` is
    by row_id. ``logged``: a row in jobs_statuslog. ``n_events`` are those of outputs by LFN, for the job's task;
    ``last_attempt``: the task is not to try its inputs again. ``told``: it hears of it at all.
    """

    job: Job
    changes: Mapping[str, Any]
    file_changes: Mapping[int, Mapping[str, Any]]
    new_files: tuple[JobFile, ...] = ()
    logged: bool = True
    n_events: Mapping[str, int] = field(factory=dict)
    last_attempt: bool = False
    told: bool = True

    @property
    def after(self) -> Job:
        """The job as the change leaves it."""
        files = tuple(
            evolve(each, **changes) if (changes := self.file_changes.get(each.row_id)) else each
            for each in self.job.files
        )
        return evolve(self.job, **self.changes, files=files + self.new_files)


def outputs_failed(job: Job) -> dict[int, dict[str, Any]]:
    """The file changes of a job whose outputs and logs do not count."""
    return {each.row_id: {"status": "failed"} for each in job.files if each.type in _OUTPUTS}


async def guard(tx: Transaction) -> None:
    """Have the statements of this transaction planned by index: called first, on any pool but that of requests."""
    await tx.run(SQL.guard)


async def lock(tx: Transaction, ids: Sequence[int]) -> dict[int, Job]:
    """The active jobs that nobody else holds, locked, with their files."""
    return await with_files(tx, _jobs(await tx.run(SQL.lock, ids=list(ids))))


async def lock_defined(tx: Transaction, ids: Sequence[int]) -> dict[int, Job]:
    """The jobs not activated yet that nobody else holds, locked, with their files."""
    return await with_files(tx, _jobs(await tx.run(SQL.lock_defined, ids=list(ids))))


async def lock_again(tx: Transaction, jobs: Mapping[int, Job]) -> dict[int, Job]:
    """Those of the jobs that are still active and that nobody else holds, locked, as they are by now."""
    result = await tx.run(SQL.lock_again, ids=list(jobs))
    names = [JOB_ATTRIBUTE[column] for column in result.columns]
    return {row[0]: evolve(jobs[row[0]], **dict(zip(names, row, strict=True))) for row in result.rows}


async def wait_for(tx: Transaction, ids: Sequence[int], seconds: float) -> None:
    """Wait at most so long for those that hold the jobs, and hold them then."""
    await tx.run(SQL.lock_wait, milliseconds=str(int(seconds * 1000)))
    await tx.run(SQL.wait_active, ids=list(ids))
    await tx.run(SQL.wait_defined, ids=list(ids))


async def alive(tx: Transaction, ids: Sequence[int]) -> frozenset[int]:
    """Those of the jobs that are not archived."""
    return frozenset((await tx.run(SQL.alive, ids=list(ids))).column("pandaid"))


async def read(tx: Transaction, ids: Sequence[int]) -> dict[int, Job]:
    """Active jobs with their files, not locked."""
    return await with_files(tx, _jobs(await tx.run(SQL.read, ids=list(ids))))


async def with_files(tx: Transaction, jobs: Mapping[int, Job]) -> dict[int, Job]:
    """The jobs with their files."""
    if not jobs:
        return {}
    result = await tx.run(SQL.files, ids=list(jobs))
    files: dict[int, list[JobFile]] = {panda_id: [] for panda_id in jobs}
    for each in columns.files(result.columns, result.rows):
        files[each.panda_id].append(each)
    return {panda_id: evolve(job, files=tuple(files[panda_id])) for panda_id, job in jobs.items()}


async def archive(tx: Transaction, ended: Sequence[Change], now: datetime) -> Sequence[Change]:
    """Move jobs to the archive: their rows, files, parameters, metadata and the status log; their reports go.

    Those of tasks are counted by their tasks before the commit (promise 8). A clone that others outlive is closed
    instead of failed, a fine-grained job has finished with what it has processed. Gives the changes as they were made.
    """
    if not ended:
        return ended
    ended = await _numbered(tx, await _in_parts(tx, await _outlived(tx, ended)))
    files = [_file_row(each, change.file_changes.get(each.row_id, {})) for change in ended for each in change.job.files]
    result = await tx.run(SQL.archive, **_rows(ended), files=json_rows(sorted(files, key=_row_id)), now=now)
    tx.xid = result.rows[0][1] if result.rows else tx.xid
    await _add_files(tx, ended, now)
    if blocks := {each for change in ended for each in _failed_to_read(change)}:
        await tx.run(SQL.note_failures, names=sorted(blocks))
    if queued := [each for change in ended if (each := _queued(change)) is not None]:
        await add_queuing_times(tx, queued, now)
    _tell_tasks(tx, ended, result, now)
    if leases := [lease for change in ended if (lease := lease_of(change.job, _status(change))) is not None]:
        done = frozenset(result.column("pandaid"))
        tx.at_end(events.leave, [lease for lease in leases if lease.panda_id in done], now)
    return ended


async def _outlived(tx: Transaction, ended: Sequence[Change]) -> Sequence[Change]:
    """The changes; of a clone that ends without having run or stored for all of them its task does not hear."""
    clones = [
        (change.job.panda_id, change.job.jedi_task_id, change.job.jobset_id)
        for change in ended
        if change.job.jedi_task_id is not None
        and is_clone(change.job.special_handling)
        and _status(change) != JobStatus.FINISHED
    ]
    if not clones:
        return ended
    outlived = await events.outlived(tx, clones)
    return [_unheard(change) if change.job.panda_id in outlived else change for change in ended]


def _unheard(change: Change) -> Change:
    closed = _CLOSED_CLONE if _status(change) == JobStatus.FAILED else {}
    return evolve(change, changes={**change.changes, **closed}, told=False)


async def _in_parts(tx: Transaction, ended: Sequence[Change]) -> Sequence[Change]:
    """The changes; how fine-grained jobs end that were not killed is for their events to say."""
    jobs = [
        (change.job.panda_id, change.job.jedi_task_id, change.job.jobset_id)
        for change in ended
        if change.job.event_service == FINE_GRAINED
        and change.job.jedi_task_id is not None
        and _status(change) in (JobStatus.FINISHED, JobStatus.FAILED)
    ]
    if not jobs:
        return ended
    parts = await events.parts(tx, jobs)
    return [
        evolve(change, changes={**change.changes, **end_in_parts(*parts[change.job.panda_id])})
        if change.job.panda_id in parts
        else change
        for change in ended
    ]


async def keep(tx: Transaction, changed: Sequence[Change], now: datetime) -> None:
    """Change active jobs that go on; their reports go. Of those of tasks the tasks hear before the commit."""
    if not changed:
        return
    changed = await _numbered(tx, changed)
    files = [{"row_id": row_id, **values} for change in changed for row_id, values in change.file_changes.items()]
    result = await tx.run(SQL.keep, **_rows(changed), files=json_rows(sorted(files, key=_row_id)))
    tx.xid = result.rows[0][1] if result.rows else tx.xid
    await _add_files(tx, changed, now)
    _tell_tasks(tx, changed, result, now)


async def wire_builds(tx: Transaction, builds: Iterable[tuple[Job, Iterable[JobFile]]]) -> None:
    """Tell of what builds have made to the jobs that read it."""
    rows = [
        {
            "definition": job.job_definition_id,
            "owner": job.prod_user_name,
            "task": job.jedi_task_id,
            **{name: getattr(each, name) for name in ("lfn", "guid", "fsize", "checksum")},
        }
        for job, made in builds
        for each in made
    ]
    if rows:
        await tx.run(SQL.wire_builds, rows=json_rows(rows))


async def behind_builds(tx: Transaction, builds: Iterable[Job]) -> list[int]:
    """The jobs, not activated yet, that wait for the outputs of these builds."""
    rows = [
        (job.job_definition_id, job.prod_user_name, job.jedi_task_id, each.lfn)
        for job in builds
        for each in job.files
        if each.type == "output"
    ]
    if not rows:
        return []
    definitions, owners, tasks, lfns = (list(column) for column in zip(*rows, strict=True))
    result = await tx.run(SQL.behind_builds, definitions=definitions, owners=owners, tasks=tasks, lfns=lfns)
    return result.column("pandaid")


def _tell_tasks(tx: Transaction, changes: Sequence[Change], result: Result, now: datetime) -> None:
    """At the end of the transaction, those that ``result`` names."""
    of_tasks = [each for each in changes if each.told and each.job.jedi_task_id is not None]
    if of_tasks:
        done = frozenset(result.column("pandaid"))
        of_tasks = [each for each in of_tasks if each.job.panda_id in done]
        tx.at_end(jedi.report, [_of_task(each) for each in of_tasks], now)


def _failed_to_read(change: Change) -> Iterable[str]:
    """The dispatch blocks of a job of production that has failed and may be tried again: they are kept for longer."""
    if change.job.prod_source_label not in _PRODUCTION or _status(change) != JobStatus.FAILED:
        return ()
    return (each.dispatch_dblock for each in change.job.files if each.type == "input" and each.dispatch_dblock)


def _queued(change: Change) -> Queued | None:
    """Of a job with the tag tq: it may end without ever having run."""
    job, since = change.job, queued_since(change.job.special_handling)
    if since is None or job.jedi_task_id is None:
        return None
    return Queued(panda_id=job.panda_id, task_id=job.jedi_task_id, since=since, status=_status(change))


def _status(change: Change) -> str:
    """The one that the job ends with."""
    return str(change.changes.get("job_status", change.job.job_status))


def _of_task(change: Change) -> TaskJob:
    return TaskJob(before=change.job, after=change.after, n_events=change.n_events, last_attempt=change.last_attempt)


async def _numbered(tx: Transaction, changes: Sequence[Change]) -> Sequence[Change]:
    """The changes; what jobs of tasks have made beside what they were to make has ids among the files of its task."""
    n = sum(1 for change in changes for each in change.new_files if _is_of_task(change, each))
    if not n:
        return changes
    ids = iter(await jedi.file_ids(tx, n))
    return [
        evolve(
            change,
            new_files=tuple(
                evolve(each, file_id=next(ids)) if _is_of_task(change, each) else each for each in change.new_files
            ),
        )
        for change in changes
    ]


def _is_of_task(change: Change, each: JobFile) -> bool:
    return change.job.jedi_task_id is not None and each.dataset_id is not None


async def _add_files(tx: Transaction, changes: Sequence[Change], now: datetime) -> None:
    added = [columns.file_row(each) for change in changes for each in change.new_files]
    if added:
        await tx.run(SQL.add_files, rows=json_rows(added), now=now)


def _rows(changes: Sequence[Change]) -> dict[str, Any]:
    return {
        "rows": json_rows(_job_row(change) for change in changes),
        "ids": [change.job.panda_id for change in changes],
    }


def _job_row(change: Change) -> dict[str, Any]:
    """Every column that can change, since the row is locked; one that is left out becomes NULL."""
    row: dict[str, Any] = {"pandaid": change.job.panda_id, "logged": change.logged}
    for name in CHANGED:
        value = change.changes[name] if name in change.changes else getattr(change.job, name)
        if value is not None:
            row[JOB[name][0]] = value
    return row


def _file_row(each: JobFile, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {"row_id": each.row_id, **changes}


def _row_id(row: Mapping[str, Any]) -> int:
    return int(row["row_id"])


def _jobs(result: Result) -> dict[int, Job]:
    return {job.panda_id: job for job in columns.jobs(result.columns, result.rows)}
