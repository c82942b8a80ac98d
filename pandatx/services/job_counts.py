"""Statistics of jobs for those that ask. Read at most once in a while, however many ask (rule R13)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import DeferredLock
from twisted.internet.threads import deferToThread

from pandatx.clock import Clock
from pandatx.domain import job_counts
from pandatx.domain.job_counts import LABELS, UNKNOWN, Count, Tree
from pandatx.domain.shares import UNDEFINED
from pandatx.errors import PandaError
from pandatx.services.facts import Facts
from pandatx.store import job_counts as store
from pandatx.store.database import Database

ALIVE_FOR: Final = timedelta(seconds=20)
ENDED_FOR: Final = timedelta(seconds=60)
"""How long a reading does. What has not ended is counted by a daemon once a minute."""
USUAL_WINDOW: Final = timedelta(hours=12)
MOST_MINUTES: Final = 10_080
LIMIT: Final = 20.0
"""Seconds for the count of a week's ended jobs."""
_MOST_KEPT: Final = 20

Counts = tuple[Count, ...]
Rows = list[tuple[Any, ...]]


class BadParameter(PandaError):
    """A parameter that is out of its range, in the words that clients know."""


@frozen
class _Read:
    at: datetime
    counts: Counts


@define(eq=False)
class JobCounts:
    """Count jobs by where they are and what becomes of them.

    The work is done in threads: a large site has many thousands of counts.
    """

    _database: Database
    _clock: Clock
    _facts: Facts
    _kept: dict[timedelta | None, _Read] = field(factory=dict)
    _reading_alive: DeferredLock = field(factory=DeferredLock)
    _reading_ended: DeferredLock = field(factory=DeferredLock)

    async def by_site(self) -> Tree:
        """{site: {status: n}} of jobs that have not ended."""
        return await deferToThread(job_counts.by_site, await self._alive())

    async def by_site_type_and_label(self) -> Tree:
        """{site: {resource type: {label: {status: n}}}} of jobs that have not ended."""
        return await deferToThread(job_counts.by_site_type_and_label, await self._alive())

    async def by_site_and_type(self, minutes: int | None) -> Tree:
        """{site: {resource type: {status: n}}}, ended ones of the last ``minutes``. Raises BadParameter."""
        return await deferToThread(job_counts.by_site_and_type, await self._all(_window(minutes)))

    async def by_site_share_and_type(self, minutes: int | None) -> Tree:
        """{site: {label of the share: {resource type: {status: n}}}}, like ``by_site_and_type``."""
        labels = job_counts.labels_of_shares(self._facts.known.shares)
        counts = await self._all(_window(minutes))
        return await deferToThread(
            job_counts.by_site_share_and_type, counts, lambda share: labels.get(share or "", UNKNOWN)
        )

    async def by_cloud(self, source: str) -> Tree:
        """{cloud: {status: n}} of production or analysis, ended ones of the last 12 hours. Raises BadParameter."""
        if source not in LABELS:
            raise BadParameter('Parameter "type" needs to be either "production" or "analysis"')
        return await deferToThread(job_counts.by_cloud, await self._all(USUAL_WINDOW), source, self._cloud)

    async def by_cloud_and_processing(self) -> Tree:
        """{cloud: {processing type: {status: n}}} of production, ended ones of the last 12 hours."""
        return await deferToThread(job_counts.by_cloud_and_processing, await self._all(USUAL_WINDOW), self._cloud)

    def _cloud(self, count: Count) -> str:
        """The cloud of the queue; the one that the job was sent to where the queue is not known."""
        queue = self._facts.queue(count.site or "")
        return (queue.cloud if queue else "") or count.cloud or UNDEFINED

    async def _all(self, window: timedelta) -> Counts:
        return *await self._alive(), *await self._ended(window)

    async def _alive(self) -> Counts:
        return await self._read(None, ALIVE_FOR, lambda: self._database.transaction("job_counts.alive", store.alive))

    async def _ended(self, window: timedelta) -> Counts:
        since = self._clock.now() - window
        return await self._read(
            window,
            ENDED_FOR,
            lambda: self._database.limited("job_counts.ended", LIMIT, 5.0, store.ended, since),
        )

    async def _read(self, key: timedelta | None, age: timedelta, read: Callable[[], Awaitable[Rows]]) -> Counts:
        """One reading at a time; who waited for another's takes what that has read.

        Those who ask for what has not ended do not wait for the longer readings of what has.
        """
        kept = self._fresh(key, age)
        if kept is not None:
            return kept
        reading = self._reading_alive if key is None else self._reading_ended
        await reading.acquire()
        try:
            kept = self._fresh(key, age)
            if kept is None:
                kept = await deferToThread(_counts, await read())
                if len(self._kept) >= _MOST_KEPT:
                    self._kept.clear()
                self._kept[key] = _Read(self._clock.now(), kept)
            return kept
        finally:
            reading.release()

    def _fresh(self, key: timedelta | None, age: timedelta) -> Counts | None:
        kept = self._kept.get(key)
        return kept.counts if kept is not None and self._clock.now() - kept.at < age else None


def _counts(rows: Rows) -> Counts:
    return tuple(Count(**dict(zip(store.COLUMNS, row, strict=True))) for row in rows)


def _window(minutes: int | None) -> timedelta:
    if minutes is None:
        return USUAL_WINDOW
    if not 0 <= minutes <= MOST_MINUTES:
        raise BadParameter('Parameter "time_window" needs to be a positive integer smaller than 10080 min (7 days)')
    return timedelta(minutes=minutes)
