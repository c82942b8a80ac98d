"""Changes of tasks that take effect at once (reference/wire.md 3.2 and 5.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from attrs import frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain import task_commands as rules
from pandatx.domain import task_split_rules as split_rules
from pandatx.domain.caller import Caller
from pandatx.domain.job import Job
from pandatx.domain.lifecycle import JobStatus
from pandatx.domain.task_commands import Code, Outcome
from pandatx.domain.task_requests import (
    AttemptIncrease,
    AttributeChange,
    JobCloning,
    JumboJobs,
    ModificationTimeChange,
    PriorityChange,
    ShareReassignment,
    SplitRuleChange,
    TaskReactivation,
)
from pandatx.domain.task_submission import resource_type_of_task
from pandatx.errors import BadRequest, PandaError
from pandatx.services.facts import Facts
from pandatx.store import task_attempts, task_commands
from pandatx.store import task_changes as store
from pandatx.store.database import Database, Transaction, in_batches
from pandatx.store.task_changes import JobChange

log = Logger()

ATTRIBUTES: Final = ("ramCount", "wallTime", "cpuTime", "coreCount")
JOBS_AT_ONCE: Final = 1000
TASKS_AT_ONCE: Final = 100
_MORE_ATTEMPTS: Final = ("running", "scouting", "ready")
_WAIT: Final = ("pending", "defined", "assigned", "waiting", "activated")
_RUN: Final = ("running", "starting")
_NAMED: Final = 100
_NORMAL, _CLONED = 0, 2
"""Values of JEDI_TASKS.eventService."""


class NoSuchTime(PandaError):
    """So many hours from now there is no time."""

    def __init__(self, hours: int) -> None:
        super().__init__(f"failed to convert {hours} to time")


@frozen
class TaskChanges:
    """Change tasks and their jobs; who may is judged before. ``moved`` is told of activated jobs that pilots may find
    elsewhere from now on, after their commit.
    """

    _database: Database
    _clock: Clock
    _facts: Facts
    _moved: Callable[[Sequence[Job]], None]

    async def increase_attempts(self, caller: Caller, request: AttemptIncrease) -> Outcome:
        """Give the files of a task that is under way more attempts."""
        outcome = await self._database.transaction("tasks.increase", self._increase, request)
        log.info("task {id}: {who}: {told}", id=request.task_id, who=caller.name, told=outcome.message)
        return outcome

    async def reactivate(self, caller: Caller, request: TaskReactivation) -> Outcome:
        """Have a task do all of its input again."""
        outcome = await self._database.transaction("tasks.reactivate", self._reactivate, request)
        log.info("task {id}: {who}: {told}", id=request.task_id, who=caller.name, told=outcome.message)
        return outcome

    async def change_attribute(self, caller: Caller, request: AttributeChange) -> bool:
        """Another value for one of ``ATTRIBUTES``; whether there is such a task."""
        found = await self._database.transaction("tasks.attribute", self._attribute, request)
        return self._noted(caller, request.task_id, found, f"{request.attribute_name}={request.value}")

    async def change_split_rule(self, caller: Caller, request: SplitRuleChange) -> bool:
        """Another value for one of the split rules that may change; whether there is such a task."""
        changes = {request.attribute_name: request.value}
        found = await self._database.transaction("tasks.split_rule", self._split_rule, request.task_id, changes)
        return self._noted(caller, request.task_id, found, f"split rule {request.attribute_name}={request.value}")

    async def change_modification_time(self, caller: Caller, request: ModificationTimeChange) -> bool:
        """So many hours from now; whether there is such a task. Raises NoSuchTime for one that cannot be."""
        try:
            at = self._clock.now() + timedelta(hours=request.hour_offset)
        except OverflowError:
            raise NoSuchTime(request.hour_offset) from None
        n = await self._database.transaction("tasks.time", store.set_modification_time, request.task_id, at)
        return self._noted(caller, request.task_id, n > 0, f"modificationTime={at:%Y-%m-%d %H:%M:%S}")

    async def change_priority(self, caller: Caller, request: PriorityChange) -> bool:
        """Another priority for a task and all its jobs; whether there is such a task.

        The task comes first, so that jobs which are made meanwhile have it too.
        """
        task_id, priority = request.task_id, request.priority
        n = await self._database.transaction("tasks.priority", store.set_priority, task_id, priority, self._clock.now())
        if n:
            await self._change_jobs(JobChange(tasks=(task_id,), priority=priority))
        return self._noted(caller, task_id, n > 0, f"currentPriority={priority}")

    async def reassign_share(self, caller: Caller, request: ShareReassignment) -> Outcome:
        """Another share for tasks and their waiting jobs, on request the running ones too; locked tasks are left."""
        if request.share not in {leaf.name for leaf in self._facts.known.shares.leaves}:
            return Outcome(1, f"Share {request.share} is not a leave share ")
        statuses = _WAIT + _RUN if request.reassign_running_jobs else _WAIT
        left = set(request.task_id_list)
        for some in in_batches(sorted(left), TASKS_AT_ONCE):
            tasks = await self._database.transaction("tasks.share", store.set_share, some, request.share)
            left -= set(tasks)
            if tasks:
                log.info("{who}: share {share} for {tasks}", who=caller.name, share=request.share, tasks=tasks)
                await self._change_jobs(JobChange(tasks=tasks, share=request.share, statuses=statuses))
        named = ", ".join(map(str, sorted(left)[:_NAMED]))
        return Outcome(0, f"left alone, since they are locked or unknown: {named}" if left else "")

    async def enable_jumbo_jobs(self, caller: Caller, request: JumboJobs) -> Outcome:
        """Have jumbo jobs made for a task, which leaves its scouts behind for that; none turns them off."""
        if request.jumbo_jobs_total < 0 or (request.jumbo_jobs_per_site or 0) < 0:
            raise BadRequest("jumbo_jobs_total", "numbers of jumbo jobs are not negative")
        outcome = await self._database.transaction("tasks.jumbo", self._jumbo, caller, request)
        self._noted(caller, request.task_id, outcome.code == 0, f"{request.jumbo_jobs_total} jumbo jobs")
        return outcome

    async def enable_job_cloning(self, caller: Caller, request: JobCloning) -> str:
        """Have each job of a task made several times; what is wrong, "" where nothing is."""
        mode = "runonce" if request.mode is None else request.mode
        if mode not in split_rules.CLONING:
            return f"invalid job cloning mode: {mode}"
        changes = {
            "UC": split_rules.CLONING[mode],
            "ES": 1,
            "EC": 2 if request.multiplicity is None else request.multiplicity,
            "NS": 2 if request.num_sites is None else request.num_sites,
        }
        return await self._cloning(caller, request.jedi_task_id, changes, _CLONED)

    async def disable_job_cloning(self, caller: Caller, task_id: int) -> str:
        """Have each job of a task made once; what is wrong, "" where nothing is."""
        return await self._cloning(caller, task_id, dict.fromkeys(("UC", "ES", "EC", "NS")), _NORMAL)

    # Jobs

    async def _change_jobs(self, change: JobChange) -> None:
        """Some at a time, each in a transaction of its own: reports on them must not wait for long."""
        for active in (False, True):
            last, n = 0, JOBS_AT_ONCE
            while n == JOBS_AT_ONCE:
                jobs = await self._database.transaction(
                    "tasks.jobs", store.change_jobs, change, active, last, JOBS_AT_ONCE
                )
                n = len(jobs)
                if jobs:
                    last = jobs[-1].panda_id
                    self._moved([job for job in jobs if job.job_status == JobStatus.ACTIVATED])

    # In transactions

    async def _increase(self, tx: Transaction, request: AttemptIncrease) -> Outcome:
        task = await task_commands.task(tx, request.task_id, lock=False)
        if task is None:
            return Outcome(1, f"jediTaskID={request.task_id} not found")
        if task.status not in _MORE_ATTEMPTS and task.old_status not in _MORE_ATTEMPTS:
            told = f"status={task.status} or oldStatus={task.old_status} not in {list(_MORE_ATTEMPTS)}"
            return Outcome(2, f"command rejected since {told}")
        n, again = await task_attempts.increase(tx, request.task_id, request.increase)
        return Outcome(0, f"increased attemptNr for {n} inputs ({again} reactivated)")

    async def _reactivate(self, tx: Transaction, request: TaskReactivation) -> Outcome:
        task = await task_commands.task(tx, request.task_id, lock=False)
        if task is None or task.status == rules.WAITING:
            return Outcome(Code.NOT_FOUND, f"jediTaskID={request.task_id} not found")
        n = await task_attempts.reactivate(tx, request.task_id, request.keep_attempt_nr)
        return Outcome(0, f"updated {n} inputs and task {request.task_id} was reactivated ")

    async def _attribute(self, tx: Transaction, request: AttributeChange) -> bool:
        row = await store.set_attribute(tx, request.task_id, request.attribute_name, request.value)
        if row is None:
            return False
        cores, ram, base_ram, unit = row
        resource_type = resource_type_of_task(cores, ram, base_ram, unit, self._facts.known.resource_types)
        await store.set_resource_type(tx, request.task_id, resource_type)
        return True

    async def _split_rule(self, tx: Transaction, task_id: int, changes: Mapping[str, object]) -> bool:
        found = await store.lock(tx, task_id)
        if found is None:
            return False
        await store.set_split_rule(tx, task_id, split_rules.changed(found[0], changes))
        return True

    async def _jumbo(self, tx: Transaction, caller: Caller, request: JumboJobs) -> Outcome:
        found = await store.lock(tx, request.task_id)
        if found is None:
            return Outcome(2, "task not found")
        total = request.jumbo_jobs_total
        changes = {"NJ": total, "MJ": request.jumbo_jobs_per_site or total}
        flag = "W" if total else "D"
        await store.set_jumbo(tx, request.task_id, split_rules.changed(found[0], changes), flag)
        task = await task_commands.task(tx, request.task_id)
        if total and task is not None and rules.refusal("avalanche", task.status, production=True) is None:
            comment = rules.comment_of("avalanche", caller.name)
            await task_commands.register(tx, request.task_id, "avalanche", self._clock.now(), comment=comment)
        return Outcome(0, "done")

    async def _cloning(self, caller: Caller, task_id: int, changes: Mapping[str, object], service: int) -> str:
        async def work(tx: Transaction) -> str:
            found = await store.lock(tx, task_id)
            if found is None:
                return "task not found"
            await store.set_cloning(tx, task_id, split_rules.changed(found[0], changes), service)
            return ""

        fault = await self._database.transaction("tasks.cloning", work)
        self._noted(caller, task_id, not fault, f"job cloning {dict(changes)}")
        return fault

    def _noted(self, caller: Caller, task_id: int, done: bool, what: str) -> bool:
        if done:
            log.info("task {id}: {who} sets {what}", id=task_id, who=caller.name, what=what)
        return done
