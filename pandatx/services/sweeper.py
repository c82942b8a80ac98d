"""Ending jobs that have waited for too long, page by page (reference/lifecycle.md 3.3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from attrs import frozen

from pandatx.clock import Clock
from pandatx.domain.job import Job
from pandatx.domain.sweep_ages import (
    OLD,
    OLDEST,
    SILENT_FOR_LONGEST,
    THROTTLED,
    WAITING,
    AgeRule,
    Circumstances,
    ages_of,
    no_reassign,
    overdue,
    shortest,
)
from pandatx.services.facts import Facts
from pandatx.services.groups import Groups
from pandatx.services.killing import Killing
from pandatx.services.watcher import Watcher
from pandatx.store import sweeps as store
from pandatx.store.database import Database
from pandatx.store.sweeps import Search

Pause = Callable[[], Awaitable[None]]
TOGETHER: Final = 250
"""Jobs that are judged before others have their turn."""
KEEP_UNMERGED: Final = ("keepUnmerged",)
"""The kill option of jobs that are made again: what they merge stays to be merged."""


@frozen
class Step:
    """A part of a sweep: it gives how many jobs, files or rows it has dealt with; ``counted``: the word for these."""

    name: str
    work: Callable[[Pause], Awaitable[int]]
    counted: str = ""


@frozen
class Pages:
    """Looks through the job tables."""

    _database: Database

    async def each(self, search: Search, pause: Pause, work: Callable[[Sequence[Job]], Awaitable[int]]) -> int:
        """Give ``work`` what is found, some at a time with a ``pause`` between; the sum of what it gives.

        What the database refuses of some stops no others; it is raised at the end.
        """
        groups, last, more = Groups(), 0, True
        while more:
            page = await self._database.transaction("sweep.page", store.page, search, last)
            for jobs in page.batches(TOGETHER):
                await groups.take(work, jobs)
                await pause()
            last, more = page.last, page.more
            await pause()
        return groups.end()


@frozen
class AgeSweep:
    """End jobs by their age; each rule is a step of its own."""

    _pages: Pages
    _clock: Clock
    _facts: Facts
    _killing: Killing
    _watcher: Watcher

    def old(self) -> tuple[Step, ...]:
        """Step 5."""
        return tuple(map(self._step, OLD))

    def waiting(self) -> tuple[Step, ...]:
        """Steps 8 to 13."""
        return tuple(map(self._step, WAITING))

    def oldest(self) -> tuple[Step, ...]:
        """Step 15, and throttled jobs, the first part of step 16."""
        return Step(OLDEST.name, self._end_oldest), self._step(THROTTLED)

    def _step(self, rule: AgeRule) -> Step:
        return Step(rule.name, lambda pause: self.end(rule, pause))

    async def end(self, rule: AgeRule, pause: Pause) -> int:
        """End the jobs that a rule finds; how many."""
        around = self._around(rule)
        return await self._pages.each(
            self._search(rule, shortest(rule, around)), pause, lambda jobs: self._end(rule, around, jobs)
        )

    async def _end(self, rule: AgeRule, around: Circumstances, jobs: Sequence[Job]) -> int:
        def still(job: Job) -> bool:
            return overdue(rule, job, self._clock.now(), around)

        ids = [job.panda_id for job in jobs if still(job)]
        return await self._killing.expire(ids, rule.code, still, KEEP_UNMERGED if rule.keep_unmerged else ())

    async def _end_oldest(self, pause: Pause) -> int:
        """Jobs that run are told to end; those whose pilots do not hear it are failed for their silence."""

        async def work(jobs: Sequence[Job]) -> int:
            ended = await self._end(OLDEST, Circumstances(), jobs)
            return ended + await self._watcher.fail([job.panda_id for job in jobs], SILENT_FOR_LONGEST)

        return await self._pages.each(self._search(OLDEST, OLDEST.age), pause, work)

    def _around(self, rule: AgeRule) -> Circumstances:
        known = self._facts.known
        return Circumstances(
            ages=ages_of(known.parameters.by_vo(*rule.tunable)) if rule.tunable is not None else {},
            no_reassign=no_reassign(known.queues) if rule.reassigns else frozenset(),
        )

    def _search(self, rule: AgeRule, age: timedelta) -> Search:
        return Search(
            active=rule.active,
            before=self._clock.now() - age,
            since=rule.since,
            statuses=rule.statuses,
            labels=rule.labels,
        )
