"""Having lost files of a task made again, as far as JEDI's tables and the storages of this server go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from attrs import fields, frozen
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.domain.async_work import FILE_RECOVERY, Claim
from pandatx.domain.recovery import Output, Recovery, Reset, Task, may_retry, reset
from pandatx.errors import NotFound, NotPermitted, PandaError
from pandatx.store import recovery as store
from pandatx.store import task_commands
from pandatx.store.database import Database, Transaction
from pandatx.store.folders import replace
from pandatx.workers.calls import CallFailed

log = Logger()

MISSING_FILES: Final = "pandatx.workers.requests:missing_files"
LOG_FOLDER: Final = "jedilog"
AT_ONCE: Final = 2000
"""Rows of outputs that are read together."""
_FIELDS: Final = frozenset(each.name for each in fields(Recovery)) - {"lines"}


class CannotBeFound(PandaError):
    """Nobody here can say which files are lost."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"which files are lost cannot be found out: {why}; name them, or set [pandatx] request_handlers"
        )


class Pool(Protocol):
    """workers.pool, as far as it is called here."""

    async def call(self, name: str, *args: Any, timeout: float, context: str = "") -> Any: ...


@frozen
class FileRecoveries:
    """Does requests for the recovery of files. ``storage``: directories by RSE; ``logs``: the served folder of logs."""

    _database: Database
    _pool: Pool
    _storage: Mapping[str, str]
    _logs: Path

    async def __call__(self, claim: Claim) -> Any:
        """A handler's answer; the lines of its log are the result. Raises CallDied, CallTimedOut, PandaError."""
        known = {name: value for name, value in claim.parameters.items() if name in _FIELDS}
        asked = Recovery(**{**known, "files": tuple(known.get("files") or ())})
        error = None
        try:
            await self._recover(asked, claim)
        except CallFailed as fault:
            return {"status": "later", "error": str(fault)}
        except (NotFound, NotPermitted, CannotBeFound) as fault:
            error = str(fault)
            asked.say(f"Error: {fault}")
        text = "".join(f"{line}\n" for line in asked.lines)
        await deferToThread(self._write_log, asked.log_file, text)
        return {"status": "failed" if error else "done", "result": text, "error": error}

    async def _recover(self, asked: Recovery, claim: Claim) -> None:
        task = await self._database.transaction("recovery.task", _task_of, asked)
        lost = await self._lost(asked, task, claim)
        for dataset, lfns in lost.items():
            asked.say(f"{dataset} has {len(lfns)} lost files -> {','.join(lfns)}")
        if not lost and not asked.force:
            asked.say("No lost files. Use force to ignore this check")
            return
        if asked.resurrect_datasets:
            asked.say("Datasets are not resurrected: no data management system is configured")
        await self._make_again(asked, task, lost, asked.generations)

    async def _lost(self, asked: Recovery, task: Task, claim: Claim) -> dict[str, list[str]]:
        """Lost files by dataset: those that are named, else the outputs that are not where their jobs wrote them."""
        if asked.files and asked.dataset:
            return {asked.dataset: list(asked.files)}
        outputs = await self._outputs(task.task_id, asked.dataset)
        if asked.files:
            named = frozenset(asked.files)
            return _by_dataset([each for each in outputs if each.lfn in named])
        if not outputs:
            return {}
        if not self._storage:
            raise CannotBeFound("this server has no [pandatx] storage")
        visible = [each for each in outputs if each.rse in self._storage]
        if not visible:
            raise CannotBeFound("no output of the task is on a storage of this server")
        if len(visible) < len(outputs):
            asked.say(f"{len(outputs) - len(visible)} files are on storages that this server cannot look at")
        rows = [[each.rse, each.scope, each.lfn] for each in visible]
        places = await self._pool.call(
            MISSING_FILES,
            rows,
            dict(self._storage),
            timeout=FILE_RECOVERY.limit,
            context=f"request {claim.request_id}",
        )
        return _by_dataset([visible[place] for place in places])

    async def _outputs(self, task_id: int, dataset: str | None) -> list[Output]:
        """Finished outputs of a task, or of one of its datasets, page by page: there may be a million."""
        found: list[Output] = []
        for one in await self._database.transaction("recovery.datasets", store.output_datasets, task_id, dataset):
            after, more = 0, True
            while more:
                page, after = await self._database.transaction(
                    "recovery.outputs", store.outputs, task_id, one, after, AT_ONCE
                )
                found += page
                more = len(page) == AT_ONCE
        return found

    async def _make_again(self, asked: Recovery, task: Task, lost: Mapping[str, list[str]], generations: int) -> None:
        """The parents first: after a crash in between, all is found again as it was."""
        if generations:
            found = await self._database.transaction("recovery.look", _look, task, lost, True)
            for dataset, lfns in found.parents.items():
                parent = await self._database.transaction("recovery.parent", store.task_of_dataset, dataset)
                if parent is None or not _allows(parent, asked):
                    asked.say(f"{dataset}: its files cannot be made again: no task of {asked.requester} has made them")
                    continue
                await self._make_again(asked, parent, {dataset: lfns}, generations - 1)
        done, sent = await self._database.transaction("recovery.write", _write, asked, task, lost, bool(generations))
        changed = f"{len(done.lost_outputs)} outputs lost, {len(done.ready_inputs)} inputs to be read again"
        if asked.dry_run:
            asked.say(f"Task {task.task_id}: would be: {changed}. Nothing is changed: dry run")
            return
        asked.say(f"Task {task.task_id}: {changed}. {sent}")
        log.info(
            "task {id}: {changed}, for {who}: {sent}", id=task.task_id, changed=changed, who=asked.requester, sent=sent
        )

    def _write_log(self, name: str | None, text: str) -> None:
        """Where the requester was told to look. The name may come from a file that others have written. Blocks."""
        parts = (name or "").replace("\0", "").split("/")
        if len(parts) != 2 or parts[0] != LOG_FOLDER or not parts[1].endswith(".log") or parts[1].startswith("."):
            return
        try:
            folder = self._logs / LOG_FOLDER
            folder.mkdir(parents=True, exist_ok=True)
            replace(folder / parts[1], (text.encode(), b"done\n"), 0o644)
        except OSError as fault:
            log.warn("{name} is not written: {fault}", name=name, fault=fault)


async def _task_of(tx: Transaction, asked: Recovery) -> Task:
    if asked.task_id is not None:
        task = await store.task(tx, asked.task_id)
    else:
        task = await store.task_of_dataset(tx, asked.dataset or "")
    if task is None:
        raise NotFound("no such task")
    if not _allows(task, asked):
        raise NotPermitted("not the task owner or no production role")
    return task


def _allows(task: Task, asked: Recovery) -> bool:
    return asked.production or task.owner == asked.requester


async def _look(tx: Transaction, task: Task, lost: Mapping[str, list[str]], parents: bool) -> Reset:
    made_by = await store.jobs(tx, task.task_id, lost)
    return reset(await store.lock(tx, task.task_id, made_by), made_by, parents=parents) if made_by else Reset()


async def _write(
    tx: Transaction, asked: Recovery, task: Task, lost: Mapping[str, list[str]], parents: bool
) -> tuple[Reset, str]:
    """Change the rows and have the task go on, in one transaction; what was changed, and what the task was told."""
    found = await _look(tx, task, lost, parents)
    if asked.dry_run:
        return found, ""
    if not found.lost_outputs and not asked.force:
        return found, "No file of these is finished, so nothing is changed"
    status = await store.write(tx, task.task_id, found)
    if not may_retry(status, asked.production):
        return found, f"It is {status}, so it goes on by itself"
    name = "incexec" if parents else "retry"
    comment = f"{'sole ' if asked.no_child_retry and not parents else ''}command by {asked.requester}"
    parameters = "{}" if parents else None
    await task_commands.register(tx, task.task_id, name, comment=comment, parameters=parameters)
    return found, f"The command {name} is registered"


def _by_dataset(outputs: list[Output]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in outputs:
        found.setdefault(each.dataset, []).append(each.lfn)
    return found
