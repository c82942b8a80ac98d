"""Applying what operators have set down on errors to the tasks of failed jobs (reference/lifecycle.md 1.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from pandatx.domain import retry_effects as effects
from pandatx.domain.job import Job, JobFile
from pandatx.domain.queues import Queue
from pandatx.domain.retry_effects import Attempt, JobNeeds, Memory, TaskNeeds
from pandatx.domain.retry_rules import SYSTEM, Action, Application, JobError, RetryPlan, Rules, plan
from pandatx.domain.shares import ResourceTypeRow, resource_type_of
from pandatx.services.facts import Facts
from pandatx.store import retry_rules as store
from pandatx.store.database import Transaction
from pandatx.store.retry_rules import FileMemory, Limit, TaskChange

log = Logger()

AGE: Final = timedelta(minutes=1)
"""How old the rules in use may be (rule R13)."""
_INPUTS: Final = frozenset(("input", "pseudo_input", "pp_input", "trn_log", "trn_output"))
_OWN_RELEASE: Final = "DBRelease"
_LIMITS: Final = (Action.NO_RETRY, Action.LIMIT_RETRY)


@frozen(kw_only=True)
class Failed:
    """A failed job as it ends, with its errors: of each round only the first that a rule acts on counts."""

    job: Job
    rounds: Sequence[Sequence[JobError]]


@define(eq=False)
class RetryRules:
    """Hold the rules, read at most once a minute and only while jobs of tasks end, and apply them."""

    _facts: Facts
    _rules: Rules = field(factory=Rules)
    _read_at: datetime | None = None

    async def apply(self, tx: Transaction, failed: Sequence[Failed], now: datetime) -> None:
        """Apply rules to the tasks of jobs whose end this transaction has just written; at its end, when the tasks have
        counted the jobs, so that these locks come last (rule R1). Without a query where no job belongs to a task.
        """
        of_tasks = [one for one in failed if one.job.jedi_task_id]
        if not of_tasks:
            return
        rules = await self._current(tx, now)
        planned = [(one.job, plan(one.job, one.rounds, rules, now)) for one in of_tasks]
        planned = [(job, found) for job, found in planned if found]
        while rules.slow:
            log.error("{rule}: its expression takes too long for a text of a job: it is void", rule=rules.slow.pop())
        for job, found in planned:
            _tell(job, found)
        resized = [(job, each) for job, found in planned for each in found.applications if _resizes(each)]
        if resized:
            known = self._facts.known
            tasks = await store.lock_tasks(tx, (job.jedi_task_id or 0 for job, _ in resized))
            resizing = _Resizing(tx=tx, tasks=tasks, resource_types=known.resource_types, queues=known.queues, now=now)
            for job, each in resized:
                if job.jedi_task_id in tasks:
                    await resizing.apply(job, each)
        limits = [limit for job, found in planned if (limit := _limit(job, found)) is not None]
        if limits:
            await store.limit_attempts(tx, limits, [_inputs(limit.job) for limit in limits])

    async def _current(self, tx: Transaction, now: datetime) -> Rules:
        if self._read_at is None or not timedelta(0) <= now - self._read_at < AGE:
            rules = await store.read(tx)
            for fault in sorted(set(rules.faults) - set(self._rules.faults)):
                log.warn("{fault}: it is void", fault=fault)
            self._rules, self._read_at = rules, now
        return self._rules


def _inputs(job: Job) -> list[JobFile]:
    """The inputs that the task keeps track of."""
    return [
        each
        for each in job.files
        if each.type in _INPUTS and each.dataset_id and each.file_id and _OWN_RELEASE not in each.lfn
    ]


def _tell(job: Job, found: RetryPlan) -> None:
    for each in found.applications:
        log.info(
            "job {id} of task {task}: {source} {code}: {what} by retry rule {rule}{note}",
            id=job.panda_id,
            task=job.jedi_task_id,
            source=each.error.source,
            code=each.error.code,
            what=str(each.rule.action),
            rule=each.rule.id,
            note="" if each.rule.active else ", which is not active",
        )
    if found.classified is not None:
        log.info(
            "job {id} of task {task}: {source} {code} is of class {name} by {rule}{note}",
            id=job.panda_id,
            task=job.jedi_task_id,
            source=found.classified.source,
            code=found.classified.code,
            name=found.classified.name,
            rule=found.classified.id,
            note="" if found.classified.active else ", which is not active",
        )


def _resizes(application: Application) -> bool:
    return application.rule.active and application.rule.action not in _LIMITS


def _limit(job: Job, found: RetryPlan) -> Limit | None:
    """No retry is for good; an attempt that a system error cost is given back."""
    rules = [each.rule for each in found.applications if each.rule.active and each.rule.action in _LIMITS]
    if any(rule.action is Action.NO_RETRY for rule in rules):
        return Limit(job=job, stops=True)
    excused = found.classified is not None and found.classified.active and found.classified.name == SYSTEM
    if not rules and not excused:
        return None
    return Limit(job=job, most=min((rule.max_attempt for rule in rules), default=None), more=int(excused))


@frozen(kw_only=True)
class _Resizing:
    """Changing what tasks ask for; ``tasks`` are those that rules may change, as they are by now.

    What costs a look at all files or jobs of a task is looked at once for all its jobs, whose locks are held meanwhile.
    """

    tx: Transaction
    tasks: dict[int, TaskNeeds]
    resource_types: Sequence[ResourceTypeRow]
    queues: Mapping[str, Queue]
    now: datetime
    _memory: dict[int, FileMemory] = field(factory=dict)
    _finished: dict[int, bool] = field(factory=dict)

    async def apply(self, job: Job, application: Application) -> None:
        match application.rule.action:
            case Action.INCREASE_MEMORY | Action.INCREASE_MEMORY_XTIMES:
                await self._more_memory(job, application.rule.action)
            case Action.INCREASE_CPUTIME:
                await self._more_cpu_time(job)
            case Action.REDUCE_INPUT:
                await self._less_input(job, application.rule.parameters)

    async def _more_memory(self, job: Job, action: Action) -> None:
        task = job.jedi_task_id or 0
        needs = self.tasks[task]
        given = JobNeeds(min_ram_count=job.min_ram_count, min_ram_unit=job.min_ram_unit, core_count=job.core_count)
        decide = effects.more_memory if action is Action.INCREASE_MEMORY else effects.more_memory_by_task
        if task not in self._memory:
            self._memory[task] = await store.memory_of_files(self.tx, task)
        memory: Memory = decide(needs, given, self._memory[task].files)
        if memory.task is not None:
            cores, whole = effects.memory_per_core(needs, memory.task)
            kind = resource_type_of(whole, cores, self.resource_types) if self.resource_types else None
            self.tasks[task] = evolve(needs, ram_count=memory.task)
            await store.change_task(self.tx, task, TaskChange(ram=memory.task, resource_type=kind))
        if memory.files is not None:
            files = [each for each in job.files if each.type in _INPUTS and each.dataset_id and each.file_id]
            await store.raise_memory(self.tx, job, files, memory.files, self._memory[task])

    async def _more_cpu_time(self, job: Job) -> None:
        """By this job's time while none of the task has finished; else JEDI is asked to work it out again."""
        task = job.jedi_task_id or 0
        attempt = await self._attempt(job)
        longer = None if attempt is None else effects.more_cpu_time(self.tasks[task], attempt)
        if longer is None:
            await store.recalculate(self.tx, task, self.now)
            return
        self.tasks[task] = evolve(self.tasks[task], cpu_time=longer[0], cpu_time_unit=longer[1])
        await store.change_task(self.tx, task, TaskChange(cpu_time=longer[0], cpu_time_unit=longer[1]))

    async def _attempt(self, job: Job) -> Attempt | None:
        """What this job says of its task's CPU time, None where it says nothing."""
        task, queue = job.jedi_task_id or 0, self.queues.get(job.computing_site or "")
        if queue is None or not queue.core_power or not queue.document.get("maxtime"):
            return None
        if job.start_time is None or job.end_time is None:
            return None
        if task not in self._finished:
            self._finished[task] = await store.has_finished(self.tx, task)
        if self._finished[task]:
            return None
        return Attempt(
            wall_time=(job.end_time - job.start_time).total_seconds(),
            cores=job.core_count or 1,
            core_power=queue.core_power,
            events=await store.events(self.tx, task, _inputs(job)),
        )

    async def _less_input(self, job: Job, parameters: Mapping[str, str]) -> None:
        task = job.jedi_task_id or 0
        masters = await store.master_inputs(self.tx, task)
        changed = effects.less_input(
            self.tasks[task].split_rule,
            job.attempt_nr,
            effects.gigabytes_of(sum(each.fsize or 0 for each in job.files)),
            sum(1 for each in job.files if each.dataset_id in masters),
            excluded=parameters.get("excluded_rules"),
            steps=parameters.get("steps"),
        )
        if changed is not None:
            self.tasks[task] = evolve(self.tasks[task], split_rule=changed)
            await store.change_task(self.tx, task, TaskChange(split_rule=changed))
