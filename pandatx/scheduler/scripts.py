"""Daemon scripts of other packages: plain blocking Python, run in the process pool."""

from __future__ import annotations

from attrs import frozen

from pandatx.scheduler.context import Context
from pandatx.workers.pool import ProcessPool

RUN = "pandatx.workers.scripts:run_script"
LEAST_LIMIT = 1.0


@frozen
class Script:
    """A module with ``main(argv, tbuf=None, **kwargs)``, as the PanDA daemon guide describes them."""

    _pool: ProcessPool
    _module: str
    _daemon: str
    _timeout: float

    async def run(self, context: Context) -> bool:
        """Run it once in a child, for at most what is left of the run's time."""
        left = context.seconds_left()
        limit = self._timeout if left is None else max(left, LEAST_LIMIT)
        arguments = list(context.arguments)
        call = self._pool.call(RUN, self._module, arguments, timeout=limit, context=self._label, script=self._daemon)
        return bool(await call)

    def kill(self, why: str) -> None:
        """End the run, if there is one."""
        self._pool.kill(self._label, why)

    @property
    def _label(self) -> str:
        return f"daemon {self._daemon}"
