"""Handing commands to systems beside this server, each by the operator's handler, in a process that can be killed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import orjson
from attrs import asdict, define, field, frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.domain.caller import Caller
from pandatx.domain.outside_requests import IddsCommand, IddsWorkflowCommand, StagingRequest
from pandatx.errors import BadRequest, Busy, NotConfigured, PandaError
from pandatx.workers.calls import CallError, CallTimedOut

log = Logger()

IDDS: Final = "idds"
CAROUSEL: Final = "data_carousel"
RELAYED: Final = frozenset((IDDS, CAROUSEL))
LIMIT: Final = 60.0
"""Seconds for one command."""
MOST: Final = 20
"""Commands at a time, with those that wait for a child; who comes with one more must come again."""
STATUS_COMMAND: Final = "get_status"
"""The one that changes nothing."""
WORKFLOW_COMMANDS: Final = frozenset((STATUS_COMMAND, "abort", "suspend", "resume", "retry", "finish"))
_NAMES: Final = {IDDS: "iDDS", CAROUSEL: "the data carousel"}


class BadCommand(PandaError):
    """A command that cannot be relayed, in the form of its answers: panda-client reads nothing else."""


class Children(Protocol):
    """Runs a function in a child."""

    async def call(self, name: str, *args: Any, timeout: float, context: str = "") -> Any: ...


@frozen(kw_only=True)
class Said:
    """What the other system answered."""

    ok: bool
    message: str = ""
    data: Any = None


@define(eq=False)
class Relays:
    """``handlers`` are those of ``[pandatx] request_handlers``; a system without one is refused."""

    _children: Children
    _handlers: Mapping[str, str]
    _under_way: int = field(default=0, init=False)

    async def idds(self, caller: Caller, command: IddsCommand) -> Said:
        """Relay a command to iDDS in the caller's name. Raises NotConfigured, BadCommand, Busy."""
        self._target(IDDS)
        args, kwargs = await _json("args", command.args, list), await _json("kwargs", command.kwargs, dict)
        document = {**asdict(command), "args": args, "kwargs": kwargs, "owner_only": False}
        return await self._relay(IDDS, caller, document)

    async def workflow(self, caller: Caller, command: IddsWorkflowCommand) -> Said:
        """Relay a command for a workflow; those that change one are for its owner only, which the handler checks.

        Raises NotConfigured, BadCommand.
        """
        self._target(IDDS)
        name = command.command_name.partition("+")[0]
        if name not in WORKFLOW_COMMANDS:
            raise BadCommand(f"{name} is unsupported")
        kwargs = await _json("kwargs", command.kwargs, dict)
        if name != STATUS_COMMAND and kwargs.get("request_id") is None:
            raise BadCommand("request_id is missing")
        document = {**asdict(command), "args": [], "kwargs": kwargs, "manager": True}
        return await self._relay(IDDS, caller, {**document, "owner_only": name != STATUS_COMMAND})

    async def carousel(self, caller: Caller, command: str, request: StagingRequest) -> Said:
        """Have the data carousel do a command. Raises NotConfigured, BadRequest."""
        self._target(CAROUSEL)
        if request.request_id is None and not request.dataset:
            raise BadRequest("request_id", "name a request_id or a dataset")
        return await self._relay(CAROUSEL, caller, {"command_name": command, **asdict(request)})

    def _target(self, system: str) -> str:
        if (target := self._handlers.get(system)) is None:
            raise NotConfigured(
                f"{_NAMES[system]} is not configured at this server: [pandatx] request_handlers names no {system}"
            )
        return target

    async def _relay(self, system: str, caller: Caller, document: Mapping[str, Any]) -> Said:
        if self._under_way >= MOST:
            raise Busy(f"too many commands for {_NAMES[system]} wait already", retry_after=30)
        request = {**document, "user": caller.name, "dn": caller.dn, "production": caller.production}
        context = f"{system} {document['command_name']} for {caller.name}"
        self._under_way += 1
        try:
            said = await self._children.call(self._target(system), request, {}, timeout=LIMIT, context=context)
            return Said(ok=said["ok"] is True, message=str(said.get("message") or ""), data=said.get("data"))
        except CallTimedOut:
            raise PandaError(f"{_NAMES[system]} did not answer within {LIMIT:g} s") from None
        except (CallError, LookupError, TypeError, AttributeError) as fault:
            log.warn("{context}: {fault}", context=context, fault=fault)
            raise PandaError(f"{_NAMES[system]} could not be asked; the server's log says why") from None
        finally:
            self._under_way -= 1


async def _json(field: str, text: str | None, kind: type) -> Any:
    """The value of a JSON text, nothing of its kind where it is absent. Raises BadCommand."""
    if not text:
        return kind()
    try:
        value = await deferToThread(orjson.loads, text)  # megabytes, where a workflow is submitted to iDDS
    except ValueError:
        raise BadCommand(f"{field}: failed to load JSON") from None
    if not isinstance(value, kind):
        raise BadCommand(f"{field}: must be a JSON {'array' if kind is list else 'object'}")
    return value
