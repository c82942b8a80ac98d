"""The group ``metaconfig``: settings of the site (reference/wire.md 2.13, 4, 5.1)."""

from __future__ import annotations

from typing import Any, Final, TypedDict

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.query_requests import SiteType
from pandatx.domain.requests import NoArguments
from pandatx.errors import PandaError
from pandatx.resources.api import JSON, STATUS, Answer, Call, anyone, operation, secure
from pandatx.services.metaconfig import Metaconfig

NONE_KNOWN: Final = "database error in the PanDA server"


class ResourceType(TypedDict):
    """A resource type; cores, and MB of memory for a core, null where there is no bound."""

    resource_name: str
    mincore: int | None
    maxcore: int | None
    minrampercore: int | None
    maxrampercore: int | None


@frozen
class MetaconfigResource:
    """What pilots, Harvester and operators read of the settings."""

    _metaconfig: Metaconfig

    @operation(
        "metaconfig/get_banned_users",
        legacy="get_ban_users",
        verb="GET",
        gives=dict[str, bool],
        allows_legacy=anyone,
        form=JSON,
        allows=secure,
    )
    async def get_banned_users(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """List the users whose accounts are disabled; each stands there with false, as it always did."""
        found = dict.fromkeys(sorted(self._metaconfig.banned()), False)
        return Answer(data=found, value=[True, found])

    @operation(
        "metaconfig/get_resource_types",
        legacy="getResourceTypes",
        verb="GET",
        gives=list[ResourceType],
        allows_legacy=anyone,
        form=STATUS,
        allows=secure,
    )
    async def get_resource_types(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """List the resource types with their bounds."""
        # In the form that is no JSON the list is a Python literal: all that pilot3 can read (reference/wire.md 2.13).
        found = [
            ResourceType(
                resource_name=row.name,
                mincore=row.min_core,
                maxcore=row.max_core,
                minrampercore=row.min_ram_per_core,
                maxrampercore=row.max_ram_per_core,
            )
            for row in self._metaconfig.resource_types()
        ]
        if not found:
            raise PandaError(NONE_KNOWN)
        return Answer(data=found, fields={"Returns": 0, "ResourceTypes": found})

    @operation("metaconfig/get_site_specs", verb="GET", asks=SiteType, gives=dict[str, dict[str, Any]], allows=anyone)
    async def get_site_specs(self, caller: Caller, request: SiteType, call: Call) -> Answer:
        """Give the specifications of the queues of a type: unified, production, analysis, or all."""
        return Answer(data=await self._metaconfig.site_specs(request.type))
