"""What the request path knows without asking: read in the background, at most a minute old (rule R13)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import orjson
from attrs import Factory, define, evolve, field, frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.parameters import Parameters, parameters_of
from pandatx.domain.queues import Queue, with_children
from pandatx.domain.shares import ResourceTypeRow, ShareTree, tree_of
from pandatx.services.complaints import Complaints
from pandatx.store import facts as store
from pandatx.store.database import Database, Transaction, in_batches

log = Logger()


_Read = dict[str, tuple[str, Queue | None]]
"""Queues by the names they are stored under, each with its version; None for one that cannot be read."""
_NONE: Final = ("", None)
_AT_ONCE: Final = 20


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
    _read_before: _Read = field(factory=dict)
    _complaints: Complaints = field(factory=lambda: Complaints(log))

    async def refresh(self) -> None:
        """Read everything again, in one transaction; of the queues' descriptions only those that have changed."""
        before = self.known
        self.known, self._read_before = await self._database.transaction("facts.refresh", self._read)
        unreadable = (name for name, (_, queue) in self._read_before.items() if queue is None)
        self._complaints.about(
            f"queue {name} is not known: its stored description cannot be read" for name in unreadable
        )
        for fault in set(self.known.shares.faults) - set(before.shares.faults):
            log.warn("{fault}", fault=fault)

    async def _read(self, tx: Transaction) -> tuple[Known, _Read]:
        rows = await store.resource_types(tx)
        names = [row.name for row in rows]
        read = await self._read_queues(tx)
        found = [child for _, queue in read.values() if queue is not None for child in with_children(queue, names)]
        tree = tree_of(await store.shares(tx))
        known = Known(
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
        return known, read

    async def _read_queues(self, tx: Transaction) -> _Read:
        """Few at a time: a site's descriptions are tens of MB, and nobody else has the reactor while one is parsed."""
        versions = await store.queue_versions(tx)
        read = {
            name: old for name, version in versions.items() if (old := self._read_before.get(name, _NONE))[0] == version
        }
        for batch in in_batches([name for name in versions if name not in read], _AT_ONCE):
            for name, queue in (await store.queues(tx, batch)).items():
                read[name] = versions[name], queue
        return read

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
