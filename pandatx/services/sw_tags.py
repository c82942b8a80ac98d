"""Software tags of queues, from CRIC to the database."""

from __future__ import annotations

import json
from typing import Final

from attrs import define, field
from twisted.logger import Logger

from pandatx.clients.cric import Source
from pandatx.clients.web import Web
from pandatx.clock import Clock
from pandatx.domain.dumps import Caution, UnreadableDump, entries
from pandatx.domain.queues import NAME_WIDTH
from pandatx.services.complaints import Complaints
from pandatx.store import configurator as store
from pandatx.store.database import Database, Transaction

log = Logger()

_DOUBT: Final = "the dump of tags lacks {gone} queues that are stored: none is removed until it has said so for a day"


@define(eq=False)
class SoftwareTags:
    """``url`` is CRIC_URL_TAGS, None where nothing is loaded."""

    _database: Database
    _clock: Clock
    _url: str | None
    _web: Web
    _caution: Caution = field(factory=Caution)
    _doubts: Complaints = field(factory=lambda: Complaints(log))
    _source: Source[dict[str, str]] | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._source = Source(self._url, _read, self._web) if self._url else None

    @property
    def configured(self) -> bool:
        """Whether there is a dump to load."""
        return self._source is not None

    async def load(self) -> int:
        """Make the stored tags those of the dump; how many queues changed or are gone.

        Raises DumpAway and UnreadableDump; then nothing is changed. A dump that has lost too many queues removes none.
        """
        if self._source is None:
            return 0
        documents = await self._source.latest()
        changed, kept = await self._database.transaction("sw_tags.store", self._store, documents)
        self._doubts.about([_DOUBT.format(gone=kept)] if kept else [])
        return changed

    async def _store(self, tx: Transaction, documents: dict[str, str]) -> tuple[int, int]:
        """How many queues changed or are gone, and how many should be gone and were kept."""
        now = self._clock.now()
        rows = await store.tags(tx)
        gone = [place for name, _, place in rows if name not in documents]
        kept = 0
        if not self._caution.believes(len(rows), len(gone), now):
            kept, gone = len(gone), []
        same: set[str] = set()
        changed = []
        for name, data, place in rows:
            if documents.get(name) == data and name not in same:
                same.add(name)
            elif name in documents:
                changed.append(place)
        new = {name: data for name, data in documents.items() if name not in same}
        await store.exchange_tags(tx, [*gone, *changed], new, now)
        return len(gone) + len(new), kept


def _read(content: bytes) -> dict[str, str]:
    """The document of each queue, spelled as the older server spells it."""
    found = {
        name: json.dumps(value)
        for name, value in entries(content, "dump of tags")
        if 0 < len(name) <= NAME_WIDTH and name.isprintable()
    }
    if not found:
        raise UnreadableDump("the dump of tags has no queue")
    return found
