"""Blocks that stayed open because a server died between the end of a job and the Closer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from attrs import frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.closing import BlockAction, close_block
from pandatx.domain.dataset_manager import OLD_ENOUGH
from pandatx.domain.job import Job
from pandatx.services.builds import BUILD, Builds
from pandatx.services.closer import Closer
from pandatx.store import dataset_manager as store
from pandatx.store import jobs as jobs_store
from pandatx.store.database import Database

log = Logger()
Pause = Callable[[], Awaitable[None]]

TOGETHER: Final = 500
"""Open blocks that are looked at in one statement."""


@frozen
class LeftOpen:
    """Do for the jobs of such blocks what was left undone."""

    _database: Database
    _clock: Clock
    _closer: Closer
    _builds: Builds

    async def close(self, pause: Pause) -> int:
        """Close open blocks all of whose files are settled; how many there were."""
        n, last, since = 0, "", self._clock.now() - OLD_ENOUGH
        while page := await self._database.transaction("left_open.page", store.open_blocks, last, since, TOGETHER):
            ended = {block.name: block.ended for block in page if block.ended is not None}
            if ended:
                ids = sorted(set(ended.values()))
                jobs = await self._database.transaction("left_open.jobs", jobs_store.describe, ids, False)
                n += await self._finish({name: jobs[i] for name, i in ended.items() if i in jobs})
            last = page[-1].name
            await pause()
        return n

    async def _finish(self, jobs: dict[str, Job]) -> int:
        left = {
            name: job for name, job in jobs.items() if close_block(job, name, "defined", 0).action is BlockAction.CLOSE
        }
        for name in left:
            log.info("block {name} was left open", name=name)
        await self._closer.close(list(left.values()))
        await self._builds.failed(
            [job for job in left.values() if job.prod_source_label == BUILD and job.job_status == "failed"]
        )
        return len(left)
