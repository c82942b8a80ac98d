"""SITEDATA: what pilots have asked for at each queue in the last hours, and how many jobs run there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pandatx.domain.site_data import MOST, SNAPSHOT, Requests, Row
from pandatx.store.database import Transaction
from pandatx.store.queries import load
from pandatx.store.results import Result

SQL = load(__file__)


async def counted(tx: Transaction, since: datetime) -> list[Row]:
    """What our servers have counted since ``since``, by queue and host."""
    return _rows(await tx.run(SQL.counted, since=since))


async def kept(tx: Transaction, hours: int, since: datetime) -> list[Row]:
    """The rows of a window that anybody has written since ``since``."""
    return _rows(await tx.run(SQL.kept, hours=hours, since=since))


async def forget(tx: Transaction, before: datetime) -> None:
    """Delete what nobody has written since ``before``."""
    await tx.run(SQL.forget, before=before)


async def reset(tx: Transaction, hours: int, since: datetime) -> None:
    """Set to nought what nobody has written within its window."""
    await tx.run(SQL.reset, hours=hours, since=since)


async def write(tx: Transaction, hours: int, rows: Sequence[Row], now: datetime) -> None:
    """Write the rows of a window, in their order."""
    await tx.run(
        SQL.write,
        hours=hours,
        now=now,
        sites=[row.site for row in rows],
        flags=[row.flag for row in rows],
        get_job=[row.requests.get_job for row in rows],
        no_job=[row.requests.no_job for row in rows],
        update_job=[row.requests.update_job for row in rows],
    )


async def running(tx: Transaction, hours: int, before: datetime, now: datetime) -> int:
    """Note how many jobs of users run at each queue; snapshots from before ``before`` are gone. How many queues."""
    await tx.run(SQL.forget_running, before=before, snapshot=SNAPSHOT, most=MOST)
    return (await tx.run(SQL.running, hours=hours, before=before, now=now, snapshot=SNAPSHOT, most=MOST)).count


def _rows(result: Result) -> list[Row]:
    return [
        Row(site=site, flag=flag, requests=Requests(get_job=get_job, no_job=no_job, update_job=update_job))
        for site, flag, get_job, no_job, update_job in result.rows
    ]
