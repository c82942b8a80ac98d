"""Commands for tasks, left for the engine of tasks, and retries (reference/wire.md 3.2, lifecycle.md 7.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain import task_commands as rules
from pandatx.domain import task_submission as submissions
from pandatx.domain.caller import Caller
from pandatx.domain.job import Job
from pandatx.domain.lifecycle import JobStatus
from pandatx.domain.task_commands import Code, Outcome, TaskRow
from pandatx.domain.task_requests import InputReload, TaskFinish, TaskKill, TaskReassignment, TaskRetry
from pandatx.domain.task_submission import SubmissionCode, TaskRefused
from pandatx.services.killing import Killing
from pandatx.services.permissions_of_users import UserPermissions
from pandatx.store import task_attempts as attempts_store
from pandatx.store import task_commands as store
from pandatx.store import task_submission as submission_store
from pandatx.store.database import Database, Transaction

log = Logger()

RETRY_ATTEMPTS: Final = 5
"""How many attempts more the inputs of a task get that is retried while it is under way."""
_FORCE_KILL: Final = 9
_NAMED: Final = 200
_KEEP_UNMERGED: Final = ("keepUnmerged",)
_NO_PARAMETERS: Final = Outcome(1, "new parameter conversion failed with the task has no parameters")


@frozen
class TaskCommands:
    """Write commands down for the engine, after it has been judged who gives them, and to a task of which status."""

    _database: Database
    _clock: Clock
    _killing: Killing
    _permissions: UserPermissions

    async def kill(self, caller: Caller, request: TaskKill) -> Outcome:
        """End a task of the caller. Raises NotTaskOwner, as all of these do."""
        return await self._send(caller, request.task_id, "kill")

    async def finish(self, caller: Caller, request: TaskFinish) -> Outcome:
        """End a task of the caller with what it has done."""
        return await self._send(caller, request.task_id, "finish", qualifier="soft" if request.soft else "")

    async def command(self, caller: Caller, task_id: int, command: str) -> Outcome:
        """Pause, resume, release or avalanche a task."""
        return await self._send(caller, task_id, command)

    async def reassign(self, caller: Caller, request: TaskReassignment) -> Outcome:
        """Send a task of the caller elsewhere. Raises BadRequest for a place that cannot be."""
        mode = request.mode or ("soft" if request.soft else None)
        comment = rules.reassign_comment(request.site, request.cloud, request.nucleus, mode)
        return await self._send(caller, request.task_id, "reassign", comment=comment, back=request.site is not None)

    async def reload_input(self, caller: Caller, request: InputReload) -> Outcome:
        """Have a task of the caller that has ended look for new input."""
        comment = rules.reload_comment(request.ignore_hard_exhausted and caller.production)
        return await self._send(caller, request.task_id, "incexec", comment=comment)

    async def retry(self, caller: Caller, request: TaskRetry) -> Outcome:
        """Have a task of the caller do again what failed, with other parameters perhaps.

        Of a user's task that is under way the failed files get more attempts at once.
        """
        if request.new_parameters:
            outcome = await self._send_parameters(caller, request.task_id, request.new_parameters)
        else:
            words = rules.qualifiers(
                no_child_retry=request.no_child_retry,
                discard_events=request.discard_events,
                disable_staging_mode=request.disable_staging_mode,
                keep_gshare_priority=request.keep_gshare_priority,
                ignore_hard_exhausted=request.ignore_hard_exhausted and caller.production,
            )
            outcome = await self._send(caller, request.task_id, "retry", qualifier=" ".join(words))
        if outcome.code != Code.STILL_ACTIVE:
            return outcome
        await self._try_again(request.task_id)
        told = f"retry has been triggered for failed jobs while the task is still {outcome.message}"
        return Outcome(SubmissionCode.REOPENED if request.new_parameters else Code.REGISTERED, told)

    async def kill_unfinished_jobs(
        self, caller: Caller, task_id: int, code: int | None, use_email_as_id: bool
    ) -> list[bool]:
        """End all jobs of a task of the caller that have not ended; for each whether that was done."""
        ids = await self._database.transaction("tasks.unfinished", self._unfinished, caller, task_id)
        return await self._killing.kill(caller, ids, code, use_email_as_id=use_email_as_id)

    # In transactions

    async def _send(
        self,
        caller: Caller,
        task_id: int,
        command: str,
        *,
        qualifier: str = "",
        comment: str | None = None,
        back: bool = False,
    ) -> Outcome:
        if comment is None:
            comment = rules.comment_of(command, caller.name, qualifier)
        outcome = await self._database.transaction(
            "tasks.command", self._command, caller, task_id, command, comment, back
        )
        log.info(
            "task {id}: {command} by {who}: {told}", id=task_id, command=comment, who=caller.name, told=outcome.message
        )
        return outcome

    async def _send_parameters(self, caller: Caller, task_id: int, new: Mapping[str, Any]) -> Outcome:
        outcome = await self._database.transaction("tasks.retry_with", self._retry_with, caller, task_id, new)
        names = ", ".join(sorted(new))[:_NAMED]
        log.info(
            "task {id}: new {names} by {who}: {told}", id=task_id, names=names, who=caller.name, told=outcome.message
        )
        return outcome

    async def _command(
        self, tx: Transaction, caller: Caller, task_id: int, command: str, comment: str, back: bool
    ) -> Outcome:
        task = await store.owned(tx, caller, task_id)
        if task is None:
            return _not_found(task_id)
        refusal = rules.refusal(command, task.status, production=caller.production, back=back)
        if refusal is None:
            await store.register(tx, task_id, command, self._clock.now(), comment=comment)
            return rules.registered(command, task_id)
        if command == "retry" and submissions.takes_parameters(task.status, task.label):
            return Outcome(Code.STILL_ACTIVE, task.status)
        return Outcome(Code.REJECTED, refusal)

    async def _retry_with(self, tx: Transaction, caller: Caller, task_id: int, new: Mapping[str, Any]) -> Outcome:
        task = await store.owned(tx, caller, task_id)
        if task is None:
            return _not_found(task_id)
        old = await submission_store.submitted(tx, task_id)
        if old is None:
            return _NO_PARAMETERS
        asks = not caller.production and submissions.wants_priority(new)
        flags = self._permissions.letters(caller) if asks else ""
        merged = submissions.without_priority({**old, **new}, caller, flags)
        try:
            return await reopen(tx, task, merged, self._clock, under_way=True)
        except TaskRefused as refused:
            return Outcome(refused.code, str(refused))

    async def _unfinished(self, tx: Transaction, caller: Caller, task_id: int) -> list[int]:
        await store.owned(tx, caller, task_id, lock=False)
        return await store.unfinished(tx, task_id)

    async def _try_again(self, task_id: int) -> None:
        """What failed of a task that is under way: older servers keep such jobs among the active ones."""
        failed = await self._database.transaction("tasks.failed_jobs", store.failed_jobs, task_id)
        if failed:
            await self._killing.expire(failed, _FORCE_KILL, _has_failed, _KEEP_UNMERGED)
        await self._database.transaction("tasks.retry_files", attempts_store.increase, task_id, RETRY_ATTEMPTS)


async def reopen(
    tx: Transaction, task: TaskRow, parameters: Mapping[str, Any], clock: Clock, *, under_way: bool = False
) -> Outcome:
    """Have a task, which is locked, executed again with what it takes over of new parameters.

    ``under_way``: one that has not ended takes them too. Raises TaskRefused where it does neither.
    """
    changes = submissions.taken_over(parameters)
    if submissions.is_open(task.status):
        document = submissions.document_of(changes.parameters)
        if changes.ram_count is not None:
            await submission_store.lower_memory(tx, task.task_id, changes.ram_count)
        await store.register(tx, task.task_id, "incexec", clock.now(), parameters=document)
        return Outcome(SubmissionCode.REOPENED, submissions.reopened(task.task_id, task.status))
    if not under_way or not submissions.takes_parameters(task.status, task.label):
        raise submissions.still_active(task.task_id, task.status, str(parameters.get("taskName")))
    current = await submission_store.parameters(tx, task.task_id)
    if current is None:
        return _NO_PARAMETERS
    document = await deferToThread(submissions.document_of, {**current, **changes.parameters})
    await submission_store.write_parameters(tx, task.task_id, document)
    told = f"{task.status}. new tasks params have been set to jediTaskID={task.task_id}. "
    return Outcome(Code.STILL_ACTIVE, told)


def _has_failed(job: Job) -> bool:
    return job.job_status == JobStatus.FAILED


def _not_found(task_id: int) -> Outcome:
    return Outcome(Code.NOT_FOUND, f"jediTaskID={task_id} not found")
