"""The archiver: ended jobs leave the live tables, and what is past its retention is dropped (rule R10)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Concatenate, Final, ParamSpec, TypeVar

import psycopg2
from attrs import define, field
from twisted.logger import Logger

from pandatx.clock import EPOCH, Clock
from pandatx.domain.retention import JOBS, limits
from pandatx.store import archiver as store
from pandatx.store import retention
from pandatx.store.archiver import Ended, Moved
from pandatx.store.database import Database, Transaction

log = Logger()
P = ParamSpec("P")
T = TypeVar("T")
Pause = Callable[[], Awaitable[None]]

TOGETHER: Final = 25
"""Jobs that are moved, or dropped, in one transaction."""
PAGES: Final = 128
"""Pages of a table that are looked through in one transaction."""
TURN: Final = 60.0
"""Seconds after which a sign of life is given, though there is more to move or to drop."""
DROP_EVERY: Final = timedelta(days=1)
_REFUSED: Final = (psycopg2.DataError, psycopg2.IntegrityError)
"""What the archive's tables say of a job that they do not take."""


@define(eq=False)
class Archiver:
    """Small batches, each a short transaction, and asleep after each for as long as it took: so it takes half of a
    backend at most. Give it the scheduler's pool.

    ``enabled`` is needed for a database that was found; ``after`` is the age at which an ended job is moved, and
    ``retention`` are days by table, for ever where a table has none.
    """

    _database: Database
    _clock: Clock
    enabled: bool
    _after: timedelta
    _retention: Mapping[str, int]
    _refused: set[int] = field(init=False, factory=set)
    _page: dict[str, int] = field(init=False, factory=dict)

    async def why_idle(self) -> str:
        """Why this database is left as it is; empty if it is not."""
        if not self.enabled and not await store.is_ours(self._database):
            return "the database is not one that pandatx made, and [pandatx] archive is not True"
        if lost := await store.would_be_lost(self._database):
            return f"the archive would lose columns that this version does not know: {', '.join(lost)}"
        return ""

    async def move(self, pause: Pause) -> tuple[Counter[str], bool]:
        """Move ended jobs for up to ``TURN`` seconds, the oldest first: how many rows, and whether there are more."""
        done: Counter[str] = Counter()
        since, before = EPOCH, self._clock.now() - self._after
        limit, end = TOGETHER, self._clock.seconds() + TURN
        singles = 0
        while self._clock.seconds() < end:
            try:
                ended, moved = await self._rested("archiver.move", self._move, since, before, limit)
            except _REFUSED as fault:
                if limit == 1:
                    await self._refuse(since, before, fault)
                limit, singles = 1, TOGETHER
                continue
            done.update(jobs=moved.jobs, files=moved.files, parameters=moved.parameters, metadata=moved.metadata)
            if len(ended) < limit:
                return +done, False
            since = ended[-1].at
            singles -= 1
            limit = TOGETHER if singles <= 0 else 1
            await pause()
        return +done, True

    async def drop(self, pause: Pause) -> tuple[Counter[str], bool]:
        """Drop what is past its retention for up to ``TURN`` seconds, from each table once a day among all servers: how
        many rows by table, and whether there is more to do. The next turn goes on where this one has ended.
        """
        done: Counter[str] = Counter()
        now, end = self._clock.now(), self._clock.seconds() + TURN
        last = await retention.last(self._database) if self._retention else {}
        for table, before in limits(self._retention, now).items():
            if table in last and now - last[table] < DROP_EVERY:
                continue
            work = self._drop_jobs if table == JOBS else self._drop_pages
            dropped, over = await work(table, before, end, pause)
            done[table] += dropped
            if not over:
                return +done, True
            await self._database.transaction("archiver.done", retention.done, table, now)
        return +done, False

    async def count(self, pause: Pause) -> Counter[str]:
        """What would be moved and dropped now, without changing anything: rows by table."""
        now = self._clock.now()
        found = Counter({"jobsarchived4": await store.waiting(self._database, now - self._after)})
        for table, before in limits(self._retention, now).items():
            if table == JOBS:
                found[table] = await self._rested("archiver.count", retention.count_jobs, before)
            else:
                found[table] = await self._count_pages(table, before, pause)
        return found

    async def _move(self, tx: Transaction, since: datetime, before: datetime, limit: int) -> tuple[list[Ended], Moved]:
        ended = await store.oldest(tx, since, before, limit, self._refused)
        if not ended:
            return [], Moved(jobs=0, files=0, parameters=0, metadata=0)
        return ended, await store.move(tx, [each.panda_id for each in ended])

    async def _refuse(self, since: datetime, before: datetime, fault: psycopg2.Error) -> None:
        """Leave the job alone that the archive's tables do not take, and go on behind it."""
        for each in await self._database.transaction("archiver.look", store.oldest, since, before, 1, self._refused):
            log.warn("job {id} is not archived: {fault}", id=each.panda_id, fault=str(fault).strip())
            self._refused.add(each.panda_id)

    async def _drop_jobs(self, table: str, before: datetime, end: float, pause: Pause) -> tuple[int, bool]:
        rows = 0
        while self._clock.seconds() < end:
            dropped = await self._rested("archiver.drop", retention.drop_jobs, before, TOGETHER)
            if not dropped:
                return rows, True
            rows += dropped
            await pause()
        return rows, False

    async def _drop_pages(self, table: str, before: datetime, end: float, pause: Pause) -> tuple[int, bool]:
        rows = 0
        for first in range(self._page.pop(table, 0), await self._n_pages(table), PAGES):
            if self._clock.seconds() >= end:
                self._page[table] = first
                return rows, False
            rows += await self._rested("archiver.pages", retention.drop_pages, table, first, first + PAGES, before)
            await pause()
        return rows, True

    async def _count_pages(self, table: str, before: datetime, pause: Pause) -> int:
        rows = 0
        for first in range(0, await self._n_pages(table), PAGES):
            rows += await self._rested("archiver.pages", retention.count_pages, table, first, first + PAGES, before)
            await pause()
        return rows

    async def _n_pages(self, table: str) -> int:
        pages = await retention.pages(self._database, table)
        if pages is None:
            log.info("{table} is partitioned: its retention is left to the partitions' keeper", table=table)
        return pages or 0

    async def _rested(
        self,
        name: str,
        work: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """A transaction, and a rest behind it."""
        began = self._clock.seconds()
        try:
            return await self._database.transaction(name, work, *args, **kwargs)
        finally:
            await self._clock.wait(self._clock.seconds() - began)
