"""Jobs as submitted become jobs as stored: refusals, and what the server sets itself (wire.md 3.4.1, R19, R20)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.columns import LFN_WIDTH, SETTABLE, SETTABLE_OF_FILE, check_file, check_job, file_values, job_values
from pandatx.domain.job import Job, JobFile
from pandatx.domain.priority import Standing, priority_of
from pandatx.domain.queues import ANALYSIS_LABELS, Queue
from pandatx.domain.shares import ResourceTypeRow, ShareTree, resource_type_of
from pandatx.errors import BadRequest, NotPermitted, UnknownQueue

USER_LABELS: Final = frozenset(("user", "panda"))
USER_TAGS: Final = frozenset(("bj", "dm", "ej", "lc", "us"))
USER_PRIORITY: Final = 1000
DEFAULT_VO: Final = "atlas"
SITE_MAY_CHANGE: Final = 2
MOST_FILES: Final = 10_000
"""Of one job: whoever reads or hands it out holds up others meanwhile."""
_JOB_LABELS: Final = frozenset(("user", "managed"))
_MERGES: Final = frozenset(("merge", "unmerge"))
_FILE_TYPES: Final = frozenset(("input", "pseudo_input", "output", "log", "zipinput", "pp_input"))


@frozen(kw_only=True)
class UserIds:
    """The ids of one submission of a user, and what USERS.jobid is afterwards."""

    job_definition_id: int
    jobset_id: int | None
    last: int


@frozen(kw_only=True)
class Placement:
    """What the server knows when it stores a submission.

    ``host`` is the caller's, ``node`` the server's. ``panda_ids`` and ``row_ids`` give as many ids as there are jobs
    and files, ``guids`` one for each log file that has none. ``user_ids`` is set where ``needs_user_counter`` says so,
    ``tasks`` are the caller's own tasks.
    """

    caller: Caller
    host: str
    node: str
    queues: Mapping[str, Queue]
    shares: ShareTree
    resource_types: Sequence[ResourceTypeRow]
    panda_ids: Iterator[int]
    row_ids: Iterator[int]
    guids: Iterator[str] | None = None
    user_ids: UserIds | None = None
    standing: Standing = Standing()
    tasks: frozenset[int] = frozenset()


def needs_user_counter(label: str | None, processing_type: str | None = None) -> bool:
    """Whether jobs of this label count in their user's row (lifecycle.md 2.3, step 2); merging does not."""
    return label in ANALYSIS_LABELS and processing_type not in _MERGES


def next_user_ids(job_definition_id: int | None, jobset_id: int | None, last: int) -> UserIds:
    """The submission's ids from the submitted values and USERS.jobid.

    A submitted number above the last one is kept, else it is the next. A jobset of -1 asks for a new one, taken from
    the same counter; none or 0 is none.
    """
    number = max(job_definition_id or 0, last + 1)
    if jobset_id == -1:
        return UserIds(job_definition_id=number + 1, jobset_id=number, last=number + 1)
    return UserIds(job_definition_id=number, jobset_id=jobset_id or None, last=number)


def ids_needed(jobs: Sequence[Job]) -> tuple[int, int]:
    """How many PandaIDs and how many row ids a submission takes."""
    return len(jobs), sum([len(job.files) for job in jobs])


def prepare(jobs: Sequence[Job], placement: Placement, now: datetime) -> tuple[Job, ...]:
    """``check``, then ``place``."""
    check(jobs, placement.caller, placement.queues, placement.tasks)
    return place(jobs, placement, now)


def check(
    jobs: Sequence[Job],
    caller: Caller,
    queues: Mapping[str, Queue],
    tasks: frozenset[int] = frozenset(),
    first: int = 0,
) -> None:
    """Refuse a submission as a whole, with the job's index, counted from ``first``, and the field named.

    Raises UnknownQueue for a job without a queue or with one that is not known, NotPermitted for a label or a task
    that is not the caller's to use, BadRequest for a value that cannot be stored.
    """
    for index, job in enumerate(jobs, first):
        where = f"jobs[{index}]"
        check_job(job, where)
        if job.computing_site is None or job.computing_site not in queues:
            why = "no queue is given" if not job.computing_site else f"unknown queue {job.computing_site}"
            raise UnknownQueue(f"{where}.computingSite", why)
        label = job.prod_source_label
        if not label:
            raise BadRequest(f"{where}.prodSourceLabel", "is missing")
        if job.job_label is not None and job.job_label not in _JOB_LABELS:
            raise BadRequest(f"{where}.job_label", f"job_label={job.job_label} is not valid")
        if not caller.production:
            if label not in USER_LABELS:
                raise NotPermitted(f"{where}.prodSourceLabel: label {label} needs the production role")
            if job.jedi_task_id is not None and job.jedi_task_id not in tasks:
                raise NotPermitted(f"{where}.jediTaskID: task {job.jedi_task_id} is not yours")
        if len(job.files) > MOST_FILES:
            raise BadRequest(f"{where}.Files", f"has more than {MOST_FILES} files")
        for number, file in enumerate(job.files):
            _check_file(file, f"{where}.Files[{number}]")


def _check_file(file: JobFile, where: str) -> None:
    check_file(file, where)
    if not file.lfn:
        raise BadRequest(f"{where}.lfn", "is missing")
    if file.type not in _FILE_TYPES:
        raise BadRequest(f"{where}.type", f"{file.type!r} is no type of a file")


@frozen(kw_only=True)
class _Shared:
    """What is the same for all jobs of a submission."""

    fixed: Mapping[str, Any]
    vo: str | None
    country_group: str | None
    task_id: int


def place(jobs: Sequence[Job], placement: Placement, now: datetime) -> tuple[Job, ...]:
    """The jobs as they are stored, ``defined``; only the settable attributes of what was sent are read (R20).

    The jobs must have passed ``check``. Raises UnknownQueue if a queue has gone since.
    """
    return tuple(placing(jobs, placement, now))


def placing(jobs: Sequence[Job], placement: Placement, now: datetime) -> Iterator[Job]:
    """``place`` one job at a time, for a caller that lets others in between."""
    if not jobs:
        return
    caller = placement.caller
    vo, country_group = _groups(caller.fqans)
    for name, text, width in (("prodUserID", caller.dn, 250), ("prodUserName", caller.name, 60), ("VO", vo, 32)):
        if text is not None and len(text) > width:
            raise BadRequest(name, f"is longer than {width} characters")
    builds = sum([job.prod_source_label == "panda" for job in jobs])
    shared = _Shared(
        fixed={
            "prod_user_id": caller.dn,
            "prod_user_name": caller.name,
            "creation_host": placement.host[:128],
            "modification_host": placement.node[:128],
            "creation_time": now,
            "modification_time": now,
            "state_change_time": now,
            "prod_db_update_time": now,
            "job_status": "defined",
        },
        vo=vo or jobs[0].vo or DEFAULT_VO,
        country_group=country_group,
        task_id=builds + ((len(jobs) - builds) << 1),
    )
    for index, job in enumerate(jobs):
        yield _placed(job, index, placement, shared)


def _placed(job: Job, index: int, placement: Placement, shared: _Shared) -> Job:
    queue = placement.queues.get(job.computing_site or "")
    if queue is None:
        raise UnknownQueue(f"jobs[{index}].computingSite", f"unknown queue {job.computing_site}")
    values: dict[str, Any] = dict(zip(SETTABLE, job_values(job), strict=True))
    values.update(shared.fixed)
    values["vo"] = shared.vo
    panda_id = values["panda_id"] = next(placement.panda_ids)
    _restrict(values, placement.caller)
    label: str = values["prod_source_label"]
    if label in USER_LABELS:
        values["country_group"] = shared.country_group
        values["task_id"] = shared.task_id
    if label in ANALYSIS_LABELS:
        values["max_attempt"] = _max_attempt(job.attempt_nr, job.max_attempt)
    if placement.user_ids is not None and needs_user_counter(label, job.processing_type):
        values["job_definition_id"] = placement.user_ids.job_definition_id
        values["jobset_id"] = placement.user_ids.jobset_id
    elif job.jobset_id == -1:
        values["jobset_id"] = None
    values["current_priority"] = _priority(values, placement.standing, index)
    values["job_label"] = job.job_label or queue.job_label(label)
    values["relocation_flag"] = job.relocation_flag if job.relocation_flag == SITE_MAY_CHANGE else 1
    if not values["gshare"]:
        group, kind = values["working_group"], job.processing_type
        values["gshare"] = placement.shares.share_of(label, group, kind, queue.resource_type, values["event_service"])
    if not job.resource_type:
        values["resource_type"] = resource_type_of(job.min_ram_count, job.core_count, placement.resource_types)
    values["job_parameters"] = job.job_parameters or " "
    replaced = _Placeholders(panda_id, values["jobset_id"], job.jedi_task_id, label == "managed")
    if "$" in values["job_parameters"]:
        values["job_parameters"] = replaced.in_parameters(values["job_parameters"])
    if job.job_name is not None and "$ORIGINPANDAID" in job.job_name:
        values["job_name"] = job.job_name.replace("$ORIGINPANDAID", str(job.parent_id or panda_id))
    row_ids = placement.row_ids
    guids = placement.guids
    values["files"] = tuple([_placed_file(file, job, next(row_ids), replaced, guids) for file in job.files])
    return Job(**values)


def _restrict(values: dict[str, Any], caller: Caller) -> None:
    """What only the production role may set is set by the server for others."""
    if caller.production:
        return
    values["assigned_priority"] = min(values["assigned_priority"], USER_PRIORITY)
    values["gshare"] = values["event_service"] = None  # event-service merging has a share of its own
    if values["working_group"] not in caller.working_groups:
        values["working_group"] = None
    if values["special_handling"]:
        kept = [tag for tag in map(str.strip, values["special_handling"].split(",")) if tag in USER_TAGS]
        values["special_handling"] = ",".join(kept) or None


def _priority(values: Mapping[str, Any], standing: Standing, index: int) -> int:
    return priority_of(
        values["prod_source_label"],
        values["prod_user_name"],
        values["processing_type"],
        frozenset((values["special_handling"] or "").split(",")),
        values["assigned_priority"],
        standing,
        index,
    )


def _max_attempt(attempt_nr: int, max_attempt: int) -> int:
    """The limit of attempts of a direct submission (lifecycle.md 1.8 C): -1 means no further one."""
    if max_attempt == -1:
        return attempt_nr
    return attempt_nr + 2 if max_attempt <= attempt_nr else max_attempt


def _groups(fqans: Sequence[str]) -> tuple[str | None, str | None]:
    """VO and country group: the first two fields of the first FQAN, as far as they are groups."""
    if not fqans:
        return None, None
    fields = [field for field in fqans[0].split("/")[1:3] if field and "=" not in field]
    return (fields[0] if fields else None), (fields[1] if len(fields) > 1 and len(fields[1]) <= 20 else None)


class _Placeholders:
    """The words in texts of a job that stand for ids; those of jobset and task are left alone in managed jobs."""

    __slots__ = ("jobset", "managed", "panda", "task")

    def __init__(self, panda_id: int, jobset_id: int | None, task_id: int | None, managed: bool) -> None:
        self.panda = f"{panda_id:05d}"
        self.jobset = f"{jobset_id or 0:06d}"
        self.task = None if task_id is None else str(task_id)
        self.managed = managed

    def in_lfn(self, text: str) -> str:
        return self.in_parameters(text.replace("$PANDAID", self.panda))

    def in_parameters(self, text: str) -> str:
        if self.managed:
            return text
        text = text.replace("$JOBSETID", self.jobset)
        return text if self.task is None else text.replace("$JEDITASKID", self.task)


def _placed_file(file: JobFile, job: Job, row_id: int, replaced: _Placeholders, guids: Iterator[str] | None) -> JobFile:
    values: dict[str, Any] = dict(zip(SETTABLE_OF_FILE, file_values(file), strict=True))
    values["row_id"] = row_id
    values["panda_id"] = int(replaced.panda)
    if "$" in file.lfn:
        values["lfn"] = replaced.in_lfn(file.lfn)
        if len(values["lfn"]) > LFN_WIDTH:
            raise BadRequest(f"lfn {file.lfn[:60]}", f"is longer than {LFN_WIDTH} characters")
    if file.status not in ("ready", "cached"):
        values["status"] = "unknown"
    if guids is not None and file.type == "log" and not file.guid:
        values["guid"] = next(guids)
    if job.jedi_task_id is not None:
        values["jedi_task_id"] = job.jedi_task_id
        values["dataset_id"] = file.dataset_id
        values["file_id"] = file.file_id
        values["attempt_nr"] = file.attempt_nr
    return JobFile(**values)
