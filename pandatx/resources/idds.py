"""The group ``idds``: commands for iDDS, relayed by the operator's handler."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.outside_requests import IddsCommand, IddsWorkflowCommand
from pandatx.resources.api import JSON, Answer, Call, operation, secure
from pandatx.services.relays import Relays


@frozen
class IddsResource:
    """Both refuse clearly where the server knows no iDDS."""

    _relays: Relays

    @operation(
        "idds/relay_idds_command", allows=secure, legacy="relay_idds_command", asks=IddsCommand, gives=Any, form=JSON
    )
    async def relay(self, caller: Caller, request: IddsCommand, call: Call) -> Answer:
        """Relay a command to iDDS; refused where the server has no handler for it."""
        said = await self._relays.idds(caller, request)
        value = [said.ok, said.data if said.ok else said.message]
        return Answer(success=said.ok, message=said.message, data=said.data, value=value)

    @operation(
        "idds/execute_idds_workflow_command",
        allows=secure,
        legacy="execute_idds_workflow_command",
        asks=IddsWorkflowCommand,
        gives=Any,
        form=JSON,
    )
    async def execute(self, caller: Caller, request: IddsWorkflowCommand, call: Call) -> Answer:
        """Relay a command for a workflow of the caller's; refused where the server has no handler for it."""
        said = await self._relays.workflow(caller, request)
        if isinstance(said.data, dict) and {"message", "status"} <= said.data.keys():
            status, message = said.data["status"], str(said.data["message"])
            return Answer(success=said.ok, message=message, data=status, value=[said.ok, [[status, message]]])
        value = [said.ok, said.data if said.ok else said.message]
        return Answer(success=said.ok, message=said.message, data=said.data, value=value)
