"""When a job has been silent for too long, and what it fails with (reference/lifecycle.md 2.8, rule R4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from attrs import field, frozen

from pandatx.domain.lifecycle import JobStatus

LOST_HEARTBEAT: Final = 100
RECOVERY_FAILED: Final = 101
NO_REPLY: Final = 102
TIMEOUT_HOLDING: Final = 103
TIMEOUT_TRANSFERRING: Final = 104
TIMEOUT_OTHER: Final = 105
WORKER_ALREADY_DONE: Final = 2

_USER_LABELS: Final = frozenset(("user", "panda"))
_WORKING: Final = frozenset((JobStatus.RUNNING, JobStatus.STARTING, JobStatus.STAGEIN, JobStatus.STAGEOUT))
_ENDED_WORKERS: Final = frozenset(("finished", "failed", "cancelled", "missed"))
_URGENT: Final = 800
_GRACE: Final = timedelta(minutes=5)
_DIAG_LIMIT: Final = 250
_HEARTBEAT_KEY: Final = "HEARTBEAT_TIMEOUT_"


def _hours(number: float) -> timedelta:
    return timedelta(hours=number)


@frozen(kw_only=True)
class Limits:
    """How long a job may be silent, by its status, label and the workflow of its queue."""

    sent: timedelta = timedelta(minutes=30)
    analysis: timedelta = _hours(2)
    production: timedelta = _hours(2)
    workflows: Mapping[str, timedelta] = field(factory=dict)
    holding: timedelta = _hours(48)
    holding_user: timedelta = _hours(3)
    holding_urgent: timedelta = _hours(3)
    spares_paused: bool = True

    @classmethod
    def of_tunables(cls, values: Mapping[tuple[str, str], Any]) -> Limits:
        """From rows of CONFIG, (component, key) -> hours; what is absent or no positive number keeps its default."""
        found: dict[str, Any] = {}
        workflows: dict[str, timedelta] = {}
        for (component, key), hours in values.items():
            if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours < 1_000_000:
                continue
            if (component, key) == ("job_timeout", "TIMEOUT_holding"):
                found["holding"] = _hours(hours)
            elif component == "watcher" and key.startswith(_HEARTBEAT_KEY):
                workflows[key.removeprefix(_HEARTBEAT_KEY)] = _hours(hours)
        for name in ("analysis", "production"):
            if name in workflows:
                found[name] = workflows[name]
        return cls(workflows=workflows, **found)

    @property
    def shortest(self) -> timedelta:
        """The shortest silence that can matter, in any status but sent."""
        holding = (self.holding, self.holding_user, self.holding_urgent)
        return min(self.analysis, self.production, *holding, *self.workflows.values())


@frozen
class LimitsByVO:
    """The limits of each VO that has its own rows in CONFIG, and of all ``others`` (lifecycle.md 9, trap 51)."""

    others: Limits
    own: Mapping[str, Limits] = field(factory=dict)

    def of(self, vo: str | None) -> Limits:
        return self.own.get(vo or "", self.others)

    @property
    def shortest(self) -> timedelta:
        return min(each.shortest for each in (self.others, *self.own.values()))


@frozen(kw_only=True)
class JobFacts:
    """What is known of an active job; ``has_report``: a report of it waits for the Adder."""

    panda_id: int
    job_status: str
    modification_time: datetime
    state_change_time: datetime | None = None
    end_time: datetime | None = None
    prod_source_label: str | None = None
    job_sub_status: str | None = None
    current_priority: int = 0
    exe_error_diag: str | None = None
    pilot_error_diag: str | None = None
    job_dispatcher_error_diag: str | None = None
    has_report: bool = False
    workflow: str | None = None
    queue_paused: bool = False


@frozen(kw_only=True)
class WorkerFacts:
    """The newest worker of a job, as Harvester told of it."""

    status: str
    diag: str | None = None


@frozen(kw_only=True)
class Failure:
    """Fail the job: ``changes`` are attributes of Job. Its output and log files become failed too."""

    changes: dict[str, Any]
    silent_for: timedelta


def silence_counts(
    last_outage_end: datetime | None, spools_empty: bool, heartbeat_period: timedelta, now: datetime
) -> bool:
    """Whether silence says something of pilots: not while the database was away, nor before they could report again."""
    if not spools_empty:
        return False
    return last_outage_end is None or now - last_outage_end >= heartbeat_period + _GRACE


def limit_of(job: JobFacts, limits: Limits) -> timedelta | None:
    """The shortest of the limits that apply to the job, None where it may be silent for ever."""
    return min(_limits_of(job, limits), default=None)


def _limits_of(job: JobFacts, limits: Limits) -> Iterator[timedelta]:
    users = job.prod_source_label in _USER_LABELS
    if job.job_status == JobStatus.SENT:
        yield limits.sent
    elif job.job_status in _WORKING:
        if users:
            yield limits.analysis
        if not (job.queue_paused and limits.spares_paused):
            yield limits.workflows.get(job.workflow or "", limits.production)
    elif job.job_status == JobStatus.TRANSFERRING and users:
        yield limits.analysis
    elif job.job_status == JobStatus.HOLDING:
        yield limits.holding
        if job.current_priority > _URGENT:
            yield limits.holding_urgent
        if users and not job.has_report and job.state_change_time != job.modification_time:
            yield limits.holding_user


def verdict(job: JobFacts, worker: WorkerFacts | None, now: datetime, limits: Limits) -> Failure | None:
    """Why this job should be failed now, or None to leave it alone; whether silence counts at all is asked before."""
    limit = limit_of(job, limits)
    if limit is None or now - job.modification_time < limit:
        return None
    changes: dict[str, Any] = {"modification_time": now, "state_change_time": now}
    reason = _reason(job, limit)
    if reason is not None:
        changes["job_dispatcher_error_code"], text = reason
        changes["job_dispatcher_error_diag"] = text[:_DIAG_LIMIT]
    if worker is not None and worker.status in _ENDED_WORKERS:
        changes["sup_error_code"] = WORKER_ALREADY_DONE
        changes["sup_error_diag"] = (worker.diag or f"the worker is already {worker.status}")[:_DIAG_LIMIT]
    if job.end_time is None:
        changes["end_time"] = job.modification_time
    return Failure(changes=changes, silent_for=now - job.modification_time)


def _reason(job: JobFacts, limit: timedelta) -> tuple[int, str] | None:
    """Code and diag; None where the pilot's own holding or transferring has left a text, which then stays."""
    last = f"{job.modification_time:%Y-%m-%d %H:%M:%S}"
    if job.job_status == JobStatus.SENT:
        return NO_REPLY, f"sent, but no reply from the pilot within {limit // timedelta(minutes=1)} min"
    if job.exe_error_diag or job.pilot_error_diag:
        return RECOVERY_FAILED, f"job recovery failed for {limit / timedelta(hours=1):g} hours"
    if job.job_dispatcher_error_diag:
        return None
    if job.end_time is None:
        return LOST_HEARTBEAT, f"lost heartbeat : {last}"
    if job.job_status == JobStatus.HOLDING:
        return TIMEOUT_HOLDING, f"timeout in holding : {last}"
    if job.job_status == JobStatus.TRANSFERRING:
        return TIMEOUT_TRANSFERRING, f"timeout in transferring : {last}"
    return TIMEOUT_OTHER, f"timeout in {job.job_status} : {last}"
