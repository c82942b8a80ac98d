"""The group ``event``: event ranges, for pilots, Harvester and panda-client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypedDict

import orjson
from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.event_requests import (
    RangeCountRequest,
    RangeEnd,
    RangeRequest,
    RangesOfJobs,
    RangeUpdates,
    pairs_of,
)
from pandatx.domain.events import Judged, Read, read_updates, status_name
from pandatx.errors import BadRequest
from pandatx.resources.api import (
    JSON,
    STATUS_JSON,
    Answer,
    Call,
    Dialect,
    LegacyForm,
    Style,
    anyone,
    operation,
    pilot_role,
    secure,
)
from pandatx.services.events import SHORT, Events
from pandatx.store.events import Range, Told

_NO_ROLE: Final = "production or pilot role is required"
_STATUS: Final = LegacyForm(Style.STATUS, role_text=_NO_ROLE)
_URLENCODED: Final = LegacyForm(Style.URLENCODED, role_text=_NO_ROLE)
_FAILED: Final = 30


class EventRange(TypedDict):
    """Events of a file, from the first to the last, to be processed by one job in one attempt."""

    eventRangeID: str
    startEvent: int | None
    lastEvent: int | None
    LFN: str | None
    GUID: str | None
    scope: str | None


class EventRanges(TypedDict):
    """Ranges for a job."""

    StatusCode: int
    eventRanges: list[EventRange]


class UpdatedEventRanges(TypedDict):
    """What became of each range, in order, and what each job's pilot is told; the last two are the same."""

    StatusCode: int
    Returns: list[bool | None]
    Command: dict[str, str | None]
    Commands: dict[str, str | None]


class EventCommand(TypedDict):
    """What the job's pilot is told: the JSON text of an object by PandaID."""

    Command: str


class EventRangeState(TypedDict):
    """What is known of a range."""

    status: str
    error: int | None
    dialog: str | None


@frozen(kw_only=True)
class InText(Answer):
    """An answer of the older dialect whose lists and objects are JSON texts where the answer itself is no JSON."""

    def legacy(self, as_json: bool) -> dict[str, Any]:
        """A StatusCode form."""
        told = {
            name: orjson.dumps(value).decode() if not as_json and isinstance(value, list | dict) else value
            for name, value in self.fields.items()
        }
        return {"StatusCode": 0, **told}


@frozen
class EventResource:
    """Who has which events to process, and how that went."""

    _events: Events

    @operation(
        "event/acquire_event_ranges",
        legacy="getEventRanges",
        asks=RangeRequest,
        gives=EventRanges,
        allows=pilot_role,
        form=_STATUS,
    )
    async def acquire_event_ranges(self, caller: Caller, request: RangeRequest, call: Call) -> Answer:
        """Hand over up to ``n_ranges`` event ranges to a job; each is with one job at a time."""
        ranges = [_range(each) for each in await self._events.take(request)]
        return InText(data={"StatusCode": 0, "eventRanges": ranges}, fields={"eventRanges": ranges})

    @operation(
        "event/get_available_event_range_count",
        legacy="checkEventsAvailability",
        verb="GET",
        asks=RangeCountRequest,
        gives=int,
        allows=pilot_role,
        allows_legacy=anyone,
        form=STATUS_JSON,
    )
    async def get_available_event_range_count(self, caller: Caller, request: RangeCountRequest, call: Call) -> Answer:
        """Count the event ranges that a job could get."""
        n = await self._events.ready(request)
        return Answer(data=n, fields={"nEventRanges": n})

    @operation(
        "event/update_event_ranges",
        legacy="updateEventRanges",
        asks=RangeUpdates,
        gives=UpdatedEventRanges,
        allows=pilot_role,
        form=_STATUS,
    )
    async def update_event_ranges(self, caller: Caller, request: RangeUpdates, call: Call) -> Answer:
        """Store how event ranges ended; for each is said whether it was taken, for each job what its pilot is to do."""
        try:
            read: list[Read] = await call.in_thread(request.read) if request.large else request.read()
        except ValueError as wrong:
            name = "eventRanges" if call.dialect is Dialect.LEGACY else "event_ranges"
            raise BadRequest(name, str(wrong)) from None
        judged = await self._events.update(read, request.version)
        told = {"Returns": judged.returns, "Command": _commands(judged)}
        return InText(data={"StatusCode": 0, **told, "Commands": told["Command"]}, fields=told)

    @operation(
        "event/update_single_event_range",
        legacy="updateEventRange",
        asks=RangeEnd,
        gives=EventCommand,
        allows=pilot_role,
        form=_URLENCODED,
    )
    async def update_single_event_range(self, caller: Caller, request: RangeEnd, call: Call) -> Answer:
        """Store how one event range ended, and say what its job's pilot is to do."""
        judged = await self._events.update(read_updates([request.update]), 0)
        if judged.returns == [False]:
            text = "the range, its status or the status of its job is not one that can be reported"
            return Answer(success=False, message=text, fields={"StatusCode": _FAILED})
        told = {"Command": orjson.dumps(_commands(judged)).decode()}
        return Answer(data=told, fields=told)

    @operation(
        "event/get_event_range_statuses",
        allows=secure,
        legacy="get_events_status",
        verb=("GET", "POST"),
        asks=RangesOfJobs,
        gives=dict[str, dict[str, EventRangeState]],
        allows_legacy=anyone,
        form=JSON,
    )
    async def get_event_range_statuses(self, caller: Caller, request: RangesOfJobs, call: Call) -> Answer:
        """Tell the status of all event ranges of some jobs, by PandaID and range."""
        try:
            pairs = pairs_of(request.job_task_ids)
        except ValueError as wrong:
            name = "ids" if call.dialect is Dialect.LEGACY else "job_task_ids"
            raise BadRequest(name, str(wrong)) from None
        found = await self._events.statuses(pairs)
        told = await call.in_thread(lambda: _states(pairs, found)) if len(found) > SHORT else _states(pairs, found)
        return Answer(data=told, value=told)


def _range(each: Range) -> EventRange:
    return {
        "eventRangeID": str(each.id),
        "startEvent": each.first,
        "lastEvent": each.last,
        "LFN": each.lfn,
        "GUID": each.guid,
        "scope": each.scope,
    }


def _commands(judged: Judged) -> dict[str, str | None]:
    return {str(panda_id): command for panda_id, command in judged.commands.items()}


def _states(pairs: Iterable[tuple[int, int]], found: Iterable[Told]) -> dict[str, dict[str, EventRangeState]]:
    told: dict[str, dict[str, EventRangeState]] = {str(panda_id): {} for _, panda_id in pairs}
    for each in found:
        state: EventRangeState = {
            "status": status_name(each.status),
            "error": each.error_code,
            "dialog": each.error_diag,
        }
        told[str(each.id.job_id)][str(each.id)] = state
    return told
