"""The group ``pandatx``: whose name is whose (rules R27, R41)."""

from __future__ import annotations

from typing import TypedDict

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.owners import Owner, OwnerName, OwnerSubject
from pandatx.resources.api import Answer, Call, operation, production
from pandatx.services.owners import Owners


class OwnerDescription(TypedDict):
    """A name as the wire has it; the time is UTC text."""

    name: str
    subject: str
    also: list[str]
    first_seen: str


@frozen
class OwnersResource:
    """For operators, when somebody's certificate has a new DN."""

    _owners: Owners

    @operation("pandatx/show_owner", verb="GET", asks=OwnerName, gives=OwnerDescription, allows=production)
    async def show_owner(self, caller: Caller, request: OwnerName, call: Call) -> Answer:
        """Say whom the name of an owner belongs to, and since when."""
        return Answer(data=_described(await self._owners.show(request.name)))

    @operation("pandatx/release_owner", asks=OwnerName, gives=OwnerDescription, allows=production)
    async def release_owner(self, caller: Caller, request: OwnerName, call: Call) -> Answer:
        """Take a name from its owner; the next one who submits with it gets it. ``data`` is what there was."""
        return Answer(data=_described(await self._owners.release(caller, request.name)))

    @operation("pandatx/admit_owner", asks=OwnerSubject, gives=OwnerDescription, allows=production)
    async def admit_owner(self, caller: Caller, request: OwnerSubject, call: Call) -> Answer:
        """Let one more certificate or token use the name of an owner: that of the same person, to be sure."""
        return Answer(data=_described(await self._owners.admit(caller, request.name, request.subject)))


def _described(owner: Owner) -> OwnerDescription:
    return OwnerDescription(
        name=owner.name,
        subject=owner.subject,
        also=list(owner.also),
        first_seen=f"{owner.first_seen:%Y-%m-%d %H:%M:%S}",
    )
