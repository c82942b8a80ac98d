"""The group ``workflow``: workflows that a later part of the server works on."""

from __future__ import annotations

from typing import Any, Final, TypedDict

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.task_requests import WorkflowDefinition, WorkflowId, WorkflowRawRequest
from pandatx.resources.api import MEBIBYTE, Answer, Call, Limits, operation, secure
from pandatx.services.workflows import Workflows

LARGEST: Final = Limits(inflated=10 * MEBIBYTE)


class StoredWorkflow(TypedDict):
    """The id of a workflow that was stored."""

    workflow_id: int


class StepProgress(TypedDict):
    """The files of a step's task."""

    pct_finished: float
    n_files: int
    n_files_finished: int
    n_files_failed: int


class WorkflowStep(TypedDict):
    """A step of a workflow."""

    step_id: int
    member_id: int
    name: str | None
    status: str | None
    flavor: str | None
    prod_source_label: str | None
    target_id: str | None
    parent_step_ids: list[int]
    progress: StepProgress | None
    reason: str | None


class WorkflowData(TypedDict):
    """What a workflow reads or makes."""

    name: str | None
    status: str | None
    type: str | None
    target_id: str | None


class WorkflowDetails(TypedDict):
    """A workflow with its steps and data."""

    workflow_id: int
    name: str | None
    status: str | None
    submitted_as: str
    user: str | None
    parent_id: int | None
    reason: str | None
    steps: list[WorkflowStep]
    data: list[WorkflowData]


@frozen
class WorkflowResource:
    """What users ask of workflows."""

    _workflows: Workflows

    @operation(
        "workflow/submit_workflow_raw_request",
        allows=secure,
        asks=WorkflowRawRequest,
        gives=StoredWorkflow,
        limits=LARGEST,
    )
    async def submit_workflow_raw_request(self, caller: Caller, request: WorkflowRawRequest, call: Call) -> Answer:
        """Store a workflow as its user has written it, for the workflow engine."""
        return _stored(await self._workflows.submit_raw(caller, request.params))

    @operation("workflow/submit_workflow", allows=secure, asks=WorkflowDefinition, gives=StoredWorkflow, limits=LARGEST)
    async def submit_workflow(self, caller: Caller, request: WorkflowDefinition, call: Call) -> Answer:
        """Store a workflow as the workflow engine reads it."""
        return _stored(await self._workflows.submit(caller, request.workflow_definition))

    @operation("workflow/get_workflow_details", allows=secure, verb="GET", asks=WorkflowId, gives=WorkflowDetails)
    async def get_workflow_details(self, caller: Caller, request: WorkflowId, call: Call) -> Answer:
        """Say how a workflow of the caller stands, with its steps and data; any, with the production role."""
        found: dict[str, Any] = await self._workflows.describe(caller, request.workflow_id)
        return Answer(data=found)


def _stored(workflow_id: int) -> Answer:
    return Answer(data={"workflow_id": workflow_id})
