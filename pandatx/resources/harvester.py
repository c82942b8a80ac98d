"""The group ``harvester``: what Harvesters report, and what they are told (reference/wire.md 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict, TypeVar

from attrs import fields, frozen
from twisted.logger import Logger

from pandatx.domain.caller import Caller
from pandatx.domain.harvester_requests import (
    Acknowledgement,
    CommandsRequest,
    CommandWish,
    Dialog,
    Dialogs,
    HarvesterFacts,
    HarvesterHeartbeat,
    HarvesterId,
    ServiceMetric,
    ServiceMetrics,
    SweepRequest,
    TargetSlots,
    WorkerReport,
    WorkerStatistics,
    WorkersUpdate,
)
from pandatx.domain.requests import NoArguments
from pandatx.resources.api import (
    JSON,
    MEBIBYTE,
    NUMBERED,
    STATUS,
    Answer,
    Call,
    Dialect,
    Limits,
    anyone,
    operation,
    pilot_role,
    production,
    secure,
)
from pandatx.resources.decoding import ArgumentFault, decoder
from pandatx.resources.encoding import naive
from pandatx.services.harvester import OK, Harvesters
from pandatx.services.workers import STORED, Workers

log = Logger()
T = TypeVar("T")

_CHUNK: Final = 10
"""Elements that are read at a stretch: a worker may name 5000 jobs."""
_REPORT: Final = Limits(inflated=4 * MEBIBYTE, report=True)
_FACTS: Final = Limits(inflated=2 * MEBIBYTE)
_COUNTS: Final = Limits(inflated=MEBIBYTE, report=True)
_SHORT: Final = Limits(inflated=MEBIBYTE)
_METRIC: Final = tuple(each.name for each in fields(ServiceMetric))
Numbers = dict[str, dict[str, dict[str, dict[str, dict[str, int]]]]]


class Command(TypedDict):
    """What a Harvester is told."""

    command_id: int
    command: str
    params: Any
    ack_requested: int
    creation_date: str


@frozen(kw_only=True)
class Value(Answer):
    """The older dialect says ``value`` also where it is null."""

    def legacy(self, as_json: bool) -> Any:
        """The bare value."""
        return self.value


@frozen
class HarvesterResource:
    """What Harvesters call, and their operators."""

    _harvesters: Harvesters
    _workers: Workers

    @operation(
        "harvester/heartbeat",
        allows=secure,
        legacy="harvesterIsAlive",
        asks=HarvesterHeartbeat,
        form=JSON,
        limits=_FACTS,
    )
    async def heartbeat(self, caller: Caller, request: HarvesterHeartbeat, call: Call) -> Answer:
        """Note that a Harvester lives, its version, and the commands that it takes."""
        facts = _decode(HarvesterFacts, request.data or {})
        wishes = await _sound(CommandWish, facts.commands, call)
        await self._harvesters.heartbeat(caller, request.harvester_id, facts, wishes)
        return Answer(value=[True, "succeeded"])

    @operation(
        "harvester/acquire_commands",
        legacy="getCommands",
        asks=CommandsRequest,
        gives=list[Command],
        allows=production,
        allows_legacy=pilot_role,
        form=STATUS,
        limits=_SHORT,
    )
    async def acquire_commands(self, caller: Caller, request: CommandsRequest, call: Call) -> Answer:
        """Hand over the commands that wait for a Harvester, the oldest first; they are then ``retrieved``."""
        taken = await self._harvesters.take_commands(request.harvester_id, request.n_commands)
        told = [
            Command(
                command_id=each.command_id,
                command=each.command,
                params=each.params,
                ack_requested=each.ack_requested,
                creation_date=naive(each.created).isoformat(),
            )
            for each in taken.commands
        ]
        undelivered = (lambda: self._harvesters.give_back(taken)) if told else None
        return Answer(data=told, fields={"Returns": 0, "Commands": told}, undelivered=undelivered)

    @operation(
        "harvester/acknowledge_commands",
        legacy="ackCommands",
        asks=Acknowledgement,
        allows=production,
        allows_legacy=pilot_role,
        form=STATUS,
        limits=_SHORT,
    )
    async def acknowledge_commands(self, caller: Caller, request: Acknowledgement, call: Call) -> Answer:
        """Note that commands were dealt with; they are then ``acknowledged``."""
        await self._harvesters.acknowledge(request.command_ids)
        return Answer(fields={"Returns": 0})

    @operation(
        "harvester/update_workers",
        allows=secure,
        legacy="updateWorkers",
        asks=WorkersUpdate,
        gives=list[bool],
        form=JSON,
        limits=_REPORT,
    )
    async def update_workers(self, caller: Caller, request: WorkersUpdate, call: Call) -> Answer:
        """Store what a Harvester says of its workers; for each, in their order, whether it was stored."""
        reports = await _read(WorkerReport, request.workers, call)
        sound = [report for report in reports if report is not None]
        stored = await self._workers.update(caller, request.harvester_id, sound)
        told = [report is not None and stored[report.worker_id] for report in reports]
        return Answer(data=told, value=[True, told])

    @operation(
        "harvester/report_worker_statistics",
        allows=secure,
        legacy="reportWorkerStats_jobtype",
        asks=WorkerStatistics,
        form=JSON,
        limits=_COUNTS,
    )
    async def report_worker_statistics(self, caller: Caller, request: WorkerStatistics, call: Call) -> Answer:
        """Store how many workers of which type, resource type and status a Harvester has at a queue."""
        text = await self._workers.count(caller, request)
        return Answer(success=text == STORED, message=text, value=[text == STORED, text])

    @operation(
        "harvester/get_worker_statistics",
        allows=secure,
        legacy="getWorkerStats",
        verb="GET",
        gives=Numbers,
        allows_legacy=anyone,
        form=JSON,
    )
    async def get_worker_statistics(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Say how many workers there are by queue, Harvester, job type, resource type and status."""
        found = await self._workers.statistics()
        return Answer(data=found, value=found)

    @operation(
        "harvester/get_current_worker_id",
        allows=secure,
        legacy="get_max_worker_id",
        verb="GET",
        asks=HarvesterId,
        gives=int | None,
        allows_legacy=anyone,
        form=JSON,
    )
    async def get_current_worker_id(self, caller: Caller, request: HarvesterId, call: Call) -> Answer:
        """Say the highest number that a Harvester has given to a worker; null for one without workers."""
        found = await self._workers.highest(request.harvester_id)
        return Value(data=found, value=found)

    @operation(
        "harvester/update_service_metrics",
        allows=secure,
        legacy="updateServiceMetrics",
        asks=ServiceMetrics,
        gives=list[bool],
        form=JSON,
        limits=_REPORT,
    )
    async def update_service_metrics(self, caller: Caller, request: ServiceMetrics, call: Call) -> Answer:
        """Keep figures of a Harvester's machines, each as its time, the host, and a JSON text."""
        named = [dict(zip(_METRIC, each, strict=False)) if type(each) is list else each for each in request.metrics]
        metrics = await _sound(ServiceMetric, named, call)
        await self._harvesters.add_metrics(caller, request.harvester_id, metrics)
        return Answer(data=[True], value=[True, [True]])

    @operation(
        "harvester/add_dialogs", allows=secure, legacy="addHarvesterDialogs", asks=Dialogs, form=JSON, limits=_REPORT
    )
    async def add_dialogs(self, caller: Caller, request: Dialogs, call: Call) -> Answer:
        """Keep messages of a Harvester for those who watch it."""
        dialogs = await _sound(Dialog, request.dialogs, call)
        await self._harvesters.add_dialogs(caller, request.harvester_id, dialogs)
        return Answer(value=[True, ""])

    @operation(
        "harvester/add_sweep_command",
        legacy="sweepPQ",
        asks=SweepRequest,
        allows=production,
        form=JSON,
        limits=_SHORT,
    )
    async def add_sweep_command(self, caller: Caller, request: SweepRequest, call: Call) -> Answer:
        """Have the Harvester of a queue end workers, by status, computing element and submission host."""
        text = await self._harvesters.sweep(caller, request)
        return Answer(success=text == OK, message="" if text == OK else text, value=[text == OK, text])

    @operation(
        "harvester/add_target_slots",
        legacy="setNumSlotsForWP",
        asks=TargetSlots,
        allows=production,
        form=NUMBERED,
        limits=_SHORT,
    )
    async def add_target_slots(self, caller: Caller, request: TargetSlots, call: Call) -> Answer:
        """Say how many slots a queue is to fill, of a share and a resource type or in all; -1 takes that back."""
        text = await self._harvesters.set_slots(caller, request)
        return Answer(message=text, value=[0, text])


async def _sound(asks: type[T], elements: Sequence[Any], call: Call) -> list[T]:
    """Those of the elements that can be read."""
    return [each for each in await _read(asks, elements, call) if each is not None]


async def _read(asks: type[T], elements: Sequence[Any], call: Call) -> list[T | None]:
    """The elements of a list, None for one that is faulty; of these there is one warning."""
    found: list[T | None] = []
    faults: list[str] = []
    for index, element in enumerate(elements, 1):
        if index % _CHUNK == 0:
            await call.breathe()
        try:
            found.append(_decode(asks, element))
        except ArgumentFault as fault:
            found.append(None)
            faults.append(str(fault))
    if faults:
        log.warn("{cls}: {n} passed over: {faults}", cls=asks.__name__, n=len(faults), faults="; ".join(faults[:5]))
    return found


def _decode(asks: type[T], element: Any) -> T:
    """An element of a list, whose names are the older dialect's in both. Raises ArgumentFault."""
    if not isinstance(element, Mapping):
        raise ArgumentFault(asks.__name__, "not an object", "not an object")
    kind: type = asks
    found: T = decoder(kind, Dialect.LEGACY).decode(element)
    return found
