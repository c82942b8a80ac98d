"""What all servers on the database tell of their daemons; pausing one on all of them."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.daemons import DaemonSeen, DaemonState
from pandatx.errors import NotFound
from pandatx.services.instances import LIVE
from pandatx.store import daemons as store
from pandatx.store.database import Database

log = Logger()


@frozen
class DaemonBoard:
    """The board where each server writes what its daemons do, and reads which it is not to run.

    A pause holds on every server and over restarts, until somebody resumes the daemon.
    """

    _database: Database
    _clock: Clock
    _instance: str

    async def tell(self, states: Iterable[DaemonState]) -> None:
        """Write what this server's daemons do. Raises DatabaseAway, Busy."""
        await store.tell(self._database, self._instance, states)

    async def forget(self) -> None:
        """Forget what this server has told, and servers that do not live any more."""
        await store.forget(self._database, self._instance, self._clock.now() - LIVE)

    async def seen(self) -> list[DaemonSeen]:
        """The daemons of the servers that live, by name."""
        return await store.seen(self._database, self._clock.now() - LIVE)

    async def paused(self) -> frozenset[str]:
        """The daemons that are not to run."""
        return await store.paused(self._database)

    async def pause(self, caller: Caller, name: str) -> None:
        """Begin no more runs of a daemon, on any server; one under way goes on. Raises NotFound."""
        now = self._clock.now()
        if not await store.pause(self._database, name, caller.name, now, now - LIVE):
            raise NotFound(f"no server runs a daemon {name}")
        log.info("daemon {name} is paused by {who}", name=name, who=caller.name)

    async def resume(self, caller: Caller, name: str) -> None:
        """Let a paused daemon run again, at its next time. Raises NotFound."""
        if not await store.resume(self._database, name):
            raise NotFound(f"daemon {name} is not paused")
        log.info("daemon {name} is resumed by {who}", name=name, who=caller.name)
