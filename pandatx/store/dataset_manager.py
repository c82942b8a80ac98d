"""The life of blocks in Datasets, and the jobs that wait for files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Final

from attrs import frozen

from pandatx.domain.dataset_manager import LOCKED_AHEAD, Window
from pandatx.domain.job import Job
from pandatx.store import columns
from pandatx.store.archive import guard, read, with_files
from pandatx.store.columns import JOB
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__, columns=columns.names(JOB))


class Chore(Enum):
    """What datasets are claimed for, each with its query."""

    CLOSE = SQL.claim_to_close
    FREEZE = SQL.claim_to_freeze
    DELETE_DISPATCH = SQL.claim_dispatch
    DELETE_SUB = SQL.claim_subs


@frozen(kw_only=True)
class Claimed:
    """A dataset whose row lock is ours."""

    vuid: str
    name: str
    status: str


@frozen(kw_only=True)
class Owner:
    """Whose plugin knows a block."""

    vo: str | None
    destination_se: str | None


NOBODY: Final = Owner(vo=None, destination_se=None)


@frozen(kw_only=True)
class DispatchBlock:
    """A dispatch block that nobody reads any more; ``n_failed`` of its jobs have failed."""

    vuid: str
    name: str
    n_failed: int


@frozen(kw_only=True)
class OpenBlock:
    """An open block; ``ended``: a job that wrote it, where none of its files is to come any more."""

    name: str
    ended: int | None


async def claim(tx: Transaction, chore: Chore, window: Window, now: datetime, most: int) -> list[Claimed]:
    """Take the row locks of datasets within a window."""
    await guard(tx)
    since, until = window.at(now)
    rows = (await tx.run(chore.value, since=since, until=until, ahead=now + LOCKED_AHEAD, most=most)).rows
    return [Claimed(vuid=vuid, name=name, status=status or "") for vuid, name, status in rows]


async def reset(tx: Transaction, window: Window, back: datetime, now: datetime) -> list[str]:
    """Sub blocks in doing, last changed within a window, are running since ``back``; their names."""
    await guard(tx)
    since, until = window.at(now)
    return (await tx.run(SQL.reset, since=since, until=until, back=back)).column("name")


async def set_status(
    tx: Transaction, vuids: Collection[str], old: Collection[str], status: str, now: datetime
) -> list[str]:
    """Give datasets a status where they still have one of the old ones, or whatever they have; the names of those."""
    if not vuids:
        return []
    await guard(tx)
    await tx.run(SQL.lock, vuids=sorted(vuids))
    result = await tx.run(SQL.set_status, vuids=sorted(vuids), old=sorted(old) or None, status=status, now=now)
    return result.column("name")


async def touch(tx: Transaction, vuids: Collection[str], now: datetime) -> None:
    """Datasets are as they were, and were looked at now."""
    if vuids:
        await guard(tx)
        await tx.run(SQL.lock, vuids=sorted(vuids))
        await tx.run(SQL.touch, vuids=sorted(vuids), now=now)


async def file_statuses(tx: Transaction, names: Sequence[str]) -> dict[str, set[str | None]]:
    """The statuses that the files of each block have; a block without files has none."""
    await guard(tx)
    found: dict[str, set[str | None]] = {name: set() for name in names}
    for name, status in (await tx.run(SQL.file_statuses, names=list(names))).rows:
        found[name].add(status)
    return found


async def unmerged_job(tx: Transaction, name: str) -> Job | None:
    """An active job whose files in a block are to be merged, with its files."""
    await guard(tx)
    ids = (await tx.run(SQL.unmerged_job, name=name)).column("pandaid")
    return next(iter((await read(tx, ids)).values()), None)


async def owners(tx: Transaction, names: Sequence[str], kind: str) -> dict[str, Owner]:
    """VO and destination by block, of those of which a job is known; ``kind``: output or dispatch."""
    await guard(tx)
    query = SQL.owners_of_dispatch if kind == "dispatch" else SQL.owners_of_outputs
    rows = (await tx.run(query, names=list(names))).rows
    return {name: Owner(vo=vo, destination_se=destination_se) for name, vo, destination_se in rows}


async def dispatch_behind(tx: Transaction, names: Sequence[str]) -> list[DispatchBlock]:
    """The dispatch blocks of the jobs of these sub blocks that nobody has yet to read."""
    await guard(tx)
    rows = (await tx.run(SQL.dispatch_behind, names=list(names))).rows
    return [DispatchBlock(vuid=vuid, name=name, n_failed=n_failed) for vuid, name, n_failed in rows]


async def unfinished(tx: Transaction, names: Sequence[str], recent: datetime) -> frozenset[str]:
    """Those of the blocks with a job that has not ended, or that is found nowhere."""
    await guard(tx)
    return frozenset((await tx.run(SQL.unfinished, names=list(names), recent=recent)).column("name"))


async def open_blocks(tx: Transaction, last: str, since: datetime, most: int) -> list[OpenBlock]:
    """The next open blocks, made since some time, in the order of their names."""
    await guard(tx)
    rows = (await tx.run(SQL.open_blocks, last=last, since=since, most=most)).rows
    return [OpenBlock(name=name, ended=ended) for name, ended in rows]


async def claim_transferring(
    tx: Transaction, last: int, before: datetime, urgent: bool, now: datetime, most: int
) -> list[Job]:
    """Production's transferring jobs after PandaID ``last`` that were untouched since ``before``, with their files."""
    await guard(tx)
    result = await tx.run(SQL.claim_transferring, last=last, before=before, urgent=urgent, now=now, most=most)
    return _in_order(await read(tx, result.column("pandaid")))


async def settled_transfers(tx: Transaction, last: int, before: datetime, most: int) -> list[int]:
    """Transferring jobs after PandaID ``last`` whose outputs have settled without that anybody noticed."""
    await guard(tx)
    return (await tx.run(SQL.settled_transfers, last=last, before=before, most=most)).column("pandaid")


async def claim_assigned(tx: Transaction, before: datetime, urgent: bool, now: datetime, most: int) -> list[Job]:
    """Assigned jobs whose inputs were not asked for since ``before``, with their files."""
    await guard(tx)
    result = await tx.run(SQL.claim_assigned, before=before, urgent=urgent, now=now, most=most)
    jobs = {job.panda_id: job for job in columns.jobs(result.columns, result.rows)}
    return _in_order(await with_files(tx, jobs))


async def made(tx: Transaction, ids: Sequence[int]) -> dict[int, bool]:
    """The missing inputs (row_id) of these jobs that other jobs make: whether each is made."""
    await guard(tx)
    return dict((await tx.run(SQL.made, ids=list(ids))).rows)


async def inputs_there(tx: Transaction, rows: Collection[int], ids: Collection[int]) -> None:
    """Inputs of locked jobs are where they are needed."""
    await tx.run(SQL.inputs_there, rows=sorted(rows), ids=sorted(ids))


async def outputs_there(tx: Transaction, rows: Collection[int], ids: Collection[int]) -> None:
    """Outputs of locked jobs have arrived."""
    await tx.run(SQL.outputs_there, rows=sorted(rows), ids=sorted(ids))


def _in_order(jobs: Mapping[int, Job]) -> list[Job]:
    return [jobs[panda_id] for panda_id in sorted(jobs)]
