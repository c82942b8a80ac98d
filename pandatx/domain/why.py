"""Why a job is where it is: values in, sentences out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import field, frozen

from pandatx.domain.asks import Asked
from pandatx.domain.error_words import JobError, errors_of
from pandatx.domain.fit import UNLIMITED, Want
from pandatx.domain.heartbeat import KILL
from pandatx.domain.job import Job
from pandatx.domain.lifecycle import TERMINAL, JobStatus
from pandatx.domain.queues import Queue
from pandatx.domain.shares import UNDEFINED

MOST_AHEAD: Final = 1000
"""Jobs ahead in the same class are counted up to this number."""
_SERVED_LESS: Final = frozenset(("offline", "brokeroff", "paused"))


@frozen(kw_only=True)
class Report:
    """A report that waits for the Adder."""

    status: str
    since: datetime
    locked_by: str | None = None
    locked_at: datetime | None = None


@frozen(kw_only=True)
class Worker:
    """A worker of Harvester's that the job is linked to."""

    harvester_id: str
    worker_id: int
    status: str
    diag: str | None = None
    seen: datetime | None = None


@frozen(kw_only=True)
class Evidence:
    """What was found of a job and around it.

    ``ahead``: activated jobs that come before it in its class, at most ``MOST_AHEAD`` of them and one more. ``ranks``:
    the shares' places in the order of dispatch. ``silence``: after which the Watcher fails it, None for never.
    """

    job: Job
    now: datetime
    queue: Queue | None = None
    asked: Sequence[Asked] = ()
    ahead: int = 0
    ranks: Mapping[str, int] = field(factory=dict)
    blocks: Mapping[str, str] = field(factory=dict)
    report: Report | None = None
    workers: Sequence[Worker] = ()
    silence: timedelta | None = None


@frozen(kw_only=True)
class Filter:
    """One filter of dispatch: what the job needs, and how many requests of the last hour it kept from the job."""

    name: str
    job_has: str
    kept_out: int


@frozen(kw_only=True)
class Pilots:
    """Requests that wanted the same, and why they did not get this job."""

    asked: Asked
    why_not: tuple[str, ...]


@frozen(kw_only=True)
class Explanation:
    """``reasons`` are sentences, the weightiest first."""

    job: Job
    reasons: tuple[str, ...]
    filters: tuple[Filter, ...] = ()
    pilots: tuple[Pilots, ...] = ()
    errors: tuple[JobError, ...] = ()


def explain(found: Evidence) -> Explanation:
    """Why the job is in its status."""
    job = found.job
    errors = tuple(errors_of(job))
    if job.job_status in TERMINAL:
        return Explanation(job=job, reasons=tuple(_ended(job, errors)), errors=errors)
    reasons = list(_commanded(job))
    if job.job_status == JobStatus.ACTIVATED:
        pilots = tuple(Pilots(asked=each, why_not=_why_not(each, job)) for each in found.asked)
        reasons += _not_taken(found, pilots)
        return Explanation(
            job=job, reasons=tuple(reasons), filters=_filters(job, found.asked), pilots=pilots, errors=errors
        )
    reasons += _waits(found)
    if found.silence is not None and job.modification_time is not None:
        left = job.modification_time + found.silence
        reasons.append(f"without a sign of life the Watcher fails it at {_time(left)} UTC")
    return Explanation(job=job, reasons=tuple(reasons), errors=errors)


def misfits(want: Want, job: Job) -> dict[str, str]:
    """The filters of a want that keep it from a job, each with a sentence; none where the job would be given."""
    found = {}
    if not want.labels.fits(job.prod_source_label, job.processing_type):
        asked = ", ".join(sorted(want.labels.labels) + [f"processing type {x}" for x in want.labels.processing_types])
        found["label"] = f"they asked for {asked}, the job has label {job.prod_source_label}"
    for name, needs, unit in (
        ("memory", job.min_ram_count, "MB"),
        ("disk", job.max_disk_count, "MB"),
        ("walltime", job.max_walltime or 0, "s"),
    ):
        limit: int = getattr(want, name)
        if needs > limit:
            found[name] = f"they had {limit} {unit} of {name}, the job needs {needs}"
    if want.resource_type is not None and want.resource_type != (job.resource_type or UNDEFINED):
        found["resource_type"] = f"they asked for {want.resource_type}, the job is {job.resource_type or UNDEFINED}"
    if want.user is not None and want.user != job.prod_user_name:
        found["user"] = f"they asked for jobs of {want.user} only"
    if want.task_id is not None and want.task_id != job.jedi_task_id:
        found["task"] = f"they asked for jobs of task {want.task_id} only"
    if want.background and job.job_execution_id != 1:
        found["background"] = "they asked for background jobs only"
    if want.ram_per_core is not None and job.min_ram_count > want.ram_per_core * (job.core_count or 1):
        found["memory_per_core"] = (
            f"running jobs use more memory than the queue has, so only jobs below {want.ram_per_core:g} MB a core go"
        )
    return found


def _filters(job: Job, asked: Iterable[Asked]) -> tuple[Filter, ...]:
    kept: dict[str, int] = {}
    for each in asked:
        for name in misfits(each.want, job) if each.want is not None else ():
            kept[name] = kept.get(name, 0) + each.asked
    has = {
        "label": f"{job.prod_source_label}",
        "memory": f"{job.min_ram_count} MB",
        "disk": f"{job.max_disk_count} MB",
        "walltime": f"{job.max_walltime} s" if job.max_walltime else "no limit",
        "resource_type": job.resource_type or UNDEFINED,
        "user": job.prod_user_name or "",
        "task": str(job.jedi_task_id or "none"),
        "background": "yes" if job.job_execution_id == 1 else "no",
        "memory_per_core": f"{job.min_ram_count / (job.core_count or 1):g} MB",
    }
    return tuple(Filter(name=name, job_has=value, kept_out=kept.get(name, 0)) for name, value in has.items())


def _why_not(asked: Asked, job: Job) -> tuple[str, ...]:
    if asked.want is None:
        return ("what they wanted was not kept: too many kinds of pilots asked",)
    found = tuple(misfits(asked.want, job).values())
    if asked.refused == asked.asked:
        return (*found, "they were refused: neither the pilot nor the production role")
    if found:
        return found
    if asked.served:
        return ("the job fits, other jobs came before it",)
    return ("the job fits: it was activated after they had asked, or is held by somebody at this moment",)


def _not_taken(found: Evidence, pilots: Sequence[Pilots]) -> list[str]:
    job, name = found.job, found.job.computing_site or "(no queue)"
    asked = sum(each.asked.asked for each in pilots)
    reasons = []
    if found.queue is None:
        reasons.append(f"queue {name} is not known to this server")
    elif found.queue.status in _SERVED_LESS or found.queue.in_test:
        reasons.append(f"queue {name} is {found.queue.status}")
    if not asked:
        reasons.append(f"no pilot has asked for a job of queue {name} within the last hour")
        return reasons
    fitting = sum(
        each.asked.asked - each.asked.refused
        for each in pilots
        if each.asked.want is not None and not misfits(each.asked.want, job)
    )
    if not fitting:
        unknown = sum(each.asked.asked for each in pilots if each.asked.want is None)
        but = f"; what {unknown} of them wanted was not kept" if unknown else ""
        reasons.append(f"{asked} requests of pilots came within the last hour, and the job fits none of them{but}")
        return reasons
    reasons.append(f"{fitting} of {asked} requests of pilots within the last hour could have had the job")
    if found.ahead:
        number = f"more than {MOST_AHEAD}" if found.ahead > MOST_AHEAD else str(found.ahead)
        reasons.append(f"{number} jobs of the same share and class come before it, by priority and age")
    better = sorted(
        share for share, rank in found.ranks.items() if rank < found.ranks.get(job.gshare or UNDEFINED, rank)
    )
    if better:
        reasons.append(f"its share {job.gshare or UNDEFINED} comes after {', '.join(better[:10])} at present")
    elif (job.gshare or UNDEFINED) not in found.ranks and found.ranks:
        reasons.append(f"its share {job.gshare or UNDEFINED} has no rank, so jobs of all others come before it")
    return reasons


def _waits(found: Evidence) -> list[str]:
    job, status = found.job, found.job.job_status
    if status in (JobStatus.DEFINED, JobStatus.PENDING):
        return ["its inputs and destinations are being prepared: the Setupper has not answered yet"]
    if status in (JobStatus.ASSIGNED, JobStatus.WAITING):
        return _awaited(found)
    if status == JobStatus.THROTTLED:
        return [f"{job.prod_user_name} has too many jobs at work; copyArchive lets it go when there is room"]
    if status == JobStatus.SENT:
        where = f" on {job.modification_host}" if job.modification_host else ""
        return [
            f"a pilot{where} was given it at {_time(job.start_time)} UTC and has not reported yet",
            *_workers(found),
        ]
    if status == JobStatus.HOLDING:
        return _held(found)
    if status == JobStatus.TRANSFERRING:
        left = sorted({f"{f.lfn} to {f.destination_se}" for f in job.files if f.status == "transferring"})
        return [f"{len(left)} outputs are on their way: {_some(left)}" if left else "its outputs are on their way"]
    if status == JobStatus.MERGING:
        return ["its outputs wait for a job that merges them"]
    return [f"a pilot works on it; its last heartbeat was at {_time(job.modification_time)} UTC", *_workers(found)]


def _awaited(found: Evidence) -> list[str]:
    inputs = [f for f in found.job.files if f.type in ("input", "pseudo_input") and f.status not in ("ready", "cached")]
    blocks = [
        f"{name} ({found.blocks.get(name, 'unknown')})"
        for name in sorted({f.dispatch_dblock or "" for f in inputs})
        if name
    ]
    reasons = []
    if inputs:
        reasons.append(f"{len(inputs)} inputs are not there yet: {_some(sorted(f.lfn for f in inputs))}")
    if blocks:
        reasons.append(
            f"it waits for the datasets {_some(blocks)}; `pandatx dataset complete NAME` says that one is there"
        )
    return reasons or ["its inputs are there: datasetManager activates it at its next run"]


def _held(found: Evidence) -> list[str]:
    report = found.report
    if report is None:
        return ["the pilot put it on hold, or its report is not stored yet: without one nothing can be done with it"]
    said = f"its report ({report.status}) of {_time(report.since)} UTC waits for the Adder"
    if report.locked_by:
        return [f"{said}, which {report.locked_by} has had in hand since {_time(report.locked_at)} UTC"]
    return [said]


def _workers(found: Evidence) -> list[str]:
    return [
        f"its worker {each.worker_id} of {each.harvester_id} is {each.status}" + (f": {each.diag}" if each.diag else "")
        for each in found.workers
    ]


def _ended(job: Job, errors: Sequence[JobError]) -> list[str]:
    reasons = [f"it is {job.job_status} since {_time(job.end_time or job.modification_time)} UTC"]
    if job.job_sub_status:
        reasons.append(f"its sub-status is {job.job_sub_status}")
    reasons += [f"{each.text} ({each.component} {each.code}, set by {each.set_by})" for each in errors]
    if job.job_status == JobStatus.FAILED and not errors:
        reasons.append("nobody has said why: the report carried no error")
    return reasons


def _commanded(job: Job) -> list[str]:
    if not job.command_to_pilot:
        return []
    if job.command_to_pilot == KILL:
        return [f"it is to be killed ({job.task_buffer_error_diag or 'nobody said why'}): the pilot hears of it next"]
    return [f"the pilot has the command {job.command_to_pilot!r} before it"]


def wanted(asked: Asked) -> str:
    """What pilots wanted, in one line."""
    want = asked.want
    if want is None:
        return "unknown"
    words = [f"labels {', '.join(sorted(want.labels.labels)) or 'none'}"]
    if want.labels.processing_types:
        words.append(f"or processing types {', '.join(sorted(want.labels.processing_types))}")
    words += [
        f"{name} {value} {unit}"
        for name, unit in (("memory", "MB"), ("disk", "MB"), ("walltime", "s"))
        if (value := getattr(want, name)) < UNLIMITED
    ]
    words += [
        f"{name.replace('_', ' ')} {getattr(want, name)}"
        for name in ("resource_type", "user", "task_id")
        if getattr(want, name)
    ]
    if want.background:
        words.append("background only")
    if want.ram_per_core is not None:
        words.append(f"at most {want.ram_per_core:g} MB a core")
    return ", ".join(words)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _time(value: datetime | None) -> str:
    return "an unknown time" if value is None else f"{value:%Y-%m-%d %H:%M:%S}"
