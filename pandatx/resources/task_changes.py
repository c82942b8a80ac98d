"""The group ``task``: changes that take effect at once, by the production role."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.task_commands import Outcome
from pandatx.domain.task_requests import (
    AttemptIncrease,
    AttributeChange,
    ClonedTask,
    JobCloning,
    JumboJobs,
    ModificationTimeChange,
    PriorityChange,
    ShareReassignment,
    SplitRuleChange,
    TaskReactivation,
)
from pandatx.domain.task_split_rules import CHANGEABLE
from pandatx.resources.api import NUMBERED, PICKLED, Answer, Call, LegacyForm, Style, operation, production
from pandatx.services.task_changes import ATTRIBUTES, TaskChanges

_DISALLOWED: Final = 2
_NO_INCREASE: Final = 4
_INCREASE: Final = LegacyForm(Style.PICKLED, refused=(False, 3, False))
_PRIORITY: Final = LegacyForm(Style.PICKLED, role_text="Failed : production or pilot role required")


@frozen
class TaskChangesResource:
    """What production managers change in tasks."""

    _changes: TaskChanges

    @operation(
        "task/reactivate", legacy="reactivateTask", asks=TaskReactivation, gives=int, allows=production, form=PICKLED
    )
    async def reactivate(self, caller: Caller, request: TaskReactivation, call: Call) -> Answer:
        """Have a task do all of its input again, the attempts counted anew unless they are kept."""
        return _told(await self._changes.reactivate(caller, request))

    @operation(
        "task/increase_attempts",
        legacy="increaseAttemptNrPanda",
        asks=AttemptIncrease,
        gives=int,
        allows=production,
        form=_INCREASE,
    )
    async def increase_attempts(self, caller: Caller, request: AttemptIncrease, call: Call) -> Answer:
        """Give the files of a task that is under way more attempts."""
        if request.increase < 0:
            told = "increase must be a positive integer"
            return Answer(success=False, message=f"{told}, got {request.increase}", value=[_NO_INCREASE, told])
        return _told(await self._changes.increase_attempts(caller, request))

    @operation(
        "task/reassign_global_share",
        legacy="reassignShare",
        asks=ShareReassignment,
        gives=int,
        allows=production,
        form=PICKLED,
    )
    async def reassign_global_share(self, caller: Caller, request: ShareReassignment, call: Call) -> Answer:
        """Give tasks and their waiting jobs, on request also the running ones, another global share."""
        outcome = await self._changes.reassign_share(caller, request)
        done = outcome.code == 0
        value = [outcome.code, None if done else outcome.message]
        return Answer(data=outcome.code, message=outcome.message, success=done, value=value)

    @operation(
        "task/enable_jumbo_jobs", legacy="enableJumboJobs", asks=JumboJobs, gives=int, allows=production, form=NUMBERED
    )
    async def enable_jumbo_jobs(self, caller: Caller, request: JumboJobs, call: Call) -> Answer:
        """Say how many jumbo jobs a task is to have; none turns them off."""
        return _told(await self._changes.enable_jumbo_jobs(caller, request))

    @operation("task/enable_job_cloning", asks=JobCloning, allows=production)
    async def enable_job_cloning(self, caller: Caller, request: JobCloning, call: Call) -> Answer:
        """Have each job of a task made several times, at several sites."""
        fault = await self._changes.enable_job_cloning(caller, request)
        return Answer(success=not fault, message=fault)

    @operation("task/disable_job_cloning", asks=ClonedTask, allows=production)
    async def disable_job_cloning(self, caller: Caller, request: ClonedTask, call: Call) -> Answer:
        """Have each job of a task made once."""
        fault = await self._changes.disable_job_cloning(caller, request.jedi_task_id)
        return Answer(success=not fault, message=fault)

    @operation(
        "task/change_attribute",
        legacy="changeTaskAttributePanda",
        asks=AttributeChange,
        allows=production,
        form=PICKLED,
    )
    async def change_attribute(self, caller: Caller, request: AttributeChange, call: Call) -> Answer:
        """Give ramCount, wallTime, cpuTime or coreCount of a task another value."""
        if request.attribute_name not in ATTRIBUTES:
            return _disallowed(request.attribute_name, list(ATTRIBUTES), None)
        return await _changed(self._changes.change_attribute(caller, request))

    @operation(
        "task/change_modification_time",
        legacy="changeTaskModTimePanda",
        asks=ModificationTimeChange,
        allows=production,
        form=PICKLED,
    )
    async def change_modification_time(self, caller: Caller, request: ModificationTimeChange, call: Call) -> Answer:
        """Move the modification time of a task to so many hours from now, so that it is looked after."""
        return await _changed(self._changes.change_modification_time(caller, request))

    @operation(
        "task/change_priority", legacy="changeTaskPriority", asks=PriorityChange, allows=production, form=_PRIORITY
    )
    async def change_priority(self, caller: Caller, request: PriorityChange, call: Call) -> Answer:
        """Give a task and all of its jobs another priority."""
        answer = await _changed(self._changes.change_priority(caller, request))
        return Answer(success=answer.success, message=answer.message, value=int(answer.success))

    @operation(
        "task/change_split_rule",
        legacy="changeTaskSplitRulePanda",
        asks=SplitRuleChange,
        allows=production,
        form=PICKLED,
    )
    async def change_split_rule(self, caller: Caller, request: SplitRuleChange, call: Call) -> Answer:
        """Give a split rule of a task, named by its two letters, another value, or remove it."""
        tags = list(CHANGEABLE.values())
        if request.attribute_name not in tags:
            return _disallowed(request.attribute_name, tags, _DISALLOWED)
        return await _changed(self._changes.change_split_rule(caller, request))


def _told(outcome: Outcome) -> Answer:
    done = outcome.code == 0
    return Answer(data=outcome.code, message=outcome.message, success=done, value=[outcome.code, outcome.message])


async def _changed(work: Awaitable[bool]) -> Answer:
    """A change of one task, or of none."""
    n = int(await work)
    return Answer(success=n > 0, message=f"{n} tasks changed" if n else "Task not found", value=[n, None])


def _disallowed(name: str, valid: list[str], code: int | None) -> Answer:
    message = f"{name} is not a valid attribute. Valid attributes are {valid}"
    return Answer(success=False, message=message, data=code, value=[_DISALLOWED, f"disallowed to update {name}"])
