"""Taking tasks from users (reference/wire.md 3.1, lifecycle.md 7.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain import task_submission as rules
from pandatx.domain.caller import Caller
from pandatx.domain.task_commands import TaskRow
from pandatx.domain.task_submission import NewTask, SubmissionCode, TaskRefused
from pandatx.errors import Banned
from pandatx.services.facts import Facts
from pandatx.services.owners import Owners
from pandatx.services.permissions_of_users import UserPermissions
from pandatx.services.submission import DISABLED
from pandatx.services.task_commands import reopen
from pandatx.store import submission as users_store
from pandatx.store import task_submission as store
from pandatx.store.database import Database, Transaction

log = Logger()

_LIMIT: Final = "MAX_ACTIVE_TASKS_PER_USER_"
_LONGEST_NAME: Final = 256


@frozen(kw_only=True)
class SubmittedTask:
    """What became of a submission: a new task, or one that is executed again; ``message`` is that of the wire."""

    code: int
    message: str
    task_id: int


@frozen
class TaskSubmissions:
    """Store tasks for the engine of tasks, which looks for those that wait."""

    _database: Database
    _clock: Clock
    _facts: Facts
    _owners: Owners
    _permissions: UserPermissions

    async def submit(self, caller: Caller, parameters: Mapping[str, Any], parent_tid: int | None) -> SubmittedTask:
        """Store a task, or have the one of the same name executed again; committed when this returns.

        Raises TaskRefused with the code of the wire, Banned for a disabled user, and NameTaken for a name that is
        bound to another identity (rule R27).
        """
        if caller.name in self._facts.known.banned:
            raise Banned(caller.name)
        flags = ""
        if not caller.production and rules.wants_priority(parameters):
            flags = self._permissions.letters(caller)
        task = rules.new_task(parameters, caller, flags)
        document = await deferToThread(lambda: task.document)  # megabytes of JSON, perhaps
        done = await self._owners.making("tasks.submit", caller, self._submit, caller, task, document, parent_tid)
        log.info("{user}: task {id} {name}: {told}", user=task.user, id=done.task_id, name=task.name, told=done.message)
        return done

    async def _submit(
        self, tx: Transaction, caller: Caller, task: NewTask, document: str, parent_tid: int | None
    ) -> SubmittedTask:
        parent = await self._parent(tx, task, parent_tid)
        await self._count(tx, task)
        found = await store.same(tx, task) if task.unique else None
        if found is not None and found[1] is None:
            raise rules.already_queued(found[0], task.name)
        await self._know(tx, caller)
        if found is not None:
            task_id, status = found
            row = TaskRow(task_id=task_id, status=str(status), owner=task.user, label=task.label)
            outcome = await reopen(tx, row, task.parameters, self._clock)
            return SubmittedTask(code=outcome.code, message=outcome.message, task_id=task_id)
        task_id = await store.insert(tx, task, document, parent, self._clock.now())
        told = f"succeeded. new jediTaskID={task_id}"
        return SubmittedTask(code=SubmissionCode.ACCEPTED, message=told, task_id=task_id)

    async def _parent(self, tx: Transaction, task: NewTask, given: int | None) -> int | None:
        name = task.parameters.get("parentTaskName")
        if name is None:
            return given
        found = await store.parent(tx, task.user, name) if isinstance(name, str) and "\0" not in name else None
        if found is None:
            why = f'failed to find parent with user="{task.user}" name={str(name)[:_LONGEST_NAME]}'
            raise TaskRefused(SubmissionCode.NO_PARENT, why)
        return found

    async def _count(self, tx: Transaction, task: NewTask) -> None:
        limits, key = self._facts.known.parameters, f"{_LIMIT}{task.label}"
        most = limits.value("dbproxy", key, vo=task.vo)
        if most is None:  # what another VO has allows no more than it, lest an invented VO be without a limit
            most = limits.value("dbproxy", key)
        if not isinstance(most, int):
            return
        n = await store.active(tx, task)
        if n > most:
            raise TaskRefused(SubmissionCode.TOO_MANY, f"Too many active tasks for {task.user} {n}>{most}")

    async def _know(self, tx: Transaction, caller: Caller) -> None:
        """The row of the user, which is made at the first submission."""
        users = await users_store.lock_users(tx, {caller.name: caller.dn}, self._clock.now())
        if users[caller.name].status == DISABLED:
            raise Banned(caller.name)
