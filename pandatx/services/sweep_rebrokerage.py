"""Taking waiting jobs back from queues, so that JEDI sends them elsewhere (reference/lifecycle.md 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain import sweep_rebrokerage as rules
from pandatx.domain.job import Job
from pandatx.domain.sweep_ages import JEDI, REASSIGNED, no_reassign
from pandatx.domain.sweep_rebrokerage import FAST, FastLimits, Group, Load
from pandatx.services.facts import Facts
from pandatx.services.instances import Instances
from pandatx.services.killing import Killing
from pandatx.services.sweeper import KEEP_UNMERGED, Pages, Pause, Step
from pandatx.store import rebrokerage as store
from pandatx.store.database import Database, in_batches
from pandatx.store.sweeps import Search

log = Logger()

TOGETHER: Final = 1000
"""Jobs that are read at a time, of one share at one queue."""
GROUPS: Final = 100
"""Groups of jobs that are asked for together."""
_REBROKER: Final = "rebroker"


@frozen
class RebrokerageSweep:
    """Ends waiting jobs of JEDI at queues that are overloaded, inactive or slow."""

    _database: Database
    _pages: Pages
    _clock: Clock
    _facts: Facts
    _instances: Instances
    _killing: Killing

    def fast(self) -> tuple[Step, ...]:
        """Step 6."""
        return (Step("fast re-brokerage", self.end_overload),)

    def inactive(self) -> tuple[Step, ...]:
        """Step 7."""
        return (Step("inactive queues", self.end_inactive),)

    def user_tasks(self) -> tuple[Step, ...]:
        """Step 14."""
        return (Step("re-brokerage of user tasks", self.end_groups),)

    # Overloaded queues

    async def end_overload(self, pause: Pause) -> int:
        """End what waits beyond the limits of a share at a queue, the oldest first."""
        ended = 0
        since = self._clock.now() - rules.STALE
        for load in await self._database.transaction("sweep.loads", store.loads, since):
            limits = self._fast_limits(load)
            over = rules.overload(load, limits)
            if over is None:
                continue
            log.info(
                "{queue}: {queued} jobs of {share} wait, {running} run, {excess} are too many{dry}",
                queue=load.queue,
                share=load.share,
                queued=load.queued,
                running=load.running,
                excess=over.excess,
                dry=" (dry run: the share has no threshold)" if over.dry_run else "",
            )
            if not over.dry_run:
                ended += await self._end_excess(load, over.excess, pause)
            await pause()
        return ended

    async def _end_excess(self, load: Load, excess: int, pause: Pause) -> int:
        ended, last, more = 0, 0, True
        while more and ended < excess:
            asked = min(TOGETHER, excess - ended)
            ids = await self._database.transaction("sweep.queued", store.queued, load, last, asked)
            ended += await self._killing.expire(ids, FAST, load.still_has, KEEP_UNMERGED)
            last, more = max(ids, default=0), len(ids) == asked
            await pause()
        return ended

    def _fast_limits(self, load: Load) -> FastLimits:
        return FastLimits.of(
            self._tunable("FAST_REBRO_THRESHOLD_NQNR_RATIO", load.vo),
            self._tunable("FAST_REBRO_THRESHOLD_NQUEUE_FRAC", load.vo),
            self._tunable(f"FAST_REBRO_THRESHOLD_NQUEUE_{load.share}", load.vo),
        )

    def _tunable(self, key: str, vo: str) -> float:
        return self._facts.known.parameters.get(_REBROKER, key, 0.0, vo=vo)

    # Inactive queues

    async def end_inactive(self, pause: Pause) -> int:
        """End urgent jobs that wait where no job starts; not while pilots could not ask for jobs."""
        if not await self._instances.silence_counts():
            return 0
        search = Search(
            active=True,
            before=self._clock.now() - rules.INACTIVE_JOB,
            statuses=frozenset(("activated", "starting")),
            labels=frozenset(("managed",)),
        )
        waiting: dict[str, list[int]] = {}
        stay = no_reassign(self._facts.known.queues)

        async def collect(jobs: Sequence[Job]) -> int:
            for job in jobs:
                if job.computing_site and job.computing_site not in stay and self._is_kept_waiting(job):
                    waiting.setdefault(job.computing_site, []).append(job.panda_id)
            return 0

        await self._pages.each(search, pause, collect)
        return await self._end_at(waiting, pause) if waiting else 0

    async def _end_at(self, waiting: dict[str, list[int]], pause: Pause) -> int:
        now, ended = self._clock.now(), 0
        since = now - rules.INACTIVE_QUEUE
        starts = await self._database.transaction("sweep.starts", store.last_starts, sorted(waiting), since)
        for queue, ids in sorted(waiting.items()):
            if rules.is_inactive(self._facts.queue(queue), starts.get(queue), now):
                log.info("{queue}: {n} urgent jobs wait where no job starts", queue=queue, n=len(ids))
                ended += await self._killing.expire(ids, REASSIGNED, self._is_kept_waiting, KEEP_UNMERGED)
                await pause()
        return ended

    def _is_kept_waiting(self, job: Job) -> bool:
        return rules.is_kept_waiting(job, self._clock.now())

    # User tasks

    async def end_groups(self, pause: Pause) -> int:
        """End the waiting jobs of groups that have waited for too long; not while pilots could not ask for jobs."""
        if not await self._instances.silence_counts():
            return 0
        ended = 0
        for some in in_batches(sorted((await self._waiting_groups(pause)).items(), key=str), GROUPS):
            ended += await self._end_some(dict(some), pause)
        return ended

    async def _end_some(self, since: dict[Group, datetime], pause: Pause) -> int:
        now, ended = self._clock.now(), 0
        lively = await self._database.transaction("sweep.lively", store.lively, list(since), now - rules.RECENT)
        for group, waits_since in since.items():
            queue = self._facts.queue(group.queue)
            wait = self._wait(group)
            if rules.goes_elsewhere(queue, waits_since, group in lively, wait, now):
                ids = await self._database.transaction("sweep.waiting", store.waiting, group)
                ended += await self._killing.expire(ids, REASSIGNED, group.has, name="JEDI")
            await pause()
        return ended

    def _wait(self, group: Group) -> timedelta:
        return rules.analysis_wait(group, {key: self._tunable(key, group.vo) for key in rules.wait_keys(group)})

    async def _waiting_groups(self, pause: Pause) -> dict[Group, datetime]:
        """The groups that have waited since a time: since their first job was activated, else since it was made."""
        before = self._clock.now() - rules.FIRST_LOOK
        first: dict[Group, int] = {}
        made: dict[Group, datetime] = {}

        async def activated(jobs: Sequence[Job]) -> int:
            for group, job in _groups(jobs):
                if job.jobset_id is not None:
                    first[group] = min(job.panda_id, first.get(group, job.panda_id))
            return 0

        async def defined(jobs: Sequence[Job]) -> int:
            for group, job in _groups(jobs):
                if job.creation_time is not None:
                    made[group] = max(job.creation_time, made.get(group, job.creation_time))
            return 0

        await self._pages.each(_search(True, ("activated", "starting"), before), pause, activated)
        await self._pages.each(_search(False, ("assigned", "defined"), before), pause, defined)
        times: dict[int, datetime] = {}
        for ids in in_batches(sorted(first.values()), TOGETHER):
            times |= await self._database.transaction("sweep.activated", store.activated_at, ids)
            await pause()
        known = {group: times[panda_id] for group, panda_id in first.items() if panda_id in times}
        return {group: at for group, at in made.items() if group not in first} | known


def _search(active: bool, statuses: tuple[str, ...], before: datetime) -> Search:
    labels = frozenset(("user", "panda"))
    return Search(active=active, before=before, statuses=frozenset(statuses), labels=labels)


def _groups(jobs: Sequence[Job]) -> list[tuple[Group, Job]]:
    return [
        (
            Group(
                task=job.jedi_task_id,
                definition=job.job_definition_id,
                queue=job.computing_site,
                owner=job.prod_user_name or "",
                working_group=job.working_group or "",
                vo=job.vo or "",
            ),
            job,
        )
        for job in jobs
        if job.locked_by == JEDI and job.jedi_task_id is not None and job.computing_site
    ]
