"""What is told of tasks: their attributes by the wire's names, filters on them, progress (reference/wire.md 3.3)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import regex
from attrs import Factory, frozen

from pandatx.domain.caller import Caller
from pandatx.domain.split_rules import in_words
from pandatx.domain.task_secrets import may_read, shown

ATTRIBUTES: Final = tuple(
    """
    jediTaskID taskName status userName creationDate modificationTime startTime endTime frozenTime prodSourceLabel
    workingGroup vo coreCount taskType processingType taskPriority currentPriority architecture transUses transHome
    transPath lockedBy lockedTime termCondition splitRule walltime walltimeUnit outDiskCount outDiskUnit workDiskCount
    workDiskUnit ramCount ramUnit ioIntensity ioIntensityUnit workQueue_ID progress failureRate errorDialog reqID
    oldStatus cloud site countryGroup parent_tid eventService ticketID ticketSystemType stateChangeTime superStatus
    campaign mergeRamCount mergeRamUnit mergeWalltime mergeWalltimeUnit throttledTime numThrottled mergeCoreCount goal
    assessmentTime cpuTime cpuTimeUnit cpuEfficiency baseWalltime nucleus baseRamCount ttcRequested ttcPredicted
    ttcPredictionDate rescueTime requestType gshare resource_type useJumbo diskIO diskIOUnit memory_leak_core
    memory_leak_x2 attemptNr container_name framework activatedTime queuedTime actionTime
    """.split()
)
"""The attributes of a task, in the wire's spelling; the columns of jedi_tasks are the same in lower case."""
COLUMNS: Final = tuple(name.lower() for name in ATTRIBUTES)
TIMES: Final = frozenset(
    name for name in ATTRIBUTES if name.endswith(("Time", "Date")) and name not in ("cpuTime",)
) | frozenset(("ttcRequested", "ttcPredicted"))
NUMBERS: Final = frozenset(
    """
    jediTaskID parent_tid memory_leak_core memory_leak_x2 coreCount taskPriority currentPriority walltime outDiskCount
    workDiskCount ramCount ioIntensity workQueue_ID reqID mergeRamCount mergeWalltime mergeCoreCount cpuTime
    baseWalltime baseRamCount diskIO progress failureRate eventService numThrottled goal cpuEfficiency attemptNr
    """.split()
)
TIME_FORM: Final = "%Y-%m-%d %H:%M:%S"
PATIENCE: Final = 0.05
"""Seconds for one search of a user's pattern."""
LONGEST: Final = 16_000
"""Characters of the filters of a search."""
LONGEST_PATTERN: Final = 4000
_SPECIAL: Final = frozenset("^$*+?|()\\")
_MOST: Final = 2**63


class BadFilter(ValueError):
    """A filter that cannot be used; the text is for the caller."""


@frozen(kw_only=True)
class Filters:
    """``equal``: column values as JSON has them, None for a NULL; ``filled``: columns that must not be NULL;
    ``patterns``: to be found in attributes, by the wire's names. ``user`` is the owner, the caller unless one is named.
    """

    user: str
    equal: Mapping[str, Any] = Factory(dict)
    filled: tuple[str, ...] = ()
    patterns: Mapping[str, regex.Pattern[str]] = Factory(dict)

    @property
    def task_id(self) -> int | None:
        return self.equal.get("jeditaskid")

    @property
    def req_id(self) -> int | None:
        return self.equal.get("reqid")


def read_filters(text: str | None, user: str) -> Filters:
    """Filters from their JSON text. A value without special characters is an equality. BadFilter says what is wrong.

    To compile patterns takes a while: not for the reactor's thread.
    """
    equal: dict[str, Any] = {}
    filled: list[str] = []
    patterns: dict[str, regex.Pattern[str]] = {}
    for name, value in _named(text).items():
        wanted = value if value is None else _text_of(name, value)
        if wanted is not None and _SPECIAL & set(wanted):
            patterns[name] = _pattern(name, wanted)
        elif name not in ATTRIBUTES:
            raise BadFilter(f"unknown attribute {name[:64]} in filters")
        elif wanted == "NOT NULL":
            filled.append(name.lower())
        elif name == "userName":
            user = wanted or ""
        else:
            equal[name.lower()] = None if wanted is None or wanted == "NULL" else _value(name, wanted)
    return Filters(user=user, equal=equal, filled=tuple(filled), patterns=patterns)


def _named(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    if len(text) > LONGEST:
        raise BadFilter(f"filters must have at most {LONGEST} characters")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise BadFilter("filters is not valid JSON") from None
    if not isinstance(found, dict):
        raise BadFilter("filters must be a JSON object")
    return found


def _text_of(name: str, value: Any) -> str:
    """A value as a text that a database can hold."""
    text = str(value)
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise BadFilter(f"filters: {name[:64]} has a character that no text can have")
    return text


def _pattern(name: str, text: str) -> regex.Pattern[str]:
    if len(text) > LONGEST_PATTERN:
        raise BadFilter(f"filters: {name[:64]} is a pattern of more than {LONGEST_PATTERN} characters")
    try:
        return regex.compile(text)
    except (regex.error, RecursionError, OverflowError) as error:
        raise BadFilter(f"filters: {name[:64]} is no pattern: {error}") from None


def _value(name: str, text: str) -> Any:
    """A value as to_jsonb has it in the row of a task."""
    try:
        if name in NUMBERS:
            number = float(text)
            if not -_MOST < number < _MOST:
                raise ValueError(text)
            return int(text) if text.lstrip("+-").isdecimal() else number
        if name in TIMES:
            return datetime.strptime(text, TIME_FORM).isoformat()
    except ValueError:
        raise BadFilter(f"filters: {name} cannot be {text[:64]!r}") from None
    return text


def read_since(text: str | None) -> datetime | None:
    """A time as the clients write it, aware UTC. BadFilter where it is none."""
    if not text:
        return None
    try:
        return datetime.strptime(text, TIME_FORM).replace(tzinfo=UTC)
    except ValueError:
        raise BadFilter(f"since must be in the form YYYY-mm-dd HH:MM:SS, not {text[:40]!r}") from None


def fits(task: Mapping[str, Any], patterns: Mapping[str, regex.Pattern[str]]) -> bool:
    """Whether all patterns are found; a pattern on what a task does not have is passed over, one that takes too long
    is not found."""
    for name, pattern in patterns.items():
        if name not in task:
            continue
        try:
            if pattern.search(_text(task[name]), timeout=PATIENCE, concurrent=True) is None:
                return False
        except TimeoutError:
            return False
    return True


def _text(value: Any) -> str:
    return str(value.astimezone(UTC).replace(tzinfo=None)) if isinstance(value, datetime) else str(value)


@frozen(kw_only=True)
class Progress:
    """The files of a task's main inputs."""

    files: int = 0
    finished: int = 0
    failed: int = 0
    missing: int = 0


@frozen(kw_only=True)
class TaskRead:
    """A task as it is stored: ``row`` by the names of columns, ``parameters`` and ``template`` as texts."""

    row: Mapping[str, Any]
    parameters: str | None = None
    template: str | None = None
    progress: Progress = Progress()


def described(read: TaskRead, reader: Caller) -> dict[str, Any]:
    """All that is told of a task; secrets in its parameters only to those that may read them."""
    task = {name: read.row[column] for name, column in zip(ATTRIBUTES, COLUMNS, strict=True)}
    task["splitRule"] = in_words(task["splitRule"])
    own = may_read(reader, task["userName"])
    parameters = decoded(read.parameters)
    task["job_execution_params"] = read.template if own else shown(read.template)
    if parameters is not None:
        told = parameters if own else shown(parameters)
        task["task_creation_arguments"] = told.get("cliParams")
        task["raw_task_params"] = told
    progress = read.progress
    task["nFiles"] = progress.files
    task["nFilesFinished"] = progress.finished
    task["nFilesFailed"] = progress.failed
    task["nFilesMissing"] = progress.missing
    task["pctFinished"] = round(100 * progress.finished / progress.files) if progress.files else 0
    task["pctFailed"] = round(100 * progress.failed / progress.files) if progress.files else 0
    return task


def decoded(text: str | None) -> dict[str, Any] | None:
    """The parameters of a task; None where there are none that can be read."""
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


@frozen(kw_only=True)
class DatasetRead:
    """A dataset of a task. ``main``: no other dataset stands before it."""

    id: int
    name: str
    container: str | None
    type: str
    main: bool
    files: int = 0
    used: int = 0
    finished: int = 0
    failed: int = 0

    @property
    def title(self) -> str:
        """What users call it."""
        return self.container or self.name


INPUTS: Final = frozenset(("input", "pseudo_input"))
UNMERGED: Final = "trn_log"


def names_of(datasets: Iterable[DatasetRead]) -> tuple[str, str]:
    """The input and the output datasets of a task, comma separated, each once."""
    ins: dict[str, None] = {}
    outs: dict[str, None] = {}
    for each in datasets:
        if each.type == "input" and each.main:
            ins[each.title] = None
        elif each.type.endswith(("output", "log")) and "trn_" not in each.type:
            outs[each.title] = None
    return ",".join(ins), ",".join(outs)


def statistics(datasets: Iterable[DatasetRead], files_by_status: Mapping[str, int]) -> str:
    """``finished*5,failed*1``: what became of the input files; ``files_by_status`` are those in jobs that live."""
    main = [each for each in datasets if each.type in INPUTS and each.main]
    counts = {
        "tobedone": sum(each.files - each.used for each in main),
        "finished": sum(each.finished for each in main),
        "failed": sum(each.failed for each in main),
    }
    counts |= {status: n for status, n in sorted(files_by_status.items()) if status != "failed"}
    left = sum(each.files for each in main) - sum(n for n in counts.values() if n > 0)
    counts["picked"] = left
    return ",".join(f"{status}*{n}" for status, n in counts.items() if n > 0)
