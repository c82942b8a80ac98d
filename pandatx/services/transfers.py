"""Jobs whose outputs are on their way: finished, or failed in the end (reference/lifecycle.md 3.4, part 4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import psycopg2
from attrs import frozen
from twisted.logger import Logger

from pandatx import metrics
from pandatx.clock import Clock
from pandatx.domain import dataset_manager as rules
from pandatx.domain.dataset_manager import Transfer
from pandatx.domain.job import Job
from pandatx.domain.lifecycle import JobStatus
from pandatx.errors import PandaError
from pandatx.services.closer import Closer
from pandatx.services.finisher import Finisher
from pandatx.services.storages import Question, Storages
from pandatx.store import archive as jobs_store
from pandatx.store import dataset_manager as store
from pandatx.store.archive import Change
from pandatx.store.database import Database, Transaction

log = Logger()
Pause = Callable[[], Awaitable[None]]

TOGETHER: Final = 200
"""Jobs that are asked for at a time."""


@frozen
class Transfers:
    """Look after transferring jobs of which no message tells."""

    _database: Database
    _clock: Clock
    _storages: Storages
    _finisher: Finisher
    _closer: Closer

    async def settled(self, pause: Pause) -> int:
        """Jobs whose outputs have all arrived or failed, but which a server that died did not finish; how many."""
        n, last, before = 0, 0, self._clock.now() - rules.LEFT_IN_TRANSFER
        while ids := await self._database.transaction(
            "transfers.settled", store.settled_transfers, last, before, TOGETHER
        ):
            n += await self._finisher.finish(ids)
            last = ids[-1]
            await pause()
        return n

    async def follow(self, pause: Pause) -> tuple[int, int]:
        """Ask the storages for the outputs of production's jobs; how many are finished, and how many have failed."""
        low = await self._follow(urgent=False, untouched=rules.UNTOUCHED, pause=pause)
        high = await self._follow(urgent=True, untouched=rules.UNTOUCHED_URGENT, pause=pause)
        return low[0] + high[0], low[1] + high[1]

    async def _follow(self, urgent: bool, untouched: timedelta, pause: Pause) -> tuple[int, int]:
        finished, failed, last, now = 0, 0, 0, self._clock.now()
        while jobs := await self._database.transaction(
            "transfers.claim", store.claim_transferring, last, now - untouched, urgent, now, TOGETHER
        ):
            there = await self._storages.outputs_there([_question(job) for job in jobs])
            verdicts = {
                job.panda_id: rules.transfer(job, there[job.panda_id], now) for job in jobs if job.panda_id in there
            }
            come = {i: verdict.arrived for i, verdict in verdicts.items() if verdict.action is Transfer.FINISH}
            finished += await self._finisher.there(come)
            late = {i: there[i] for i, verdict in verdicts.items() if verdict.action is Transfer.FAIL}
            failed += await self._fail(late)
            last = jobs[-1].panda_id
            await pause()
        return finished, failed

    async def _fail(self, there: Mapping[int, frozenset[int]]) -> int:
        if not there:
            return 0
        ended = await self._database.transaction("transfers.fail", self._fail_late, there)
        metrics.JOBS_ENDED.labels("failed").inc(len(ended))
        for job in ended:
            log.info("job {id}: failed, its outputs did not arrive in time", id=job.panda_id)
        try:
            await self._closer.close(ended)
        except (PandaError, psycopg2.Error) as error:
            log.warn("the blocks of jobs whose outputs are late are not closed: {error}", error=error)
        return len(ended)

    async def _fail_late(self, tx: Transaction, there: Mapping[int, frozenset[int]]) -> Sequence[Job]:
        """Judge the jobs as they are by now, locked; their files may just have arrived."""
        await jobs_store.guard(tx)
        now, changes = self._clock.now(), []
        for job in (await jobs_store.lock(tx, sorted(there))).values():
            verdict = rules.transfer(job, there[job.panda_id], now)
            if job.job_status == JobStatus.TRANSFERRING and verdict.action is Transfer.FAIL:
                changed = verdict.changes | {"job_status": "failed"}
                changes.append(Change(job=job, changes=changed, file_changes=verdict.file_changes))
        await jobs_store.archive(tx, changes, now)
        return [change.after for change in changes]


def _question(job: Job) -> Question:
    return Question(job=job, files=tuple(each.row_id for each in rules.awaited_outputs(job)), how="files")
