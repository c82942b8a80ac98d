"""The archiver: ended jobs leave the live tables, and what is past its retention is dropped (rule R10)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Concatenate, Final, ParamSpec, TypeVar

import psycopg2
from attrs import define, field
from twisted.internet.task import deferLater
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
REST: Final = 2.0
"""Times what a transaction took: so long nothing is done behind it."""
PAGES: Final = 128
"""Pages of a table that are looked through in one transaction."""
TURN: Final = 60.0
"""Seconds after which ``move`` gives a sign of life, though there is more to move."""
DROP_EVERY: Final = timedelta(days=1)


@define(eq=False)
class Archiver:
    """Small batches, each a short transaction, and asleep after each for twice as long as it took: so it takes a third
    of a backend at most. Give it the scheduler's pool.

    ``enabled`` is needed for a database that was found; ``after`` is the age at which an ended job is moved, and
    ``retention`` are days by table, for ever where a table has none.
    """

    _database: Database
    _clock: Clock
    enabled: bool
    _after: timedelta
    _retention: Mapping[str, int]
    _refused: set[int] = field(init=False, factory=set)

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
            except psycopg2.DataError as fault:
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

    async def drop(self, pause: Pause) -> Counter[str]:
        """Drop what is past its retention, once a day among all servers: how many rows by table."""
        done: Counter[str] = Counter()
        now = self._clock.now()
        last = await retention.last(self._database)
        if not self._retention or (last is not None and now - last < DROP_EVERY):
            return done
        for table, before in limits(self._retention, now).items():
            if table == JOBS:
                while dropped := await self._rested("archiver.drop", retention.drop_jobs, before, TOGETHER):
                    done[table] += dropped
                    await pause()
            else:
                done[table] += await self._pages(table, before, retention.drop_pages, pause)
        await self._database.transaction("archiver.done", retention.done, now)
        return +done

    async def count(self, pause: Pause) -> Counter[str]:
        """What would be moved and dropped now, without changing anything: rows by table."""
        now = self._clock.now()
        found = Counter({"jobsarchived4": await store.waiting(self._database, now - self._after)})
        for table, before in limits(self._retention, now).items():
            if table == JOBS:
                found[table] = await self._rested("archiver.count", retention.count_jobs, before)
            else:
                found[table] = await self._pages(table, before, retention.count_pages, pause)
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

    async def _pages(
        self,
        table: str,
        before: datetime,
        work: Callable[[Transaction, str, int, int, datetime], Awaitable[int]],
        pause: Pause,
    ) -> int:
        pages, rows = await retention.pages(self._database, table), 0
        if pages is None:
            log.info("{table} is partitioned: its retention is left to the partitions' keeper", table=table)
            return 0
        for first in range(0, pages, PAGES):
            rows += await self._rested("archiver.pages", work, table, first, first + PAGES, before)
            await pause()
        return rows

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
            await deferLater(self._clock.reactor, REST * (self._clock.seconds() - began))  # type: ignore[arg-type]
