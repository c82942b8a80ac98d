"""copyArchive: jobs whose pilots have gone silent, jobs that wait for too long, old files (lifecycle.md 3.3)."""

from __future__ import annotations

from attrs import frozen

from pandatx.scheduler.context import Context
from pandatx.scheduler.steps import Steps
from pandatx.services.sweeper import Step
from pandatx.services.watcher import Watcher


@frozen
class CopyArchive:
    """Looks at all active jobs once, and does the steps before and after that, one after the other."""

    _watcher: Watcher
    _before: tuple[Step, ...] = ()
    _after: tuple[Step, ...] = ()

    async def run(self, context: Context) -> bool:
        """One pass; other work goes on between its pages. Raises StepsFailed at the end."""
        steps = Steps(context)
        for step in (*self._before, Step("watching", self._watcher.run_once, "failed"), *self._after):
            await steps.take(step.name, step.work(context.breathe), step.counted)
            await context.breathe()
        steps.judge()
        return False
