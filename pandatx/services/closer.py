"""Closing the destination blocks of jobs that have ended (reference/lifecycle.md 2.9)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import define, field
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.closing import BlockAction, BlockVerdict, blocks_to_merge, close_block, unmerged_datasets
from pandatx.domain.conclusion import destination_blocks
from pandatx.domain.job import Job
from pandatx.services.merges import Merges
from pandatx.store import closing as store
from pandatx.store.closing import Block
from pandatx.store.database import Database

log = Logger()


@define(eq=False)
class Closer:
    """Close a block when none of its files is to come any more, and let what is to be merged be merged.

    Called after the commit that ended the jobs: of several servers that end a block's last jobs, the last one sees
    all files settled. ``activate`` is called with the name of a closed block that other jobs read.
    """

    _database: Database
    _clock: Clock
    _activate: Callable[[str], Awaitable[object]]
    _merges: Merges = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._merges = Merges(self._database, self._clock)

    async def end_merged(self, ids: Sequence[int]) -> int:
        """End those of the jobs in merging whose merge jobs have ended without their hearing of it; how many."""
        return await self._merges.end(ids)

    async def merge(self, job: Job, names: Sequence[str], again: bool = False) -> bool:
        """Have merged what is in a job's blocks, now that no job of them is at work; whether that begins.

        ``again``: although the blocks are completed.
        """
        datasets = sorted(unmerged_datasets(job))
        now = self._clock.now()
        return await self._database.transaction("closer.merge", store.begin_merging, names, datasets, now, again)

    async def close(self, jobs: Sequence[Job]) -> None:
        """Look at the destination blocks of jobs that have ended, or gone over to transferring or merging."""
        await self._close(jobs)
        await self._merges.follow(jobs)

    async def _close(self, jobs: Sequence[Job]) -> None:
        owners = {name: job for job in jobs for name in destination_blocks(job.files)}
        if not owners:
            return
        found = await self._database.transaction("closer.look", store.blocks, sorted(owners))
        verdicts = {name: _judge(job, name, found) for name, job in owners.items()}
        statuses = {
            name: verdict.status
            for name, verdict in verdicts.items()
            if verdict.action is BlockAction.CLOSE and verdict.status is not None
        }
        if not statuses:
            return
        closed = await self._database.transaction("closer.close", store.close, statuses, self._clock.now())
        for name in sorted(closed):
            log.info("block {name} is {status}", name=name, status=statuses[name])
            if verdicts[name].activates:
                await self._activate(name)
        await self._begin_merging(jobs, verdicts)

    async def _begin_merging(self, jobs: Sequence[Job], verdicts: Mapping[str, BlockVerdict]) -> None:
        blocks = {job.panda_id: blocks_to_merge(job, verdicts) for job in jobs}
        names = sorted({name for found in blocks.values() for name in found})
        if not names:
            return
        datasets = sorted({each for job in jobs if blocks[job.panda_id] for each in unmerged_datasets(job)})
        if await self._database.transaction("closer.merge", store.begin_merging, names, datasets, self._clock.now()):
            log.info("{names}: complete, to be merged", names=" ".join(names))


def _judge(job: Job, name: str, found: Mapping[str, Block]) -> BlockVerdict:
    block = found.get(name)
    if block is None:
        return close_block(job, name, None, 0)
    return close_block(job, name, block.status, int(block.waiting))
