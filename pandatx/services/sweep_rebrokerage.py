"""Taking waiting jobs back from queues, so that JEDI sends them elsewhere (reference/lifecycle.md 3.3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from attrs import frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain import sweep_rebrokerage as rules
from pandatx.domain.job import Job
from pandatx.domain.sweep_ages import REASSIGNED, no_reassign
from pandatx.domain.sweep_rebrokerage import FAST, FastLimits, Group, Load
from pandatx.services.facts import Facts
from pandatx.services.groups import Groups
from pandatx.services.instances import Instances
from pandatx.services.killing import Killing
from pandatx.services.sweeper import KEEP_UNMERGED, Pause, Step
from pandatx.store import rebrokerage as store
from pandatx.store.database import Database, in_batches
from pandatx.store.rebrokerage import KeptWaiting

log = Logger()

TOGETHER: Final = 1000
"""Jobs that are read at a time, of one share at one queue."""
AT_ONCE: Final = 500
"""Jobs that are ended between two pauses."""
GROUPS: Final = 100
"""Groups of jobs that are asked for together."""
_REBROKER: Final = "rebroker"


@frozen
class RebrokerageSweep:
    """Ends waiting jobs of JEDI at queues that are overloaded, inactive or slow."""

    _database: Database
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

    async def _end(
        self,
        ids: Sequence[int],
        code: int,
        still: Callable[[Job], bool],
        pause: Pause,
        options: tuple[str, ...] = KEEP_UNMERGED,
    ) -> int:
        """End jobs, some at a time, the highest PandaIDs first."""
        groups = Groups()
        for some in reversed(in_batches(sorted(ids), AT_ONCE)):
            await groups.take(self._killing.expire, some, code, still, options)
            await pause()
        return groups.end()

    # Overloaded queues

    async def end_overload(self, pause: Pause) -> int:
        """End what waits beyond the limits of a share at a queue, the oldest first."""
        groups = Groups()
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
                await groups.take(self._end_excess, load, over.excess, pause)
            await pause()
        return groups.end()

    async def _end_excess(self, load: Load, excess: int, pause: Pause) -> int:
        ended, last, more = 0, 0, True
        while more and ended < excess:
            asked = min(TOGETHER, excess - ended)
            ids = await self._database.transaction("sweep.queued", store.queued, load, last, asked)
            ended += await self._end(ids, FAST, load.still_has, pause)
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
        queues: set[str] = set()

        async def collect(page: KeptWaiting) -> int:
            queues.update(page.queues)
            return 0

        await self._each_kept_waiting((), pause, collect)
        inactive = await self._inactive(queues - no_reassign(self._facts.known.queues)) if queues else []
        if not inactive:
            return 0
        log.info("urgent jobs wait where no job starts: {queues}", queues=", ".join(inactive))

        async def end(page: KeptWaiting) -> int:
            return await self._end(page.ids, REASSIGNED, self._is_kept_waiting, pause)

        return await self._each_kept_waiting(inactive, pause, end)

    async def _each_kept_waiting(
        self, queues: Sequence[str], pause: Pause, work: Callable[[KeptWaiting], Awaitable[int]]
    ) -> int:
        groups, last, more = Groups(), 0, True
        before = self._clock.now() - rules.INACTIVE_JOB
        while more:
            page = await self._database.transaction("sweep.kept", store.kept_waiting, last, before, queues)
            await groups.take(work, page)
            last, more = page.last, page.more
            await pause()
        return groups.end()

    async def _inactive(self, queues: Collection[str]) -> list[str]:
        now = self._clock.now()
        since = now - rules.INACTIVE_QUEUE
        starts = await self._database.transaction("sweep.starts", store.last_starts, sorted(queues), since)
        return [name for name in sorted(queues) if rules.is_inactive(self._facts.queue(name), starts.get(name), now)]

    def _is_kept_waiting(self, job: Job) -> bool:
        return rules.is_kept_waiting(job, self._clock.now())

    # User tasks

    async def end_groups(self, pause: Pause) -> int:
        """End the waiting jobs of groups that have waited for too long; not while pilots could not ask for jobs."""
        if not await self._instances.silence_counts():
            return 0
        groups = Groups()
        first, made = await self._waiting_groups(pause)
        waiting = iter(first.items())
        while some := dict(islice(waiting, GROUPS)):
            times = await self._database.transaction("sweep.activated", store.activated_at, list(some.values()))
            since = {group: times[panda_id] for group, panda_id in some.items() if panda_id in times}
            await groups.take(self._end_some, since, pause)
        young = iter(made.items())
        while found := dict(islice(young, GROUPS)):
            since = {group: at for group, at in found.items() if group not in first}
            await groups.take(self._end_some, since, pause)
        return groups.end()

    async def _end_some(self, since: dict[Group, datetime], pause: Pause) -> int:
        now, groups = self._clock.now(), Groups()
        lively = await self._database.transaction("sweep.lively", store.lively, list(since), now - rules.RECENT)
        for group, waits_since in since.items():
            queue = self._facts.queue(group.queue)
            wait = self._wait(group)
            if rules.goes_elsewhere(queue, waits_since, group in lively, wait, now):
                ids = await self._database.transaction("sweep.waiting", store.waiting, group)
                await groups.take(self._end, ids, REASSIGNED, group.has, pause, ())
            await pause()
        return groups.end()

    def _wait(self, group: Group) -> timedelta:
        return rules.analysis_wait(group, {key: self._tunable(key, group.vo) for key in rules.wait_keys(group)})

    async def _waiting_groups(self, pause: Pause) -> tuple[dict[Group, int], dict[Group, datetime]]:
        """The groups with active jobs, each with its first one; those with others, and when their last was made."""
        before = self._clock.now() - rules.FIRST_LOOK
        first: dict[Group, int] = {}
        made: dict[Group, datetime] = {}
        for active in (True, False):
            last, more = 0, True
            while more:
                page = await self._database.transaction("sweep.groups", store.waiting_groups, active, last, before)
                for group, panda_id, at in page.groups:
                    if active:
                        first[group] = min(panda_id, first.get(group, panda_id))
                    else:
                        made[group] = max(at, made.get(group, at))
                last, more = page.last, page.more
                await pause()
        return first, made
