"""The network between sites: what the network weather service and CRIC's cost matrix say, to the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from attrs import define, field
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clients import cric
from pandatx.clients.cric import DumpAway, Source, Tag
from pandatx.clients.web import Web
from pandatx.clock import Clock
from pandatx.domain import network
from pandatx.domain.dumps import UnreadableDump
from pandatx.domain.network import KEPT, Measure
from pandatx.store import configurator as store
from pandatx.store.database import Database, in_batches

log = Logger()

AT_ONCE: Final = 1000
"""Rows of one transaction."""


@define(eq=False)
class Network:
    """``weather`` is NWS_URL and ``closeness`` CRIC_URL_CM, None where not configured."""

    _database: Database
    _clock: Clock
    _weather: str | None
    _closeness: str | None
    _web: Web
    _seen: Tag | None = None
    _pairs: Source[list[tuple[str, str, int]]] | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pairs = Source(self._closeness, network.closeness, self._web) if self._closeness else None

    @property
    def configured(self) -> bool:
        """Whether there is anything to ask."""
        return self._weather is not None or self._closeness is not None

    async def load(self, breathe: Callable[[], Awaitable[None]]) -> int:
        """Store what was measured between known sites; how many rows. What nothing has renewed for a week goes.

        A dump that cannot be had or read is one warning; the other one counts.
        """
        sites = await self._database.transaction("network.sites", store.site_names)
        stored = 0
        for measures in (self._measured, self._close):
            try:
                found, tag = await measures(sites)
            except (DumpAway, UnreadableDump) as fault:
                log.warn("the network matrix lacks news: {fault}", fault=fault)
                continue
            for batch in in_batches(found, AT_ONCE):
                await self._database.transaction("network.store", store.put_measures, batch)
                await breathe()
            stored += len(found)
            self._seen = tag or self._seen
        if stored:
            before = self._clock.now() - KEPT
            while await self._database.transaction("network.clean", store.remove_measures, before, AT_ONCE) == AT_ONCE:
                await breathe()
        return stored

    async def _measured(self, sites: frozenset[str]) -> tuple[list[Measure], Tag | None]:
        """What is new, and the tag of the dump, which has been seen once that is stored."""
        found = await cric.fetch(self._weather, self._web, self._seen) if self._weather else None
        if found is None:
            return [], None
        now, content = self._clock.now(), found.content
        measures = await deferToThread(lambda: network.worth_storing(network.weather(content), sites, now))
        return measures, found.tag

    async def _close(self, sites: frozenset[str]) -> tuple[list[Measure], None]:
        """Renewed every time: a row is kept only while it is."""
        if self._pairs is None:
            return [], None
        pairs = await self._pairs.latest()
        return await deferToThread(network.of_closeness, pairs, sites, self._clock.now()), None
