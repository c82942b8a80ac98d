"""pilotStreaming: how many workers Harvesters are to submit for queues of unified pilot streaming."""

from __future__ import annotations

from attrs import frozen

from pandatx.scheduler.context import Context
from pandatx.services.pilot_streaming import PilotStreaming


@frozen
class StreamPilots:
    """One pass over the queues."""

    _streaming: PilotStreaming

    async def run(self, context: Context) -> bool:
        context.did(commands=await self._streaming.run_once(context.breathe))
        return False
