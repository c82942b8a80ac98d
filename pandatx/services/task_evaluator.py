"""Evaluating the analysis tasks that are under way, into TASK_EVALUATION."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from attrs import frozen

from pandatx.clock import Clock
from pandatx.domain.metric_names import TASKS, USERS
from pandatx.domain.task_evaluation import Boost, evaluate
from pandatx.services.facts import Facts
from pandatx.services.metric_collector import Locked
from pandatx.store import metric_collector as store
from pandatx.store.database import Database, Transaction

TOGETHER: Final = 500
"""Tasks in one transaction."""
_CHANGED: Final = timedelta(days=30)


@frozen
class TaskEvaluator:
    """Every ten minutes among all servers, older ones too: their lock is ours."""

    _database: Database
    _clock: Clock
    _facts: Facts
    _holder: str

    async def run_once(self, pause: Callable[[], Awaitable[None]]) -> int | None:
        """Evaluate all tasks, if it is time; how many were."""
        began = await Locked(self._database, self._clock, self._holder).make(TASKS, self._begin)
        if began is None:
            return None
        users = await self._database.transaction("task_evaluator.users", store.read_one, USERS, self._clock.now())
        boost, after, done, more = self._boost(), 0, 0, True
        while more:
            number, after, more = await self._database.transaction(
                "task_evaluator.write", self._write, users or {}, boost, after
            )
            done += number
            await pause()
        return done

    async def _begin(self, tx: Transaction) -> int:
        return await store.forget_tasks(tx, TASKS, self._clock.now() - TASKS.good_for)

    async def _write(self, tx: Transaction, users: dict[str, Any], boost: Boost, after: int) -> tuple[int, int, bool]:
        now = self._clock.now()
        tasks = await store.tasks(tx, now - _CHANGED, after, TOGETHER)
        found = {task.task_id: value for task in tasks if (value := evaluate(task, users, boost)) is not None}
        if found:
            await store.write_tasks(tx, TASKS, found, now)
        return len(found), tasks[-1].task_id if tasks else after, len(tasks) == TOGETHER

    def _boost(self) -> Boost:
        get, usual = self._facts.known.parameters.get, Boost()
        return Boost(
            progress_a=get("analy_eval", "PROGRESS_TO_BOOST_A", float(usual.progress_a)),
            progress_b=get("analy_eval", "PROGRESS_TO_BOOST_B", float(usual.progress_b)),
            jobs_a=get("analy_eval", "MAX_REM_JOBS_TO_BOOST_A", usual.jobs_a),
            jobs_b=get("analy_eval", "MAX_REM_JOBS_TO_BOOST_B", usual.jobs_b),
        )
