"""queue_loader: the descriptions of queues, from CRIC to the database (R42)."""

from __future__ import annotations

from attrs import frozen

from pandatx.clients.cric import DumpAway
from pandatx.domain.dumps import UnreadableDump
from pandatx.scheduler.context import Context
from pandatx.services.queues import Queues


@frozen
class LoadQueues:
    """Load the dump; one that cannot be had or read changes nothing, and is asked for again next time."""

    _queues: Queues

    async def run(self, context: Context) -> bool:
        try:
            context.did(queues=await self._queues.load())
        except (DumpAway, UnreadableDump) as fault:
            context.log.warn("queue descriptions stay as they are: {fault}", fault=fault)
        return False
