"""Counting jobs in the background (rule R12)."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from pandatx.clock import Clock
from pandatx.services.facts import Facts
from pandatx.store import statistics as store
from pandatx.store.database import Database, Transaction

LIMIT: Final = 55.0
"""Seconds for the count: no transaction lives over a minute (rule R5)."""


@frozen
class Statistics:
    """What share ranks, user priorities and statistics are made of. Give it the scheduler's pool."""

    _database: Database
    _clock: Clock
    _facts: Facts

    async def count(self) -> int | None:
        """Count all jobs; the number of rows written for the shares, None where others keep these."""
        return await self._database.limited("statistics.count", LIMIT, 5.0, self._count)

    async def _count(self, tx: Transaction) -> int | None:
        now = self._clock.now()
        if await store.counted_by_others(tx, now):
            await store.tell(tx, now)
            return None
        queues = self._facts.known.queues.values()
        powers = {queue.name: queue.core_power for queue in queues if queue.core_power > 0}
        return await store.count(tx, powers, now)
