"""Assigned jobs whose inputs have come without a word (reference/lifecycle.md 3.4, part 5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

from attrs import frozen

from pandatx.clock import Clock
from pandatx.domain import dataset_manager as rules
from pandatx.domain.job import Job
from pandatx.services.activator import Activator
from pandatx.services.storages import Question, Storages
from pandatx.store import dataset_manager as store
from pandatx.store.database import Database

Pause = Callable[[], Awaitable[None]]

TOGETHER: Final = 100
"""Jobs that are asked for at a time."""


@frozen
class Arrivals:
    """Look for the inputs of jobs that nobody has asked for since an hour: urgent jobs first, and by each file."""

    _database: Database
    _clock: Clock
    _storages: Storages
    _activator: Activator

    async def look(self, pause: Pause) -> int:
        """One pass; how many jobs were activated."""
        return await self._look("files", True, pause) + await self._look("blocks", False, pause)

    async def _look(self, how: Literal["files", "blocks"], urgent: bool, pause: Pause) -> int:
        n, now = 0, self._clock.now()
        while jobs := await self._database.transaction(
            "arrivals.claim", store.claim_assigned, now - rules.ASSIGNED, urgent, now, TOGETHER
        ):
            come = await self._come(jobs, how)
            ids = [job.panda_id for job in jobs if all(each.row_id in come for each in rules.missing_inputs(job))]
            n += await self._activator.there(ids, come)
            await pause()
        return n

    async def _come(self, jobs: Sequence[Job], how: Literal["files", "blocks"]) -> set[int]:
        """The missing inputs (row_id) that are there: made by other jobs, or found by a plugin.

        What another job has yet to make is not asked for: a part of it may lie in the storage already.
        """
        made = await self._database.transaction("arrivals.made", store.made, [job.panda_id for job in jobs])
        come = {row_id for row_id, is_made in made.items() if is_made}
        questions = []
        for job in jobs:
            missing = {each.row_id for each in rules.missing_inputs(job)} - come
            if missing and not missing & made.keys():
                questions.append(Question(job=job, files=tuple(sorted(missing)), how=how))
        for there in (await self._storages.inputs_there(questions)).values():
            come |= there
        return come
