"""Event ranges in JEDI_EVENTS: who has which, and how they ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import evolve, frozen
from twisted.internet.threads import deferToThread

from pandatx.domain.event_leases import Lease, Leaving
from pandatx.domain.events import (
    JUMBO,
    OUT,
    EventJob,
    RangeId,
    RangeStatus,
    RangeUpdate,
    ZipFile,
)
from pandatx.store.columns import json_rows
from pandatx.store.database import Transaction, in_batches
from pandatx.store.queries import Query, load

AT_ONCE: Final = 5000
"""Ranges in one statement."""
_JOB: Final = {
    "panda_id": "pandaid",
    "job_status": "jobstatus",
    "jobset_id": "jobsetid",
    "jedi_task_id": "jeditaskid",
    "event_service": "eventservice",
    "command_to_pilot": "commandtopilot",
    "sup_error_code": "superrorcode",
}
# What a job has had before it does not get again: the row of that attempt still stands under its id. OFFSET keeps the
# look-up by the whole key; as a join it compares every candidate with all that the job has had.
_FREE: Final = """
   SELECT e.jeditaskid, e.pandaid, e.fileid, e.job_processid FROM {panda}.jedi_events e
    WHERE e.jeditaskid = %(task)s AND e.status = 0 AND e.attemptnr > 0
      AND (%(dataset)s::bigint IS NULL OR e.datasetid = %(dataset)s)
      AND NOT EXISTS (SELECT FROM {panda}.jedi_events o WHERE o.jeditaskid = %(task)s AND o.pandaid = %(job)s
                        AND o.fileid = e.fileid AND o.job_processid = e.job_processid OFFSET 0)"""
_CLAIMED: Final = "LIMIT %(n)s FOR UPDATE OF e SKIP LOCKED"
_TAKEN: Final = """
 u AS (UPDATE {panda}.jedi_events e SET pandaid = %(job)s, status = 1, is_jumbo = %(jumbo)s::smallint FROM p
   WHERE e.jeditaskid = p.jeditaskid AND e.pandaid = p.pandaid AND e.fileid = p.fileid
     AND e.job_processid = p.job_processid
   RETURNING e.jeditaskid, e.datasetid, e.fileid, e.job_processid, e.attemptnr, e.def_min_eventid, e.def_max_eventid)
SELECT u.fileid, u.job_processid, u.attemptnr, u.def_min_eventid, u.def_max_eventid, c.lfn, c.guid, c.scope FROM u
  LEFT JOIN {panda}.jedi_dataset_contents c ON c.jeditaskid = u.jeditaskid AND c.datasetid = u.datasetid
   AND c.fileid = u.fileid
 ORDER BY u.fileid, u.job_processid, u.attemptnr"""
_ENDED: Final = """
 v AS MATERIALIZED (SELECT * FROM json_to_recordset(%(rows)s)
    v(job bigint, task bigint, jobset bigint, counts smallint, partial boolean, keeps boolean))"""
_JOBSET, _OFFSET = "coalesce(v.jobset, e.event_offset, e.pandaid)", "e.event_offset"


def _room(target: str) -> str:
    """That a range may go to an owner: that it has no other row there, which found tables may have. A job could never
    end otherwise."""
    return f"""NOT EXISTS (SELECT FROM {{panda}}.jedi_events o
      WHERE o.jeditaskid = e.jeditaskid AND o.pandaid = {target} AND o.fileid = e.fileid
        AND o.job_processid = e.job_processid AND o.pandaid <> e.pandaid OFFSET 0)"""


def _again(target: str) -> str:
    """What failed stays as it is, and is tried once more as a copy; it is marked, so that this is done once."""
    return f""" f AS (UPDATE {{panda}}.jedi_events e SET processed_upto_eventid = NULL FROM v
   WHERE e.jeditaskid = v.task AND e.pandaid = v.job AND e.status + 0 = 7)
INSERT INTO {{panda}}.jedi_events (jeditaskid, datasetid, pandaid, fileid, attemptnr, status, job_processid,
                                   def_min_eventid, def_max_eventid, processed_upto_eventid, event_offset)
SELECT e.jeditaskid, e.datasetid, {target}, e.fileid, e.attemptnr - 1,
       CASE WHEN v.partial AND e.attemptnr <= 1 THEN 8 ELSE 0 END, e.job_processid,
       e.def_min_eventid, e.def_max_eventid, e.processed_upto_eventid, e.event_offset
  FROM v JOIN {{panda}}.jedi_events e ON e.jeditaskid = v.task AND e.pandaid = v.job AND e.status + 0 = 7
 WHERE e.processed_upto_eventid IS NOT NULL AND {target} <> e.pandaid
ON CONFLICT DO NOTHING"""


SQL = load(
    __file__,
    job_columns=", ".join(f"j.{column} AS {name}" for name, column in _JOB.items()),
    free=_FREE,
    claimed=_CLAIMED,
    taken=_TAKEN,
    ended=_ENDED,
    room_in_jobset=_room(_JOBSET),
    room_in_offset=_room(_OFFSET),
    again_in_jobset=_again(_JOBSET),
    again_in_offset=_again(_OFFSET),
)
_LEAVE: Final[Mapping[Leaving, Query]] = {
    Leaving.CONSUMER: SQL.leave_consumer,
    Leaving.JUMBO: SQL.leave_jumbo,
    Leaving.FINE_GRAINED: SQL.leave_fine_grained,
    Leaving.SAMPLES: SQL.leave_samples,
    Leaving.WITHDRAWN: SQL.leave_withdrawn,
}


@frozen(kw_only=True)
class Range:
    """A range as a job gets it: events of a file, from the first to the last."""

    id: RangeId
    first: int | None
    last: int | None
    lfn: str | None
    guid: str | None
    scope: str | None


@frozen(kw_only=True)
class Wanted:
    """Ranges for a job: of a jobset, or of a whole task for a jumbo one; ``dataset_id``: of that one only."""

    panda_id: int
    task_id: int
    jobset_id: int | None
    n: int
    jumbo: bool = False
    scattered: bool = False
    dataset_id: int | None = None


@frozen(kw_only=True)
class Told:
    """What is known of a range."""

    id: RangeId
    status: int
    error_code: int | None
    error_diag: str | None


async def job(tx: Transaction, panda_id: int) -> EventJob | None:
    """An active job, held; None where it is not active."""
    row = (await tx.run(SQL.job, job=panda_id)).one()
    return None if row is None else _job(row)


async def take(tx: Transaction, wanted: Wanted) -> list[Range]:
    """Give a job, which the caller holds, ranges that are ready; they are then ``sent``."""
    query = SQL.take if not wanted.jumbo else SQL.take_scattered if wanted.scattered else SQL.take_in_order
    of_jobset = {} if wanted.jumbo else {"jobset": wanted.jobset_id}
    result = await tx.run(
        query,
        job=wanted.panda_id,
        task=wanted.task_id,
        dataset=wanted.dataset_id,
        jumbo=1 if wanted.jumbo else None,
        n=wanted.n,
        **of_jobset,
    )
    return [
        Range(
            id=RangeId(wanted.task_id, wanted.panda_id, file_id, process_id, attempt_nr),
            first=first,
            last=last,
            lfn=lfn,
            guid=guid,
            scope=scope,
        )
        for file_id, process_id, attempt_nr, first, last, lfn, guid, scope in result.rows
    ]


async def losers(tx: Transaction, clones: Iterable[tuple[int, int, int | None]]) -> frozenset[int]:
    """Of clones, as job, task and jobset, those that others were faster than: the one range of a jobset is with the
    first of its jobs to ask for it, and stays there.
    """
    lost = set()
    for panda_id, task_id, jobset_id in sorted(clones, key=lambda clone: clone[0]):
        if not (await tx.run(SQL.has, task=task_id, job=panda_id)).scalar():
            wanted = Wanted(panda_id=panda_id, task_id=task_id, jobset_id=jobset_id, n=1)
            if not await take(tx, wanted):
                lost.add(panda_id)
    return frozenset(lost)


async def outlived(tx: Transaction, clones: Iterable[tuple[int, int, int | None]]) -> frozenset[int]:
    """Of clones that end with nothing done, as job, task and jobset, those that did not have the one range of their
    jobset, and of whose jobset others are alive: what becomes of their input is for those to say.
    """
    ending = sorted(clones, key=lambda clone: clone[0])
    await tx.run(SQL.queue_up, tasks=[task_id for _, task_id, _ in ending])
    found: set[int] = set()
    for panda_id, task_id, jobset_id in ending:
        if not (await tx.run(SQL.has, task=task_id, job=panda_id)).scalar():
            alive = (await tx.run(SQL.jobset, task=task_id, jobset=jobset_id)).column("pandaid")
            if set(alive) - found - {panda_id}:
                found.add(panda_id)
    return frozenset(found)


async def parts(tx: Transaction, jobs: Sequence[tuple[int, int, int | None]]) -> dict[int, tuple[int, int]]:
    """Of fine-grained jobs, as job, task and jobset, how many ranges they have processed, and how many are left."""
    ids, tasks, jobsets = (list(column) for column in zip(*jobs, strict=True))
    rows = (await tx.run(SQL.parts, jobs=ids, tasks=tasks, jobsets=jobsets)).rows
    return {panda_id: (done, left) for panda_id, done, left in rows}


async def ready(tx: Transaction, panda_id: int, jobset_id: int | None, task_id: int) -> int:
    """How many ranges a job could get: of its jobset, or of its whole task if it is a jumbo one."""
    kind, own = next(iter((await tx.run(SQL.event_service, job=panda_id)).rows), (None, None))
    jobset = None if kind == JUMBO else jobset_id if jobset_id is not None else own
    if jobset is None and kind != JUMBO:
        return 0
    return int((await tx.run(SQL.ready, task=task_id, jobset=jobset)).scalar())


async def jobs(tx: Transaction, pairs: Sequence[tuple[int, int]], jobsets: bool) -> dict[int, list[EventJob]]:
    """Active jobs, held, by the id that ranges name them by: their own, or with ``jobsets`` that of their jobset."""
    ids = [panda_id for _, panda_id in pairs]
    rows = (await tx.run(SQL.jobs, jobs=ids)).dicts()
    if jobsets:
        rows += (await tx.run(SQL.jobs_of_jobsets, tasks=[task for task, _ in pairs], jobs=ids)).dicts()
    found: dict[int, list[EventJob]] = {}
    for row in rows:
        found.setdefault(row["id"], []).append(_job(row))
    return found


def _job(row: Mapping[str, Any]) -> EventJob:
    return EventJob(**{name: row[name] for name in _JOB})


async def write(tx: Transaction, updates: Sequence[RangeUpdate], version: int, now: datetime) -> None:
    """Store how ranges ended; those packed into a file point to its row (``version`` other than 0)."""
    rows_of_zips = await _zips(tx, updates, now) if version else {}
    statuses = [int(status) for status in (*OUT, *((RangeStatus.READY,) if version == 2 else ()))]
    for some in in_batches(updates, AT_ONCE):
        rows = [_row(each, rows_of_zips) for each in some]
        await tx.run(SQL.write, rows=json_rows(rows), zipped=bool(version), statuses=statuses)


def _row(each: RangeUpdate, zips: Mapping[tuple[int, str], int]) -> dict[str, Any]:
    return {
        "jeditaskid": each.id.task_id,
        "pandaid": each.id.job_id,
        "fileid": each.id.file_id,
        "job_processid": each.id.process_id,
        "attemptnr": each.id.attempt_nr,
        "status": int(each.status),
        "fatal": each.fatal,
        "objstore_id": each.objstore_id,
        "error_code": each.error_code,
        "error_diag": each.error_diag,
        "path_convention": each.path_convention,
        "ziprow_id": None if each.zip is None else zips.get((each.id.job_id, each.zip.lfn)),
    }


async def _zips(tx: Transaction, updates: Iterable[RangeUpdate], now: datetime) -> dict[tuple[int, str], int]:
    """The rows of the files that ranges were packed into, by job and LFN; those that are new are made."""
    wanted: dict[tuple[int, str], tuple[int, ZipFile]] = {}
    for each in updates:
        if each.zip is not None:
            wanted.setdefault((each.id.job_id, each.zip.lfn), (each.id.task_id, each.zip))
    if not wanted:
        return {}
    names = [list(column) for column in zip(*wanted, strict=True)]
    found = {(owner, lfn): row for owner, lfn, row in (await tx.run(SQL.zips, jobs=names[0], lfns=names[1])).rows}
    new = [
        {
            "pandaid": owner,
            "jeditaskid": task_id,
            "lfn": lfn,
            "fsize": one.fsize,
            "checksum": one.checksum,
            "dispatchdblocktoken": one.n_events,
            "destinationse": one.destination,
        }
        for (owner, lfn), (task_id, one) in wanted.items()
        if (owner, lfn) not in found
    ]
    if new:
        made = await tx.run(SQL.add_zips, rows=json_rows(new), now=now)
        found |= {(owner, lfn): row for owner, lfn, row in made.rows}
    return found


async def count(tx: Transaction, counted: Iterable[tuple[EventJob, int, int]]) -> None:
    """Set the processed events of jobs, which are held, each with the id and the task of the ranges that count."""
    rows = [(one.panda_id, owner, task_id) for one, owner, task_id in counted]
    if rows:
        ids, owners, tasks = (list(column) for column in zip(*rows, strict=True))
        await tx.run(SQL.count, jobs=ids, owners=owners, tasks=tasks)


async def statuses(tx: Transaction, pairs: Sequence[tuple[int, int]], most: int) -> list[Told]:
    """The ranges of some jobs, by pairs of task and job, but no more than ``most``."""
    if not pairs:
        return []
    tasks, ids = (list(column) for column in zip(*pairs, strict=True))
    rows = (await tx.run(SQL.statuses, tasks=tasks, jobs=ids, most=most)).rows
    return _told(rows) if len(rows) <= AT_ONCE else await deferToThread(_told, rows)


def _told(rows: Iterable[Sequence[Any]]) -> list[Told]:
    return [
        Told(
            id=RangeId(task_id, panda_id, file_id, process_id, attempt_nr or 0),
            status=status,
            error_code=code,
            error_diag=diag,
        )
        for task_id, panda_id, file_id, process_id, attempt_nr, status, code, diag in rows
    ]


async def leave(tx: Transaction, leases: Sequence[Lease], now: datetime) -> None:
    """Have the ranges of jobs that have ended go where they belong; for the end of the jobs' transaction (rule R1)."""
    leases = await _with_others(tx, leases)
    for how, query in _LEAVE.items():
        rows = [
            {
                "job": each.panda_id,
                "task": each.task_id,
                "jobset": each.jobset_id,
                "counts": int(each.counts),
                "partial": each.partial,
                "keeps": each.keeps,
            }
            for each in leases
            if each.how is how
        ]
        if rows:
            await tx.run(query, rows=json_rows(rows))


async def _with_others(tx: Transaction, leases: Sequence[Lease]) -> Sequence[Lease]:
    """The leases; of consumers that were killed while others of their jobset live on nothing is thrown away."""
    killed = sorted({(each.task_id, each.jobset_id or 0) for each in leases if each.how is Leaving.WITHDRAWN})
    if not killed:
        return leases
    tasks, jobsets = (list(column) for column in zip(*killed, strict=True))
    await tx.run(SQL.queue_up, tasks=tasks)
    alive = {tuple(row) for row in (await tx.run(SQL.others, tasks=tasks, jobsets=jobsets)).rows}
    return [
        evolve(each, how=Leaving.CONSUMER)
        if each.how is Leaving.WITHDRAWN and (each.task_id, each.jobset_id) in alive
        else each
        for each in leases
    ]
