"""Telling Harvesters of workers whose pilots are further than they know."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from pandatx.clock import Clock
from pandatx.domain.worker_synchronization import commands
from pandatx.store import harvester_commands
from pandatx.store import worker_synchronization as store
from pandatx.store.database import Database, Transaction

MOST: Final = 20_000
"""Workers that are told of in one run; more wait for the next."""


@frozen
class WorkerSynchronization:
    """A worker is told of once in half an hour, in the same transaction in which that is noted."""

    _database: Database
    _clock: Clock

    async def run_once(self) -> int:
        """Leave the commands; of how many workers they tell."""
        return await self._database.transaction("worker_synchronization.tell", self._tell)

    async def _tell(self, tx: Transaction) -> int:
        now = self._clock.now()
        stale = await store.take(tx, now, MOST)
        if told := commands(stale):
            await harvester_commands.replace(tx, told, now)
        return len(stale)
