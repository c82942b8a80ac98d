"""The Activator: jobs that waited for files go on (reference/lifecycle.md 2.6)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from attrs import frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.closing import activate_block
from pandatx.domain.job import Job
from pandatx.store import dataset_manager as blocks
from pandatx.store import setup as store
from pandatx.store.database import Database, Transaction, in_batches

log = Logger()

TOGETHER: Final = 1000


@frozen
class Activator:
    """Release the jobs behind a dispatch block; ``activated`` is called with them after their commit."""

    _database: Database
    _clock: Clock
    _activated: Callable[[Iterable[Job]], None]

    async def release(self, name: str, enforce: bool = False) -> int:
        """The files of a block are where they are needed: activate the jobs that lack nothing else; how many.

        A block that is completed already is left alone, unless ``enforce`` says that it counts once more.
        """
        rows = await self._database.transaction("activator.block", store.datasets, name)
        runs = [activate_block(status, kind, enforce=enforce).runs for kind, status in rows]
        if rows and not any(runs):
            return 0
        waiting = await self._database.transaction("activator.find", store.jobs_of_block, name)
        n = 0
        for some in in_batches([job.panda_id for job in waiting], TOGETHER):
            moved = await self._database.transaction("activator.release", self._release, name, list(some))
            self._activated(moved)
            n += len(moved)
        await self._database.transaction("activator.done", self._done, name)
        log.info("{name} is complete: activated {n} jobs", name=name, n=n)
        return n

    async def there(self, ids: Sequence[int], rows: Collection[int]) -> int:
        """These inputs (row_id) of assigned jobs have come: activate the jobs that lack nothing else."""
        moved = await self._database.transaction("activator.there", self._arrived, ids, rows)
        self._activated(moved)
        return len(moved)

    async def _arrived(self, tx: Transaction, ids: Sequence[int], rows: Collection[int]) -> list[Job]:
        locked = sorted(await store.lock(tx, ids))
        await blocks.inputs_there(tx, rows, locked)
        return await self._activate(tx, locked)

    async def _release(self, tx: Transaction, name: str, ids: list[int]) -> list[Job]:
        locked = sorted(await store.lock(tx, ids))
        await store.files_there(tx, name, locked)
        return await self._activate(tx, locked)

    async def _activate(self, tx: Transaction, locked: Sequence[int]) -> list[Job]:
        return await store.activate(tx, await store.complete_jobs(tx, locked), self._clock.now())

    async def _done(self, tx: Transaction, name: str) -> None:
        await store.set_dataset(tx, name, "dispatch", "completed", self._clock.now())
