"""What is known of jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Final

from attrs import frozen

from pandatx.clock import Clock
from pandatx.domain.heartbeat import KILL
from pandatx.domain.job import Job
from pandatx.store import jobs as store
from pandatx.store.database import Database, in_batches

TOGETHER: Final = 100
"""Jobs that are described in one transaction."""
_REMEMBERED: Final = timedelta(hours=1)
UNKNOWN: Final = ("unknown", KILL)
"""For a job that is not there: Harvester kills the workers of such a job."""


@frozen
class Jobs:
    """Read jobs wherever they are."""

    _database: Database
    _clock: Clock

    async def statuses(self, ids: Sequence[int]) -> list[tuple[int, str, int]]:
        """PandaID, status and attempt number of those jobs that are there, in the order of ``ids``."""
        found = {row[0]: row for row in await store.statuses(self._database, ids)}
        return [found[panda_id] for panda_id in ids if panda_id in found]

    async def commands(self, ids: Sequence[int]) -> list[tuple[str, str | None]]:
        """Status and command for each id; ``UNKNOWN`` for a job neither active nor archived within the hour."""
        found = await store.commands(self._database, ids, self._clock.now() - _REMEMBERED)
        return [found.get(panda_id, UNKNOWN) for panda_id in ids]

    async def describe(self, ids: Sequence[int], archive: bool) -> list[Job | None]:
        """Whole jobs in the order of ``ids``, None for one that is not there."""
        return [job async for some in self.each(ids, archive) for job in some]

    async def each(self, ids: Sequence[int], archive: bool) -> AsyncIterator[list[Job | None]]:
        """What ``describe`` gives, some at a time: jobs with all their files and texts are large."""
        for some in in_batches(ids, TOGETHER):
            found = await self._database.transaction("jobs.describe", store.describe, some, archive)
            yield [found.get(panda_id) for panda_id in some]

    async def recent(self, panda_id: int, days: int | None) -> Job | None:
        """A whole job, None for one that is not there or has not changed for so many ``days``."""
        (job,) = await self.describe([panda_id], True)
        if job is None or days is None or job.modification_time is None:
            return job
        return job if job.modification_time > self._clock.now() - timedelta(days=days) else None

    async def find(self, status: str | None, queue: str | None, owner: str | None, limit: int) -> list[Job]:
        """The newest jobs of a status, queue and owner, without their files."""
        return await store.find(self._database, status, queue, owner, limit)
