"""What Harvesters say of themselves, and what they are told (reference/wire.md 4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec

from attrs import field, frozen
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.harvester_requests import (
    CommandWish,
    Dialog,
    HarvesterFacts,
    ServiceMetric,
    SweepRequest,
    TargetSlots,
    expiry,
)
from pandatx.domain.pilot_streaming import Command, harvester_of
from pandatx.domain.workers import may_speak_for
from pandatx.errors import BadRequest, Busy, NotPermitted
from pandatx.services.facts import Facts
from pandatx.services.owners import Owners
from pandatx.store import harvester as store
from pandatx.store import harvester_commands as commands
from pandatx.store.database import UNSTORABLE, Database, OutcomeUnknown, Transaction
from pandatx.store.harvester_commands import Fetched

log = Logger()
P = ParamSpec("P")

OK: Final = "OK"
NO_QUEUE: Final = "Error retrieving queue configuration from DB"
NO_HARVESTER: Final = "Queue not served by any harvester ID"
NOTHING_TO_SWEEP: Final = "no worker is meant: {} is empty, or names nothing that the queue has"
KILL_WORKERS: Final = "KILL_WORKERS"
NO_SLOTS: Final = -1
LARGEST_METRICS: Final = 4000
MOST_COMMANDS: Final = 1000


async def check_speaker(tx: Transaction, caller: Caller, harvester_id: str) -> None:
    """Raise NotPermitted unless the caller may report for this Harvester: with a role, or as the one who runs it."""
    if not caller.reports and not may_speak_for(caller, await store.owner(tx, harvester_id)):
        raise not_yours(harvester_id)


def not_yours(harvester_id: str) -> NotPermitted:
    return NotPermitted(f"harvester {harvester_id[:50]} is not yours")


@frozen(kw_only=True)
class Taken:
    """Commands that a Harvester has fetched, and when."""

    commands: tuple[Fetched, ...]
    at: datetime


@frozen
class Harvesters:
    """Heartbeats, messages and figures of Harvesters, and the commands for them.

    A Harvester belongs to the user whose heartbeat was its first; others need the pilot or production role.
    """

    _database: Database
    _clock: Clock
    _facts: Facts
    _owners: Owners
    _unheard: dict[str, list[datetime]] = field(factory=dict, init=False)

    async def heartbeat(
        self, caller: Caller, harvester_id: str, facts: HarvesterFacts, wishes: Sequence[CommandWish]
    ) -> None:
        """A Harvester lives; ``wishes`` are the commands that it takes. Raises NotPermitted, BadRequest.

        It belongs to a name, which becomes the caller's, too; with a role names do not matter.
        """
        name, work = "harvester.heartbeat", partial(self._heartbeat, caller=caller, harvester_id=harvester_id)
        if caller.reports:
            await _storable(name, self._database.transaction(name, work, facts=facts, wishes=wishes))
        else:
            await _storable(name, self._owners.making(name, caller, work, facts=facts, wishes=wishes))

    async def add_dialogs(self, caller: Caller, harvester_id: str, dialogs: Sequence[Dialog]) -> None:
        """Keep messages; one that is sent again takes the place of the first."""
        await self._store("harvester.dialogs", self._add_dialogs, caller, harvester_id, dialogs)

    async def add_metrics(self, caller: Caller, harvester_id: str, metrics: Sequence[ServiceMetric]) -> None:
        """Keep figures of machines; a text that is too long is left out, since half of it says nothing."""
        fitting = [each for each in metrics if len(each.metrics) <= LARGEST_METRICS]
        if len(fitting) < len(metrics):
            n = len(metrics) - len(fitting)
            log.warn("{harvester}: {n} metrics are left out, too long", harvester=harvester_id, n=n)
        await self._store("harvester.metrics", self._add_metrics, caller, harvester_id, fitting)

    # Commands

    async def take_commands(self, harvester_id: str, n: int) -> Taken:
        """Up to ``n`` commands that wait for a Harvester, the oldest first."""
        now, unheard = self._clock.now(), self._unheard.pop(harvester_id, [])
        try:
            found = await self._database.transaction(
                "harvester.take_commands", commands.take, harvester_id, min(n, MOST_COMMANDS), now, unheard
            )
        except Busy as fault:
            if isinstance(fault, OutcomeUnknown):  # if any are retrieved now, nobody has been told of them
                unheard = [*unheard, now]
            if unheard:
                self._unheard[harvester_id] = unheard
            raise
        for each in found:
            log.info("{harvester}: fetched {command}", harvester=harvester_id, command=each.command, id=each.command_id)
        return Taken(commands=tuple(found), at=now)

    async def give_back(self, taken: Taken) -> None:
        """Have commands fetched again whose answer was not delivered."""
        ids = [each.command_id for each in taken.commands]
        await self._database.transaction("harvester.give_back", commands.give_back, ids, taken.at)

    async def acknowledge(self, ids: Sequence[int]) -> None:
        """Commands that Harvesters have dealt with."""
        if ids:
            await self._store("harvester.acknowledge", commands.acknowledge, ids, self._clock.now())

    async def sweep(self, caller: Caller, request: SweepRequest) -> str:
        """Tell the Harvester of a queue to end workers; ``OK``, or why nothing is to be ended."""
        queue = self._facts.queue(request.queue)
        if queue is None:
            return NO_QUEUE
        if not (harvester := harvester_of(queue)):
            return NO_HARVESTER
        params = {
            "status": request.statuses,
            "computingSite": [queue.name],
            "computingElement": _known(request.computing_elements, queue.document.get("queues")),
            "submissionHost": request.submission_hosts,
        }
        for name, value in zip(("status_list", "ce_list", "submission_host_list"), _lists(params), strict=True):
            if not value:
                return NOTHING_TO_SWEEP.format(name)
        command = Command(harvester=harvester, name=KILL_WORKERS, params=params)
        await self._store("harvester.sweep", commands.add, command, self._clock.now())
        log.info("{who} has {harvester} end workers: {params}", who=caller.name, harvester=harvester, params=params)
        return OK

    async def set_slots(self, caller: Caller, request: TargetSlots) -> str:
        """Say how many slots a queue is to fill; what was set, in words. Raises BadRequest."""
        if request.slots < NO_SLOTS:
            raise BadRequest("slots", "must not be negative, except -1 for no target")
        queue, share, kind, now = request.panda_queue, request.global_share, request.resource_type, self._clock.now()
        try:
            until = expiry(request.expiration_date, now)
        except ValueError as wrong:
            raise BadRequest("expiration_date", str(wrong)) from None
        if request.slots == NO_SLOTS:
            await self._store("harvester.drop_slots", store.drop_slots, queue, share, kind)
        else:
            await self._store("harvester.set_slots", store.set_slots, queue, share, kind, request.slots, until, now)
        text = f"set numSlots={request.slots} for PQ={queue} gshare={share} resource={kind}"
        log.info("{who}: {text}", who=caller.name, text=text)
        return text

    # Transactions

    async def _heartbeat(
        self,
        tx: Transaction,
        caller: Caller,
        harvester_id: str,
        facts: HarvesterFacts,
        wishes: Sequence[CommandWish],
    ) -> None:
        now = self._clock.now()
        if not await store.heartbeat(tx, harvester_id, caller.name, caller.address, caller.reports, facts, now):
            raise not_yours(harvester_id)
        if wishes:
            await store.wish(tx, harvester_id, wishes, now)

    async def _add_dialogs(self, tx: Transaction, caller: Caller, harvester_id: str, dialogs: Sequence[Dialog]) -> None:
        await check_speaker(tx, caller, harvester_id)
        if dialogs:
            await store.add_dialogs(tx, harvester_id, dialogs)

    async def _add_metrics(
        self, tx: Transaction, caller: Caller, harvester_id: str, metrics: Sequence[ServiceMetric]
    ) -> None:
        await check_speaker(tx, caller, harvester_id)
        if metrics:
            await store.add_metrics(tx, harvester_id, metrics)

    async def _store(
        self,
        name: str,
        work: Callable[Concatenate[Transaction, P], Awaitable[None]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        await _storable(name, self._database.transaction(name, work, *args, **kwargs))


async def _storable(name: str, storing: Awaitable[None]) -> None:
    try:
        await storing
    except UNSTORABLE as error:
        log.warn("{name} is refused: {error}", name=name, error=str(error).strip())
        raise BadRequest("request", "it has a value that cannot be stored") from error


def _known(wanted: Sequence[str], described: Any) -> Sequence[str]:
    """The computing elements that a queue has, of those that are wanted; ALL stays ALL."""
    if isinstance(wanted, str):
        return wanted
    elements = described if isinstance(described, list) else []
    there = {str(each["ce_endpoint"]) for each in elements if isinstance(each, dict) and "ce_endpoint" in each}
    return [name for name in wanted if name in there]


def _lists(params: dict[str, Any]) -> tuple[Sequence[str], ...]:
    return params["status"], params["computingElement"], params["submissionHost"]
