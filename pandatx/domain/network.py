"""How sites are connected: transfer rates and closeness, as key-value rows per pair of sites."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from attrs import frozen

from pandatx.domain.dumps import entries, items

FRESH: Final = timedelta(minutes=30)
"""Older measurements of the network weather service are not taken."""
KEPT: Final = timedelta(days=7)
"""Rows that nothing has renewed for so long are deleted."""
CLOSENESS: Final = "AGIS_closeness"
UNKNOWN: Final = "UNKNOWN"
"""A source or destination of transfers whose site was not known."""

_ACTIVITIES: Final = ("Production Input", "Production Output", "Express")
_WIDTH: Final = 256


@frozen
class Measure:
    """A value between two sites."""

    source: str
    destination: str
    key: str
    value: int
    at: datetime


def weather(content: bytes) -> list[Measure]:
    """What the network weather service has measured: an object keyed by ``source:destination``.

    Files done in 1 h and 6 h and files queued by activity, MB/s in 1 h, 1 day and 1 week by system. What has another
    form is left out. Raises UnreadableDump.
    """
    found: dict[tuple[str, str, str], Measure] = {}
    for pair, about in entries(content, "dump of the network weather"):
        source, colon, destination = pair.partition(":")
        if not colon or not isinstance(about, dict):
            continue
        for key, value, at in _measures(about):
            if len(key) <= _WIDTH and key.isprintable():
                found[source, destination, key] = Measure(source, destination, key, value, at)
    return list(found.values())


def closeness(content: bytes) -> list[tuple[str, str, int]]:
    """Source, destination and closeness of CRIC's cost matrix, an array. Raises UnreadableDump."""
    found = {}
    for entry in items(content, "cost matrix"):
        if isinstance(entry, dict) and (value := _whole(entry.get("closeness"))) is not None:
            source, destination = entry.get("src"), entry.get("dst")
            if isinstance(source, str) and isinstance(destination, str) and source and destination:
                found[source, destination] = value
    return [(source, destination, value) for (source, destination), value in found.items()]


def worth_storing(measures: list[Measure], sites: frozenset[str], now: datetime) -> list[Measure]:
    """Those between sites that are known, or UNKNOWN, and not older than half an hour."""
    known = sites | {UNKNOWN}
    return [one for one in measures if one.source in known and one.destination in known and one.at > now - FRESH]


def of_closeness(pairs: list[tuple[str, str, int]], sites: frozenset[str], now: datetime) -> list[Measure]:
    """The closeness of sites that are known, as of now."""
    return [Measure(a, b, CLOSENESS, value, now) for a, b, value in pairs if a in sites and b in sites]


def _measures(about: Mapping[str, Any]) -> Iterator[tuple[str, int, datetime]]:
    files = _object(about.get("files"))
    for activity in _ACTIVITIES:
        yield from _timed(_object(files.get("done")).get(activity), f"{activity}_done_", {"1h": "1h", "6h": "6h"})
        yield from _timed(_object(files.get("queued")).get(activity), f"{activity}_queued", {"latest": ""})
    for system, rates in _object(about.get("mbps")).items():
        yield from _timed(rates, f"{system}_mbps_", {"1h": "1h", "1d": "1d", "1w": "1w"})


def _timed(about: object, prefix: str, wanted: Mapping[str, str]) -> Iterator[tuple[str, int, datetime]]:
    values = _object(about)
    try:
        at = datetime.fromisoformat(values["timestamp"])
    except (KeyError, TypeError, ValueError):
        return
    for key, ending in wanted.items():
        value = _whole(values.get(key))
        if value is not None:
            yield f"{prefix}{ending}", value, at if at.tzinfo else at.replace(tzinfo=UTC)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: object) -> int | None:
    """A number as the column takes it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= 2**63:
        return None
    return round(value)
