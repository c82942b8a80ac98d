"""Jobs behind a build that has failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from attrs import define, frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.job import Job
from pandatx.services.groups import Groups
from pandatx.store import archive as store
from pandatx.store import sweeps
from pandatx.store.archive import Change
from pandatx.store.database import Database, Transaction, in_batches

log = Logger()

BUILD: Final = "panda"
"""The label of jobs that build what others run."""
_TOGETHER: Final = 20
_KILLED: Final = 100


_WINDOW: Final = timedelta(days=7)
"""How far a server that starts looks back: jobs that wait for longer are ended anyway."""
_OVERLAP: Final = timedelta(hours=1)
"""Longer than a transaction can take, and than clocks can differ."""


@frozen
class Builds:
    """Cancel what can never run, since what it needs will not be built."""

    _database: Database
    _clock: Clock

    async def failed(self, builds: Sequence[Job]) -> int:
        """Cancel the jobs that wait for the outputs of these failed builds; how many."""
        if not builds:
            return 0
        waiting = await self._database.transaction("builds.behind", store.behind_builds, builds)
        groups = Groups()
        for ids in in_batches(waiting, _TOGETHER):
            await groups.apart(ids, self._cancel_some)
        return groups.end()

    async def _cancel_some(self, ids: Sequence[int]) -> int:
        n = await self._database.transaction("builds.cancel", self._cancel, ids)
        if n:
            log.info("cancelled {n} jobs behind a failed build", n=n)
        return n

    async def _cancel(self, tx: Transaction, ids: Sequence[int]) -> int:
        await store.guard(tx)
        now = self._clock.now()
        jobs = await store.lock_defined(tx, ids)
        changes = [
            Change(job=job, changes=_cancelled(now), file_changes=store.outputs_failed(job)) for job in jobs.values()
        ]
        await store.archive(tx, changes, now)
        return len(changes)


@define(eq=False)
class BuildSweep:
    """Finds the builds that ended otherwise than by the Adder: killed, silent, or never set up."""

    _database: Database
    _clock: Clock
    _builds: Builds
    _looked_at: datetime | None = None

    async def run(self, pause: Callable[[], Awaitable[None]]) -> int:
        """Cancel the jobs behind builds that ended since the last run; how many."""
        now = self._clock.now()
        since = now - _WINDOW if self._looked_at is None else self._looked_at - _OVERLAP
        groups, after, more = Groups(), (since, 0), True
        while more:
            page = await self._database.transaction("builds.ended", sweeps.ended_builds, after, now)
            await groups.take(self._builds.failed, page.builds)
            after, more = page.until, page.more
            await pause()
        cancelled = groups.end()
        self._looked_at = now
        return cancelled


def _cancelled(now: datetime) -> dict[str, Any]:
    return {
        "job_status": "cancelled",
        "task_buffer_error_code": _KILLED,
        "task_buffer_error_diag": "killed since an associated build job failed",
        "modification_time": now,
        "state_change_time": now,
        "end_time": now,
    }
