"""Work on many, where what the database refuses of one stops no other (rules R2 and R4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg2
from attrs import define
from twisted.logger import Logger

from pandatx.errors import Busy, DatabaseAway

log = Logger()


@define(eq=False)
class Groups:
    """Counts what is done of several groups, and keeps the last fault until the end.

    Without a database, DatabaseAway is raised at once: there is nothing to go on with.
    """

    _done: int = 0
    _fault: psycopg2.Error | Busy | None = None

    async def take(self, work: Callable[..., Awaitable[int]], *args: Any) -> None:
        """Do a part of the work, which may fail by itself."""
        try:
            self._done += await work(*args)
        except DatabaseAway:
            raise
        except (psycopg2.Error, Busy) as fault:
            self._fault = fault

    async def apart(self, ids: Sequence[int], work: Callable[[Sequence[int]], Awaitable[int]]) -> None:
        """Do a group of jobs; if the database refuses it, each of them alone. What takes too long is left for later."""
        try:
            self._done += await work(ids)
        except psycopg2.Error as fault:
            self._fault = fault
            if len(ids) == 1:
                log.error("job {id}: the database refuses it: {fault}", id=ids[0], fault=fault)
                return
            for panda_id in ids:
                await self.apart([panda_id], work)
        except DatabaseAway:
            raise
        except Busy as fault:
            log.warn("{n} jobs are left for the next time: {fault}", n=len(ids), fault=fault)
            self._fault = fault

    def end(self) -> int:
        """How many were dealt with; raises the last fault if there was any."""
        if self._fault is not None:
            raise self._fault
        return self._done
