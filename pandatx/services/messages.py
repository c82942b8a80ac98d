"""Messages of data management: blocks that are complete let their jobs go on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import psycopg2
from attrs import frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.messages import Event, Meaning, UnreadableMessage, meaning, read
from pandatx.errors import Busy, DatabaseAway
from pandatx.metrics import MESSAGES
from pandatx.services.activator import Activator
from pandatx.services.finisher import Finisher
from pandatx.store import setup as store
from pandatx.store.database import Database

log = Logger()

FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 5.0
"""Seconds between two tries while there is no database."""
TRIES: Final = 5
"""How often the database may refuse a message for what may pass: a lock that is held, a time limit."""


@frozen
class Messages:
    """Do what messages say. When ``take`` is over, all of it is committed, and the message may be acknowledged."""

    _database: Database
    _clock: Clock
    _activator: Activator
    _finisher: Finisher

    async def take(self, message_id: str, body: str | bytes, wanted: Callable[[], bool] = lambda: True) -> bool:
        """Do what one message says, as long as it is ``wanted``; False where it is not any more, and nothing was done.

        While there is no database it waits. One that cannot be read, or that the database refuses, is told of once and
        counts as done: what it said is asked for by datasetManager.
        """
        wait, refused = FIRST_WAIT, 0
        while wanted():
            try:
                outcome: str | None = await self._take(body)
            except DatabaseAway:
                outcome = None
            except (Busy, psycopg2.OperationalError) as fault:
                refused += 1
                outcome = None if refused < TRIES else _refused(message_id, fault)
            except psycopg2.Error as fault:
                outcome = _refused(message_id, fault)
            except UnreadableMessage as fault:
                log.warn("message {id} cannot be read: {fault}", id=message_id, fault=fault)
                outcome = "unreadable"
            if outcome is not None:
                MESSAGES.labels(outcome).inc()
                return True
            await self._clock.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT)
        return False

    async def _take(self, body: str | bytes) -> str:
        event = read(body)
        if event is None:
            return "passed over"
        kinds = await self._database.transaction("messages.look", store.datasets, event.name)
        meanings = {found for kind, _ in kinds if (found := meaning(event.name, kind)) is not None}
        for each in sorted(meanings):
            n = await self._follow(event, each)
            log.info("{name} is complete at {rse}: {n} jobs go on", name=event.name, rse=event.rse or "its goal", n=n)
        return "done" if meanings else "unknown"

    def _follow(self, event: Event, meant: Meaning) -> Awaitable[int]:
        if meant is Meaning.FINISH:
            return self._finisher.arrived(event.name)
        return self._activator.release(event.name, enforce=meant is Meaning.ACTIVATE_AGAIN)


def _refused(message_id: str, fault: psycopg2.Error | Busy) -> str:
    log.error("message {id}: the database refused what it says: {fault}", id=message_id, fault=fault)
    return "refused"
