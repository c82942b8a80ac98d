"""Ending jobs that their tasks need no more: merge jobs, jumbo jobs (reference/lifecycle.md 3.3, step 16)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from attrs import frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.job import Job
from pandatx.domain.sweep_ages import (
    JUMBO,
    MERGE,
    MERGE_GONE,
    TASK_DONE,
    YOUNG_MERGE,
    JumboTask,
    gone,
    is_idle_jumbo,
    is_old_merge,
    jumbo_is_over,
)
from pandatx.services.killing import Killing
from pandatx.services.sweeper import Pages, Pause, Step
from pandatx.store import sweeps as store
from pandatx.store.database import Database, in_batches
from pandatx.store.sweeps import Search

log = Logger()

_TOGETHER = 500


@frozen
class TaskSweep:
    """The second and third part of step 16."""

    _database: Database
    _pages: Pages
    _clock: Clock
    _killing: Killing

    def steps(self) -> tuple[Step, ...]:
        return Step("invalid merge jobs", self.end_merges), Step("jumbo jobs", self.end_jumbo)

    async def end_merges(self, pause: Pause) -> int:
        """End merge jobs of which a job that made their input waits for them no more."""

        async def work(jobs: Sequence[Job]) -> int:
            ended = 0
            for some in in_batches([job.panda_id for job in jobs], _TOGETHER):
                for panda_id, makers in (await self._database.transaction("sweep.makers", store.makers, some)).items():
                    ended += await self._end_merge(panda_id, gone(makers))
                await pause()
            return ended

        before = self._clock.now() - YOUNG_MERGE
        return sum(
            [
                await self._pages.each(
                    Search(active=active, before=before, since="modification_time", processing=MERGE), pause, work
                )
                for active in (False, True)
            ]
        )

    async def _end_merge(self, panda_id: int, maker: int | None) -> int:
        if maker is None:
            return 0
        return await self._killing.expire(
            [panda_id],
            MERGE_GONE,
            lambda job: is_old_merge(job, self._clock.now()),
            name=f"killed since pre-merge job {maker} gone",
        )

    async def end_jumbo(self, pause: Pause) -> int:
        """End jumbo jobs that are not at work and whose tasks have no use for them."""

        async def work(jobs: Sequence[Job]) -> int:
            tasks = sorted({job.jedi_task_id for job in jobs if is_idle_jumbo(job) and job.jedi_task_id is not None})
            found = await self._database.transaction("sweep.jumbo", store.jumbo_tasks, tasks)
            over = {task for task in tasks if jumbo_is_over(found.get(task, JumboTask()))}
            ids = [job.panda_id for job in jobs if is_idle_jumbo(job) and job.jedi_task_id in over]
            return await self._killing.expire(ids, TASK_DONE, is_idle_jumbo)

        before = self._clock.now() + timedelta(days=1)
        return sum(
            [
                await self._pages.each(Search(active=active, before=before, events=JUMBO), pause, work)
                for active in (False, True)
            ]
        )
