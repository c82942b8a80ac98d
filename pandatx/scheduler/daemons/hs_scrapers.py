"""hs_scrapers: HS23 scores of CPUs, from the table that HEPiX publishes."""

from __future__ import annotations

from attrs import Factory, define

from pandatx.clients.cric import DumpAway
from pandatx.domain.dumps import UnreadableDump
from pandatx.scheduler.context import Context
from pandatx.scheduler.idle import Idle
from pandatx.services.benchmarks import Benchmarks


@define(eq=False)
class LoadBenchmarks:
    """The web pages of the older benchmarks do not change any more, so nothing is scraped from them."""

    _benchmarks: Benchmarks
    _idle: Idle = Factory(Idle)

    async def run(self, context: Context) -> bool:
        if not self._benchmarks.configured:
            return self._idle.say(context, "[pandatx] hs23_url is not set")
        try:
            new = await self._benchmarks.load()
        except (DumpAway, UnreadableDump) as fault:
            context.log.warn("scores of CPUs stay as they are: {fault}", fault=fault)
            return False
        if new is None:
            return self._idle.say(context, "the database has no table cpu_benchmarks")
        context.did(scores=new)
        return False
