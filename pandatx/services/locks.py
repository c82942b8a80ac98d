"""The locks of sync daemons, shared by all servers on one database (rule R7)."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import frozen

from pandatx.store import locks
from pandatx.store.database import Database


@frozen
class DaemonLocks:
    """Take, hold and give back the lock rows. Give it the scheduler's pool."""

    _database: Database

    async def take(
        self, name: str, holder: str, start: datetime, period: timedelta, *, again: bool = False
    ) -> datetime | None:
        """Take a daemon's lock for a run from ``start``: None when it is ours, else when it may be tried again.

        A lock is free a period after its time, whoever set that; with ``again`` before, if ``holder`` was the last.
        """
        ours, locked_time = await self._database.transaction(
            "locks.take", locks.take, name, holder, start, start - period, again
        )
        if ours:
            return None
        if locked_time is None or locked_time + period <= start:
            # Somebody takes it at this very moment: what was read is older than that.
            locked_time = start
        return locked_time + period

    async def extend(self, name: str, holder: str, now: datetime) -> bool:
        """Move a lock that is still the holder's to ``now``; False when it is lost."""
        return await self._database.transaction("locks.extend", locks.move, name, holder, now)

    async def give_back(self, name: str, holder: str, start: datetime) -> None:
        """Set a lock that is still the holder's back to when its run started; the row stays."""
        await self._database.transaction("locks.give_back", locks.move, name, holder, start)
