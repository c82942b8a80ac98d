"""What a setupper or adder plugin is: a class without arguments to its constructor, values in JSON in and out.

Plugins run in children of the process pool, which may be killed, so a call may come twice for the same jobs: plugins
are idempotent (rule R8). Jobs and files are objects with the attribute names of domain/job.py; times are ISO 8601 text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NotRequired, Protocol, TypedDict

JobValues = dict[str, Any]


class Settings(TypedDict, total=False):
    """What a plugin may need to know. ``storage``: RSE to directory, laid out as in reference/pilot.md 3.

    ``serials``: numbers of subcounter_subid_seq reserved for this call, at least ``serials_wanted(jobs)`` of them.
    """

    storage: dict[str, str]
    serials: list[int]


class SetUpJob(TypedDict):
    """What becomes of one job.

    ``status``: failed, cancelled or waiting, or None: the job is assigned if it has a ``dispatch_dblock``, else
    activated. ``files``: per changed file its row_id and the changed attributes.
    """

    panda_id: int
    status: Literal["failed", "cancelled", "waiting"] | None
    dispatch_dblock: str | None
    error: str | None
    files: list[dict[str, Any]]


class DatasetRow(TypedDict):
    """A row wanted in Datasets, unless one of that name and type is there. ``subtype``: top, sub or None."""

    name: str
    type: Literal["dispatch", "output"]
    status: str
    number_files: int
    subtype: str | None


class SetupResult(TypedDict):
    """The answer of a setupper."""

    jobs: list[SetUpJob]
    datasets: list[DatasetRow]


class Setupper(Protocol):
    """Prepares jobs that were just submitted; one call per submission and VO (R18)."""

    def setup(self, jobs: list[JobValues], settings: Settings) -> SetupResult: ...


class AddItem(TypedDict):
    """A job, the report of its files by LFN (guid, fsize, adler32 or md5sum, surl, endpoint), and how it ended."""

    job: JobValues
    report: dict[str, dict[str, Any]]
    status: str


class AddResult(TypedDict):
    """What a plugin says of one job: temporary is tried again later, fatal fails the job with ``error``.

    ``transferring`` and ``merging`` are LFNs that keep the job from being finished. ``registered``: what was checked
    and now belongs to the named blocks.
    """

    panda_id: int
    result: Literal["ok", "temporary", "fatal"]
    error: str | None
    transferring: list[str]
    merging: list[str]
    registered: NotRequired[list[Registered]]


class Registered(TypedDict):
    """A file in its destination blocks; ``checked`` says whether its size and adler32 were compared with the report."""

    lfn: str
    blocks: list[str]
    checked: bool


class Adder(Protocol):
    """Registers what jobs have made. One result per item, in order."""

    def add(self, items: list[AddItem], settings: Settings) -> list[AddResult]: ...


def add_result(
    panda_id: int, result: Literal["ok", "temporary", "fatal"] = "ok", error: str | None = None
) -> AddResult:
    """A result without files that keep the job waiting."""
    return {"panda_id": panda_id, "result": result, "error": error, "transferring": [], "merging": []}


def outputs(job: JobValues) -> list[dict[str, Any]]:
    """The output and log files of a job."""
    return [file for file in job["files"] if file["type"] in ("output", "log")]


JOBS_PER_SUB = 50
_LABELS_WITH_SUBS = ("managed", "test")


def chunks(jobs: list[JobValues]) -> list[tuple[str, list[JobValues]]]:
    """Destination blocks that are to get sub blocks, each with the jobs of one sub block, at most ``JOBS_PER_SUB``."""
    by_block: dict[str, list[JobValues]] = {}
    for job in jobs:
        if job["prod_source_label"] in _LABELS_WITH_SUBS:
            for block in dict.fromkeys(filter(None, (destination(file) for file in outputs(job)))):
                by_block.setdefault(block, []).append(job)
    return [
        (block, members[start : start + JOBS_PER_SUB])
        for block, members in by_block.items()
        for start in range(0, len(members), JOBS_PER_SUB)
    ]


def destination(file: dict[str, Any]) -> str | None:
    """The block a file is yet to get a sub block of; None when it has one, or no destination."""
    block: str | None = file["destination_dblock"]
    dataset = file["dataset"]
    return None if not block or (dataset and block.startswith(f"{dataset}_sub")) else block


def serials_wanted(jobs: list[JobValues]) -> int:
    """How many serial numbers a setupper may use for these jobs."""
    return len(chunks(jobs))


class DatasetItem(TypedDict):
    """A dataset of Datasets that a setupper has made, or whose files its jobs write."""

    name: str
    type: Literal["dispatch", "output"]


class DatasetAnswer(TypedDict):
    """``done``: it is so now, or there is nothing to do; else ``error`` says why, and the question comes again."""

    name: str
    done: bool
    error: str | None


class ThereItem(TypedDict):
    """A job, and those of its files (row_id) that are asked for.

    ``how``: by the replicas of each file, or by those of its block, which is cheaper and tells less.
    """

    job: JobValues
    files: list[int]
    how: Literal["files", "blocks"]


class ThereAnswer(TypedDict):
    """The files (row_id) that are where the job needs them, or where they are to go; None: nobody can tell now."""

    panda_id: int
    there: list[int] | None
    error: str | None


class KeepsDatasets(Protocol):
    """What a setupper may do for datasetManager; each method may be left out, and then its VO goes without it.

    One answer per item, in order. Called again after a fault, or when a child was killed: idempotent (R8).
    """

    def close_datasets(self, items: list[DatasetItem], settings: Settings) -> list[DatasetAnswer]:
        """Close output datasets, and erase those that are empty."""
        ...

    def delete_datasets(self, items: list[DatasetItem], settings: Settings) -> list[DatasetAnswer]:
        """Delete dispatch blocks that were read, and sub blocks whose files are in their dataset: never the files."""
        ...

    def inputs_there(self, items: list[ThereItem], settings: Settings) -> list[ThereAnswer]:
        """Which inputs are at the jobs' queues."""
        ...


class FollowsTransfers(Protocol):
    """What an adder may do for datasetManager, in the same way."""

    def outputs_there(self, items: list[ThereItem], settings: Settings) -> list[ThereAnswer]:
        """Which outputs have arrived at their destinations."""
        ...


def all_done(items: list[DatasetItem]) -> list[DatasetAnswer]:
    """The answers of a plugin that has nothing to do."""
    return [{"name": item["name"], "done": True, "error": None} for item in items]


def those_there(items: list[ThereItem], there: Callable[[dict[str, Any]], bool]) -> list[ThereAnswer]:
    """The answers of a plugin that can tell of each file by itself."""
    return [
        {
            "panda_id": item["job"]["panda_id"],
            "there": [
                file["row_id"] for file in item["job"]["files"] if file["row_id"] in item["files"] and there(file)
            ],
            "error": None,
        }
        for item in items
    ]
