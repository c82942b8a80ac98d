"""Keeping SITEDATA, from the counters that each server adds to once a minute (rule R13)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from attrs import frozen

from pandatx.clock import Clock
from pandatx.domain.site_data import WINDOWS, is_turn, rows, snapshot_hours
from pandatx.services.facts import Facts
from pandatx.store import site_data as store
from pandatx.store.database import Database, Transaction

_KEPT: Final = timedelta(hours=48)
_SNAPSHOTS_KEPT: Final = timedelta(days=1)


@frozen(kw_only=True)
class Turn:
    """When this server counts running jobs: in its ``interval`` of minutes, as the ``number``th of ``hosts``."""

    interval: int
    hosts: int
    number: int


@frozen
class SiteData:
    """What brokers read of pilots' activity. Every server computes all rows anew from the same counts, so it does not
    matter how many of them do it, nor how often. The older server counts nodes in the columns without ``abs``; we
    count requests in both.
    """

    _database: Database
    _clock: Clock
    _facts: Facts
    _turn: Turn

    async def count_requests(self) -> int:
        """Write the rows of both windows; how many."""
        return sum([await self._database.transaction("site_data.write", self._write, hours) for hours in WINDOWS])

    async def count_running(self) -> int:
        """In this server's turn, note how many jobs run; how many queues have one."""
        now, turn = self._clock.now(), self._turn
        if not is_turn(now, turn.interval, turn.hosts, turn.number):
            return 0
        before = now - _SNAPSHOTS_KEPT
        return await self._database.transaction("site_data.running", store.running, snapshot_hours(now), before, now)

    async def _write(self, tx: Transaction, hours: int) -> int:
        now = self._clock.now()
        since = now - timedelta(hours=hours)
        await store.forget(tx, now - _KEPT)
        await store.reset(tx, hours, since)
        found = rows(await store.counted(tx, since), await store.kept(tx, hours, since), self._facts.known.queues)
        if found:
            await store.write(tx, hours, found, now)
        return len(found)
