"""worker_synchronization: Harvesters learn of workers whose pilots have started or finished."""

from __future__ import annotations

from attrs import frozen

from pandatx.scheduler.context import Context
from pandatx.services.worker_synchronization import WorkerSynchronization


@frozen
class SynchronizeWorkers:
    """One pass."""

    _synchronization: WorkerSynchronization

    async def run(self, context: Context) -> bool:
        context.did(workers=await self._synchronization.run_once())
        return False
