"""The configurator: sites, storage endpoints and what queues use of them, from CRIC's dumps to the database."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, TypeVar

from attrs import Factory, define, field, frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clients.cric import Source
from pandatx.clients.web import Web
from pandatx.clock import Clock
from pandatx.config import OutsideSettings
from pandatx.domain import cric, cric_dumps
from pandatx.domain.cric import Endpoint, Exclusions, QueueStorages, Site, Space, Tables
from pandatx.domain.dumps import Caution, names
from pandatx.services.complaints import Complaints
from pandatx.store import configurator as store
from pandatx.store.database import Database, Transaction

log = Logger()
Name = TypeVar("Name", str, tuple[str, str, str])

_KINDS: Final = ("sites", "queues", "endpoints", "relations")


@frozen(kw_only=True)
class Sources:
    """The dumps, None for those that are not configured."""

    sites: Source[dict[str, Site]] | None
    endpoints: Source[dict[str, Endpoint]] | None
    queues: Source[dict[str, QueueStorages]] | None
    no_write: Source[frozenset[str]] | None
    no_read: Source[frozenset[str]] | None
    exclusions: Source[dict[str, dict[str, str]]] | None
    usage: Source[dict[str, Space]] | None

    @classmethod
    def of(cls, settings: OutsideSettings, url_queues: str | None, web: Web) -> Sources:
        no_write, no_read = settings.cric_url_no_write, settings.cric_url_no_read
        exclusions, usage = settings.cric_url_exclusions, settings.rse_usage_url
        sites, endpoints = settings.cric_url_sites, settings.cric_url_endpoints
        return cls(
            sites=Source(sites, cric_dumps.read_sites, web) if sites else None,
            endpoints=Source(endpoints, cric_dumps.read_endpoints, web) if endpoints else None,
            queues=Source(url_queues, cric_dumps.read_queue_storages, web) if url_queues else None,
            no_write=Source(no_write, _names, web) if no_write else None,
            no_read=Source(no_read, _names, web) if no_read else None,
            exclusions=Source(exclusions, cric_dumps.read_exclusions, web) if exclusions else None,
            usage=Source(usage, cric_dumps.read_usage, web) if usage else None,
        )


def _names(content: bytes) -> frozenset[str]:
    return names(content, "dump of excluded endpoints")


@frozen(kw_only=True)
class Changes:
    """How many rows were new or changed, and how many are gone."""

    changed: int
    gone: int


@define(eq=False)
class Configurator:
    """Brings the tables of sites up to what the dumps say."""

    _database: Database
    _clock: Clock
    _sources: Sources
    _complaints: Complaints = field(factory=Complaints)
    _caution: dict[str, Caution] = Factory(lambda: {kind: Caution() for kind in _KINDS})

    @property
    def lacking(self) -> tuple[str, ...]:
        """The keys that must be set before anything can be done."""
        needed = {
            "CRIC_URL_SITES": self._sources.sites,
            "CRIC_URL_DDMENDPOINTS": self._sources.endpoints,
            "CRIC_URL_SCHEDCONFIG": self._sources.queues,
        }
        return tuple(key for key, source in needed.items() if source is None)

    async def load(self) -> Changes:
        """Store what the dumps say; what they no longer have is deleted, with all that belongs to it.

        Raises DumpAway and UnreadableDump: then nothing is changed, even if the other dumps could be had. A dump that
        lacks much of what is stored deletes nothing.
        """
        tables = await self._tables()
        self._complaints.about(tables.faults)
        changes = await self._database.transaction("configurator.store", self._store, tables)
        if changes.changed or changes.gone:
            log.info("sites: {changed} rows changed, {gone} gone", changed=changes.changed, gone=changes.gone)
        return changes

    async def _tables(self) -> Tables:
        sources = self._sources
        assert sources.sites is not None and sources.endpoints is not None and sources.queues is not None
        sites, endpoints = await sources.sites.latest(), await sources.endpoints.latest()
        queues = await sources.queues.latest()
        exclusions = Exclusions(
            write=await sources.no_write.latest() if sources.no_write else None,
            read=await sources.no_read.latest() if sources.no_read else None,
            activities=await sources.exclusions.latest() if sources.exclusions else None,
        )
        usage = await sources.usage.latest() if sources.usage else {}
        return await deferToThread(cric.tables_of, sites, endpoints, queues, exclusions, usage)

    async def _store(self, tx: Transaction, tables: Tables) -> Changes:
        stored = await store.stored(tx)
        changed = await store.put_sites(tx, tables.sites)
        changed += await store.put_queues(tx, tables.queues)
        changed += await store.put_endpoints(tx, tables.endpoints)
        changed += await store.put_relations(tx, tables.relations)
        active = {one.name for one in tables.sites}
        written = {one.name for one in tables.endpoints}
        gone_sites = self._believed("sites", stored.sites, stored.sites - active)
        gone_queues = self._believed(
            "queues",
            stored.queues,
            {
                name
                for name, site in stored.queues.items()
                if name not in tables.known_queues or (name not in tables.queues and site not in active)
            },
        )
        gone_endpoints = self._believed(
            "endpoints",
            stored.endpoints,
            {
                name
                for name, site in stored.endpoints.items()
                if name not in tables.known_endpoints or (name not in written and site not in active)
            },
        )
        keys = {(one.queue, one.endpoint, one.scope) for one in tables.relations}
        gone_relations = self._believed("relations", stored.relations, stored.relations - keys)
        await store.remove(tx, sites=gone_sites, queues=gone_queues, endpoints=gone_endpoints, relations=gone_relations)
        gone = sum(map(len, (gone_sites, gone_queues, gone_endpoints, gone_relations)))
        return Changes(changed=changed, gone=gone)

    def _believed(self, kind: str, stored: Collection[Name], gone: Collection[Name]) -> Collection[Name]:
        if self._caution[kind].believes(len(stored), len(gone), self._clock.now()):
            return gone
        text = "the dumps lack {gone} of {stored} {kind}: none is removed until they have said so for a day"
        log.warn(text, gone=len(gone), stored=len(stored), kind=kind)
        return ()
