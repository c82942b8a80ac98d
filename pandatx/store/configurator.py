"""Storing what CRIC and its like say: sites, endpoints, relations, tags, and the network between sites."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

import orjson
from attrs import asdict

from pandatx.domain.cric import EndpointRow, Leftovers, Relation, Site, Stored
from pandatx.domain.network import Measure
from pandatx.store.database import Transaction, in_batches
from pandatx.store.queries import Query, load

SQL = load(__file__)
_ROWS_AT_ONCE: Final = 1000
_DOCUMENTS_AT_ONCE: Final = 50


async def stored(tx: Transaction) -> Stored:
    """Read the names of everything."""
    return Stored(
        sites=await site_names(tx),
        queues=dict((await tx.run(SQL.queue_sites)).rows),
        endpoints=dict((await tx.run(SQL.endpoint_sites)).rows),
        relations=frozenset((a, b, c) for a, b, c in (await tx.run(SQL.relation_keys)).rows),
    )


async def site_names(tx: Transaction) -> frozenset[str]:
    return frozenset((await tx.run(SQL.site_names)).column("site_name"))


async def put_sites(tx: Transaction, sites: Iterable[Site]) -> int:
    """Store sites; how many were new or changed. So do the next three."""
    rows = [{"name": one.name, "role": one.role, "tier_level": one.tier_level} for one in sites]
    return len((await tx.run(SQL.put_sites, rows=_json(rows))).rows)


async def put_queues(tx: Transaction, at: Mapping[str, str]) -> int:
    return len((await tx.run(SQL.put_queues, names=list(at), sites=list(at.values()))).rows)


async def put_endpoints(tx: Transaction, endpoints: Iterable[EndpointRow]) -> int:
    rows = (
        {name: value for name, value in {**asdict(one, recurse=False), **asdict(one.space)}.items() if name != "space"}
        for one in endpoints
    )
    return await _in_pieces(tx, SQL.put_endpoints, rows)


async def put_relations(tx: Transaction, relations: Iterable[Relation]) -> int:
    rows = (
        {**asdict(one, recurse=False), "default_read": one.default_read, "default_write": one.default_write}
        for one in relations
    )
    return await _in_pieces(tx, SQL.put_relations, rows)


async def remove(tx: Transaction, gone: Leftovers) -> None:
    """Delete what is left over, what depends on others first."""
    if gone.relations:
        columns = [list(column) for column in zip(*sorted(gone.relations), strict=True)]
        await tx.run(SQL.remove_relations, queues=columns[0], endpoints=columns[1], scopes=columns[2])
    for query, names in (
        (SQL.remove_endpoints, gone.endpoints),
        (SQL.remove_queues, gone.queues),
        (SQL.remove_sites, gone.sites),
    ):
        if names:
            await tx.run(query, names=sorted(names))


async def put_measures(tx: Transaction, measures: Sequence[Measure]) -> None:
    """Store measures of different pairs or keys."""
    await tx.run(
        SQL.put_measures,
        sources=[one.source for one in measures],
        destinations=[one.destination for one in measures],
        keys=[one.key for one in measures],
        measured=[one.value for one in measures],
        times=[one.at for one in measures],
    )


async def remove_measures(tx: Transaction, before: datetime, limit: int) -> int:
    """Delete up to ``limit`` measures that are older; how many."""
    return (await tx.run(SQL.remove_measures, before=before, limit=limit)).count


async def tags(tx: Transaction) -> list[tuple[str, str, str]]:
    """Queue, document and place of each row, which nobody else writes until the end of the transaction."""
    await tx.run(SQL.lock_tags)
    return [(name, data, place) for name, data, place in (await tx.run(SQL.tags)).rows]


async def exchange_tags(tx: Transaction, places: Sequence[str], new: Mapping[str, str], now: datetime) -> None:
    """Delete the rows at ``places`` and add ``new`` ones, documents by queue."""
    if places:
        await tx.run(SQL.remove_tags, places=list(places))
    for names in in_batches(list(new), _DOCUMENTS_AT_ONCE):
        await tx.run(SQL.put_tags, names=names, documents=[new[name] for name in names], now=now)


async def _in_pieces(tx: Transaction, query: Query, rows: Iterator[dict[str, Any]]) -> int:
    """Put tens of thousands of rows; whoever puts a statement together has the reactor. How many were touched."""
    changed = 0
    while piece := list(islice(rows, _ROWS_AT_ONCE)):
        changed += len((await tx.run(query, rows=_json(piece))).rows)
    return changed


def _json(rows: list[dict[str, Any]]) -> str:
    return orjson.dumps(rows).decode()
