"""How many workers of which kind a queue wants that is served by unified pilot streaming."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from pandatx.domain.queues import Queue
from pandatx.domain.shares import ResourceTypeRow

JOB_TYPE: Final = "managed"
"""The only one that commands name; pilots learn from the job whose it is."""
BASIC: Final = "SCORE"
HIGH_MEMORY: Final = "HIMEM"
HIGH_MEMORY_PER_CORE: Final = 2000
"""MB above which a resource type is one of high memory."""
_PRESSED: Final = ("online", "brokeroff")
_LEAST_CORES: Final = 75
_LEAST_NEW_CORES: Final = 5
_QUEUED_PER_RUNNING: Final = 0.4
_IN_QUEUE: Final = ("submitted", "ready")
_COMING: Final = ("running", "submitted", "to_submit")


@frozen(kw_only=True)
class Workers:
    """Workers of one Harvester at one queue, as it has reported them."""

    resource_type: str
    status: str
    number: int


@frozen(kw_only=True)
class Waiting:
    """Activated jobs of one share and priority at a queue."""

    share: str
    priority: int
    resource_type: str
    number: int


@frozen(kw_only=True)
class Command:
    """What a Harvester is told; ``params`` goes as JSON."""

    harvester: str
    name: str
    params: Any


def is_streamed(queue: Queue) -> bool:
    """Whether the server says how many workers a queue gets."""
    return queue.capability == "ucore" and queue.workflow == "pull_ups"


def harvester_of(queue: Queue) -> str:
    """The Harvester that serves a queue, empty where the description names none."""
    return str(queue.document.get("harvester") or "")


def command(queue: Queue, workers: Mapping[str, int]) -> Command:
    """The command that makes a Harvester submit ``workers``, by resource type."""
    name = f"SET_N_WORKERS_JOBTYPE:{queue.name}"
    return Command(harvester=harvester_of(queue), name=name, params={JOB_TYPE: dict(workers)})


@frozen
class Plan:
    """Decides for one queue. ``types`` are all resource types, ``ranks`` those of the shares."""

    queue: Queue
    types: Sequence[ResourceTypeRow]
    ranks: Mapping[str, int]
    ignore_mean_rss: bool = False

    def new_workers(self, workers: Iterable[Workers], waiting: Iterable[Waiting]) -> dict[str, int]:
        """The workers to submit by resource type: enough to keep 0.4 cores in the batch queue for each that runs, but
        no fewer than 75 of the queue's largest workers have, and no more than there are jobs for; one where nothing
        waits, so that the queue stays awake.
        """
        rows = list(workers)
        wanted = self._cores_wanted(rows)
        closed = self._closed(rows)
        queued: Counter[str] = Counter({row.resource_type: 0 for row in rows})
        for row in rows:
            if row.status in _IN_QUEUE:
                queued[row.resource_type] += row.number
        for kind in self._in_order(each for each in waiting if each.resource_type not in closed):
            queued[kind] -= 1
            if queued[kind] <= 0:
                wanted -= self._cores(kind)
            if wanted <= 0:
                break
        found = {kind: 1 - number if number < 0 else 0 for kind, number in queued.items()}
        return found if any(found.values()) else {BASIC: 1}

    def _cores_wanted(self, rows: Sequence[Workers]) -> float:
        each = self.queue.core_count or 1
        running = float(sum(row.number * self._cores(row.resource_type) for row in rows if row.status == "running"))
        if self.queue.status in _PRESSED:
            running = max(running, _number(_part(self.queue.document, "params").get("ups_core_target")))
        queued = sum(row.number * self._cores(row.resource_type) for row in rows if row.status in _IN_QUEUE)
        target = max(int(running * _QUEUED_PER_RUNNING), _LEAST_CORES * each)
        return max(target - queued, _LEAST_NEW_CORES * each)

    def _closed(self, rows: Sequence[Workers]) -> frozenset[str]:
        """Resource types that get no more workers: at their limit, or too heavy for a queue over its mean memory."""
        limits = {kind: left for kind, left in self._limits().items() if isinstance(left, int | float)}
        for row in rows:
            if row.status == "running":
                if row.resource_type in limits:
                    limits[row.resource_type] -= row.number
                if HIGH_MEMORY in limits and self._high(row.resource_type, HIGH_MEMORY_PER_CORE):
                    limits[HIGH_MEMORY] -= row.number * self._cores(row.resource_type)
        full = {kind for kind, left in limits.items() if left <= 0}
        if HIGH_MEMORY in full:
            full |= {each.name for each in self.types if self._high(each.name, HIGH_MEMORY_PER_CORE)}
        target = self.queue.mean_rss
        if target and not self.ignore_mean_rss and self._mean_memory(rows) > target:
            light = {each.name for each in self.types if not self._high(each.name, target)}
            if light:
                full |= {each.name for each in self.types} - light
        return frozenset(full)

    def _limits(self) -> Mapping[str, Any]:
        return _part(_part(self.queue.document, "uconfig"), "resource_type_limits")

    def _mean_memory(self, rows: Sequence[Workers]) -> float:
        """MB per core of the workers that run, or of all that are on their way, whichever is more."""
        return max(self._memory_of(rows, ("running",)), self._memory_of(rows, _COMING))

    def _memory_of(self, rows: Sequence[Workers], statuses: Sequence[str]) -> float:
        types = {each.name: each for each in self.types}
        memory = cores = 0.0
        for row in rows:
            kind = types.get(row.resource_type)
            if kind is not None and row.status in statuses:
                of_worker = row.number * (kind.max_core or self.queue.core_count or 1)
                cores += of_worker
                memory += of_worker * (kind.max_ram_per_core or self._queues_memory())
        return memory / cores if cores else 0.0

    def _queues_memory(self) -> float:
        if "per_core_attr" in self.queue.catchall:
            return self.queue.max_rss
        return self.queue.max_rss / (self.queue.core_count or 1)

    def _cores(self, kind: str) -> int:
        multi = any(each.name == kind and (each.min_core or 0) > 1 for each in self.types)
        return self.queue.core_count or 1 if multi else 1

    def _high(self, kind: str, memory: int) -> bool:
        """Whether a worker of this resource type may need more than so many MB a core."""
        return any(
            each.name == kind and (each.max_ram_per_core is None or each.max_ram_per_core > memory)
            for each in self.types
        )

    def _in_order(self, waiting: Iterable[Waiting]) -> Iterator[str]:
        """The resource types of the waiting jobs: by share, then by priority, those of one priority in proportion."""
        last = len(self.ranks) + 1
        groups: defaultdict[tuple[int, str, int], list[Waiting]] = defaultdict(list)
        for each in waiting:
            groups[self.ranks.get(each.share, last), each.share, -each.priority].append(each)
        for _, group in sorted(groups.items()):
            yield from (kind for _, kind in heapq.merge(*(_spread(each) for each in group)))


def _spread(each: Waiting) -> Iterator[tuple[float, str]]:
    return (((place + 0.5) / each.number, each.resource_type) for place in range(each.number))


def _part(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = document.get(key)
    return found if isinstance(found, Mapping) else {}


def _number(value: object) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0
