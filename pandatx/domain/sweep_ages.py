"""Jobs that have waited for too long, by their age (reference/lifecycle.md 3.3, steps 5, 8 to 13, 15 and 16)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from attrs import Factory, frozen

from pandatx.domain.job import Job
from pandatx.domain.lifecycle import BEFORE_ACTIVATION
from pandatx.domain.queues import Queue
from pandatx.domain.watch import Limits

EXPIRED: Final = 2
EXPIRED_WAITING: Final = 4
REASSIGNED: Final = 51
MERGE_GONE: Final = 52
TASK_DONE: Final = 55

LONG: Final = timedelta(days=7)
"""Jobs created before that are ended, unless a pilot has them; so are users' jobs that nothing has touched since."""
STUCK_DEFINED: Final = timedelta(hours=4)
"""Without a row job_timeout/TIMEOUT_defined of the job's VO."""
LONG_DEFINED: Final = timedelta(hours=12)
LONG_ACTIVATED: Final = timedelta(days=2)
LONG_STARTING: Final = timedelta(hours=48)
LONG_PENDING: Final = timedelta(hours=1)
LONG_WAITING: Final = timedelta(hours=1)
WAITING_MERGE: Final = timedelta(minutes=10)
LONG_EVENTS: Final = timedelta(hours=24)
LONG_EVENT_MERGE: Final = timedelta(hours=24)
URGENT_EVENTS: Final = 900
"""Event-service jobs of at least this priority may not run longer than LONG_EVENTS."""
LONGEST: Final = timedelta(days=21)
"""No job lives longer."""
YOUNG_MERGE: Final = timedelta(minutes=30)
"""A merge job that was touched since is not asked for what it merges."""

EVENTS: Final = 1
EVENT_MERGE: Final = 2
JUMBO: Final = 4
CO_JUMBO: Final = 5
"""Values of eventService."""
FIXED: Final = 2
"""The relocationFlag of a job that stays at its queue."""
JEDI: Final = "jedi"
MERGE: Final = "pmerge"
"""The processingType of jobs that merge what others have made."""

SILENT_FOR_LONGEST: Final = Limits(
    sent=LONGEST,
    analysis=LONGEST,
    production=LONGEST,
    holding=LONGEST,
    holding_user=LONGEST,
    holding_urgent=LONGEST,
    spares_paused=False,
)
"""By which the Watcher fails what is still there after the kill of LONGEST."""


def _any_job(job: Job) -> bool:
    return True


@frozen(kw_only=True)
class AgeRule:
    """A kind of job that may not grow older than ``age``, and the kill code that ends it.

    ``active``: whether it is in jobsactive4, else in jobsdefined4; ``since`` is the attribute that its age counts from;
    no ``statuses`` or ``labels`` mean any. ``jedi``: only jobs of JEDI, which makes new ones. ``reassigns``: only jobs
    that may go to another queue. ``tunable`` is a row of CONFIG with hours instead of ``age``, by the job's VO.
    """

    name: str
    code: int
    active: bool
    since: str
    age: timedelta
    statuses: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    jedi: bool = False
    reassigns: bool = False
    keep_unmerged: bool = False
    tunable: tuple[str, str] | None = None
    also: Callable[[Job], bool] = _any_job


@frozen(kw_only=True)
class Circumstances:
    """What the ages are judged by beside the job: its VO's own limit, and queues whose jobs stay where they are."""

    ages: Mapping[str, timedelta] = Factory(dict)
    no_reassign: frozenset[str] = frozenset()


def overdue(rule: AgeRule, job: Job, now: datetime, around: Circumstances) -> bool:
    """Whether the rule ends this job now; asked for a candidate, and again once the job is locked."""
    since = getattr(job, rule.since)
    age = around.ages.get(job.vo or "", rule.age)
    return (
        (job.job_status not in BEFORE_ACTIVATION) == rule.active
        and (not rule.statuses or job.job_status in rule.statuses)
        and (not rule.labels or job.prod_source_label in rule.labels)
        and (not rule.jedi or job.locked_by == JEDI)
        and (not rule.reassigns or _may_move(job, around.no_reassign))
        and rule.also(job)
        and since is not None
        and now - since >= age
    )


def _may_move(job: Job, no_reassign: frozenset[str]) -> bool:
    return job.relocation_flag != FIXED and job.computing_site not in no_reassign


def ages_of(hours_by_vo: Mapping[str, float]) -> dict[str, timedelta]:
    """The limits that rows of CONFIG set, by VO; what is no positive number of hours counts as absent."""
    return {vo: timedelta(hours=hours) for vo, hours in hours_by_vo.items() if 0 < hours < 1_000_000}


def shortest(rule: AgeRule, around: Circumstances) -> timedelta:
    """The least age at which the rule can end a job."""
    return min((rule.age, *around.ages.values()))


def no_reassign(queues: Mapping[str, Queue]) -> frozenset[str]:
    """The queues whose activated and starting jobs are not taken away (disableReassign in catchall)."""
    return frozenset(name for name, queue in queues.items() if "disableReassign" in queue.catchall)


def _is_build_or_no_task(job: Job) -> bool:
    build = job.prod_source_label == "panda" and "build" in (job.transformation or "")
    return build or not job.locked_by


def _is_event_merge(job: Job) -> bool:
    return job.event_service == EVENT_MERGE


def _is_no_co_jumbo(job: Job) -> bool:
    return job.event_service != CO_JUMBO


def _is_urgent_events(job: Job) -> bool:
    return job.event_service in (EVENTS, CO_JUMBO) and job.current_priority >= URGENT_EVENTS


_CREATED, _TOUCHED, _CHANGED = "creation_time", "modification_time", "state_change_time"
_DEFINED_LIMIT = ("job_timeout", "TIMEOUT_defined")
_MANAGED = frozenset(("managed",))
_RUNNING = frozenset(("running", "starting"))

OLD: Final = (
    AgeRule(name="defined for long", code=EXPIRED, active=False, since=_CREATED, age=LONG),
    AgeRule(
        name="activated for long",
        code=EXPIRED,
        active=True,
        since=_CREATED,
        age=LONG,
        statuses=frozenset(("activated",)),
    ),
)
"""Step 5."""

WAITING: Final = (
    AgeRule(
        name="stuck in defined",
        code=REASSIGNED,
        active=False,
        since=_TOUCHED,
        age=STUCK_DEFINED,
        statuses=frozenset(("defined",)),
        labels=frozenset(("managed", "test")),
        jedi=True,
        keep_unmerged=True,
        tunable=_DEFINED_LIMIT,
    ),
    AgeRule(
        name="builds and taskless jobs in defined",
        code=EXPIRED,
        active=False,
        since=_CREATED,
        age=STUCK_DEFINED,
        statuses=frozenset(("defined",)),
        tunable=_DEFINED_LIMIT,
        also=_is_build_or_no_task,
    ),
    AgeRule(
        name="long before activation",
        code=REASSIGNED,
        active=False,
        since=_TOUCHED,
        age=LONG_DEFINED,
        labels=_MANAGED,
        jedi=True,
        keep_unmerged=True,
    ),
    AgeRule(
        name="long activated",
        code=REASSIGNED,
        active=True,
        since=_TOUCHED,
        age=LONG_ACTIVATED,
        statuses=frozenset(("activated",)),
        labels=_MANAGED,
        jedi=True,
        reassigns=True,
        keep_unmerged=True,
    ),
    AgeRule(
        name="long starting",
        code=REASSIGNED,
        active=True,
        since=_CHANGED,
        age=LONG_STARTING,
        statuses=frozenset(("starting",)),
        labels=_MANAGED,
        jedi=True,
        reassigns=True,
        keep_unmerged=True,
    ),
    AgeRule(
        name="users' jobs untouched for long",
        code=EXPIRED,
        active=True,
        since=_TOUCHED,
        age=LONG,
        labels=frozenset(("user", "panda", "test")),
    ),
    AgeRule(
        name="long pending",
        code=EXPIRED_WAITING,
        active=False,
        since=_CREATED,
        age=LONG_PENDING,
        statuses=frozenset(("pending",)),
    ),
    AgeRule(
        name="event merge in waiting",
        code=EXPIRED,
        active=False,
        since=_CREATED,
        age=WAITING_MERGE,
        statuses=frozenset(("waiting",)),
        also=_is_event_merge,
    ),
    AgeRule(
        name="long waiting",
        code=EXPIRED_WAITING,
        active=False,
        since=_CREATED,
        age=LONG_WAITING,
        statuses=frozenset(("waiting",)),
        also=_is_no_co_jumbo,
    ),
    AgeRule(
        name="long event service",
        code=EXPIRED,
        active=True,
        since=_CHANGED,
        age=LONG_EVENTS,
        statuses=_RUNNING,
        keep_unmerged=True,
        also=_is_urgent_events,
    ),
    AgeRule(
        name="long event merge",
        code=EXPIRED,
        active=True,
        since=_CHANGED,
        age=LONG_EVENT_MERGE,
        statuses=_RUNNING,
        also=_is_event_merge,
    ),
)
"""Steps 8 to 13."""

OLDEST: Final = AgeRule(name="alive for too long", code=EXPIRED, active=True, since=_CREATED, age=LONGEST)
"""Step 15."""
THROTTLED: Final = AgeRule(
    name="throttled for long",
    code=EXPIRED,
    active=True,
    since=_CREATED,
    age=LONG,
    statuses=frozenset(("throttled",)),
)
"""Step 16, its first part; the others ask the task."""


def is_old_merge(job: Job, now: datetime) -> bool:
    """Whether a merge job is old enough to be asked for what it merges."""
    touched = job.modification_time
    return job.processing_type == MERGE and touched is not None and now - touched >= YOUNG_MERGE


def gone(makers: Mapping[int, str | None]) -> int | None:
    """The first job whose output is to be merged that does not wait for it any more; ``makers``: their statuses."""
    return next((panda_id for panda_id, status in sorted(makers.items()) if status != "merging"), None)


_ENDED_TASKS: Final = frozenset(("done", "finished", "failed", "broken", "aborted", "prepared"))
_JUMBO_WORKING: Final = frozenset(("transferring", "running", "holding"))


@frozen(kw_only=True)
class JumboTask:
    """A task of jumbo jobs: its status, useJumbo, and the files of its master inputs; ``done``: finished and failed."""

    status: str | None = None
    use_jumbo: str | None = None
    files: int = 0
    done: int = 0


def is_idle_jumbo(job: Job) -> bool:
    """Whether a jumbo job is not at work."""
    return job.event_service == JUMBO and job.job_status not in _JUMBO_WORKING


def jumbo_is_over(task: JumboTask) -> bool:
    """Whether a task needs its jumbo jobs no more."""
    disabled = task.use_jumbo == "D"
    return disabled or task.status is None or task.status in _ENDED_TASKS or task.done >= task.files
