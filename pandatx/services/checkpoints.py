"""Checkpoints of hyperparameter optimisation, kept in the cache from one job to the next (reference/wire.md 3.5)."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.domain.caller import Caller
from pandatx.domain.file_requests import CannotWrite, Uploaded, checkpoint_name
from pandatx.errors import NotFound, NotPermitted
from pandatx.services.sandboxes import owner_name
from pandatx.store import cache_folder as folder
from pandatx.store import recovery as tasks
from pandatx.store.database import Database

log = Logger()


@frozen
class Checkpoints:
    """Keeps and forgets checkpoints, for the owner of the task and for those who report on any job."""

    _database: Database
    _cache_dir: Path

    async def put(self, caller: Caller, file: Uploaded, task_id: int, sub_id: str) -> str:
        """Keep a checkpoint in the place of an older one; its name in the cache. Raises NotPermitted, CannotWrite."""
        await self._judge(caller, task_id)
        name = checkpoint_name(task_id, sub_id)
        try:
            await deferToThread(folder.place, file.path, self._cache_dir / name, replace=True)
        except OSError as fault:
            log.error("{name} cannot be kept: {fault}", name=name, fault=str(fault))
            raise CannotWrite from None
        log.info("{name} of {who}: {size} bytes", name=name, who=caller.name, size=file.size)
        return name

    async def delete(self, caller: Caller, task_id: int, sub_id: str) -> None:
        """Forget a checkpoint. Raises NotPermitted, NotFound."""
        await self._judge(caller, task_id)
        name = checkpoint_name(task_id, sub_id)
        try:
            removed = await deferToThread(folder.remove, self._cache_dir / name)
        except OSError as fault:
            raise NotFound(f"Failed to delete file due to {fault.strerror}") from None
        if not removed:
            raise NotFound(f"Failed to delete file due to no file {name}")
        log.info("{name} deleted by {who}", name=name, who=caller.name)

    async def _judge(self, caller: Caller, task_id: int) -> None:
        if caller.reports:
            return
        owner = await self._database.transaction("checkpoints.owner", tasks.owner_of_task, task_id)
        if owner is None or owner != owner_name(caller):
            raise NotPermitted("not the task owner or no production role")
