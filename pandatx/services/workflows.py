"""Taking workflows for their engine, and telling how they stand (reference/wire.md 5.1, clients.md 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from attrs import frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.errors import BadRequest, NotFound, NotPermitted
from pandatx.services.owners import Owners
from pandatx.store import workflows as store
from pandatx.store.database import Database, Transaction
from pandatx.store.workflows import NewWorkflow

log = Logger()

_LONGEST_NAME: Final = 256
_LONGEST_OWNER: Final = 128
_NUL: Final = rb"\u0000"
_BACKSLASH: Final = rb"\\"
_TASK: Final = "panda_task"


@frozen
class Workflows:
    """Store workflows; what becomes of them is the engine's."""

    _database: Database
    _clock: Clock
    _owners: Owners

    async def submit_raw(self, caller: Caller, params: Mapping[str, Any]) -> int:
        """Store a workflow as its user has written it; its id. Raises BadRequest."""
        raw = await deferToThread(_document, "params", {**params, "user_dn": caller.dn})
        return await self._submit(caller, NewWorkflow(label="user", owner=caller.name, raw=raw))

    async def submit(self, caller: Caller, definition: Mapping[str, Any]) -> int:
        """Store a workflow as the engine reads it; its id. Raises BadRequest."""
        name = definition.get("workflow_name")
        if name is not None and (not isinstance(name, str) or not name.isprintable() or len(name) > _LONGEST_NAME):
            why = f"its workflow_name is not a text of up to {_LONGEST_NAME} characters"
            raise BadRequest("workflow_definition", why)
        text = await deferToThread(_document, "workflow_definition", {**definition, "user_dn": caller.dn})
        label = "managed" if caller.production else "user"
        return await self._submit(caller, NewWorkflow(label=label, owner=caller.name, name=name, definition=text))

    async def describe(self, caller: Caller, workflow_id: int) -> dict[str, Any]:
        """A workflow of the caller, or any for the production role, with its steps and data. Raises NotFound."""
        return await self._database.transaction("workflows.describe", self._describe, caller, workflow_id)

    async def _submit(self, caller: Caller, workflow: NewWorkflow) -> int:
        if len(workflow.owner) > _LONGEST_OWNER:
            raise BadRequest("username", f"is longer than {_LONGEST_OWNER} characters")
        stored = await self._owners.making("workflows.submit", caller, store.insert, workflow, self._clock.now())
        log.info("workflow {id} {name} of {who}", id=stored, name=workflow.name or "", who=workflow.owner)
        return stored

    async def _describe(self, tx: Transaction, caller: Caller, workflow_id: int) -> dict[str, Any]:
        found = await store.find(tx, workflow_id)
        if not caller.production and (found is None or found["username"] != caller.name):
            raise NotPermitted("not the workflow owner or no production role")
        if found is None:
            raise NotFound("Workflow not found")
        steps = await store.steps(tx, workflow_id)
        tasks = {int(step["target_id"]) for step in steps if _is_task(step)}
        progress = await store.progress(tx, sorted(tasks)) if tasks else {}
        return {
            "workflow_id": found["workflow_id"],
            "name": found["name"],
            "status": found["status"],
            "submitted_as": "raw_request" if found["raw"] else "definition",
            "user": found["username"],
            "parent_id": found["parent_id"],
            "reason": found["reason"],
            "steps": _told(steps, progress, found["prodsourcelabel"]),
            "data": await store.data(tx, workflow_id),
        }


def _document(field: str, value: Mapping[str, Any]) -> str:
    """JSON that a table can hold. Raises BadRequest."""
    try:
        text = orjson.dumps(value)
    except TypeError as fault:
        raise BadRequest(field, f"cannot be stored: {fault}") from None
    if _NUL in text.replace(_BACKSLASH, b""):
        raise BadRequest(field, "must not hold a NUL character")
    return text.decode()


def _is_task(step: Mapping[str, Any]) -> bool:
    target = step["target_id"] or ""
    return step["flavor"] == _TASK and target.isascii() and target.isdecimal() and len(target) < 19


def _told(
    steps: Sequence[Mapping[str, Any]], progress: Mapping[int, tuple[int, int, int]], label: str | None
) -> list[dict[str, Any]]:
    """Steps as panda-client shows them; the parents of a step are nodes of the definition."""
    by_node = {str(step["node"] or step["member_id"]): step["step_id"] for step in steps}
    return [
        {
            **{
                name: step[name] for name in ("step_id", "member_id", "name", "status", "flavor", "target_id", "reason")
            },
            "prod_source_label": step["label"] or label,
            "parent_step_ids": [by_node[str(node)] for node in _nodes(step["parents"]) if str(node) in by_node],
            "progress": _progress(progress.get(int(step["target_id"]))) if _is_task(step) else None,
        }
        for step in steps
    ]


def _nodes(parents: Any) -> list[Any]:
    return parents if isinstance(parents, list) else []


def _progress(files: tuple[int, int, int] | None) -> dict[str, Any] | None:
    if files is None:
        return None
    n, finished, failed = files
    part = 100 * finished / n if n else 0.0
    return {"pct_finished": part, "n_files": n, "n_files_finished": finished, "n_files_failed": failed}
