"""What metrics are made of, and where they are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from pandatx.domain.metric_names import NOTHING, Metric
from pandatx.domain.share_metrics import Use
from pandatx.domain.site_metrics import LongQueue, Wait
from pandatx.domain.task_evaluation import Progress
from pandatx.domain.user_metrics import UserJobs
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def lock(tx: Transaction, metric: Metric, holder: str, now: datetime, free_before: datetime) -> bool:
    """Whether the metric is to be made now, by us: nobody has begun it since ``free_before``."""
    result = await tx.run(SQL.lock, component=metric.lock, holder=holder, now=now, free_before=free_before)
    return bool(result.rows)


async def write(tx: Transaction, metric: Metric, values: Mapping[tuple[str, str], Any], now: datetime) -> None:
    """Keep the values of a metric by queue and share; either may be ``NOTHING``."""
    await tx.run(
        SQL.write,
        metric=metric.name,
        now=now,
        sites=[site for site, _ in values],
        shares=[share for _, share in values],
        values=[orjson.dumps(value).decode() for value in values.values()],
    )


async def read(tx: Transaction, metric: Metric, now: datetime) -> dict[tuple[str, str], Any]:
    """The values of a metric that are still good, by queue and share."""
    rows = (await tx.run(SQL.read, metric=metric.name, since=now - metric.good_for)).rows
    return {(site, share): orjson.loads(value) for site, share, value in rows}


async def read_by_site(tx: Transaction, metric: Metric, now: datetime) -> dict[str, Any]:
    """The same of a metric without shares."""
    return {site: value for (site, _), value in (await read(tx, metric, now)).items()}


async def read_one(tx: Transaction, metric: Metric, now: datetime) -> Any:
    """The value of a metric that has but one; None where it is missing or too old."""
    return (await read(tx, metric, now)).get((NOTHING, NOTHING))


async def share_use(tx: Transaction) -> dict[str, Use]:
    """HS that run and that wait, by share."""
    return {row.pop("gshare"): Use(**row) for row in (await tx.run(SQL.share_use)).dicts()}


async def waits(tx: Transaction, since: datetime, now: datetime) -> dict[str, list[Wait]]:
    """How long jobs have waited that were heard of since ``since``, by queue."""
    found: dict[str, list[Wait]] = {}
    for site, activated, running in (await tx.run(SQL.waits, since=since, now=now)).rows:
        wait = Wait(waited=(running - activated).total_seconds(), age=(now - running).total_seconds())
        found.setdefault(site, []).append(wait)
    return found


async def long_queues(
    tx: Transaction, means: Mapping[str, float], pushed: Sequence[bool], now: datetime
) -> dict[str, LongQueue]:
    """The jobs that wait longer than the mean of their queue; ``pushed``: whether each queue's jobs are pushed."""
    result = await tx.run(SQL.long_queues, sites=list(means), means=list(means.values()), pushed=list(pushed), now=now)
    return {row.pop("site"): LongQueue(**row) for row in result.dicts()}


async def started(tx: Transaction, early: datetime, late: datetime, end: datetime) -> dict[str, tuple[float, float]]:
    """Cores that have come to run at each queue from ``late`` and from ``early`` on, before ``end``."""
    rows = (await tx.run(SQL.started, early=early, late=late, end=end)).rows
    return {site: (from_late or 0.0, from_early or 0.0) for site, from_late, from_early in rows}


async def user_jobs(tx: Transaction) -> list[UserJobs]:
    """The active jobs of users, counted."""
    return [UserJobs(**row) for row in (await tx.run(SQL.user_jobs)).dicts()]


async def tasks(tx: Transaction, since: datetime, after: int, limit: int) -> list[Progress]:
    """The next analysis tasks by id that are under way and have changed since ``since``."""
    return [Progress(**row) for row in (await tx.run(SQL.tasks, since=since, after=after, limit=limit)).dicts()]


async def write_tasks(tx: Transaction, metric: Metric, values: Mapping[int, Any], now: datetime) -> None:
    """Keep the evaluations of tasks."""
    texts = [orjson.dumps(value).decode() for value in values.values()]
    await tx.run(SQL.write_tasks, metric=metric.name, tasks=list(values), values=texts, now=now)


async def forget_tasks(tx: Transaction, metric: Metric, before: datetime) -> int:
    """Delete the evaluations of tasks that are over, made before ``before``; how many."""
    return (await tx.run(SQL.forget_tasks, metric=metric.name, before=before)).count
