"""The servers on one database, what waits in their spools, and when silence says something of pilots (rule R4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from attrs import define
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.watch import silence_counts
from pandatx.errors import Busy, DatabaseAway
from pandatx.store import instances as store
from pandatx.store.database import Database

log = Logger()

EVERY: Final = 30.0
"""Seconds between two beats."""
LIVE: Final = timedelta(minutes=2)
"""A server that was not seen for so long does not count as living."""
HEARTBEAT_PERIOD: Final = timedelta(minutes=30)
"""How often pilots report."""
_FORGOTTEN: Final = timedelta(days=7)


async def _as_it_is() -> None:
    """For a clock that is the database's."""


@define(eq=False)
class Instances:
    """This server's row among those of the others. ``spooled`` counts the final reports in its spool.

    ``watched`` are the pools whose outages count: the one that stores reports, and our own. ``set_clock`` measures anew
    how far the clock is from the database's.
    """

    _database: Database
    _clock: Clock
    _instance: str
    _host: str
    _spooled: Callable[[], int]
    _watched: tuple[Database, ...] = ()
    _set_clock: Callable[[], Awaitable[None]] = _as_it_is
    _known_ends: tuple[float | None, ...] = ()
    _away: bool = False
    _outage_ended: datetime | None = None

    async def start(self) -> None:
        """Enter this server. When nobody has been seen for two minutes, an outage of all has ended now."""
        now = self._clock.now()
        self._known_ends = self._ends()
        last = await store.start(self._database, self._instance, self._host, self._spooled(), now)
        if last is None or now - last >= LIVE:
            self.note_outage_end()
        await store.forget(self._database, now - _FORGOTTEN)
        await self.beat()

    async def stop(self) -> None:
        """The last beat; the row stays, so that a restart within two minutes is no outage."""
        try:
            await self.beat()
        except Busy:
            log.info("the servers' table does not learn of the stop")

    def note_outage_end(self) -> None:
        """The database is back now: pilots could not report for some time."""
        self._outage_ended = self._clock.now()

    async def beat(self) -> None:
        """Say that this server lives; called every ``EVERY`` seconds. Raises DatabaseAway, Busy."""
        if self._ends() != self._known_ends or any(one.pool.down_since is not None for one in self._pools):
            self._away = True
        try:
            await self._write()
        except DatabaseAway:
            self._away = True
            raise

    async def silence_counts(self) -> bool:
        """Whether a job may be failed because its pilot is silent; False without a database.

        By a clock that was put forward since it was last measured, all of them would be.
        """
        try:
            await self._set_clock()
            await self.beat()
            everybody = await store.everybody(self._database)
        except Busy:
            return False
        now = self._clock.now()
        ends = [one.outage_ended for one in everybody if one.outage_ended is not None]
        empty = all(not one.spooled for one in everybody if now - one.seen < LIVE)
        return silence_counts(max(ends, default=None), empty, HEARTBEAT_PERIOD, now)

    async def _write(self) -> None:
        ends, now = self._ends(), self._clock.now()
        if self._away:
            self.note_outage_end()
        await store.beat(self._database, self._instance, self._host, self._spooled(), self._outage_ended, now)
        if all(one.pool.down_since is None for one in self._pools):
            self._away, self._known_ends = False, ends

    @property
    def _pools(self) -> tuple[Database, ...]:
        return (self._database, *self._watched)

    def _ends(self) -> tuple[float | None, ...]:
        return tuple(one.pool.last_outage_end for one in self._pools)
