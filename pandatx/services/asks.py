"""Remembering for an hour what pilots asked for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import psycopg2
from attrs import define, field
from twisted.logger import Logger

from pandatx.clock import EPOCH, Clock
from pandatx.domain.asks import Asked, commonest, roughly
from pandatx.domain.fit import Want
from pandatx.errors import PandaError
from pandatx.store import asks as store
from pandatx.store.database import Database

log = Logger()

STRETCH: Final = timedelta(minutes=10)
"""Requests of one row."""
MOST_WANTS: Final = 1000
"""Kinds of requests that are told apart between two flushes; as many again with rounded limits, since pilots send what
their nodes have; beyond that only the queue is counted, of as many queues."""
MOST_TOLD: Final = 200
"""Wants that are told of a queue."""
OTHERS: Final = "(others)"
_HOUR: Final = timedelta(hours=1)
_WIDTH: Final = 128


@define(eq=False)
class _Tally:
    asked: int = 0
    served: int = 0
    refused: int = 0
    last: datetime = EPOCH


@define(eq=False)
class Asks:
    """Counts in memory, adds to the table each minute; what cannot be added is kept for the next minute."""

    _database: Database
    _clock: Clock
    _instance: str
    _tallies: dict[tuple[str, Want | None], _Tally] = field(factory=dict)
    _forgot: datetime | None = None

    def note(self, queue: str, want: Want, served: bool) -> None:
        """A pilot at ``queue`` was answered, with a job or with none."""
        tally = self._tally(queue, want)
        tally.asked += 1
        tally.served += served

    def refuse(self, queue: str, want: Want) -> None:
        """A pilot had not the role that it needs."""
        tally = self._tally(queue, want)
        tally.asked += 1
        tally.refused += 1

    async def of_queue(self, queue: str) -> list[Asked]:
        """What was asked for at ``queue`` within the hour, at any server: the same want once, the commonest first.

        Other servers' requests of the last minute may be missing, and rare wants stand together as None.
        """
        after = _stretch(self._clock.now() - _HOUR)
        found = {each.want: each for each in await store.of_queue(self._database, queue, after, MOST_TOLD)}
        for (_, want), each in self._counts(queue).items():
            found[want] = found[want] + each if want in found else each
        return commonest(found.values(), MOST_TOLD)

    async def flush(self) -> None:
        """Add what was counted; called each minute and at the end."""
        counts, before, now = self._counts(), self._tallies, self._clock.now()
        self._tallies = {}
        try:
            if counts:
                await self._database.transaction("asks.add", store.add, self._instance, _stretch(now), counts)
                before = {}
            if self._forgot is None or now - self._forgot > STRETCH:
                await self._database.transaction("asks.forget", store.forget, now - 2 * _HOUR)
                self._forgot = now
        except (PandaError, psycopg2.Error) as error:
            for (queue, want), tally in before.items():
                kept = self._tally(queue, want, tally.last)
                kept.asked += tally.asked
                kept.served += tally.served
                kept.refused += tally.refused
            log.info("what pilots asked for is added later: {error}", error=error)

    def _tally(self, queue: str, want: Want | None, last: datetime | None = None) -> _Tally:
        tally = self._tallies.get((queue[:_WIDTH], want))
        if tally is None:
            tally = self._tallies.setdefault(self._place(queue[:_WIDTH], want), _Tally())
        tally.last = max(tally.last, last or self._clock.now())
        return tally

    def _place(self, queue: str, want: Want | None) -> tuple[str, Want | None]:
        """Under what a want is counted that is not known yet."""
        kinds = len(self._tallies)
        if kinds < MOST_WANTS:
            return queue, want
        if want is not None and ((rough := (queue, roughly(want))) in self._tallies or kinds < 2 * MOST_WANTS):
            return rough
        return (queue if kinds < 3 * MOST_WANTS or (queue, None) in self._tallies else OTHERS), None

    def _counts(self, of: str | None = None) -> dict[tuple[str, Want | None], Asked]:
        return {
            (queue, want): Asked(
                want=want, asked=tally.asked, served=tally.served, refused=tally.refused, last=tally.last
            )
            for (queue, want), tally in self._tallies.items()
            if of is None or queue == of
        }


def _stretch(time: datetime) -> datetime:
    """The beginning of the stretch that a time is in."""
    return time - (time - EPOCH) % STRETCH
