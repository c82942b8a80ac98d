"""Jobs in the wire's spelling as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Described = Mapping[str, Any]
_COLUMNS = ("PandaID", "jobStatus", "computingSite", "prodSourceLabel", "prodUserName", "creationTime", "jobName")
_FIELDS = (
    "PandaID",
    "jobStatus",
    "jobSubStatus",
    "jobName",
    "computingSite",
    "prodSourceLabel",
    "prodUserName",
    "currentPriority",
    "attemptNr",
    "gshare",
    "resource_type",
    "minRamCount",
    "transformation",
    "creationTime",
    "startTime",
    "endTime",
    "modificationTime",
    "modificationHost",
    "pilotID",
    "transExitCode",
)
_FAULTS = ("pilot", "exe", "sup", "ddm", "brokerage", "jobDispatcher", "taskBuffer")
_FILE = ("type", "lfn", "status", "fsize", "checksum", "destinationSE")


def overview(jobs: Sequence[Described]) -> str:
    """A line for each job, below a line of names."""
    return table([_COLUMNS, *([text(job.get(name)) for name in _COLUMNS] for job in jobs)])


def detail(job: Described) -> str:
    """What is set of a job, its errors and its files."""
    shown = [(name, text(job.get(name))) for name in _FIELDS]
    shown += [(f"{who}Error", fault) for who in _FAULTS if (fault := _fault(job, who))]
    width = max(len(name) for name, _ in shown)
    lines = [f"{name:{width}}  {value}" for name, value in shown if value]
    if files := job.get("Files"):
        lines += ["", table([_FILE, *([text(file.get(name)) for name in _FILE] for file in files)])]
    return "\n".join(lines) + ("" if files else "\n")


def text(value: Any) -> str:
    """A value of the wire as a word; times lose their marker and the parts of a second."""
    if isinstance(value, Mapping):
        value = next(iter(value.values()), None)
        return "" if value is None else str(value).replace("T", " ")[:19]
    return "" if value is None or value == "NULL" else str(value)


def _fault(job: Described, who: str) -> str:
    code = job.get(f"{who}ErrorCode")
    return f"{code} {text(job.get(f'{who}ErrorDiag'))}".strip() if code else ""


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns, the first one the names."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "".join(
        "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )
