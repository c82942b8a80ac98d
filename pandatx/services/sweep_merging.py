"""Getting on with jobs that wait for their outputs to be merged (reference/lifecycle.md 3.3, steps 1 and 2)."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain import sweep_merging as rules
from pandatx.domain.job import Job
from pandatx.domain.sweep_ages import EXPIRED
from pandatx.domain.sweep_merging import Kick
from pandatx.services.closer import Closer
from pandatx.services.groups import Groups
from pandatx.services.killing import Killing
from pandatx.services.sweeper import Pages, Pause, Step
from pandatx.store import archive as jobs_store
from pandatx.store import merging as store
from pandatx.store.database import Database, Transaction
from pandatx.store.sweeps import Search

log = Logger()


@frozen
class MergingSweep:
    """What the Closer has missed, and what it cannot know."""

    _database: Database
    _pages: Pages
    _clock: Clock
    _killing: Killing
    _closer: Closer

    def steps(self) -> tuple[Step, ...]:
        return Step("merging", self.kick), Step("stuck merging", self.unstick)

    async def kick(self, pause: Pause) -> int:
        """Users' jobs: begin the merging where no job of a block is at work any more, or end what cannot be merged."""
        search = self._search("user")
        seen: set[str] = set()

        async def work(jobs: Sequence[Job]) -> int:
            tasks = {job.panda_id: job.jedi_task_id for job in jobs if job.jedi_task_id is not None}
            blocks = await self._database.transaction("merging.blocks", store.log_blocks, list(tasks))
            new = {block: panda_id for block, panda_id in blocks.items() if block not in seen}
            seen.update(new)
            idle = await self._idle({block: tasks[panda_id] for block, panda_id in new.items()})
            groups = Groups()
            for block in idle:
                await groups.take(self._kick, new[block])
                await pause()
            return groups.end()

        return await self._pages.each(search, pause, work)

    async def _idle(self, tasks: dict[str, int | None]) -> list[str]:
        found = {block: task for block, task in tasks.items() if task is not None}
        busy = await self._database.transaction("merging.at_work", store.at_work, found) if found else frozenset()
        return sorted(set(found) - busy)

    async def _kick(self, panda_id: int) -> int:
        job, statuses = await self._database.transaction("merging.job", self._job, panda_id)
        if job is None or job.job_status != "merging":
            return 0
        verdict = rules.kick(job, statuses)
        if verdict.kick is Kick.MERGE:
            return await self._begin(job, verdict.blocks, again=False)
        if verdict.kick is Kick.END and job.jedi_task_id is not None:
            log.warn("block {name} is gone: the jobs that wait for its merging are ended", name=verdict.blocks[0])
            ids = await self._database.transaction("merging.jobs", store.merging, job.jedi_task_id, verdict.blocks[0])
            return await self._killing.expire(ids, EXPIRED, lambda job: job.job_status == "merging")
        return 0

    async def _begin(self, job: Job, blocks: Sequence[str], *, again: bool) -> int:
        begun = await self._closer.merge(job, blocks, again)
        if begun:
            log.info("task {task}: merging begins of {blocks}", task=job.jedi_task_id, blocks=" ".join(blocks))
        return int(begun)

    async def _job(self, tx: Transaction, panda_id: int) -> tuple[Job | None, dict[str, str]]:
        await jobs_store.guard(tx)
        job = (await jobs_store.read(tx, [panda_id])).get(panda_id)
        return job, await store.statuses(tx, rules.sub_blocks(job) if job is not None else ())

    async def unstick(self, pause: Pause) -> int:
        """Managed jobs: begin the merging again where a completed block holds files that nobody has merged."""
        tasks: set[int] = set()

        async def collect(jobs: Sequence[Job]) -> int:
            tasks.update(job.jedi_task_id for job in jobs if job.jedi_task_id is not None)
            return 0

        await self._pages.each(self._search("managed", stuck=True), pause, collect)
        groups = Groups()
        for panda_id in await self._database.transaction("merging.stuck", store.stuck, sorted(tasks)) if tasks else ():
            await groups.take(self._unstick, panda_id)
            await pause()
        return groups.end()

    async def _unstick(self, panda_id: int) -> int:
        job, statuses = await self._database.transaction("merging.job", self._job, panda_id)
        if job is None or not rules.is_stuck(job, statuses):
            return 0
        return await self._begin(job, tuple(statuses), again=True)

    def _search(self, label: str, stuck: bool = False) -> Search:
        now = self._clock.now()
        return Search(
            active=True,
            before=now - rules.STUCK if stuck else now,
            since="modification_time",
            statuses=frozenset(("merging",)),
            labels=frozenset((label,)),
        )
