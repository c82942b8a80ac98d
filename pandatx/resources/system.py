"""The group ``system``."""

from __future__ import annotations

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.requests import NoArguments
from pandatx.resources.api import TEXT, Answer, Call, Limits, anyone, operation


@frozen
class SystemResource:
    """What says that the server lives."""

    @operation("system/is_alive", legacy="isAlive", verb="GET", allows=anyone, form=TEXT, limits=Limits(hot=True))
    async def is_alive(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Say that the server is there; it does not look at the database."""
        return Answer(value="alive=yes")
