"""The Setupper: from submitted to activated, by way of a plugin (reference/lifecycle.md 2.5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol, TypeVar
from uuid import uuid4

import orjson
import psycopg2
from attrs import Factory, define, field, frozen
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from pandatx import metrics
from pandatx.clock import Clock
from pandatx.domain.job import Job
from pandatx.domain.setup import BadAnswer, Plan, plan_of, told
from pandatx.errors import PandaError
from pandatx.plugins.interface import serials_wanted
from pandatx.services.batching import Batcher
from pandatx.store import setup as store
from pandatx.store.database import Database, Transaction
from pandatx.store.submission import Ids
from pandatx.workers.pool import CallError

log = Logger()
Item = TypeVar("Item")

AT_ONCE: Final = 50
"""Jobs that are worked on before others get the reactor."""
TOGETHER: Final = 1000
"""Jobs in one call to the process pool, or in one transaction, unless a submission has more."""
CROWDED: Final = 2000
"""Jobs in setup from which on submitters wait for their answer, so that setup keeps up with them."""
LONGEST_WAIT: Final = 10.0
WAIT_STEP: Final = 0.02
RESCUED: Final = 1000
"""Jobs that a rescue takes at a time."""
LOCAL: Final = "local"
"""The VO of jobs whose output stays at their site."""
_TICK: Final = timedelta(microseconds=1)


class SetupFault(Exception):
    """A plugin gave no plan; its jobs stay as they are and are tried again later."""


class Setuppers(Protocol):
    """The plugins of the VOs: plugins/registry.py."""

    def for_vo(self, vo: str) -> str: ...


class Pool(Protocol):
    """What runs functions by name in killable children: workers/pool.py."""

    def call(self, name: str, *args: Any, timeout: float, context: str = "") -> Awaitable[Any]: ...


@frozen(kw_only=True)
class _Task:
    """A submission, or the part of it that one plugin sees."""

    target: str
    jobs: Sequence[Job]
    text: orjson.Fragment
    settings: Mapping[str, Any]


@define(eq=False)
class Setup:
    """Have submissions set up and their jobs activated; several that wait go together.

    ``activated`` is called with jobs after the commit that activated them, ``ended`` with PandaID and status of jobs
    that a plugin has ended.
    """

    _database: Database
    _clock: Clock
    _setuppers: Setuppers
    _pool: Pool
    _activated: Callable[[Iterable[Job]], None]
    _settings: Mapping[str, Any] = Factory(dict)
    _timeout: float = 600.0
    _ended: Callable[[Sequence[tuple[int, str]]], None] = lambda ended: None
    _busy: set[int] = Factory(set)
    _running: set[Deferred[None]] = Factory(set)
    _lines: dict[str, Batcher[_Task, Plan]] = Factory(dict)
    _ids: Ids = field(init=False)
    _plans: Batcher[Plan, None] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._ids = Ids(self._database)
        self._plans = Batcher(self._apply_all, largest=200)

    def accept(self, jobs: Sequence[Job]) -> None:
        """Set up a submission that has just been stored; returns at once."""
        self._begin(jobs)

    async def rescue(self, older_than: timedelta) -> int:
        """Set up the jobs that have been ``defined`` for so long without it, and wait for that; how many there were.

        A server that died, or a plugin that failed, has left them. Others are kept off them meanwhile.
        """
        return await self._again("defined", older_than)

    async def recheck(self, older_than: timedelta) -> int:
        """Set up the jobs again that are ``assigned`` and were not looked at for so long; how many there were.

        The files that they wait for may have come to a storage that this server can reach (rule R18).
        """
        return await self._again("assigned", older_than) if self._settings.get("storage") else 0

    async def _again(self, status: str, older_than: timedelta) -> int:
        total, now = 0, self._clock.now()
        before = now - older_than
        while left := await self._database.transaction(
            "setup.rescue", store.claim_left, status, before, sorted(self._busy), RESCUED, max(now, before + _TICK)
        ):
            total += len(left)
            log.info("setting up {n} jobs that were left in {status}", n=len(left), status=status)
            await DeferredList([self._begin(jobs) for jobs in _submissions(left)])
        return total

    async def idle(self) -> None:
        """Wait until everything that was accepted has been dealt with."""
        while self._running:
            await DeferredList(list(self._running))

    @property
    def waiting(self) -> int:
        """Jobs in setup, for the status line."""
        return len(self._busy)

    async def room(self) -> None:
        """Wait while very many jobs are in setup, but not for long: a plugin may hang."""
        limit = self._clock.seconds() + LONGEST_WAIT
        while len(self._busy) > CROWDED and self._clock.seconds() < limit:
            await self._clock.wait(WAIT_STEP)

    def _begin(self, jobs: Sequence[Job]) -> Deferred[None]:
        ids = [job.panda_id for job in jobs]
        self._busy.update(ids)
        running: Deferred[None] = Deferred.fromCoroutine(self._set_up(jobs))
        self._running.add(running)

        def done(result: Any) -> Any:
            self._busy.difference_update(ids)
            self._running.discard(running)
            return result

        running.addBoth(done)
        running.addErrback(lambda failure: log.failure("setup of {first} and others", failure, first=ids[:1]))
        return running

    async def _set_up(self, jobs: Sequence[Job]) -> None:
        for target, some in _by_target(jobs, self._setuppers):
            try:
                plan = await self._line(target).submit(await self._task(target, some))
                await self._plans.submit(plan)
            except (SetupFault, BadAnswer, CallError, PandaError, psycopg2.Error) as fault:
                first, last = some[0].panda_id, some[-1].panda_id
                log.error(
                    "jobs {first} to {last} ({n}) stay in defined, {target} will be asked again: {fault}",
                    first=first,
                    last=last,
                    n=len(some),
                    target=target,
                    fault=fault,
                )

    def _line(self, target: str) -> Batcher[_Task, Plan]:
        """A line for each plugin: one that is slow holds up nobody else."""
        if target not in self._lines:
            self._lines[target] = Batcher(self._ask_all, largest=200)
        return self._lines[target]

    async def _task(self, target: str, jobs: Sequence[Job]) -> _Task:
        """The jobs as JSON, made so many at a time that others are seen to in between."""
        pieces: list[orjson.Fragment] = []
        labelled: list[dict[str, Any]] = []
        for start in range(0, len(jobs), AT_ONCE):
            if start:
                await self._breathe()
            values = [told(job) for job in jobs[start : start + AT_ONCE]]
            pieces.append(orjson.Fragment(orjson.dumps(values)[1:-1]))
            labelled += values
        n = serials_wanted(labelled)
        settings = {**self._settings, "serials": await self._ids.serials(n)} if n else self._settings
        return _Task(target=target, jobs=jobs, text=orjson.Fragment(orjson.dumps(pieces)), settings=settings)

    async def _breathe(self) -> None:
        await self._clock.wait(0)

    # The plugins.

    async def _ask_all(self, tasks: list[_Task]) -> list[Plan | Exception]:
        answers: list[Plan | Exception] = []
        for some in _batches(tasks, lambda task: len(task.jobs)):
            answers += await self._ask(some)
        return answers

    async def _ask(self, tasks: Sequence[_Task]) -> list[Plan | Exception]:
        try:
            said = await self._pool.call(
                "pandatx.plugins.setups:setup_each",
                tasks[0].target,
                [[task.text, task.settings] for task in tasks],
                timeout=self._timeout,
                context=f"setup of job {tasks[0].jobs[0].panda_id} and others",
            )
        except CallError as fault:
            if len(tasks) == 1:
                return [fault]
            return [(await self._ask([task]))[0] for task in tasks]  # one of them did it: each alone
        plans: list[Plan | Exception] = []
        for task, answer in zip(tasks, said, strict=True):
            try:
                plans.append(_plan(task.jobs, answer))
            except (BadAnswer, SetupFault) as fault:
                plans.append(fault)
        return plans

    # The plans.

    async def _apply_all(self, plans: list[Plan]) -> list[Exception | None]:
        answers: list[Exception | None] = []
        for some in _batches(plans, lambda plan: len(plan.activate) + len(plan.changes) + len(plan.ends)):
            answers += await self._apply_some(some)
        return answers

    async def _apply_some(self, plans: Sequence[Plan]) -> list[Exception | None]:
        metrics.BATCH_ROWS.labels("setup.apply").observe(len(plans))
        try:
            moved, ended = await self._database.transaction("setup.apply", apply, _together(plans), self._clock.now())
        except PandaError as fault:
            return [fault] * len(plans)
        except psycopg2.Error as fault:
            if len(plans) == 1:
                return [fault]
            return [(await self._apply_some([plan]))[0] for plan in plans]
        self._activated(moved)
        if ended:
            for panda_id, status in ended:
                metrics.JOBS_ENDED.labels(status).inc()
                log.info("job {id}: {status} in its setup", id=panda_id, status=status)
            self._ended(ended)
        return [None] * len(plans)


def _plan(jobs: Sequence[Job], said: Mapping[str, Any]) -> Plan:
    if "error" in said:
        raise SetupFault(said["error"])
    return plan_of(jobs, said["answer"])


async def apply(tx: Transaction, plan: Plan, now: Any) -> tuple[list[Job], list[tuple[int, str]]]:
    """Do what a plan says: the jobs activated (the keys of dispatch), and PandaID and status of those ended.

    The locks are taken in the order of rule R1: jobs, files, datasets.
    """
    if plan.changes or plan.ends:
        await store.lock(tx, sorted({*plan.activate, *_ids(plan.changes), *_ids(plan.ends)}))
    moved = await store.activate(tx, plan.activate, now) if plan.activate else []
    if plan.changes:
        await store.change(tx, plan.changes, now)
    if plan.files:
        await store.change_files(tx, plan.files)
    ended = await store.end(tx, plan.ends, now) if plan.ends else []
    if plan.datasets:
        rows = [{"vuid": str(uuid4()), **dataset} for dataset in plan.datasets]
        await store.add_datasets(tx, rows, now)
    return moved, ended


def _ids(records: Iterable[Any]) -> list[int]:
    return [record.panda_id for record in records]


def _together(plans: Sequence[Plan]) -> Plan:
    if len(plans) == 1:
        return plans[0]
    datasets: dict[tuple[str, str], Mapping[str, Any]] = {}
    for plan in plans:
        for dataset in plan.datasets:
            datasets.setdefault((dataset["name"], dataset["type"]), dataset)
    return Plan(
        activate=tuple(panda_id for plan in plans for panda_id in plan.activate),
        changes=tuple(change for plan in plans for change in plan.changes),
        ends=tuple(end for plan in plans for end in plan.ends),
        files=tuple(file for plan in plans for file in plan.files),
        datasets=tuple(datasets.values()),
    )


def _by_target(jobs: Sequence[Job], setuppers: Setuppers) -> list[tuple[str, list[Job]]]:
    """The jobs of a submission by VO, with the plugin of each; those for local storage have a VO of their own."""
    by_vo: dict[str, list[Job]] = {}
    for job in jobs:
        by_vo.setdefault(LOCAL if job.destination_se == LOCAL else job.vo or "", []).append(job)
    return [(setuppers.for_vo(vo), some) for vo, some in by_vo.items()]


def _submissions(jobs: Iterable[Job]) -> list[list[Job]]:
    """Jobs that were left, put together as they were submitted."""
    found: dict[tuple[str | None, Any, int], list[Job]] = {}
    for job in jobs:
        found.setdefault((job.prod_user_name, job.creation_time, job.job_definition_id), []).append(job)
    return list(found.values())


def _batches(items: Sequence[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    total = 0
    for item in items:
        if batch and total + size(item) > TOGETHER:
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size(item)
    if batch:
        yield batch
