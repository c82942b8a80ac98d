"""The group ``task``: submitting tasks, and steering them. What asks after them is in ``task_queries``."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.task_commands import Code, NotTaskOwner, Outcome
from pandatx.domain.task_requests import (
    InputReload,
    TaskFinish,
    TaskId,
    TaskKill,
    TaskReassignment,
    TaskRelease,
    TaskRetry,
    TaskSubmission,
    UnfinishedJobsKill,
)
from pandatx.domain.task_submission import SubmissionCode, TaskRefused
from pandatx.resources.api import (
    JSON,
    MEBIBYTE,
    PICKLED,
    Answer,
    Call,
    Dialect,
    LegacyForm,
    Limits,
    Permission,
    Style,
    operation,
    production,
    secure,
)
from pandatx.services.task_commands import TaskCommands
from pandatx.services.task_submission import TaskSubmissions

_REASSIGNED: Final = LegacyForm(Style.PICKLED, refused=(100, 101, 102))
task_owner: Final = Permission("task-owner", secure.judge)
"""The owner of the task or the production role, which the service judges."""
LARGEST: Final = Limits(inflated=10 * MEBIBYTE)
"""Parameters in a form are read in the reactor's thread."""


@frozen
class TaskResource:
    """What users and robots order of tasks."""

    _submissions: TaskSubmissions
    _commands: TaskCommands

    @operation(
        "task/submit",
        allows=secure,
        legacy="insertTaskParams",
        asks=TaskSubmission,
        gives=int,
        form=PICKLED,
        limits=LARGEST,
    )
    async def submit(self, caller: Caller, request: TaskSubmission, call: Call) -> Answer:
        """Store a task for the task engine, or have the ended task of the same name executed again.

        ``data`` is the jediTaskID, which the message names too; of a refusal it is a code.
        """
        proper = request.proper_error_code
        try:
            done = await self._submissions.submit(caller, request.task_parameters, request.parent_tid)
        except TaskRefused as refused:
            value = [refused.code if proper else False, str(refused)]
            return Answer(success=False, message=str(refused), data=refused.code, value=value)
        told: int | str = done.message
        if not proper and done.code == SubmissionCode.ACCEPTED:
            told = done.task_id
        return Answer(data=done.task_id, message=done.message, value=[done.code if proper else True, told])

    @operation("task/kill", legacy="killTask", asks=TaskKill, gives=int, allows=task_owner, form=PICKLED)
    async def kill(self, caller: Caller, request: TaskKill, call: Call) -> Answer:
        """End a task with all of its jobs."""
        return await _told(call, self._commands.kill(caller, request), request.proper_error_code)

    @operation("task/finish", legacy="finishTask", asks=TaskFinish, gives=int, allows=task_owner, form=PICKLED)
    async def finish(self, caller: Caller, request: TaskFinish, call: Call) -> Answer:
        """End a task with what it has done; ``soft`` lets the jobs end that pilots have."""
        return await _told(call, self._commands.finish(caller, request), request.proper_error_code)

    @operation(
        "task/retry",
        legacy="retryTask",
        asks=TaskRetry,
        gives=int,
        allows=task_owner,
        form=PICKLED,
        limits=LARGEST,
    )
    async def retry(self, caller: Caller, request: TaskRetry, call: Call) -> Answer:
        """Do again what failed in a task, with other parameters perhaps. ``data`` is the code, also of a refusal."""
        return await _told(call, self._commands.retry(caller, request), request.proper_error_code, always=True)

    @operation(
        "task/reassign", legacy="reassignTask", asks=TaskReassignment, gives=int, allows=task_owner, form=_REASSIGNED
    )
    async def reassign(self, caller: Caller, request: TaskReassignment, call: Call) -> Answer:
        """Send a task to another site, cloud or nucleus, or have it brokered anew."""
        return await _told(call, self._commands.reassign(caller, request))

    @operation("task/reload_input", legacy="reloadInput", asks=InputReload, gives=int, allows=task_owner, form=PICKLED)
    async def reload_input(self, caller: Caller, request: InputReload, call: Call) -> Answer:
        """Look for new input of a task that has ended."""
        return await _told(call, self._commands.reload_input(caller, request))

    @operation("task/pause", legacy="pauseTask", asks=TaskId, gives=int, allows=production, form=PICKLED)
    async def pause(self, caller: Caller, request: TaskId, call: Call) -> Answer:
        """Hold a task and its waiting jobs."""
        return await _told(call, self._commands.command(caller, request.task_id, "pause"))

    @operation("task/resume", legacy="resumeTask", asks=TaskId, gives=int, allows=production, form=PICKLED)
    async def resume(self, caller: Caller, request: TaskId, call: Call) -> Answer:
        """Let a task go on that is paused, throttled or waits for its files."""
        return await _told(call, self._commands.command(caller, request.task_id, "resume"))

    @operation("task/avalanche", legacy="avalancheTask", asks=TaskId, gives=int, allows=production, form=PICKLED)
    async def avalanche(self, caller: Caller, request: TaskId, call: Call) -> Answer:
        """Have a task make all of its jobs without waiting for its scouts."""
        return await _told(call, self._commands.command(caller, request.task_id, "avalanche"))

    @operation("task/release", legacy="release_task", asks=TaskRelease, gives=int, allows=production, form=JSON)
    async def release(self, caller: Caller, request: TaskRelease, call: Call) -> Answer:
        """Have a task go by its input datasets as if they were staged."""
        return await _told(call, self._commands.command(caller, request.task_id, "release"))

    @operation(
        "task/kill_unfinished_jobs",
        legacy="killUnfinishedJobs",
        asks=UnfinishedJobsKill,
        gives=list[bool],
        allows=task_owner,
        form=PICKLED,
    )
    async def kill_unfinished_jobs(self, caller: Caller, request: UnfinishedJobsKill, call: Call) -> Answer:
        """End all jobs of a task that have not ended; for each whether that was done."""
        ended = await self._commands.kill_unfinished_jobs(
            caller, request.task_id, request.code, request.use_email_as_id
        )
        return Answer(data=ended, value=ended)


async def _told(call: Call, work: Awaitable[Outcome], proper: bool = True, always: bool = False) -> Answer:
    """A command's outcome. ``proper``: the older dialect has its code, else a boolean; ``always``: REST calls it a
    success whatever the code is, which clients read instead.
    """
    try:
        outcome = await work
    except NotTaskOwner as refused:
        if call.dialect is Dialect.V1:
            raise
        return Answer(success=False, message=str(refused), value=[refused.code if proper else False, refused.told])
    taken = outcome.code in (Code.REGISTERED, SubmissionCode.REOPENED)
    return Answer(
        data=outcome.code,
        message=outcome.message,
        success=outcome.code == Code.REGISTERED or always,
        value=[outcome.code if proper else taken, outcome.message],
    )
