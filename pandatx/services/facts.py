"""What the request path knows without asking: read in the background, at most a minute old (rule R13)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import orjson
from attrs import Factory, define, evolve, field, frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.parameters import Parameters, parameters_of
from pandatx.domain.queues import Queue, with_children
from pandatx.domain.shares import ResourceTypeRow, ShareTree, tree_of
from pandatx.store import facts as store
from pandatx.store.database import Database, Transaction

log = Logger()


@frozen(kw_only=True)
class Known:
    """One reading of the tables."""

    queues: Mapping[str, Queue] = Factory(dict)
    shares: ShareTree = Factory(ShareTree)
    ranks: Mapping[str, int] = Factory(dict)
    memory_per_core: Mapping[str, float] = Factory(dict)
    resource_types: tuple[ResourceTypeRow, ...] = ()
    parameters: Parameters = Factory(Parameters)
    banned: frozenset[str] = frozenset()
    pilot_secrets: str | None = None
    read_at: datetime | None = None


@define(eq=False)
class Facts:
    """The latest reading; ``refresh`` replaces it as a whole."""

    _database: Database
    _clock: Clock
    _secrets_owner: str = "pilot secrets"
    known: Known = field(factory=Known)

    async def refresh(self) -> None:
        """Read everything again, in one transaction."""
        before = self.known
        self.known = await self._database.transaction("facts.refresh", self._read)
        for fault in set(self.known.shares.faults) - set(before.shares.faults):
            log.warn("{fault}", fault=fault)

    async def _read(self, tx: Transaction) -> Known:
        rows = await store.resource_types(tx)
        names = [row.name for row in rows]
        found = [child for queue in await store.queues(tx) for child in with_children(queue, names)]
        tree = tree_of(await store.shares(tx))
        return Known(
            queues={queue.name: queue for queue in found},
            shares=tree,
            ranks=tree.ranks(await store.share_use(tx)),
            memory_per_core=await store.memory_per_core(tx),
            resource_types=tuple(rows),
            parameters=parameters_of(await store.config(tx)),
            banned=await store.banned(tx),
            pilot_secrets=await store.secret(tx, self._secrets_owner),
            read_at=self._clock.now(),
        )

    def queue(self, name: str) -> Queue | None:
        """A queue by its nickname."""
        return self.known.queues.get(name)

    def document(self, name: str) -> bytes | None:
        """A queue's whole description, as pilots read it."""
        queue = self.known.queues.get(name)
        return None if queue is None else orjson.dumps(queue.document)

    def with_queues(self, queues: Mapping[str, Queue]) -> None:
        """Know these queues at once: the loader has just stored them."""
        self.known = evolve(self.known, queues=queues)
