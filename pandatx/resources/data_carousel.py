"""The group ``data_carousel``: inputs that are staged from tape, by the operator's handler."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.outside_requests import StagingRequest, StagingSource
from pandatx.resources.api import Answer, Call, operation, production
from pandatx.services.relays import Relays


@frozen
class DataCarouselResource:
    """All refuse clearly where the server knows no data carousel."""

    _relays: Relays

    @operation("data_carousel/change_staging_destination", asks=StagingRequest, gives=dict[str, Any], allows=production)
    async def change_destination(self, caller: Caller, request: StagingRequest, call: Call) -> Answer:
        """Stage to another destination; refused where the server has no handler for the data carousel."""
        return await self._ask(caller, "change_staging_destination", request)

    @operation("data_carousel/change_staging_source", asks=StagingSource, gives=dict[str, Any], allows=production)
    async def change_source(self, caller: Caller, request: StagingSource, call: Call) -> Answer:
        """Stage from another source; refused where the server has no handler for the data carousel."""
        return await self._ask(caller, "change_staging_source", request)

    @operation("data_carousel/force_to_staging", asks=StagingRequest, gives=dict[str, Any], allows=production)
    async def force(self, caller: Caller, request: StagingRequest, call: Call) -> Answer:
        """Stage at once, past the queue; refused where the server has no handler for the data carousel."""
        return await self._ask(caller, "force_to_staging", request)

    @operation("data_carousel/retire_unused", asks=StagingRequest, gives=dict[str, Any], allows=production)
    async def retire(self, caller: Caller, request: StagingRequest, call: Call) -> Answer:
        """Retire a staging request that nobody uses; refused where the server has no handler for the data carousel."""
        return await self._ask(caller, "retire_unused", request)

    async def _ask(self, caller: Caller, command: str, request: StagingRequest) -> Answer:
        said = await self._relays.carousel(caller, command, request)
        return Answer(success=said.ok, message=said.message, data=said.data)
