"""PanDA queues: the record, and how CRIC's schedconfig dump becomes records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from attrs import evolve, field, frozen

from pandatx.domain import dumps

NAME_WIDTH: Final = 50
LARGEST: Final = 4_000_000
"""Characters of a description; CRIC's have 0.1 million. Whoever reads one holds the interpreter meanwhile."""
ANALYSIS_LABELS: Final = frozenset(("user", "panda", "ptest", "rc_test", "rc_test2", "rc_alrb"))
_READS: Final = ("pr", "read_lan", "read_wan")
_VIRTUAL: Final = "_VP_DISK"
_WRITES: Final = ("pw", "write_lan", "write_wan", "pls", "pl")


@frozen(kw_only=True)
class Queue:
    """A PanDA queue as its schedconfig document describes it, named by its nickname.

    ``core_count`` is 0 where the document says nothing; ``mean_rss`` and ``max_rss`` are MB. ``astorages`` maps an
    activity to the endpoints in the order of preference. ``virtual_placement``: inputs are read through a cache, from
    wherever they are. ``document`` is the whole of what was read.
    """

    name: str
    site: str = ""
    status: str = "online"
    type: str = ""
    resource_type: str = ""
    cloud: str = ""
    capability: str = ""
    core_count: int = 0
    core_power: float = 0.0
    workflow: str = ""
    catchall: frozenset[str] = frozenset()
    mean_rss: int = 0
    max_rss: int = 0
    astorages: Mapping[str, tuple[str, ...]] = field(factory=dict, eq=False)
    endpoints: frozenset[str] = frozenset()
    endpoint_in: str = ""
    endpoint_out: str = ""
    virtual_placement: bool = False
    document: Mapping[str, Any] = field(factory=dict, eq=False, repr=False)

    @property
    def in_test(self) -> bool:
        return self.status == "test"

    @property
    def grandly_unified(self) -> bool:
        """One queue for production and analysis, whose pilots ask by job type."""
        return self.type == "unified" or "grandly_unified" in self.catchall

    @property
    def pushed(self) -> bool:
        """Whether jobs are pushed to the workers, so that the mean-RSS throttle can apply."""
        return self.workflow.startswith("push")

    def job_label(self, prod_source_label: str) -> str:
        """``user`` or ``managed``, by the type of the queue; a unified queue leaves it to the label."""
        if self.type == "production":
            return "managed"
        if self.type == "analysis" or prod_source_label in ANALYSIS_LABELS:
            return "user"
        return "managed"


@frozen(kw_only=True)
class Dump:
    """The queues of a dump, and what was wrong with those that are left out, one line each."""

    queues: tuple[Queue, ...]
    faults: tuple[str, ...]


def load_dump(text: str | bytes) -> Dump:
    """Read CRIC's schedconfig dump, an object keyed by nickname.

    Left out and named: an entry that is no object, a name that the tables cannot hold, a second entry of one
    nickname, and a production or unified queue without a cloud (lifecycle.md 9, trap 21).
    Raises UnreadableDump where there is no object at all.
    """
    queues: dict[str, Queue] = {}
    faults = []
    for key, document in dumps.entries(text, "queue dump"):
        fault = _fault(key, document)
        if fault is None:
            queue = queue_of(key, document)
            if queue.name in queues:
                fault = "its nickname was seen before"
            else:
                queues[queue.name] = queue
        if fault is not None:
            faults.append(f"queue {key[:80]} is left out: {fault}")
    return Dump(queues=tuple(queues.values()), faults=tuple(faults))


def queue_of(key: str, document: Mapping[str, Any]) -> Queue:
    """The record of one schedconfig document; ``key`` names a document without a nickname."""
    reads, writes, every = _endpoints(document)
    return Queue(
        name=_text(document, "nickname") or key,
        site=_text(document, "atlas_site") or _text(document, "site") or _text(document, "gstat"),
        status=_text(document, "status").lower() or "offline",
        type=_text(document, "type"),
        resource_type=_text(document, "resource_type"),
        cloud=_text(document, "cloud"),
        capability=_text(document, "capability").lower(),
        core_count=int(_number(document, "corecount")),
        core_power=_number(document, "corepower"),
        workflow=_text(document, "workflow"),
        catchall=frozenset(word.strip() for word in _text(document, "catchall").split(",") if word.strip()),
        mean_rss=int(_number(document, "meanrss")),
        max_rss=int(_number(document, "maxrss")),
        astorages=_astorages(document),
        endpoints=frozenset(every),
        endpoint_in=reads[0] if reads else "",
        endpoint_out=writes[0] if writes else "",
        virtual_placement=any(name.endswith(_VIRTUAL) for name in reads),
        document=document,
    )


def read_queue(name: str, text: str) -> Queue | None:
    """A queue as it is stored; None for a description that cannot be read."""
    try:
        document = orjson.loads(text)
        orjson.dumps(document)  # one that is nested too deeply could not be given to pilots
    except (ValueError, TypeError):
        return None
    return queue_of(name, document) if isinstance(document, dict) else None


def with_children(queue: Queue, resource_types: Iterable[str]) -> tuple[Queue, ...]:
    """The queue, and for one of capability ucore a virtual queue NAME/TYPE per resource type."""
    if queue.capability != "ucore":
        return (queue,)
    return (queue, *(evolve(queue, name=f"{queue.name}/{name}", capability=name.lower()) for name in resource_types))


def _fault(key: str, document: object) -> str | None:
    if not isinstance(document, dict):
        return "its entry is not an object"
    name = _text(document, "nickname") or key
    if not name or len(name) > NAME_WIDTH or "\0" in name:
        return f"its name has not between 1 and {NAME_WIDTH} characters"
    kind = _text(document, "type")
    if kind in ("production", "unified") and not _text(document, "cloud"):
        return f"a queue of type {kind} needs a cloud"
    return None


def _astorages(document: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found = document.get("astorages")
    if not isinstance(found, dict):
        return {}
    return {
        activity: tuple(name for name in names if isinstance(name, str) and name)
        for activity, names in found.items()
        if isinstance(names, list)
    }


def _endpoints(document: Mapping[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """Endpoints to read from, to write to, and all: by activity, else the plain list of ``ddm``."""
    by_activity = _astorages(document)
    plain = [name.strip() for name in _text(document, "ddm").split(",") if name.strip()]
    reads = [name for activity in _READS for name in by_activity.get(activity, ())] or plain
    writes = [name for activity in _WRITES for name in by_activity.get(activity, ())] or plain
    return reads, writes, [*(name for names in by_activity.values() for name in names), *plain]


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    return value.strip() if isinstance(value, str) else ""


def _number(document: Mapping[str, Any], key: str) -> float:
    """A number that CRIC may write as text; what is none, or not finite, counts as absent."""
    value = document.get(key)
    try:
        number = float(value) if isinstance(value, (int, float, str)) else 0.0
    except (ValueError, OverflowError):
        return 0.0
    return number if abs(number) < 1e15 else 0.0
