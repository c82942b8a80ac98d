"""What becomes of a worker that its Harvester reports on, and of the worker's jobs (reference/wire.md 4.8)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from attrs import fields, frozen

from pandatx.domain.caller import Caller
from pandatx.domain.harvester_requests import WorkerReport

FINAL: Final = frozenset(("finished", "failed", "cancelled", "missed"))
"""The statuses of a worker that has ended."""
KEPT_FOR: Final = timedelta(hours=3)
"""How long a worker that has ended stays so, whatever is said of it."""
WORKER_DONE: Final = 300
"""The task buffer's code for a job whose worker ended before it."""
_TOLD: Final = tuple(each.name for each in fields(WorkerReport))
_SYNCHRONOUS: Final = 1
_WORKING: Final = frozenset(("running", "starting"))
_BEING_ENDED: Final = "holding"
_FORGOTTEN: Final = timedelta(days=30)
_TASK_BUFFER_WIDTH: Final = 300
_SUPPLEMENTARY_WIDTH: Final = 250


@frozen(kw_only=True)
class Stored:
    """A worker as the table has it."""

    worker_id: int
    last_update: datetime
    status: str
    error_code: int | None = None
    diag: str | None = None


@frozen(kw_only=True)
class Worker:
    """A worker as its report leaves it; ``was`` is the lastUpdate of its row, None where there is none yet."""

    report: WorkerReport
    status: str
    error_code: int = 0
    diag: str = ""
    was: datetime | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in FINAL


@frozen(kw_only=True)
class WorkersJob:
    """What is looked at of a job of a worker."""

    panda_id: int
    status: str
    attempt_nr: int
    label: str | None
    owner: str | None
    modification_time: datetime


@frozen(kw_only=True)
class Effect:
    """``changes`` are attributes of Job, None meaning NULL; a job that ``fails`` gets an empty failed report."""

    changes: dict[str, Any]
    fails: bool = False


def may_speak_for(caller: Caller, owner: str | None) -> bool:
    """Whether a caller may report for a Harvester of that owner, None where the Harvester has never been heard of."""
    return caller.reports or (owner is not None and owner == caller.name)


def together(reports: Iterable[WorkerReport]) -> dict[int, WorkerReport]:
    """One report for each worker: of several the later one counts, but a worker that ends stays so."""
    found: dict[int, WorkerReport] = {}
    for report in reports:
        before = found.get(report.worker_id)
        found[report.worker_id] = report if before is None else _both(before, report)
    return found


def _both(before: WorkerReport, after: WorkerReport) -> WorkerReport:
    told = {name: getattr(before if getattr(after, name) is None else after, name) for name in _TOLD}
    if before.status in FINAL:
        told["status"] = before.status
    return WorkerReport(**told)


def may_concern_jobs(report: WorkerReport) -> bool:
    """Whether the report itself says something that a job must hear; the stored worker may say so too."""
    return bool(report.error_code) or (report.sync_level == _SYNCHRONOUS and report.status in FINAL)


def merged(report: WorkerReport, stored: Stored | None, now: datetime) -> Worker | None:
    """The worker after its report; None for a new one without a status, which cannot be stored."""
    if stored is None:
        if not report.status:
            return None
        return Worker(
            report=report, status=report.status, error_code=report.error_code or 0, diag=report.diag_message or ""
        )
    kept = stored.status in FINAL and stored.last_update > now - KEPT_FOR
    return Worker(
        report=report,
        status=stored.status if kept else report.status or stored.status,
        error_code=(stored.error_code or 0) if report.error_code is None else report.error_code,
        diag=(stored.diag or "") if report.diag_message is None else report.diag_message,
        was=stored.last_update,
    )


def effect(worker: Worker, job: WorkersJob, now: datetime) -> Effect | None:
    """What a worker's end or error does to an active job of it, if anything. A job in holding is left to the Adder."""
    if job.status == _BEING_ENDED:
        return None
    changes: dict[str, Any] = {}
    fails = worker.has_ended and worker.report.sync_level == _SYNCHRONOUS and job.status in _WORKING
    if fails:
        text = f"the worker was {worker.status} while the job was {job.status}: {worker.diag}"
        changes |= {"task_buffer_error_code": WORKER_DONE, "task_buffer_error_diag": text[:_TASK_BUFFER_WIDTH]}
        if job.status == "starting":
            changes["start_time"] = None
    if worker.error_code and job.modification_time > now - _FORGOTTEN:
        text = f"of the worker: {worker.diag}"
        changes |= {"sup_error_code": worker.error_code, "sup_error_diag": text[:_SUPPLEMENTARY_WIDTH]}
        changes["state_change_time"] = now
    return Effect(changes=changes, fails=fails) if changes else None
