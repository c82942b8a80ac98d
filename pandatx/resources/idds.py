"""The group ``idds``: commands for iDDS, relayed by the operator's handler."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.outside_requests import IddsCommand, IddsWorkflowCommand
from pandatx.resources.api import JSON, Answer, Call, operation, secure
from pandatx.services.relays import STATUS_COMMAND, Relays


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
        if not said.ok:
            return Answer(success=False, message=said.message, data=said.data, value=[False, said.message])
        if isinstance(said.data, dict) and "message" in said.data:
            status, message = said.data.get("status", 0), str(said.data["message"])
            return Answer(message=message, data=status, value=[True, [[status, message]]])
        found = said.data
        if request.command_name.partition("+")[0] != STATUS_COMMAND and (found is None or isinstance(found, str)):
            found = [[0, found or said.message]]  # pbook prints the last item of the first
        return Answer(message=said.message, data=said.data, value=[True, found])
