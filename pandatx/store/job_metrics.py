"""What is noted of single jobs of tasks, as JSON that JEDI and older servers read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import orjson
from attrs import frozen

from pandatx.store.columns import json_rows
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


@frozen(kw_only=True)
class Queued:
    """A job whose task had waited ``since`` some time, until the job got to this status: it runs, or has ended."""

    panda_id: int
    task_id: int
    since: datetime
    status: str


async def add_queuing_times(tx: Transaction, queued: Sequence[Queued], now: datetime) -> None:
    """Note how long tasks had waited for these jobs, once for each."""
    rows = [
        {"pandaid": each.panda_id, "jeditaskid": each.task_id, "data": _period(each.since, now, each.status)}
        for each in queued
    ]
    await tx.run(SQL.queuing_times, rows=json_rows(rows), now=now)


def _period(start: datetime, end: datetime, status: str) -> str:
    return orjson.dumps({"queuingPeriod": {"start": _moment(start), "end": _moment(end), "status": status}}).decode()


def _moment(time: datetime) -> dict[str, str]:
    return {"_datetime_object": f"{time:%Y-%m-%d %H:%M:%S.%f}"}
