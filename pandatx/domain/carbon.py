"""Emissions of regions: the question to the service, what it answers, and the average over the grid."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeGuard

from attrs import frozen

from pandatx.domain.dumps import UnreadableDump

KEPT: Final = timedelta(days=10)
"""Emissions that are older are deleted."""
GRID: Final = "GRID"
"""The region that stands for all."""
_WIDTH: Final = 32
_HEAD: Final = {
    "search_type": "query_then_fetch",
    "ignore_unavailable": True,
    "index": ["monit_prod_green-it_raw_regionmetric*"],
}
_WANTED: Final = {"query": {"range": {"metadata.timestamp": {"gte": "now-2h", "lt": "now"}}}, "size": 100}


@frozen
class Emission:
    """Grams of CO2 per kWh of a region at a time."""

    region: str
    at: datetime
    value: int


def question() -> bytes:
    """What is asked: the measures of the last two hours, as two lines of JSON."""
    return "".join(f"{json.dumps(line)}\n" for line in (_HEAD, _WANTED)).encode()


def emissions(content: bytes) -> list[Emission]:
    """What the service says, without what has another form. Raises UnreadableDump."""
    try:
        answer = json.loads(content)
        first = answer["responses"][0]
        status, hits = first["status"], first["hits"]["hits"] if first["status"] == 200 else []
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UnreadableDump("the answer on emissions is not of the form that is known") from error
    if status != 200:
        raise UnreadableDump(f"the search for emissions has ended with {status!r:.40}")
    found = {(one.region, one.at): one for one in _each(hits)}
    return list(found.values())


def average(used: Mapping[str, float], total: float, latest: Mapping[str, int]) -> int | None:
    """The emissions of the grid: those of the regions by their shares of all HS in use; None where nothing is in use.

    A region of which nothing is known adds nothing, as in the rows that the older server has written.
    """
    if total <= 0:
        return None
    return round(sum(hs / total * latest.get(region, 0) for region, hs in used.items() if region != GRID))


def _each(hits: object) -> Iterator[Emission]:
    for hit in hits if isinstance(hits, list) else ():
        source = _object(_object(hit).get("_source"))
        data = _object(source.get("data"))
        region, value, at = data.get("region"), data.get("gCO2_perkWh"), _moment(_object(source.get("metadata")))
        if _is_region(region) and at is not None and _is_number(value) and 0 <= value < 1e9:
            yield Emission(region, at, round(value))


def _is_region(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _WIDTH and value.isprintable() and value != GRID


def _moment(metadata: Mapping[str, Any]) -> datetime | None:
    """A time that is given in milliseconds."""
    value = metadata.get("timestamp")
    try:
        return datetime.fromtimestamp(value / 1000, UTC) if _is_number(value) else None
    except (OverflowError, OSError, ValueError):
        return None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
