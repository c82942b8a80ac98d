"""What a setupper or adder plugin is: a class without arguments to its constructor, values in JSON in and out.

Plugins run in children of the process pool, which may be killed, so a call may come twice for the same jobs: plugins
are idempotent (rule R8). Jobs and files are objects with the attribute names of domain/job.py; times are ISO 8601 text.
"""

from __future__ import annotations

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
