"""Finishing jobs whose outputs were on their way (reference/lifecycle.md 2.10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.closing import finish
from pandatx.store import archive as jobs_store
from pandatx.store import closing as store
from pandatx.store import dataset_manager as blocks
from pandatx.store import heartbeats
from pandatx.store.database import Database, Transaction, in_batches

log = Logger()

TOGETHER: Final = 500


@frozen
class Finisher:
    """Write the reports that end transferring jobs; ``report_stored`` wakes the Adder."""

    _database: Database
    _clock: Clock
    _report_stored: Callable[[], None]

    async def arrived(self, name: str) -> int:
        """The transfers to a destination block are over; how many of its jobs can end now."""
        ids = await self._database.transaction("finisher.find", store.jobs_in_transfer, name)
        n = 0
        for some in in_batches(ids, TOGETHER):
            n += await self._database.transaction("finisher.arrived", self._arrived, name, some)
        return self._told(n)

    async def finish(self, ids: Sequence[int]) -> int:
        """End those of the transferring jobs whose outputs have all arrived or failed; how many."""
        n = 0
        for some in in_batches(sorted(ids), TOGETHER):
            n += await self._database.transaction("finisher.finish", self._finish_guarded, some)
        return self._told(n)

    async def there(self, rows: Mapping[int, Sequence[int]]) -> int:
        """These files (row_id, by PandaID) have arrived: end those of the jobs that wait for nothing else; how many."""
        n = 0
        for some in in_batches(sorted(rows), TOGETHER):
            files = [row_id for panda_id in some for row_id in rows[panda_id]]
            n += await self._database.transaction("finisher.there", self._there, some, files)
        return self._told(n)

    def _told(self, n: int) -> int:
        if n:
            log.info("the outputs of {n} jobs have arrived", n=n)
            self._report_stored()
        return n

    async def _arrived(self, tx: Transaction, name: str, ids: Sequence[int]) -> int:
        await jobs_store.guard(tx)
        locked = await jobs_store.lock(tx, ids)
        await store.arrived(tx, name, list(locked), self._clock.now())
        return await self._finish(tx, list(locked))

    async def _there(self, tx: Transaction, ids: Sequence[int], files: Sequence[int]) -> int:
        await jobs_store.guard(tx)
        locked = await jobs_store.lock(tx, ids)
        await blocks.outputs_there(tx, files, list(locked))
        return await self._finish(tx, list(locked))

    async def _finish_guarded(self, tx: Transaction, ids: Sequence[int]) -> int:
        await jobs_store.guard(tx)
        return await self._finish(tx, ids)

    async def _finish(self, tx: Transaction, ids: Sequence[int]) -> int:
        rows = []
        for job in (await jobs_store.lock(tx, ids)).values():
            report = finish(job)
            if report is not None:
                rows.append(
                    {
                        "pandaid": job.panda_id,
                        "prodsourcelabel": job.prod_source_label,
                        "jobstatus": report.status,
                        "attemptnr": job.attempt_nr,
                        "data": report.data,
                    }
                )
        if rows:
            await heartbeats.add_reports(tx, rows, self._clock.now())
        return len(rows)
