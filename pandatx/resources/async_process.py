"""The group ``async_process``, and requests for workflows, lost files and events (reference/wire.md 3.5, 3.6, 5.1)."""

from __future__ import annotations

from typing import Any, Final, TypedDict
from uuid import uuid4

import attrs
from attrs import frozen
from twisted.internet.threads import deferToThread

from pandatx.domain.async_requests import (
    EventPicking,
    FileRecovery,
    GrepRequest,
    RequestId,
    SleepEchoRequest,
    WorkflowRequest,
)
from pandatx.domain.async_work import EVENT_PICKING, WORKFLOW, Status
from pandatx.domain.caller import Caller
from pandatx.domain.json_texts import read_json
from pandatx.errors import BadRequest
from pandatx.resources.api import JSON, MEBIBYTE, TEXT, Answer, Call, Dialect, Limits, operation, production, secure
from pandatx.services.async_requests import AsyncRequests

ACCEPTED: Final = "request was accepted and will be processed in a few minutes"
PATIENCE: Final = 100.0
"""Seconds that a caller of ``sync`` waits for the outcome; panda-client itself waits for 600."""
LARGEST: Final = Limits(inflated=10 * MEBIBYTE)


class Accepted(TypedDict):
    """The request is stored under this id."""

    request_id: str


class AcceptedWithLog(Accepted):
    """The log of the work will be found there."""

    logFileURL: str


class OnMachine(TypedDict):
    """What came of a request on one machine; times are UTC."""

    machine_name: str
    status: str
    result: str | None
    truncated: int | None
    error_msg: str | None
    attempts: int | None
    started_at: str | None
    finished_at: str | None
    stderr: str | None
    return_code: int | None


class Outcome(TypedDict):
    """What came of a request: complete, when every machine that is expected to answer has done so."""

    overall_status: str
    expected_machines: list[str]
    results: list[OnMachine]


WorkflowOutcome = dict[str, Any]
"""status, request_id and log, and what the engine says beside."""


@frozen
class AsyncProcessResource:
    """What is stored at once, worked on later, and asked after with its id."""

    _requests: AsyncRequests

    @operation("async_process/submit_grep_request", asks=GrepRequest, gives=Accepted, allows=secure)
    async def submit_grep_request(self, caller: Caller, request: GrepRequest, call: Call) -> Answer:
        """Search a log file on all machines of a service, or on one. ``data`` has the id of the request."""
        return Answer(data={"request_id": await self._requests.grep(caller, request)})

    @operation("async_process/submit_sleep_echo_request", asks=SleepEchoRequest, gives=Accepted, allows=production)
    async def submit_sleep_echo_request(self, caller: Caller, request: SleepEchoRequest, call: Call) -> Answer:
        """Have one machine of a service wait and answer, to see that it does. ``data`` has the id of the request."""
        return Answer(data={"request_id": await self._requests.sleep_echo(caller, request)})

    @operation("async_process/get_result", verb="GET", asks=RequestId, gives=Outcome, allows=secure)
    async def get_result(self, caller: Caller, request: RequestId, call: Call) -> Answer:
        """Say what came of a request, machine by machine, to its requester and, mostly, to the production role."""
        return Answer(data=await self._requests.result(caller, request.request_id))


@frozen
class RequestsResource:
    """What older front ends keep in files. ``cache_url`` is where clients find the log of a recovery."""

    _requests: AsyncRequests
    _cache_url: str

    @operation(
        "file_server/upload_file_recovery_request",
        legacy="put_file_recovery_request",
        asks=FileRecovery,
        gives=AcceptedWithLog,
        allows=secure,
        form=JSON,
        limits=LARGEST,
    )
    async def upload_file_recovery_request(self, caller: Caller, request: FileRecovery, call: Call) -> Answer:
        """Have lost files of a task or a dataset of the caller made again. ``data`` has the id and a log's URL."""
        if request.task_id is None and not request.dataset:
            raise _fault(call, FileRecovery, "task_id", "either task_id or dataset must be provided")
        log_file = f"jedilog/lost_file_recovery.{uuid4()}.log"
        stored = await self._requests.recover_files(caller, request, log_file)
        return _accepted(stored, logFileURL=f"{self._cache_url}/{log_file}")

    @operation(
        "file_server/upload_workflow_request",
        legacy="put_workflow_request",
        asks=WorkflowRequest,
        gives=Accepted | WorkflowOutcome,
        allows=secure,
        form=JSON,
        limits=LARGEST,
    )
    async def upload_workflow_request(self, caller: Caller, request: WorkflowRequest, call: Call) -> Answer:
        """Store a workflow for the engine; refused where the server has no handler for it.

        With ``sync`` or ``dry_run`` the answer is what came of it.
        """
        try:
            parameters = await deferToThread(lambda: request.parameters)  # megabytes of JSON, perhaps
        except ValueError as wrong:
            raise _fault(call, WorkflowRequest, "data", str(wrong)) from None
        stored = await self._requests.submit(caller, WORKFLOW, parameters)
        if not (request.sync or request.dry_run):
            return _accepted(stored)
        row = await self._requests.outcome(stored, PATIENCE, call.gone)
        if row is None:
            text = f"the request is not done yet; its result can be asked for with request_id {stored}"
            return Answer(success=False, message=text, value=[False, text], data={"request_id": stored})
        told = _of_workflow(row)
        return Answer(data=told, value=[True, told])

    @operation(
        "file_server/upload_event_picking_request",
        legacy="putEventPickingRequest",
        asks=EventPicking,
        gives=Accepted,
        allows=secure,
        form=TEXT,
        limits=LARGEST,
    )
    async def upload_event_picking_request(self, caller: Caller, request: EventPicking, call: Call) -> Answer:
        """Have the files found that hold some events; refused where the server has no handler for it.

        ``data`` has the id; panda-client's answer is just True.
        """
        try:
            parameters = await deferToThread(lambda: request.picked)
        except ValueError as wrong:
            raise _fault(call, EventPicking, "run_event_list", str(wrong)) from None
        stored = await self._requests.submit(caller, EVENT_PICKING, parameters)
        return Answer(data={"request_id": stored}, value="True")


def _accepted(stored: str, **data: str) -> Answer:
    """Stored: the envelope has the id in ``data``, the older dialect in its text."""
    return Answer(
        message=f"The {ACCEPTED}",
        data={"request_id": stored, **data},
        value=[True, f"{ACCEPTED}: request_id {stored}"],
    )


def _of_workflow(row: dict[str, Any]) -> dict[str, Any]:
    """As panda-client reads the outcome of a workflow: status, the number that it got, a log."""
    done = row["status"] == Status.DONE
    told: dict[str, Any] = {"status": done, "request_id": None, "log": row["error_msg"] or row["result"] or ""}
    try:
        found = read_json(row["result"] or "")
    except ValueError:
        return told
    if isinstance(found, dict):
        told |= {name: value for name, value in found.items() if value is not None}
    return {**told, "status": told["status"] if done else False, "log": str(told["log"])}


def _fault(call: Call, asks: type, name: str, why: str) -> BadRequest:
    """A fault of a field, as the caller's dialect spells it."""
    how = attrs.fields_dict(asks)[name].metadata["wire"]
    return BadRequest(how.legacy or name if call.dialect is Dialect.LEGACY else name, why)
