"""task_evaluator: the class of each analysis task."""

from __future__ import annotations

from attrs import frozen

from pandatx.scheduler.context import Context
from pandatx.services.task_evaluator import TaskEvaluator


@frozen
class EvaluateTasks:
    """Evaluates all, if it is time."""

    _evaluator: TaskEvaluator

    async def run(self, context: Context) -> bool:
        context.did(tasks=await self._evaluator.run_once(context.breathe) or 0)
        return False
