"""The configurator: sites, storage endpoints and what queues use of them, from CRIC's dumps to the database."""

from __future__ import annotations

from typing import Final

from attrs import Factory, asdict, define, field, fields, frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clients.cric import Source
from pandatx.clients.web import Web
from pandatx.clock import Clock
from pandatx.config import OutsideSettings
from pandatx.domain import cric, cric_dumps
from pandatx.domain.cric import Endpoint, Exclusions, Leftovers, QueueStorages, Site, Space, Tables
from pandatx.domain.dumps import Caution, names
from pandatx.services.complaints import Complaints
from pandatx.store import configurator as store
from pandatx.store.database import Database, Transaction

log = Logger()

_KINDS: Final = tuple(each.name for each in fields(Leftovers))
_DOUBT: Final = "the dumps lack {gone} {kind} that are stored: none is removed until they have said so for a day"


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
    """How many rows were new or changed, how many are gone, and a line for each kind that should be and was kept."""

    changed: int
    gone: int
    doubts: tuple[str, ...] = ()


@define(eq=False)
class Configurator:
    """Brings the tables of sites up to what the dumps say."""

    _database: Database
    _clock: Clock
    _sources: Sources
    _complaints: Complaints = field(factory=lambda: Complaints(log))
    _doubts: Complaints = field(factory=lambda: Complaints(log))
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
        self._doubts.about(changes.doubts)
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
        there, gone = asdict(stored, recurse=False), asdict(cric.leftovers(stored, tables), recurse=False)
        doubts = []
        for kind, caution in self._caution.items():
            if not caution.believes(len(there[kind]), len(gone[kind]), self._clock.now()):
                doubts.append(_DOUBT.format(gone=len(gone[kind]), kind=kind))
                gone[kind] = frozenset()
        await store.remove(tx, Leftovers(**gone))
        return Changes(changed=changed, gone=sum(map(len, gone.values())), doubts=tuple(doubts))
