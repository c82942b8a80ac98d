"""Claiming activated jobs for pilots, and giving them back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, FirstError, gatherResults

from pandatx.domain.fit import Key, Mark, Want
from pandatx.domain.job import Job, JobFile
from pandatx.domain.summary import Head
from pandatx.domain.workers import KEPT_FOR
from pandatx.store import columns
from pandatx.store.columns import FILE, JOB
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import load
from pandatx.store.results import Result

ANSWER: Final = (
    "panda_id jobset_id job_definition_id task_id jedi_task_id locked_by req_id attempt_nr prod_source_label "
    "processing_type cloud source_site destination_se transfer_type job_name homepackage atlas_release "
    "transformation cmt_config prod_user_id prod_user_name max_cpu_count min_ram_count max_disk_count max_walltime "
    "core_count resource_type current_priority nucleus special_handling event_service container_name working_group "
    "computing_site computing_element modification_time start_time modification_host scheduler_id gshare vo "
    "job_label prod_dblock dispatch_dblock destination_dblock relocation_flag job_execution_id job_status"
).split()
"""The attributes of a job that a pilot's answer is made of."""

_TAIL = """u AS (UPDATE {panda}.jobsactive4 j SET jobstatus = 'sent', modificationtime = %(now)s, starttime = %(now)s,
   jobexecutionid = {background},
   modificationhost = (%(node)s::text[])[p.slots[array_position(p.ids, j.pandaid)]],
   computingelement = coalesce((%(ce)s::text[])[p.slots[array_position(p.ids, j.pandaid)]], j.computingelement),
   schedulerid = coalesce((%(scheduler)s::text[])[p.slots[array_position(p.ids, j.pandaid)]], j.schedulerid)
  FROM p WHERE j.pandaid = ANY (p.ids)
  RETURNING {answer},
   {own}.fit_class_1(j.prodsourcelabel, j.minramcount, j.maxdiskcount, j.maxwalltime) AS fit,
   p.slots[array_position(p.ids, j.pandaid)] AS slot),
 l AS (INSERT INTO {panda}.jobs_statuslog (pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite,
                                           modificationhost, modiftime_extended)
   SELECT pandaid, modificationtime, jobstatus, prodsourcelabel, cloud, computingsite, modificationhost,
          modificationtime FROM u),
 r AS (INSERT INTO {panda}.harvester_rel_jobs_workers (harvesterid, workerid, pandaid, lastupdate)
   SELECT (%(harvester)s::text[])[slot], (%(worker)s::bigint[])[slot], pandaid, modificationtime FROM u
    WHERE (%(worker)s::bigint[])[slot] IS NOT NULL AND EXISTS (
      SELECT 1 FROM {panda}.harvester_instances i WHERE i.harvester_id = (%(harvester)s::text[])[slot])
   ON CONFLICT (harvesterid, workerid, pandaid) DO UPDATE SET lastupdate = excluded.lastupdate)
SELECT u.*, (SELECT t.iointensity FROM {panda}.jedi_tasks t WHERE t.jeditaskid = u.jeditaskid) AS io_intensity,
       (SELECT t.iointensityunit FROM {panda}.jedi_tasks t WHERE t.jeditaskid = u.jeditaskid) AS io_intensity_unit,
       pg_current_xact_id()::text::bigint AS xid FROM u"""


def _tail(background: str) -> str:
    return _TAIL.replace("{answer}", ", ".join(f"j.{JOB[name][0]}" for name in ANSWER)).replace(
        "{background}", background
    )


SQL = load(
    __file__,
    claim_tail=_tail("0"),
    claim_filtered_tail=_tail("CASE WHEN %(background)s THEN j.jobexecutionid ELSE 0 END"),
    file_columns=columns.names(FILE),
)


@frozen(kw_only=True)
class Slot:
    """A pilot that waits for one job, as the row will name it."""

    node: str | None = None
    computing_element: str | None = None
    scheduler_id: str | None = None
    harvester_id: str | None = None
    worker_id: int | None = None


@frozen(kw_only=True)
class Group:
    """Pilots that want the same of the same queue: a slot for each job, ``heads`` the keys to look in, in order."""

    queue: str
    want: Want
    slots: tuple[Slot, ...]
    heads: tuple[Head, ...]


@frozen(kw_only=True)
class Claimed:
    """A job that is ``sent`` now, without its files and parameters; ``slot`` counts from 0 through all groups.

    ``io``: how much its task reads and writes, and the unit.
    """

    slot: int
    job: Job
    fit: int
    io: tuple[int | None, str | None] = (None, None)


async def summary(database: Database, queue: str, timeout: float, patience: float) -> list[tuple[Key, Mark]]:
    """The keys of a queue's activated jobs, each with its head."""
    rows = (
        await database.statement("dispatch.summary", SQL.summary, patience=patience, timeout=timeout, queue=queue)
    ).rows
    return [(Key(gshare, rtype, fit), Mark(-priority, panda_id)) for gshare, rtype, fit, priority, panda_id in rows]


async def claim(tx: Transaction, groups: Sequence[Group], now: datetime) -> list[Claimed]:
    """Send the best jobs of each group's keys; the groups must not overlap, nor their wants be ``narrow``."""
    key_from, key_to, slot0, n_keys, n_slots = [], [], [], 0, 0
    for group in groups:
        key_from.append(n_keys + 1)
        n_keys += len(group.heads)
        key_to.append(n_keys)
        slot0.append(n_slots)
        n_slots += len(group.slots)
    result = await tx.run(
        SQL.claim,
        queue=[group.queue for group in groups],
        memory=[group.want.memory for group in groups],
        disk=[group.want.disk for group in groups],
        walltime=[group.want.walltime for group in groups],
        n=[len(group.slots) for group in groups],
        slot0=slot0,
        key_from=key_from,
        key_to=key_to,
        **_keys([head for group in groups for head in group.heads]),
        **_slots([slot for group in groups for slot in group.slots]),
        now=now,
    )
    return _claimed(tx, result)


async def claim_filtered(tx: Transaction, group: Group, now: datetime) -> list[Claimed]:
    """Send jobs of one group whose want has filters that no key shows."""
    want = group.want
    result = await tx.run(
        SQL.claim_filtered,
        **_limits(group),
        **_keys(group.heads),
        processing_types=sorted(want.labels.processing_types),
        task_id=want.task_id,
        user=want.user,
        background=want.background,
        ram_per_core=want.ram_per_core,
        now=now,
    )
    return _claimed(tx, result)


async def claim_oldest(tx: Transaction, group: Group, now: datetime) -> list[Claimed]:
    """Send the oldest jobs that fit, whatever their share and priority."""
    limits = _limits(group)
    return _claimed(tx, await tx.run(SQL.claim_oldest, **limits, resource_type=group.want.resource_type, now=now))


async def touch_workers(tx: Transaction, slots: Sequence[tuple[str, Slot]], now: datetime) -> None:
    """Note that the workers of (queue, slot) run a job."""
    await tx.run(
        SQL.touch_workers,
        harvester=[slot.harvester_id for _, slot in slots],
        worker=[slot.worker_id for _, slot in slots],
        queue=[queue for queue, _ in slots],
        now=now,
        kept=now - KEPT_FOR,
    )


async def complete(database: Database, jobs: Sequence[Job], timeout: float) -> list[Job]:
    """The jobs with their files and parameters."""
    ids = [job.panda_id for job in jobs]
    reading = (
        Deferred.fromCoroutine(database.statement("dispatch.files", SQL.files, timeout=timeout, ids=ids)),
        Deferred.fromCoroutine(database.statement("dispatch.parameters", SQL.parameters, timeout=timeout, ids=ids)),
    )
    try:
        found, texts = await gatherResults(reading, consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
        raise
    parameters = dict(texts.rows)
    by_job: dict[int, list[JobFile]] = {panda_id: [] for panda_id in ids}
    for file in columns.files(found.columns, found.rows):
        by_job[file.panda_id].append(file)
    return [evolve(job, files=tuple(by_job[job.panda_id]), job_parameters=parameters.get(job.panda_id)) for job in jobs]


async def secrets(database: Database, owners: Sequence[str]) -> dict[str, str]:
    """The stored secrets of these owners, JSON texts."""
    return dict((await database.statement("dispatch.secrets", SQL.secrets, owners=list(owners))).rows)


async def give_back(tx: Transaction, jobs: Sequence[Job], claimed: datetime, now: datetime) -> Result:
    """Activate jobs that are still exactly as the claim at ``claimed`` left them; the keys of those that were."""
    await tx.run(SQL.wait_for, ids=[job.panda_id for job in jobs])
    return await tx.run(
        SQL.give_back,
        ids=[job.panda_id for job in jobs],
        attempts=[job.attempt_nr for job in jobs],
        nodes=[job.modification_host for job in jobs],
        schedulers=[job.scheduler_id for job in jobs],
        claimed=claimed,
        now=now,
    )


def _slots(slots: Sequence[Slot]) -> dict[str, list[Any]]:
    return {
        "node": [slot.node for slot in slots],
        "ce": [slot.computing_element for slot in slots],
        "scheduler": [slot.scheduler_id for slot in slots],
        "harvester": [slot.harvester_id for slot in slots],
        "worker": [slot.worker_id for slot in slots],
    }


def _keys(heads: Sequence[Head]) -> dict[str, list[Any]]:
    return {
        "key_gshare": [head.key.gshare for head in heads],
        "key_rtype": [head.key.resource_type for head in heads],
        "key_fit": [head.key.fit for head in heads],
        "key_prio": [head.mark.priority for head in heads],
        "key_id": [head.mark.panda_id for head in heads],
    }


def _limits(group: Group) -> dict[str, Any]:
    want = group.want
    return {
        "queue": group.queue,
        "memory": want.memory,
        "disk": want.disk,
        "walltime": want.walltime,
        "n": len(group.slots),
        "labels": sorted(want.labels.labels),
        **_slots(group.slots),
    }


def _claimed(tx: Transaction, result: Result) -> list[Claimed]:
    """RETURNING keeps no order: put the jobs back into that of their slots."""
    if not result.rows:
        return []
    at = result.columns.index
    fit, slot, xid, io, unit = map(at, ("fit", "slot", "xid", "io_intensity", "io_intensity_unit"))
    tx.xid = result.rows[0][xid]
    pairs = zip(columns.jobs(result.columns, result.rows), result.rows, strict=True)
    claimed = [Claimed(slot=row[slot] - 1, job=job, fit=row[fit], io=(row[io], row[unit])) for job, row in pairs]
    return sorted(claimed, key=lambda one: one.slot)
