"""Jobs that are taken back from queues so that JEDI finds them others (reference/lifecycle.md 3.3, steps 6, 7, 14)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from attrs import frozen

from pandatx.domain.job import Job
from pandatx.domain.queues import Queue
from pandatx.domain.sweep_ages import FIXED, JEDI, MERGE

FAST: Final = 10
AWAY: Final = frozenset(("offline", "test"))
"""Queues whose jobs need not wait any longer."""

# Fast: too many jobs wait at a queue for what runs there

RATIO: Final = 3.0
FRACTION: Final = 0.3
TRIAL_THRESHOLD: Final = 10.0
"""For a share without a threshold of its own: what would be done is only told."""
FAST_STATUSES: Final = ("defined", "assigned", "activated", "starting")
STALE: Final = timedelta(hours=1)
"""Statistics older than that say nothing about a queue."""


@frozen(kw_only=True)
class Load:
    """The jobs of a share at a queue that wait and that run; ``share_queued`` wait at any queue."""

    queue: str
    share: str
    vo: str
    queued: int
    running: int
    share_queued: int

    def still_has(self, job: Job) -> bool:
        """Whether a job, locked by now, is one of JEDI's that wait in this share at this queue."""
        return (
            (job.computing_site, job.gshare, job.vo or "") == (self.queue, self.share, self.vo)
            and job.locked_by == JEDI
            and job.job_status in FAST_STATUSES
        )


@frozen(kw_only=True)
class FastLimits:
    """By the CONFIG component rebroker; no ``threshold`` means a dry run."""

    ratio: float = RATIO
    fraction: float = FRACTION
    threshold: float | None = None

    @classmethod
    def of(cls, ratio: float, fraction: float, threshold: float) -> FastLimits:
        """What is no positive number counts as absent."""
        return cls(
            ratio=ratio if ratio > 0 else RATIO,
            fraction=fraction if fraction > 0 else FRACTION,
            threshold=threshold if threshold > 0 else None,
        )


@frozen(kw_only=True)
class Overload:
    """How many of the waiting jobs are too many; ``dry_run``: they are only told of."""

    excess: int
    dry_run: bool


def overload(load: Load, limits: FastLimits) -> Overload | None:
    """Judge a share at a queue; None unless it exceeds all three: what runs, the threshold, its part of the share.

    The excess is what brings it down to the nearest of the three.
    """
    threshold = TRIAL_THRESHOLD if limits.threshold is None else limits.threshold
    bounds = (load.running * limits.ratio, threshold, load.share_queued * limits.fraction)
    least = min(load.queued - bound for bound in bounds)
    return None if least <= 0 else Overload(excess=math.ceil(least), dry_run=limits.threshold is None)


# Inactive: urgent jobs wait where no job starts

INACTIVE_QUEUE: Final = timedelta(hours=2)
INACTIVE_JOB: Final = timedelta(hours=4)
INACTIVE_PRIORITY: Final = 800


def is_kept_waiting(job: Job, now: datetime) -> bool:
    """Whether a job has waited for so long that it goes elsewhere if its queue is inactive."""
    since = {"activated": job.modification_time, "starting": job.state_change_time}.get(job.job_status)
    return (
        since is not None
        and now - since >= INACTIVE_JOB
        and job.prod_source_label == "managed"
        and job.locked_by == JEDI
        and job.current_priority >= INACTIVE_PRIORITY
        and job.processing_type != MERGE
        and job.relocation_flag != FIXED
    )


def is_inactive(queue: Queue | None, last_start: datetime | None, now: datetime) -> bool:
    """Whether no job starts at a queue; of one where nobody knows when a job started, only its status tells."""
    if queue is not None and queue.status in AWAY:
        return True
    return last_start is not None and now - last_start >= INACTIVE_QUEUE


# User tasks

ANALYSIS_WAIT: Final = timedelta(hours=12)
"""Without a row rebroker/ANALY_TIMEOUT, or ANALY_TIMEOUT_<working group>, of the VO."""
FIRST_LOOK: Final = timedelta(hours=3)
"""Jobs that wait for less are not looked at."""
RECENT: Final = timedelta(hours=3)
"""A group of which a job has changed since then is left where it is."""
WAITING_STATUSES: Final = frozenset(("defined", "assigned", "activated", "starting"))
NOT_RECENT: Final = ("closed", "failed", "starting")
"""Statuses in which a change is no sign of life."""
_USER_LABELS: Final = frozenset(("user", "panda"))


@frozen(kw_only=True)
class Group:
    """The jobs of a user's task that were brokered together."""

    task: int
    definition: int
    queue: str
    owner: str
    working_group: str = ""
    vo: str = ""

    def has(self, job: Job) -> bool:
        """Whether a job, locked by now, is of this group and waits."""
        return (
            job.jedi_task_id == self.task
            and job.job_definition_id == self.definition
            and job.computing_site == self.queue
            and job.job_status in WAITING_STATUSES
        )


def analysis_wait(group: Group, hours: Mapping[str, float]) -> timedelta:
    """How long a group may wait; ``hours`` by the keys of CONFIG, the working group's own first."""
    for key in wait_keys(group):
        if 0 < hours.get(key, 0.0) < 1_000_000:
            return timedelta(hours=hours[key])
    return ANALYSIS_WAIT


def wait_keys(group: Group) -> tuple[str, ...]:
    """The keys of CONFIG that the wait of a group is set by, the strongest first."""
    own = (f"ANALY_TIMEOUT_{group.working_group}",) if group.working_group else ()
    return (*own, "ANALY_TIMEOUT")


def goes_elsewhere(queue: Queue | None, waits_since: datetime, recently: bool, wait: timedelta, now: datetime) -> bool:
    """Whether a group is taken from its queue; ``recently``: a job of it has changed within RECENT."""
    if queue is None or now - waits_since < FIRST_LOOK:
        return False
    if queue.status in AWAY:
        return True
    return now - waits_since >= wait and not recently
