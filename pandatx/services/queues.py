"""PanDA queues: their descriptions, and the loader that brings them from CRIC."""

from __future__ import annotations

from typing import Final

import orjson
from attrs import define
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clients import cric
from pandatx.clients.cric import DumpAway
from pandatx.clock import Clock
from pandatx.domain.queues import Dump, Queue, UnreadableDump, load_dump, with_children
from pandatx.services.facts import Facts
from pandatx.store import queue_descriptions as store
from pandatx.store.database import Database, Transaction

log = Logger()

_TOLD: Final = 20


@define(eq=False)
class Queues:
    """What is known of queues, and how it is learned; ``url`` is CRIC_URL_SCHEDCONFIG, None where nothing is loaded."""

    _database: Database
    _clock: Clock
    _facts: Facts
    _url: str | None
    _seen: bytes = b""
    _faults: frozenset[str] = frozenset()

    def get(self, name: str) -> Queue | None:
        """A queue by its nickname, as it was last read."""
        return self._facts.queue(name)

    def document(self, name: str) -> bytes | None:
        """A queue's whole description as JSON."""
        return self._facts.document(name)

    async def start(self) -> None:
        """Load the descriptions, before the first submission is taken; without a dump, those stored count."""
        try:
            await self.load()
        except (DumpAway, UnreadableDump) as fault:
            log.error("queue descriptions stay as they are stored: {fault}", fault=fault)

    async def load(self) -> int:
        """Store what the dump says: new and changed queues, and those gone are removed; how many were touched.

        Known at once to this server, within a minute to others. Raises DumpAway, and UnreadableDump for what is no
        dump or has no queue in it; then nothing is changed.
        """
        if self._url is None:
            return 0
        content = await cric.fetch(self._url, self._clock.reactor)
        if content == self._seen:
            return 0
        dump, documents = await deferToThread(_read, content)
        self._complain(dump)
        if not dump.queues:
            raise UnreadableDump("the queue dump has no usable queue")
        changed, gone = await self._database.transaction("queues.load", self._store, documents)
        types = [row.name for row in self._facts.known.resource_types]
        self._facts.with_queues({one.name: one for queue in dump.queues for one in with_children(queue, types)})
        self._seen = content
        if changed or gone:
            names = ", ".join([*changed[:_TOLD], *(f"-{name}" for name in gone[:_TOLD])])
            log.info("{n} queues, changed or gone (-): {names}", n=len(documents), names=names)
        return len(changed) + len(gone)

    async def _store(self, tx: Transaction, documents: dict[str, str]) -> tuple[list[str], list[str]]:
        return await store.replace(tx, documents, self._clock.now())

    def _complain(self, dump: Dump) -> None:
        """One warning for each fault, when it is new."""
        faults = frozenset(dump.faults)
        for fault in sorted(faults - self._faults):
            log.warn("{fault}", fault=fault)
        self._faults = faults


def _read(content: bytes) -> tuple[Dump, dict[str, str]]:
    dump = load_dump(content)
    return dump, {queue.name: orjson.dumps(queue.document).decode() for queue in dump.queues}
