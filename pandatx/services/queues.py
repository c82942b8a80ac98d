"""PanDA queues: their descriptions, and the loader that brings them from CRIC."""

from __future__ import annotations

import hashlib
import json
from typing import Final

import orjson
from attrs import define, evolve, field, frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clients.cric import DumpAway, Source
from pandatx.clients.web import Web
from pandatx.clock import Clock
from pandatx.domain.dumps import Caution, UnreadableDump
from pandatx.domain.queues import LARGEST, Dump, Queue, load_dump, with_children
from pandatx.services.complaints import Complaints
from pandatx.services.facts import Facts
from pandatx.store import queue_descriptions as store
from pandatx.store.database import Database, Transaction, in_batches

log = Logger()

_TOLD: Final = 20
_DOUBT: Final = "the queue dump lacks {gone} queues that are stored: none is removed until it has said so for a day"
_AT_ONCE: Final = 50
"""Documents in one statement: whoever puts it together has the reactor."""


@frozen
class _Reading:
    """A dump, and the JSON of its queues by name, with its digest."""

    dump: Dump
    documents: dict[str, str]
    digests: dict[str, str]


@define(eq=False)
class Queues:
    """What is known of queues, and how it is learned; ``url`` is CRIC_URL_SCHEDCONFIG, None where nothing is loaded."""

    _database: Database
    _clock: Clock
    _facts: Facts
    _url: str | None
    _web: Web
    _stored: _Reading | None = None
    _complaints: Complaints = field(factory=lambda: Complaints(log))
    _doubts: Complaints = field(factory=lambda: Complaints(log))
    _caution: Caution = field(factory=Caution)
    _source: Source[_Reading] | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._source = Source(self._url, _read, self._web) if self._url else None

    @property
    def configured(self) -> bool:
        """Whether there is a dump to load."""
        return self._source is not None

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

    async def load(self, *, thoroughly: bool = False) -> int:
        """Store what the dump says: new and changed queues, and those gone are removed; how many were touched.

        Known at once to this server, within a minute to others. ``thoroughly``: compare with what is stored even if
        the dump is the one that was stored last. Raises DumpAway, and UnreadableDump for what is no dump or has no
        queue in it; then nothing is changed. A dump that has lost too many queues removes none.
        """
        if self._source is None:
            return 0
        reading = await self._source.latest()
        if reading is self._stored and not thoroughly:
            return 0
        self._complaints.about(reading.dump.faults)
        if not reading.dump.queues:
            raise UnreadableDump("the queue dump has no usable queue")
        changed, gone, kept = await self._database.transaction("queues.load", self._store, reading)
        types = [row.name for row in self._facts.known.resource_types]
        queues = await deferToThread(_by_name, reading.dump, types)
        self._facts.with_queues({**self._facts.known.queues, **queues} if kept else queues)
        self._stored = None if kept else reading
        self._doubts.about([_DOUBT.format(gone=kept)] if kept else [])
        if changed or gone:
            names = ", ".join([*changed[:_TOLD], *(f"-{name}" for name in gone[:_TOLD])])
            log.info("{n} queues, changed or gone (-): {names}", n=len(reading.documents), names=names)
        return len(changed) + len(gone)

    async def _store(self, tx: Transaction, reading: _Reading) -> tuple[list[str], list[str], int]:
        """Names that changed and that are gone, and how many should be gone and were kept."""
        now = self._clock.now()
        changed: list[str] = []
        for names in in_batches(await store.differing(tx, reading.digests), _AT_ONCE):
            changed += await store.put(tx, {name: reading.documents[name] for name in names}, now)
        stored, gone = await store.lacking(tx, reading.documents)
        if not self._caution.believes(stored, gone, now):
            return changed, [], gone
        return changed, await store.remove(tx, reading.documents) if gone else [], 0


def _by_name(dump: Dump, types: list[str]) -> dict[str, Queue]:
    return {one.name: one for queue in dump.queues for one in with_children(queue, types)}


def _read(content: bytes) -> _Reading:
    """The documents are spelled as the older server spells them, so that neither changes what the other has stored."""
    dump = load_dump(content)
    documents, faults, queues = {}, [], []
    for queue in dump.queues:
        try:
            orjson.dumps(queue.document)  # whoever reads it again is stricter than json
            text = json.dumps(queue.document, allow_nan=False)
            if len(text) > LARGEST:
                raise ValueError(f"it has more than {LARGEST} characters")
            documents[queue.name] = text
            queues.append(queue)
        except (TypeError, ValueError) as error:
            faults.append(f"queue {queue.name} is left out: {error}")
    digests = {name: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for name, text in documents.items()}
    return _Reading(evolve(dump, queues=tuple(queues), faults=(*dump.faults, *faults)), documents, digests)
