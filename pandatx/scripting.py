"""The operations of this server that daemon scripts may call through their ``tbuf``, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from attrs import evolve

from pandatx.core import Core
from pandatx.domain.caller import Caller
from pandatx.resources.jobspec import described
from pandatx.workers.grants import Operation

SCRIPTS: Final = Caller(dn="/CN=daemon scripts", name="daemon scripts", how="x509", production=True, pilot=True)
"""In whose name scripts act: they are the operator's own, so they may what the production role may."""


def script_operations(core: Core) -> Mapping[str, Operation]:
    """By the names of the services, and by the older server's names where what they mean is the same."""
    return {**_by_service(core), **_by_older_name(core)}


def _by_service(core: Core) -> dict[str, Operation]:
    async def describe(ids: Sequence[int], archive: bool = False) -> list[dict[str, Any] | None]:
        return [None if job is None else described(job) for job in await core.jobs.describe(ids, archive)]

    async def find(
        status: str | None = None, queue: str | None = None, owner: str | None = None, limit: int = 1000
    ) -> list[dict[str, Any]]:
        return [described(job) for job in await core.jobs.find(status, queue, owner, limit)]

    async def kill(ids: Sequence[int], code: int | None = None, options: Sequence[str] = ()) -> list[bool]:
        return await core.killing.kill(SCRIPTS, ids, code, tuple(options))

    async def command(job_id: int, text: str) -> str:
        return await core.killing.command(SCRIPTS, job_id, text)

    async def reassign(ids: Sequence[int]) -> None:
        await core.killing.reassign(SCRIPTS, ids)

    async def complete(name: str) -> int:
        return await core.datasets.complete(SCRIPTS, name)

    async def queue(name: str) -> Any:
        document = core.facts.document(name)
        return None if document is None else orjson.loads(document)

    async def queues() -> list[str]:
        return sorted(core.facts.known.queues)

    return {
        "jobs.statuses": core.jobs.statuses,
        "jobs.commands": core.jobs.commands,
        "jobs.describe": describe,
        "jobs.find": find,
        "killing.kill": kill,
        "killing.command": command,
        "killing.reassign": reassign,
        "datasets.complete": complete,
        "facts.queue": queue,
        "facts.queues": queues,
        "facts.parameter": _parameter_of(core),
        "queues.load": core.queues.load,
    }


def _by_older_name(core: Core) -> dict[str, Operation]:
    async def statuses(jobIDs: Sequence[int], **where: Any) -> list[str | None]:
        known = {panda_id: status for panda_id, status, _ in await core.jobs.statuses(jobIDs)}
        return [known.get(panda_id) for panda_id in jobIDs]

    async def kill(
        ids: Sequence[int],
        user: str = "",
        code: Any = None,
        prodManager: bool = True,
        wgProdRole: Sequence[str] = (),
        killOptions: Sequence[str] = (),
    ) -> list[bool]:
        who = evolve(SCRIPTS, name=user or SCRIPTS.name)
        return await core.killing.kill(who, ids, None if code is None else int(code), tuple(killOptions))

    return {"getJobStatus": statuses, "killJobs": kill, "getConfigValue": _parameter_of(core)}


def _parameter_of(core: Core) -> Operation:
    async def parameter(component: str, key: str, app: str = "pandaserver", vo: str | None = None) -> Any:
        return core.facts.known.parameters.value(component, key, vo=vo, app=app)

    return parameter
