"""Applying what an older server has queued of its jobs' counters; this server counts at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from attrs import Factory, define
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.queued_updates import QueuedUpdates, StrangeUpdate, read
from pandatx.store import archive
from pandatx.store import queued_updates as store
from pandatx.store.database import Database, Transaction

log = Logger()

TOGETHER: Final = 200
"""Jobs in one transaction."""
LEFT: Final = timedelta(minutes=1)
"""How long a server has for the statements of its own jobs."""


@define(eq=False)
class LeftUpdates:
    """All statements of a job together, or none."""

    _database: Database
    _clock: Clock
    _strange: set[int] = Factory(set)

    async def run_once(self, pause: Callable[[], Awaitable[None]]) -> int:
        """Apply what was left, in batches with a ``pause`` after each; how many jobs it was of."""
        total, n = 0, TOGETHER
        while n >= TOGETHER:
            n, strange = await self._database.transaction("queued_updates.apply", self._apply)
            for panda_id, text in strange.items():
                log.error("job {id}: a queued statement is not understood, and stays: {text}", id=panda_id, text=text)
            self._strange.update(strange)
            total += n - len(strange)
            await pause()
        return total

    async def _apply(self, tx: Transaction) -> tuple[int, dict[int, str]]:
        await archive.guard(tx)
        now = self._clock.now()
        jobs = await store.find(tx, now - LEFT, sorted(self._strange), TOGETHER)
        found = await store.take(tx, jobs) if jobs else {}
        updates, done, strange = QueuedUpdates(), list[tuple[int, int]](), dict[int, str]()
        for panda_id, statements in found.items():
            try:
                updates.add(read(text for _, text in statements))
                done += [(panda_id, place) for place, _ in statements]
            except StrangeUpdate as error:
                strange[panda_id] = str(error)
        await store.apply(tx, updates, done, now)
        return len(jobs), strange
