"""Scores of CPUs, from HEPiX to the database."""

from __future__ import annotations

from typing import Final

from attrs import define, field

from pandatx.clients.cric import Source
from pandatx.clients.web import Web
from pandatx.config.kinds import masked_url
from pandatx.domain import benchmarks
from pandatx.domain.benchmarks import Score
from pandatx.store import benchmarks as store
from pandatx.store.database import Database

_WIDTH: Final = 256


@define(eq=False)
class Benchmarks:
    """``url`` is hs23_url, None where nothing is loaded."""

    _database: Database
    _url: str | None
    _web: Web
    _source: Source[list[Score]] | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._source = Source(self._url, benchmarks.scores, self._web) if self._url else None

    @property
    def configured(self) -> bool:
        """Whether there is a table to load."""
        return self._source is not None

    async def load(self) -> int | None:
        """Store the scores that are new; how many, None where the database has no place for them.

        Raises DumpAway and UnreadableDump; then nothing is changed.
        """
        assert self._source is not None
        found, source = await self._source.latest(), masked_url(self._url or "")[:_WIDTH]
        return await self._database.transaction("benchmarks.store", store.put, found, source)
