"""What becomes of submitted jobs once a setupper plugin has spoken (reference/lifecycle.md 2.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from attrs import fields, frozen

from pandatx.domain.job import Job, JobFile

THERE: Final = frozenset(("ready", "cached"))
SETUP_FAILED: Final = 100
"""ddmErrorCode of jobs that a setupper has ended."""
_ENDS: Final = frozenset(("failed", "cancelled"))
_CHANGEABLE: Final = frozenset(one.name for one in fields(JobFile)) - {"row_id", "panda_id"}
_UNSENT: Final = frozenset(("files", "job_parameters", "metadata"))
_JOB: Final = tuple(one.name for one in fields(Job) if one.name not in _UNSENT)
_FILE: Final = tuple(one.name for one in fields(JobFile))
_job_values: Final = attrgetter(*_JOB)
_file_values: Final = attrgetter(*_FILE)


class BadAnswer(ValueError):
    """A plugin's answer that does not follow the interface."""


@frozen(kw_only=True)
class Change:
    """A job that stays before activation; None keeps its status or its block."""

    panda_id: int
    job_status: str | None = None
    dispatch_dblock: str | None = None


@frozen(kw_only=True)
class End:
    """A job that ends before it was activated."""

    panda_id: int
    job_status: str
    diag: str


@frozen(kw_only=True)
class Plan:
    """What one setup changes. ``files`` are row_id and changed attributes, ``datasets`` are new ones."""

    activate: tuple[int, ...] = ()
    changes: tuple[Change, ...] = ()
    ends: tuple[End, ...] = ()
    files: tuple[Mapping[str, Any], ...] = ()
    datasets: tuple[Mapping[str, Any], ...] = ()


def told(job: Job) -> dict[str, Any]:
    """A job as plugins see it: every attribute but its parameters and metadata."""
    values: dict[str, Any] = dict(zip(_JOB, _job_values(job), strict=True))
    values["files"] = [dict(zip(_FILE, _file_values(file), strict=True)) for file in job.files]
    return values


def plan_of(jobs: Sequence[Job], answer: Any) -> Plan:
    """The plan for the jobs of one setup; a job that the answer does not name goes on as it is.

    Raises BadAnswer for an answer that does not follow the interface.
    """
    try:
        said = {each["panda_id"]: each for each in answer["jobs"]}
        datasets = tuple(_dataset(each) for each in answer.get("datasets") or ())
    except (KeyError, TypeError, AttributeError) as error:
        raise BadAnswer(f"the answer does not follow the interface: {error!r}") from error
    activate: list[int] = []
    changes: list[Change] = []
    ends: list[End] = []
    files: list[Mapping[str, Any]] = []
    for job in jobs:
        each = said.get(job.panda_id, {})
        changed = _changed_files(job, each)
        files += changed
        status = each.get("status")
        if status in _ENDS:
            diag = str(each.get("error") or "the setup of the job failed")
            ends.append(End(panda_id=job.panda_id, job_status=status, diag=diag[:700]))
        elif status == "waiting":
            changes.append(Change(panda_id=job.panda_id, job_status="waiting"))
        elif status is not None:
            raise BadAnswer(f"job {job.panda_id}: no setup gives the status {status!r}")
        elif not (awaited := _awaited(job, changed)):
            activate.append(job.panda_id)
        else:
            block = each.get("dispatch_dblock") or job.dispatch_dblock or awaited[0].dispatch_dblock
            status = "assigned" if block else None
            changes.append(Change(panda_id=job.panda_id, job_status=status, dispatch_dblock=block))
    return Plan(
        activate=tuple(activate), changes=tuple(changes), ends=tuple(ends), files=tuple(files), datasets=datasets
    )


def _changed_files(job: Job, said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    changed = said.get("files") or []
    if not changed:
        return []
    own = {file.row_id for file in job.files}
    for file in changed:
        if not isinstance(file, Mapping) or file.get("row_id") not in own or file.keys() - _CHANGEABLE - {"row_id"}:
            raise BadAnswer(f"job {job.panda_id}: {file!r:.200} changes no file of it")
    return list(changed)


def _awaited(job: Job, changed: Iterable[Mapping[str, Any]]) -> list[JobFile]:
    """The inputs that are not there."""
    now = {file["row_id"]: file["status"] for file in changed if "status" in file}
    return [file for file in job.files if file.type == "input" and now.get(file.row_id, file.status) not in THERE]


def _dataset(each: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": str(each["name"]),
        "type": str(each["type"]),
        "status": str(each.get("status") or "defined"),
        "numberfiles": int(each.get("number_files") or 0),
        "subtype": each.get("subtype"),
    }
