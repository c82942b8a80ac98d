"""Unified pilot streaming: telling Harvesters how many workers of which kind a queue wants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from attrs import frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.pilot_streaming import Command, Plan, command, harvester_of, is_streamed
from pandatx.services.facts import Facts
from pandatx.store import harvester_commands
from pandatx.store import pilot_streaming as store
from pandatx.store.database import Database

log = Logger()

FRESH: Final = timedelta(minutes=60)
"""How old a Harvester's word on its workers may be."""


@frozen
class PilotStreaming:
    """One command for each queue whose Harvester has reported workers; a queue without is left alone."""

    _database: Database
    _clock: Clock
    _facts: Facts

    async def run_once(self, pause: Callable[[], Awaitable[None]]) -> int:
        """Decide anew for every queue; how many commands."""
        streamed = [queue for queue in self._facts.known.queues.values() if is_streamed(queue)]
        if not streamed:
            return 0
        workers, done = await store.workers(self._database, self._clock.now() - FRESH), 0
        for queue in streamed:
            known = self._facts.known
            of_queue = workers.get((queue.name, harvester_of(queue)))
            if of_queue is not None:
                ignore = known.parameters.get("meanrss", "IGNORE_MEANRSS", False)
                plan = Plan(queue, known.resource_types, known.ranks, ignore)
                wanted = plan.new_workers(of_queue, await store.waiting(self._database, queue.name))
                await self._tell(command(queue, wanted))
                done += 1
            await pause()
        return done

    async def _tell(self, told: Command) -> None:
        log.info("{harvester}: {command} {params}", harvester=told.harvester, command=told.name, params=told.params)
        now = self._clock.now()
        await self._database.transaction("pilot_streaming.tell", harvester_commands.replace, [told], now)
