"""What the request path knows without asking: read in the background, at most a minute old (rule R13)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import orjson
from attrs import Factory, define, evolve, field, frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.parameters import Parameters, parameters_of
from pandatx.domain.queues import Queue, read_queue, with_children
from pandatx.domain.shares import ResourceTypeRow, ShareTree, tree_of
from pandatx.domain.tokens import TokenKey
from pandatx.services.complaints import Complaints
from pandatx.store import facts as store
from pandatx.store.database import Database, Transaction, in_batches

log = Logger()


_AT_ONCE: Final = 20
"""Descriptions in one statement: a site's are tens of MB."""


@frozen
class _Read:
    """Queues with their children for ``types``, by the names they are stored under, each with its version; None for
    one that cannot be read. ``queues`` are all of them by their own names.
    """

    types: tuple[str, ...] = ()
    stored: Mapping[str, tuple[str, tuple[Queue, ...] | None]] = Factory(dict)
    queues: Mapping[str, Queue] = Factory(dict)


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
    banned_subjects: frozenset[str] = frozenset()
    letters: Mapping[str, str] = Factory(dict)
    token_keys: tuple[TokenKey, ...] = field(default=(), repr=False)
    pilot_secrets: str | None = field(default=None, repr=False)
    read_at: datetime | None = None


@define(eq=False)
class Facts:
    """The latest reading; ``refresh`` replaces it as a whole."""

    _database: Database
    _clock: Clock
    secrets_owner: str = "pilot secrets"
    """Who owns what pilots of jobs in debug mode are given; nobody's job gets it by this name."""
    known: Known = field(factory=Known)
    _read_before: _Read = field(factory=_Read)
    _complaints: Complaints = field(factory=lambda: Complaints(log))

    async def refresh(self) -> None:
        """Read everything again, in one transaction; of the queues' descriptions only those that have changed."""
        before = self.known
        self.known, self._read_before = await self._database.transaction("facts.refresh", self._read)
        unreadable = (name for name, (_, queues) in self._read_before.stored.items() if queues is None)
        self._complaints.about(
            f"queue {name} is not known: its stored description cannot be read" for name in unreadable
        )
        for fault in set(self.known.shares.faults) - set(before.shares.faults):
            log.warn("{fault}", fault=fault)

    async def _read(self, tx: Transaction) -> tuple[Known, _Read]:
        rows = await store.resource_types(tx)
        read = await self._read_queues(tx, tuple(row.name for row in rows))
        tree = tree_of(await store.shares(tx))
        known = Known(
            queues=read.queues,
            shares=tree,
            ranks=tree.ranks(await store.share_use(tx)),
            memory_per_core=await store.memory_per_core(tx),
            resource_types=tuple(rows),
            parameters=parameters_of(await store.config(tx)),
            banned=await store.banned(tx),
            banned_subjects=await store.banned_subjects(tx),
            letters=await store.letters(tx),
            token_keys=await store.token_keys(tx, self._clock.now()),
            pilot_secrets=await store.secret(tx, self.secrets_owner),
            read_at=self._clock.now(),
        )
        return known, read

    async def _read_queues(self, tx: Transaction, types: tuple[str, ...]) -> _Read:
        """What has not changed is taken over. What has is read in a thread, so that the reactor goes on meanwhile."""
        versions = await store.queue_versions(tx)
        before = self._read_before if self._read_before.types == types else _Read(types)
        kept = {name: old for name, old in before.stored.items() if versions.get(name) == old[0]}
        new = [name for name in versions if name not in kept]
        if not new and len(kept) == len(before.stored):
            return before
        for batch in in_batches(new, _AT_ONCE):
            texts = await store.queues(tx, batch)
            found = await deferToThread(_queues, texts, types)
            kept.update((name, (versions[name], queues)) for name, queues in found.items())
        return _Read(types, kept, await deferToThread(_by_name, [queues for _, queues in kept.values()]))

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


def _queues(texts: Mapping[str, str | None], types: tuple[str, ...]) -> dict[str, tuple[Queue, ...] | None]:
    found = {name: None if text is None else read_queue(name, text) for name, text in texts.items()}
    return {name: None if queue is None else with_children(queue, types) for name, queue in found.items()}


def _by_name(families: Iterable[tuple[Queue, ...] | None]) -> dict[str, Queue]:
    return {queue.name: queue for queues in families for queue in queues or ()}
