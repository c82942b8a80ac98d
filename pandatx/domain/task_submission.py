"""A submitted task becomes a row of T_TASK, or new parameters of a task that is there (reference/lifecycle.md 7.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

import orjson
from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.requests import BIG, INTEGER
from pandatx.domain.shares import ResourceTypeRow, resource_type_of
from pandatx.domain.submission import USER_LABELS
from pandatx.domain.task_commands import ACTIVE, REOPENED
from pandatx.domain.task_split_rules import CHANGEABLE
from pandatx.errors import PandaError

ANALYSIS: Final = "anal"
USER_PRIORITY: Final = 1000
DEFAULT_PRIORITY: Final = 100
COUNTED: Final = ("registered", "defined", "ready", "scouting", "running", "paused", "throttled")
"""The statuses in which a task counts against its user's limit."""
_PRIORITIES: Final = ("currentPriority", "priority")
_TAKEN_OVER: Final = frozenset(
    (
        *(
            "site",
            "cloud",
            "includedSite",
            "excludedSite",
            "cliParams",
            "nFiles",
            "nEvents",
            "fixedSandbox",
            "ramCount",
        ),
        *("currentPriority", "priority", "loopingCheck", "forceStaged"),
        *CHANGEABLE,
    )
)
_WIDTHS: Final = {"taskName": 256, "vo": 32, "prodSourceLabel": 20, "userName": 128}
_LONGEST_USER: Final = 60
"""What the table of users, in which each of them gets a row, has room for."""
_OFFICIAL_GROUP: Final = re.compile(r"/[^/]+/([^/]+)/Role=production")
_PER_CORE: Final = ("MBPerCore", "MBPerCoreFixed")
_MEMORY_COMPENSATION: Final = 0.9


class SubmissionCode(IntEnum):
    """What a submission is answered with (reference/wire.md 3.1)."""

    ACCEPTED = 0
    QUEUED = 1
    ACTIVE = 2
    REOPENED = 3
    FAILED = 4
    TOO_MANY = 10
    NO_PARENT = 11


class TaskRefused(PandaError):
    """A task that is not stored: the code of the wire, and why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def unfit(why: str) -> TaskRefused:
    """A task whose parameters cannot be stored, or may not."""
    return TaskRefused(SubmissionCode.FAILED, f"failed to register task: {why}")


@frozen(kw_only=True)
class NewTask:
    """A task to be stored. ``unique``: another one of its name is looked for, among those of the ``group`` too if the
    task is official, and among everybody's if it is ``official`` by the production role.
    """

    parameters: Mapping[str, Any]
    name: str
    vo: str
    label: str
    user: str
    priority: int
    unique: bool
    official: bool = False
    group: str | None = None

    @property
    def document(self) -> str:
        """Its parameters as the table holds them. Raises TaskRefused."""
        return document_of(self.parameters)


def document_of(parameters: Mapping[str, Any]) -> str:
    """Parameters as JSON text. Raises TaskRefused for what has none."""
    try:
        return orjson.dumps(parameters).decode()
    except TypeError as fault:
        raise unfit(f"its parameters cannot be stored: {fault}") from None


def new_task(submitted: Mapping[str, Any], caller: Caller, flags: str = "") -> NewTask:
    """A submitted task as it is stored: what only the production role may say is the server's word for others.

    ``flags`` are those of the user (gridpref): ``s``, or ``g`` with a working group, may choose the priority. Raises
    TaskRefused.
    """
    parameters = dict(submitted)
    if not caller.production or not parameters.get("userName"):
        parameters["userName"] = caller.name
    if not caller.production or "taskType" not in parameters:
        parameters |= {"taskType": ANALYSIS, "taskPriority": USER_PRIORITY}
        if parameters.get("official") is True and (group := official_group(caller)) is not None:
            parameters["workingGroup"] = group
    texts = {key: _text(parameters, key, width) for key, width in _WIDTHS.items()}
    if len(caller.name) > _LONGEST_USER:
        raise unfit(f"the name of its user is longer than {_LONGEST_USER} characters")
    if not caller.production:
        parameters = without_priority(_restricted(parameters, caller), caller, flags)
    official = parameters.get("official") is True
    return NewTask(
        parameters=parameters,
        name=texts["taskName"],
        vo=texts["vo"],
        label=texts["prodSourceLabel"],
        user=texts["userName"],
        priority=_number(parameters, "taskPriority", DEFAULT_PRIORITY, BIG),
        unique=parameters["taskType"] == ANALYSIS and parameters.get("uniqueTaskName") is True,
        official=official and caller.production,
        group=official_group(caller) if official else None,
    )


def official_group(caller: Caller) -> str | None:
    """The group of the first FQAN with which its holder produces for one."""
    for fqan in caller.fqans:
        if found := _OFFICIAL_GROUP.search(fqan):
            return found[1]
    return None


def wants_priority(parameters: Mapping[str, Any]) -> bool:
    """Whether a priority is asked for, which not everybody may."""
    return any(key in parameters for key in _PRIORITIES)


def may_set_priority(parameters: Mapping[str, Any], caller: Caller, flags: str) -> bool:
    """Whether a caller's task may have a priority of its own, by the flags of the user (gridpref)."""
    return caller.production or "s" in flags or ("g" in flags and bool(parameters.get("workingGroup")))


def without_priority(parameters: Mapping[str, Any], caller: Caller, flags: str) -> dict[str, Any]:
    """The parameters, without a priority unless the caller may choose it (lifecycle.md 9, trap 52)."""
    if may_set_priority(parameters, caller, flags):
        return dict(parameters)
    return {key: value for key, value in parameters.items() if key not in _PRIORITIES}


def _restricted(parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """Rule R20, for tasks."""
    label = parameters["prodSourceLabel"]
    if label not in USER_LABELS:
        raise unfit(f"prodSourceLabel: label {label} needs the production role")
    parameters.pop("gshare", None)
    group = parameters.get("workingGroup")
    if group is not None and group not in (*caller.working_groups, official_group(caller)):
        del parameters["workingGroup"]
    return parameters


def _text(parameters: Mapping[str, Any], key: str, width: int) -> str:
    value = parameters.get(key)
    if not isinstance(value, str) or not value:
        raise unfit(f"{key} is missing" if value is None or value == "" else f"{key} is not a text")
    if len(value) > width:
        raise unfit(f"{key} is longer than {width} characters")
    if "\0" in value or not value.isprintable():
        raise unfit(f"{key} has a character that cannot be printed")
    return value


def _number(parameters: Mapping[str, Any], key: str, default: int, most: int) -> int:
    value = parameters.get(key, default)
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise unfit(f"{key} is not a number") from None
    if not -most <= number <= most:
        raise unfit(f"{key} is too large")
    return number


@frozen(kw_only=True)
class Changes:
    """Parameters that a task which is there takes over; ``ram_count`` also lowers what its files need."""

    parameters: Mapping[str, Any]
    ram_count: int | None = None


def taken_over(parameters: Mapping[str, Any]) -> Changes:
    """What of new parameters an existing task takes over. Raises TaskRefused."""
    found: dict[str, Any] = {}
    for key, value in parameters.items():
        if not key.startswith("dsFor") and key not in _TAKEN_OVER:
            continue
        if key == "priority":
            key = "currentPriority"
        elif key == "loopingCheck":
            key, value = "noLoopingCheck", not value
        elif key == "fixedSandbox" and "sourceURL" in parameters:
            found["sourceURL"] = parameters["sourceURL"]
        found[key] = value
    ram_count = None
    if found.get("ramCount") is not None:
        ram_count = _number(found, "ramCount", 0, INTEGER)
    return Changes(parameters=found, ram_count=ram_count)


def is_open(status: str) -> bool:
    """Whether a task of this status can be executed again."""
    return status in REOPENED


def takes_parameters(status: str, label: str | None) -> bool:
    """Whether a task that is under way takes new parameters."""
    return status in ACTIVE and label == "user"


def already_queued(task_id: int, name: str) -> TaskRefused:
    told = f"jediTaskID={task_id} is already queued for outDS={name}. You cannot submit duplicated tasks. "
    return TaskRefused(SubmissionCode.QUEUED, told)


def still_active(task_id: int, status: str, name: str) -> TaskRefused:
    told = (
        f"jediTaskID={task_id} is in the {status} state for outDS={name}. "
        "You can re-submit the task with new parameters for the same or another input once it goes into "
        "finished/failed/done. Or you can retry the task once it goes into running/finished/failed/done. "
        "Note that retry != resubmission"
    )
    return TaskRefused(SubmissionCode.ACTIVE, told)


def reopened(task_id: int, status: str) -> str:
    return (
        f"reactivation accepted. jediTaskID={task_id} (currently in {status} state) will be re-executed "
        "with old and/or new input"
    )


def resource_type_of_task(
    cores: int | None, ram: int | None, base_ram: int | None, unit: str | None, rows: tuple[ResourceTypeRow, ...]
) -> str:
    """The resource type of a task: no number of cores means one, zero means any, for which eight stand."""
    n = 1 if cores is None else cores or 8
    memory = (ram or 0) * n + (base_ram or 0) if unit in _PER_CORE else (ram or 0) + (base_ram or 0)
    return resource_type_of(int(memory / n * _MEMORY_COMPENSATION) * n, n, rows)
