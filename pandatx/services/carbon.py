"""Emissions: what the regions of the grid emit, asked of a service and averaged by where the computing is done."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from attrs import define, field

from pandatx.clients.web import Away, Web
from pandatx.clock import Clock
from pandatx.domain import carbon
from pandatx.domain.carbon import GRID, KEPT, Emission
from pandatx.store import carbon as store
from pandatx.store.database import Database, Transaction


@define(eq=False)
class Carbon:
    """``url`` and ``token`` are those of the service; without one of them nothing is asked."""

    _database: Database
    _clock: Clock
    _web: Web
    _url: str | None
    _token: str | None = field(repr=False)

    @property
    def configured(self) -> bool:
        """Whether there is a service to ask."""
        return bool(self._url and self._token)

    async def refresh(self) -> int:
        """Store what the service says and the average over the grid; how many measures are new.

        Raises Away, and UnreadableDump for an answer of another form; then nothing is changed.
        """
        url = self._url or ""
        headers = {"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {self._token}"}
        answer = await self._web.post(url, "carbon", headers, body=carbon.question())
        if answer.code != 200:
            raise Away(f"{urlsplit(url).hostname} answers {answer.code}")
        found = carbon.emissions(answer.content)
        return await self._database.transaction("carbon.store", self._store, found) if found else 0

    async def _store(self, tx: Transaction, found: Sequence[Emission]) -> int:
        now = self._clock.now()
        new = await store.put(tx, found)
        await store.remove_old(tx, now - KEPT)
        used, total = await store.used(tx)
        average = carbon.average(used, total, await store.latest(tx))
        if average is not None:
            await store.put(tx, [Emission(GRID, now, average)])
        return new
