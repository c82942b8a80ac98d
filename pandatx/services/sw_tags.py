"""Software tags of queues, from CRIC to the database."""

from __future__ import annotations

import json

from attrs import define, field
from twisted.logger import Logger

from pandatx.clients.cric import Source
from pandatx.clients.web import Web
from pandatx.clock import Clock
from pandatx.domain.dumps import Caution, UnreadableDump, entries
from pandatx.domain.queues import NAME_WIDTH
from pandatx.store import configurator as store
from pandatx.store.database import Database, Transaction

log = Logger()


@define(eq=False)
class SoftwareTags:
    """``url`` is CRIC_URL_TAGS, None where nothing is loaded."""

    _database: Database
    _clock: Clock
    _url: str | None
    _web: Web
    _caution: Caution = field(factory=Caution)
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
        return await self._database.transaction("sw_tags.store", self._store, await self._source.latest())

    async def _store(self, tx: Transaction, documents: dict[str, str]) -> int:
        now = self._clock.now()
        rows = await store.tags(tx)
        gone = [place for name, _, place in rows if name not in documents]
        if not self._caution.believes(len(rows), len(gone), now):
            text = "the dump of tags lacks {gone} of {stored} queues: none is removed until it has said so for a day"
            log.warn(text, gone=len(gone), stored=len(rows))
            gone = []
        same: set[str] = set()
        changed = []
        for name, data, place in rows:
            if documents.get(name) == data and name not in same:
                same.add(name)
            elif name in documents:
                changed.append(place)
        new = {name: data for name, data in documents.items() if name not in same}
        await store.exchange_tags(tx, [*gone, *changed], new, now)
        return len(gone) + len(new)


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
