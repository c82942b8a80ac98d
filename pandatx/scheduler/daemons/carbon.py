"""carbon: the emissions of regions, for those who place work where it is clean."""

from __future__ import annotations

from attrs import Factory, define

from pandatx.clients.web import Away
from pandatx.domain.dumps import UnreadableDump
from pandatx.errors import BadArguments
from pandatx.scheduler.context import Context
from pandatx.scheduler.idle import Idle
from pandatx.services.carbon import Carbon


@define(eq=False)
class CountCarbon:
    """Ask once."""

    _carbon: Carbon
    _idle: Idle = Factory(Idle)

    async def run(self, context: Context) -> bool:
        if context.arguments:
            raise BadArguments(f"carbon takes no arguments, not {' '.join(map(str, context.arguments))}")
        if not self._carbon.configured:
            return self._idle.say(context, "[server] CO2_BEARER_TOKEN or [pandatx] co2_url is not set")
        try:
            context.did(measures=await self._carbon.refresh())
        except (Away, UnreadableDump) as fault:
            context.log.warn("emissions stay as they are: {fault}", fault=fault)
        return False
