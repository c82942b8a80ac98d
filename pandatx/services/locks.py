"""The locks of sync daemons, shared by all servers on one database (rule R7)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from attrs import define, frozen

from pandatx.store import locks
from pandatx.store.database import Database

SETTLED: Final = timedelta(seconds=10)
"""A run that began so long ago stands on the board of daemons by now."""


@frozen
class DaemonLocks:
    """Take, hold and give back the lock rows. Give it the scheduler's pool."""

    _database: Database

    async def take(self, name: str, holder: str, start: datetime, period: timedelta) -> datetime | None:
        """Take a daemon's lock for a run from ``start``: None when it is ours, else when it may be tried again.

        A lock is free a period after its time, whoever set that.
        """
        ours, locked_time = await self._database.transaction(
            "locks.take", locks.take, name, holder, start, start - period
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


@define(eq=False)
class LocksByHand:
    """The same rows for a run that an operator asks for, on behalf of the server that ran the daemon last.

    The lock is taken before its time too, unless a run is under way or may be: then the period must be over. At the end
    it goes to that server, or to ``server`` where none had it before.
    """

    _database: Database
    _server: str | None = None
    _before: str | None = None

    async def take(self, name: str, holder: str, start: datetime, period: timedelta) -> datetime | None:
        """As DaemonLocks.take."""
        ours, locked_time, self._before = await self._database.transaction(
            "locks.take_by_hand", locks.take_by_hand, name, holder, start, start - period, start - SETTLED
        )
        return None if ours else (locked_time or start) + period

    async def extend(self, name: str, holder: str, now: datetime) -> bool:
        """Move a lock that is still the holder's to ``now``; False when it is lost."""
        return await self._database.transaction("locks.extend", locks.move, name, holder, now)

    async def give_back(self, name: str, holder: str, start: datetime) -> None:
        """Set the lock back to when the run started, and to the server that runs the daemon otherwise."""
        to = self._before or self._server
        await self._database.transaction("locks.hand_back", locks.hand_back, name, holder, start, to)
