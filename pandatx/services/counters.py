"""Counting requests per queue, and noting where jobs begin to run (rule R13)."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Final

import psycopg2
from attrs import define, field
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.errors import PandaError
from pandatx.store import counters as store
from pandatx.store.counters import What as What
from pandatx.store.database import Database

log = Logger()

EVERY: Final = 60.0
"""Seconds between two calls of ``flush``."""
MOST_QUEUES: Final = 5000
"""Names in one minute; what pilots make up beyond that counts for ``OTHERS``."""
OTHERS: Final = "(others)"
_KEPT: Final = timedelta(days=30)
_WIDTH: Final = 128


@define(eq=False)
class Counters:
    """Counts in memory, adds them to the table each minute; what cannot be added is kept for the next minute."""

    _database: Database
    _clock: Clock
    _instance: str
    _counts: Counter[tuple[str, What]] = field(factory=Counter)
    _forgot: datetime | None = None
    _started: set[str] = field(factory=set)

    def count(self, queue: str, what: What) -> None:
        """One more request of a pilot at ``queue``: get_job, no_job (get_job without a job), update_job.

        A report need not name its queue: then it is counted for the empty name.
        """
        self._add(queue[:_WIDTH], what, 1)

    def _add(self, queue: str, what: What, n: int) -> None:
        key = (queue, what)
        if key not in self._counts and len(self._counts) >= MOST_QUEUES:
            key = (OTHERS, what)
        self._counts[key] += n

    def started(self, queue: str) -> None:
        """A job has begun to run at ``queue``."""
        if len(self._started) < MOST_QUEUES:
            self._started.add(queue[:_WIDTH])

    async def flush(self) -> None:
        """Add what was counted; called each minute and at the end."""
        counts, self._counts = self._counts, Counter()
        started, self._started = self._started, set()
        now = self._clock.now()
        try:
            if counts:
                minute = now.replace(second=0, microsecond=0)
                await self._database.transaction("counters.add", store.add, self._instance, minute, counts)
                counts = Counter()
            if started:
                await self._database.transaction("counters.started", store.set_last_start, started, now)
                started = set()
            if self._forgot is None or now - self._forgot > timedelta(days=1):
                await self._database.transaction("counters.forget", store.forget, now - _KEPT)
                self._forgot = now
        except (PandaError, psycopg2.Error) as error:
            for (queue, what), n in counts.items():
                self._add(queue, what, n)
            self._started |= started
            log.info("the counters of requests are added later: {error}", error=error)
