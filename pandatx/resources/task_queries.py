"""The group ``task``, as far as it only reads (reference/wire.md 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, NotRequired, TypedDict

from attrs import frozen

from pandatx.domain import task_listing
from pandatx.domain.caller import Caller
from pandatx.domain.job import Job
from pandatx.domain.query_requests import (
    JumboDatasets,
    TaskDatasets,
    TaskDetails,
    TaskJobs,
    TaskSearch,
    TasksModified,
)
from pandatx.domain.task_listing import DatasetRead
from pandatx.domain.task_requests import TaskId
from pandatx.resources.api import JSON, PICKLED, Answer, Call, anyone, operation, secure
from pandatx.resources.encoding import Encoded, json_list, json_object, to_json
from pandatx.resources.job import listed, told_to
from pandatx.resources.jobspec import described
from pandatx.services.task_queries import TaskQueries


def _kind(name: str) -> Any:
    if name in task_listing.TIMES:
        return datetime | None
    return float | None if name in task_listing.NUMBERS else str | None


_FIELDS: Final[dict[str, Any]] = {
    **{name: _kind(name) for name in task_listing.ATTRIBUTES},
    "job_execution_params": str | None,
    "nFiles": int,
    "nFilesFinished": int,
    "nFilesFailed": int,
    "nFilesMissing": int,
    "pctFinished": int,
    "pctFailed": int,
}
TaskDescription: Any = TypedDict("TaskDescription", _FIELDS)  # type: ignore[misc]  # the names stand in one place only
"""A task; ``raw_task_params`` and ``task_creation_arguments`` are there where its parameters can be read."""


class DatasetName(TypedDict):
    """A dataset of a task."""

    name: str
    id: int


class FileOfTask(TypedDict):
    """A file of a task."""

    lfn: str
    scope: str | None
    id: int
    status: str


class DatasetWithFiles(TypedDict):
    """A dataset of a task with its files."""

    dataset: DatasetName
    files: list[FileOfTask]


class TaskModified(TypedDict):
    """A task in brief; the last four only where all was asked for."""

    jediTaskID: int
    modificationTime: datetime
    status: str
    processingType: str | None
    transUses: str | None
    transHome: str | None
    architecture: str | None
    reqID: int | None
    creationDate: datetime
    site: str | None
    cloud: str | None
    taskName: str | None
    inDS: NotRequired[str]
    outDS: NotRequired[str]
    statistics: NotRequired[str]
    cliParams: NotRequired[str]


class TaskInDetail(TypedDict):
    """The datasets and jobs of a task; what became of its input files, as in finished*5,failed*1."""

    inDS: str
    outDS: str
    statistics: str
    PandaID: list[int]
    mergeStatus: str | None
    mergePandaID: list[int]
    status: NotRequired[str]
    cliParams: NotRequired[str]


class JumboTask(TypedDict):
    """The output datasets of a task with jumbo jobs."""

    status: str
    datasets: list[str]


@frozen
class TaskQueryResource:
    """What users ask of their tasks."""

    _queries: TaskQueries

    @operation(
        "task/get_status",
        legacy="getTaskStatus",
        verb="GET",
        asks=TaskId,
        gives=str,
        allows_legacy=anyone,
        form=PICKLED,
        allows=secure,
    )
    async def get_status(self, caller: Caller, request: TaskId, call: Call) -> Answer:
        """Say the status of a task."""
        status = await self._queries.status(request.task_id)
        return Answer(data=status, value=status)

    @operation(
        "task/get_task_parameters",
        legacy="getTaskParamsMap",
        verb="GET",
        asks=TaskId,
        gives=dict[str, Any],
        allows_legacy=anyone,
        form=PICKLED,
        allows=secure,
    )
    async def get_task_parameters(self, caller: Caller, request: TaskId, call: Call) -> Answer:
        """Give the parameters that a task was made with; secrets in them are for its owner only."""
        found = await self._queries.parameters(caller, request.task_id)
        return Answer(data=found, value=to_json(found).decode())

    @operation("task/get_detailed_info", verb="GET", asks=TaskId, gives=TaskDescription, allows=secure)
    async def get_detailed_info(self, caller: Caller, request: TaskId, call: Call) -> Answer:
        """Describe a task: its attributes, parameters and progress."""
        return Answer(data=await self._queries.describe(caller, request.task_id))

    @operation("task/get_parent_detailed_info", verb="GET", asks=TaskId, gives=TaskDescription, allows=secure)
    async def get_parent_detailed_info(self, caller: Caller, request: TaskId, call: Call) -> Answer:
        """Describe the parent of a task."""
        return Answer(data=await self._queries.describe_parent(caller, request.task_id))

    @operation(
        "task/get_tasks_detailed_info_since", verb="GET", asks=TaskSearch, gives=list[TaskDescription], allows=secure
    )
    async def get_tasks_detailed_info_since(self, caller: Caller, request: TaskSearch, call: Call) -> Answer:
        """Describe the newest tasks of the caller, or of another user, that some filters let through."""
        found: list[bytes] = []
        async for some in self._queries.search(caller, request):
            found += await call.in_thread(partial(_each_to_json, some))
        return Answer(data=json_list(found))

    @operation(
        "task/get_tasks_modified_since",
        legacy="getJediTasksInTimeRange",
        verb="GET",
        asks=TasksModified,
        gives=dict[str, TaskModified],
        form=PICKLED,
        allows=secure,
    )
    async def get_tasks_modified_since(self, caller: Caller, request: TasksModified, call: Call) -> Answer:
        """Describe the tasks of an owner that have changed since a time, within 30 days, by their requests."""
        found: dict[str, bytes] = {}
        async for tasks in self._queries.modified(caller, request):
            names = [str(task["reqID"] or task["jediTaskID"]) for task in tasks]
            found.update(zip(names, await call.in_thread(partial(_each_to_json, tasks)), strict=True))
        data = json_object(found.items())
        return Answer(data=data, value=data)

    @operation(
        "task/get_details",
        legacy="getJediTaskDetails",
        verb="GET",
        asks=TaskDetails,
        gives=TaskInDetail,
        form=PICKLED,
        allows=secure,
    )
    async def get_details(self, caller: Caller, request: TaskDetails, call: Call) -> Answer:
        """Say which datasets and jobs a task has, and what became of its input files."""
        found = await self._queries.details(caller, request)
        return Answer(data=found, value=found)

    @operation(
        "task/get_job_ids",
        legacy="getPandaIDsWithTaskID",
        verb="GET",
        asks=TaskId,
        gives=list[int],
        allows_legacy=anyone,
        form=PICKLED,
        allows=secure,
    )
    async def get_job_ids(self, caller: Caller, request: TaskId, call: Call) -> Answer:
        """List the jobs of a task, whatever has become of them."""
        found = await self._queries.job_ids(request.task_id)
        return Answer(data=found, value=found)

    @operation("task/get_job_descriptions", verb="GET", asks=TaskJobs, gives=list[dict[str, Any]], allows=secure)
    async def get_job_descriptions(self, caller: Caller, request: TaskJobs, call: Call) -> Answer:
        """Describe the first 5500 jobs of a task, or of those that failed or were ended."""
        found = await listed(self._queries.jobs(request), call, partial(_told, caller), there_only=True)
        return Answer(data=found)

    @operation(
        "task/get_datasets_and_files",
        legacy="get_files_in_datasets",
        verb="GET",
        asks=TaskDatasets,
        gives=list[DatasetWithFiles],
        form=JSON,
        allows=secure,
    )
    async def get_datasets_and_files(self, caller: Caller, request: TaskDatasets, call: Call) -> Answer:
        """List the datasets of a task with their files, or without."""
        datasets = await self._queries.datasets(request)
        if not datasets:
            return Answer(success=False, message="No data found for the task", value=[])
        files: dict[int, list[bytes]] = {each.id: [] for each in datasets}
        if not request.dataset_only:
            async for dataset_id, some in self._queries.files(request.task_id, datasets):
                files[dataset_id].append(to_json(some)[1:-1])
        pieces = [piece for each in datasets for piece in (b",", *_dataset(each, files[each.id]))]
        data = Encoded([b"[", *pieces[1:], b"]"])
        return Answer(data=data, value=data)

    @operation(
        "task/get_jumbo_job_datasets",
        legacy="getJumboJobDatasets",
        verb="GET",
        asks=JumboDatasets,
        gives=dict[str, JumboTask],
        allows_legacy=anyone,
        form=JSON,
        allows=secure,
    )
    async def get_jumbo_job_datasets(self, caller: Caller, request: JumboDatasets, call: Call) -> Answer:
        """List the output datasets of tasks with jumbo jobs that ended between two times, in days before now."""
        found = await self._queries.jumbo_datasets(request)
        return Answer(data=found, value=found)


def _each_to_json(values: Sequence[Any]) -> list[bytes]:
    return [to_json(value) for value in values]


def _told(caller: Caller, job: Job) -> dict[str, Any]:
    return {**described(told_to(caller, job)), **_extra(job)}


def _dataset(dataset: DatasetRead, files: Sequence[bytes]) -> Iterator[bytes]:
    """A dataset in JSON; ``files`` are runs of what is JSON already."""
    yield b'{"dataset":' + to_json({"name": dataset.name, "id": dataset.id}) + b',"files":'
    yield from json_list(files).pieces
    yield b"}"


def _extra(job: Job) -> dict[str, Any]:
    """What the description of a job has more among those of its task."""
    tags = (job.special_handling or "").split(",")
    kind = next((word for tag, word in _KINDS if tag in tags), "normal")
    duration = (job.end_time - job.start_time).total_seconds() if job.start_time and job.end_time else None
    return {"jobDuration": duration, "extendedProdSourceLabel": f"{job.prod_source_label}_{kind}"}


_KINDS: Final = (("bj", "build"), ("pm", "pmerge"), ("sj", "scout"))
