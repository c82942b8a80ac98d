"""What users ask of their tasks (reference/wire.md 3.3). Nothing is changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from attrs import frozen
from twisted.internet.threads import deferToThread

from pandatx.clock import Clock
from pandatx.domain import task_listing
from pandatx.domain.caller import Caller
from pandatx.domain.job import Job
from pandatx.domain.query_requests import JumboDatasets, TaskDatasets, TaskDetails, TaskJobs, TaskSearch, TasksModified
from pandatx.domain.task_listing import INPUTS, UNMERGED, BadFilter, DatasetRead, Filters, TaskRead
from pandatx.domain.task_secrets import may_read, shown
from pandatx.errors import NotFound, PandaError
from pandatx.identity.names import compact_name
from pandatx.services.jobs import Jobs
from pandatx.store import task_queries as store
from pandatx.store.database import Database, Transaction, in_batches

TOGETHER: Final = 100
"""Tasks that are described in one transaction."""
FILES_TOGETHER: Final = 2000
MOST_FILES: Final = 500_000
MOST_FULL: Final = 500
MOST_TASKS: Final = 5000
"""Tasks that a search looks at."""
MOST_JOBS: Final = 5500
MOST_PARAMETERS: Final = 32 << 20
"""Bytes of parameters that one answer tells, and of templates: of further tasks it tells all but these."""
SEARCHING: Final = 20.0
"""Seconds that a search by patterns may take."""
WINDOW: Final = timedelta(days=30)
LONG: Final = timedelta(days=90)
"""Beyond it a search goes by the user rather than by the time: there is no index of both."""
UNSUCCESSFUL: Final = ("failed", "cancelled", "closed")


class TaskNotFound(NotFound):
    """There is no such task, or none of what was asked of it."""

    def __init__(self, text: str = "Task not found") -> None:
        super().__init__(text)


class BadSearch(PandaError):
    """A search for tasks that cannot be understood."""


@frozen
class TaskQueries:
    """Read tasks, their datasets, files and jobs."""

    _database: Database
    _clock: Clock
    _jobs: Jobs

    async def status(self, task_id: int) -> str:
        """The status of a task. Raises TaskNotFound."""
        return str((await self._row(task_id))["status"])

    async def parameters(self, caller: Caller, task_id: int) -> dict[str, Any]:
        """The parameters that a task was made with, without secrets where it is not the caller's.

        Raises TaskNotFound.
        """
        text = await store.parameters(self._database, task_id)
        found = await deferToThread(task_listing.decoded, text)
        if found is None:
            raise TaskNotFound
        row = await store.status(self._database, task_id) or {}
        return found if may_read(caller, row.get("username")) else await deferToThread(shown, found)

    async def describe(self, caller: Caller, task_id: int) -> dict[str, Any]:
        """All that is told of a task. Raises TaskNotFound."""
        async for (found,) in self._described(caller, [task_id]):
            return found
        raise TaskNotFound

    async def describe_parent(self, caller: Caller, task_id: int) -> dict[str, Any]:
        """All that is told of the parent of a task. Raises TaskNotFound with what is missing."""
        child = await store.status(self._database, task_id)
        if child is None:
            raise TaskNotFound("Child task not found")
        if child["parent_tid"] in (None, task_id):
            raise TaskNotFound("No parent task found")
        async for (found,) in self._described(caller, [child["parent_tid"]]):
            return found
        raise TaskNotFound("Parent task not found")

    async def search(self, caller: Caller, request: TaskSearch) -> AsyncIterator[list[dict[str, Any]]]:
        """The newest tasks of the caller, or of the user whom the filters name, that the filters let through; some at
        a time, since their parameters can be large.

        Patterns are applied to the tasks that the equalities have left. Raises BadSearch.
        """
        try:
            since = task_listing.read_since(request.since)
            filters = await deferToThread(task_listing.read_filters, request.filters, caller.name)
        except BadFilter as fault:
            raise BadSearch(str(fault)) from None
        long = since is None or since < self._clock.now() - LONG
        ids = await store.find(self._database, filters, since, min(request.n_tasks, MOST_TASKS), long=long)
        async for some in self._described(caller, ids, filters):
            yield some

    async def _described(
        self, caller: Caller, ids: Sequence[int], filters: Filters | None = None
    ) -> AsyncIterator[list[dict[str, Any]]]:
        until, room = self._clock.seconds() + SEARCHING, MOST_PARAMETERS
        for some in in_batches(ids, TOGETHER):
            read = await self._database.transaction("task_queries.read", store.read, some, room)
            room -= sum(max(len(each.parameters or ""), len(each.template or "")) for each in read)
            told = await deferToThread(_tell, read, caller)
            if filters is not None and filters.patterns:
                told = await deferToThread(_chosen, told, filters, lambda: self._clock.seconds() < until)
            if told:
                yield told

    async def modified(self, caller: Caller, request: TasksModified) -> AsyncIterator[list[dict[str, Any]]]:
        """The tasks of an owner that have changed since a time, by the wire's names; nothing for a time that is none.

        No more than ``WINDOW`` back, some at a time, the oldest first. With ``full`` the first 500 of them, with their
        datasets and counts.
        """
        try:
            since = task_listing.read_since(request.since)
        except BadFilter:
            return
        if since is None:
            return
        user = compact_name(request.dn) if request.dn else caller.name
        since = max(since, self._clock.now() - WINDOW)
        n = MOST_FULL if request.full else None
        ids = await store.modified(self._database, user, since, request.prod_source_label, request.min_task_id, n)
        for some in in_batches(ids, MOST_FULL):
            tasks, texts = await self._database.transaction("task_queries.brief", _brief, some, request.full)
            if request.full:
                lines = await deferToThread(_command_lines, texts, may_read(caller, user))
                for task in tasks:
                    task["cliParams"] = lines.get(task["jediTaskID"], "")
            yield tasks

    async def details(self, caller: Caller, request: TaskDetails) -> dict[str, Any]:
        """A task's datasets, its jobs, and what became of its files. Raises TaskNotFound."""
        row = await self._row(request.task_id)
        found = await self._database.transaction("task_queries.details", _details, request.task_id)
        if request.include_status:
            found["status"] = row["status"]
        if request.include_parameters:
            text = await store.parameters(self._database, request.task_id)
            own = may_read(caller, row["username"])
            lines = await deferToThread(_command_lines, {request.task_id: text or ""}, own)
            found["cliParams"] = lines[request.task_id]
        return found

    async def datasets(self, request: TaskDatasets) -> list[DatasetRead]:
        """The datasets of a task that are of the wanted types."""
        found = await self._database.transaction("task_queries.datasets", store.datasets, [request.task_id])
        return [each for each in found[request.task_id] if each.type in request.dataset_types]

    async def files(self, task_id: int, datasets: Sequence[DatasetRead]) -> AsyncIterator[tuple[int, list[Any]]]:
        """The files of some datasets, so many at a time, each time with the id of their dataset.

        Raises PandaError when there are too many to be told at once.
        """
        n = 0
        for dataset in datasets:
            after = -1
            while some := await store.files(self._database, task_id, dataset.id, after, FILES_TOGETHER):
                yield dataset.id, some
                after, n = some[-1]["id"], n + len(some)
                if n > MOST_FILES:
                    raise PandaError(f"the datasets have more than {MOST_FILES} files: ask for one type at a time")
                if len(some) < FILES_TOGETHER:
                    break

    async def job_ids(self, task_id: int) -> list[int]:
        """The jobs of a task, whatever has become of them."""
        return await store.job_ids(self._database, task_id)

    async def jobs(self, request: TaskJobs) -> AsyncIterator[list[Job | None]]:
        """The first jobs of a task, whole, or of those without success; some at a time."""
        wanted = UNSUCCESSFUL if request.unsuccessful_only else None
        ids = await store.job_ids(self._database, request.task_id, wanted)
        async for some in self._jobs.each(ids[:MOST_JOBS], True):
            yield some

    async def jumbo_datasets(self, request: JumboDatasets) -> dict[str, dict[str, Any]]:
        """The status and the output datasets of tasks with jumbo jobs that ended in a time, by task."""
        now = self._clock.now()
        since, until = now - timedelta(days=request.from_offset), now - timedelta(days=request.to_offset)
        found: dict[str, dict[str, Any]] = {}
        for task_id, status, dataset in await store.jumbo_datasets(self._database, since, until):
            found.setdefault(str(task_id), {"status": status, "datasets": []})["datasets"].append(dataset)
        return found

    async def _row(self, task_id: int) -> dict[str, Any]:
        row = await store.status(self._database, task_id)
        if row is None:
            raise TaskNotFound
        return row


_BRIEF: Final = tuple(
    """
    jediTaskID modificationTime status processingType transUses transHome architecture reqID creationDate site cloud
    taskName
    """.split()
)


async def _brief(tx: Transaction, ids: Sequence[int], full: bool) -> tuple[list[dict[str, Any]], Mapping[int, str]]:
    """Tasks in brief, and the texts of their parameters where all is wanted."""
    tasks = [{name: row[name.lower()] for name in _BRIEF} for row in await store.brief(tx, ids)]
    if not full:
        return tasks, {}
    datasets, states = await store.datasets(tx, ids), await store.file_states(tx, ids)
    for task in tasks:
        task_id = task["jediTaskID"]
        task["inDS"], task["outDS"] = task_listing.names_of(datasets[task_id])
        task["statistics"] = ",".join(f"{state}*{n}" for state, n in sorted(states.get(task_id, {}).items()))
    return tasks, await store.parameters_of(tx, ids, MOST_PARAMETERS)


async def _details(tx: Transaction, task_id: int) -> dict[str, Any]:
    datasets = (await store.datasets(tx, [task_id]))[task_id]
    inputs = [each.id for each in datasets if each.main and each.type in INPUTS]
    unmerged = [each.id for each in datasets if each.main and each.type == UNMERGED]
    by_status = await store.files_of_living_jobs(tx, task_id, inputs)
    ins, outs = task_listing.names_of(datasets)
    return {
        "inDS": ins,
        "outDS": outs,
        "statistics": task_listing.statistics(datasets, by_status),
        "PandaID": await store.jobs_of_files(tx, task_id, inputs),
        "mergeStatus": None,
        "mergePandaID": await store.jobs_of_files(tx, task_id, unmerged),
    }


def _command_lines(texts: Mapping[int, str], own: bool) -> dict[int, str]:
    """In a thread: how the tasks were submitted, by the texts of their parameters."""
    found = {task_id: (task_listing.decoded(text) or {}).get("cliParams") or "" for task_id, text in texts.items()}
    return found if own else shown(found)


def _chosen(tasks: Sequence[dict[str, Any]], filters: Filters, in_time: Callable[[], bool]) -> list[dict[str, Any]]:
    """In a thread: the patterns are users'."""
    found = []
    for task in tasks:
        if not in_time():
            raise BadSearch("the search takes too long: narrow it by values without special characters, or by since")
        if task_listing.fits(task, filters.patterns):
            found.append(task)
    return found


def _tell(read: Sequence[TaskRead], caller: Caller) -> list[dict[str, Any]]:
    """In a thread: parameters can be long."""
    return [task_listing.described(each, caller) for each in read]
