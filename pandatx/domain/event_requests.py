"""What callers ask of event ranges (reference/wire.md 2.10, 3.7, 4.5, 4.6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from attrs import frozen

from pandatx.domain.events import MOST_AT_ONCE, Read, more_than, read_updates
from pandatx.domain.json_texts import read_json
from pandatx.domain.requests import BIG, wire

MOST_JOBS: Final = 1000
"""Jobs whose ranges are told at once."""
_LONG, _MANY = 200_000, 1000


@frozen(kw_only=True)
class RangeRequest:
    """Ranges for a job. ``scattered``: of many files rather than of few; ``segment_id``: of one dataset."""

    job_id: int = wire(legacy="pandaID", exact=True)
    jobset_id: int | None = wire(legacy="jobsetID", exact=True, null_as=None)
    task_id: int | None = wire(None, legacy="taskID", exact=True, null_as=None)
    n_ranges: int = wire(10, legacy="nRanges", least=0, bound=BIG, forgiving=True)
    timeout: int = wire(60, forgiving=True)
    scattered: bool = wire(False, forgiving=True)
    segment_id: int | None = wire(None, exact=True)

    @property
    def n(self) -> int:
        """How many."""
        return min(self.n_ranges, MOST_AT_ONCE)


@frozen(kw_only=True)
class RangeCountRequest:
    """How many ranges are left for a job."""

    job_id: int = wire(legacy="pandaID", exact=True)
    jobset_id: int | None = wire(legacy="jobsetID", exact=True, null_as=None)
    task_id: int = wire(legacy="taskID", exact=True)
    timeout: int = wire(60, forgiving=True)


@frozen(kw_only=True)
class RangeUpdates:
    """How ranges ended: a list, or its JSON text. ``version`` 1: in chunks; 2: of jobs not dispatched yet, too."""

    event_ranges: Any = wire(legacy="eventRanges")
    version: int = wire(0, forgiving=True)
    timeout: int = wire(120, forgiving=True)
    panda_id: int | None = wire(None, legacy="pandaID", exact=True, forgiving=True)

    @property
    def large(self) -> bool:
        """Whether to read it takes so long that others should not wait."""
        said = self.event_ranges
        return len(said) > _LONG if isinstance(said, str) else more_than(_MANY, said)

    def read(self) -> list[Read]:
        """What it says of each range, in order. Raises ValueError with what is wrong with it."""
        return read_updates(parsed(self.event_ranges) if isinstance(self.event_ranges, str) else self.event_ranges)


@frozen(kw_only=True)
class RangeEnd:
    """How one range ended."""

    event_range_id: str = wire(legacy="eventRangeID")
    event_range_status: str = wire(legacy="eventStatus")
    core_count: int | None = wire(None, legacy="coreCount", forgiving=True)
    cpu_consumption_time: float | None = wire(None, legacy="cpuConsumptionTime", forgiving=True)
    object_store_id: int | None = wire(None, legacy="objstoreID", forgiving=True)
    timeout: int = wire(60, forgiving=True)
    panda_id: int | None = wire(None, legacy="pandaID", exact=True, forgiving=True)

    @property
    def update(self) -> dict[str, Any]:
        """The same as an element of a list of updates."""
        return {
            "eventRangeID": self.event_range_id,
            "eventStatus": self.event_range_status,
            "objstoreID": self.object_store_id,
        }


@frozen(kw_only=True)
class RangesOfJobs:
    """Jobs by pairs of ids: a list of objects, its JSON text, or several texts of JSON or Python's own."""

    job_task_ids: Any = wire(legacy="ids")


def parsed(text: str) -> Any:
    """JSON. Raises ValueError with what is wrong with it."""
    try:
        return read_json(text)
    except ValueError:
        raise ValueError("is not JSON") from None


def pairs_of(value: Any) -> list[tuple[int, int]]:
    """(task, job) of each object in what was asked, each once. Raises ValueError with what is wrong."""
    found = list(dict.fromkeys(_pair(each) for each in _objects(value)))
    if len(found) > MOST_JOBS:
        raise ValueError(f"has more than {MOST_JOBS} jobs")
    return found


def _objects(value: Any) -> Iterator[Any]:
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str):
            # What clients make of a dict of numbers (Python's own form) differs from JSON in its quotes only.
            found = parsed(each.replace("'", '"'))
            yield from found if isinstance(found, list) else [found]
        else:
            yield each


def _pair(each: Any) -> tuple[int, int]:
    if not isinstance(each, dict):
        raise ValueError("must be objects with task_id and panda_id")
    return _id(each.get("task_id")), _id(each.get("panda_id", each.get("job_id")))


def _id(value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value.strip()[:20])
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= BIG:
        raise ValueError("must be objects with task_id and panda_id, both numbers")
    return value
