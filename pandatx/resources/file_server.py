"""The group ``file_server``: sandboxes, logs and checkpoints (reference/wire.md 3.5). Requests: async_process.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.file_requests import (
    CHECKPOINT_MOST,
    LOG_FOLDER,
    LOG_MOST,
    SANDBOX_MOST,
    DeletedCheckpoint,
    DeletedFile,
    FileRefused,
    FileUpload,
    KnownFile,
    LogPart,
    RegisteredFile,
    TouchedFile,
    cache_name,
    checkpoint_ids,
    checkpoint_sub,
    checkpoint_task,
    judge_checkpoint,
    judge_log,
    judge_sandbox,
    sandbox_name,
)
from pandatx.errors import BadRequest, NotFound, NotPermitted, PandaError
from pandatx.resources.api import (
    JSON,
    TEXT,
    Answer,
    Call,
    Dialect,
    Limits,
    Upload,
    anyone,
    operation,
    production,
    secure,
)
from pandatx.services.checkpoints import Checkpoints
from pandatx.services.logs_of_tasks import TaskLogs
from pandatx.services.sandboxes import SandboxBook, told
from pandatx.services.uploads import Uploads

SANDBOX: Final = Limits(upload=Upload(judge_sandbox, SANDBOX_MOST))
LOG: Final = Limits(upload=Upload(judge_log, LOG_MOST))
CHECKPOINT: Final = Limits(upload=Upload(judge_checkpoint, CHECKPOINT_MOST))
HARVESTERS: Final = ("file_server/upload_hpo_checkpoint", "file_server/delete_hpo_checkpoint")
"""What Harvester asks for outside /api/v1, at the URL of the sandboxes."""


@frozen
class FileServerResource:
    """What users, Harvester and other servers put into the cache. ``cache_url`` is where clients read it.

    ``sandbox_host`` is what a file that another server registers is said to lie on, None for that server's address.
    """

    _uploads: Uploads
    _book: SandboxBook
    _logs: TaskLogs
    _checkpoints: Checkpoints
    _cache_url: str
    _sandbox_host: str | None

    @operation(
        "file_server/upload_cache_file", allows=secure, legacy="putFile", asks=FileUpload, form=TEXT, limits=SANDBOX
    )
    async def upload_cache_file(self, caller: Caller, request: FileUpload, call: Call) -> Answer:
        """Put a sandbox, or another file of a user, into the cache. What is there already is not overwritten."""
        name = _proper(call, request, "file", sandbox_name, request.file.name)
        await self._uploads.put(caller, request.file, name)
        return Answer(value="True")

    @operation(
        "file_server/validate_cache_file",
        allows=secure,
        legacy="checkSandboxFile",
        asks=KnownFile,
        form=TEXT,
        gives=None,
    )
    async def validate_cache_file(self, caller: Caller, request: KnownFile, call: Call) -> Answer:
        """Say where a sandbox lies that the caller has sent lately: ``message`` is FOUND:host:name, or NOTFOUND."""
        found = await self._book.find(caller, request)
        return Answer(success=found is not None, message=told(found), value=told(found))

    @operation("file_server/touch_cache_file", allows=secure, legacy="touchFile", asks=TouchedFile, form=TEXT)
    async def touch_cache_file(self, caller: Caller, request: TouchedFile, call: Call) -> Answer:
        """Have a file of the cache kept for longer."""
        name = _proper(call, request, "file_name", cache_name, request.file_name)
        try:
            await self._uploads.touch(name)
        except NotFound as fault:
            return Answer(success=False, message=str(fault), value="False")
        return Answer(value="True")

    @operation("file_server/delete_cache_file", allows=secure, legacy="deleteFile", asks=DeletedFile, form=TEXT)
    async def delete_cache_file(self, caller: Caller, request: DeletedFile, call: Call) -> Answer:
        """Say that a file is not wanted any more. It stays until it is old, since other tasks may use it too."""
        _proper(call, request, "file_name", cache_name, request.file_name)
        return Answer(value="True")

    @operation(
        "file_server/register_cache_file",
        legacy="insertSandboxFileInfo",
        asks=RegisteredFile,
        allows=production,
        form=TEXT,
    )
    async def register_cache_file(self, caller: Caller, request: RegisteredFile, call: Call) -> Answer:
        """Note a sandbox that another server has taken in, so that all servers know where it lies."""
        name = _proper(call, request, "file_name", sandbox_name, request.file_name)
        if not request.user_name or request.file_size < 0:
            field = "user_name" if not request.user_name else "file_size"
            raise BadRequest(_spelt(call, request, field), "is empty or negative")
        await self._book.register(request, name, self._sandbox_host or caller.address)
        return Answer(value="OK")

    @operation(
        "file_server/upload_jedi_log",
        legacy="uploadLog",
        asks=FileUpload,
        gives=str,
        allows=production,
        form=TEXT,
        limits=LOG,
    )
    async def upload_jedi_log(self, caller: Caller, request: FileUpload, call: Call) -> Answer:
        """Keep a log, or put the next piece of one to what is there. ``data`` is the URL to read it at."""
        name = _proper(call, request, "file", cache_name, request.file.name)
        await self._logs.put(caller, request.file, name)
        url = f"{self._cache_url}/{LOG_FOLDER}/{name}"
        return Answer(data=url, value=url)

    @operation(
        "file_server/update_jedi_log", legacy="updateLog", asks=FileUpload, allows=production, form=TEXT, limits=LOG
    )
    async def update_jedi_log(self, caller: Caller, request: FileUpload, call: Call) -> Answer:
        """Put the text of a zlib stream at the end of a log."""
        name = _proper(call, request, "file", cache_name, request.file.name)
        await self._logs.extend(request.file, name)
        return Answer(value="True")

    @operation(
        "file_server/download_jedi_log",
        allows=secure,
        legacy="fetchLog",
        verb="GET",
        asks=LogPart,
        gives=str,
        allows_legacy=anyone,
        form=TEXT,
        plain=True,
    )
    async def download_jedi_log(self, caller: Caller, request: LogPart, call: Call) -> Answer:
        """Give the text of a log from a byte on, after a blank; only the blank where there is none."""
        name = _proper(call, request, "log_name", cache_name, request.log_name)
        text = " " + await self._logs.read(name, request.offset)
        return Answer(value=text)

    @operation(
        "file_server/upload_hpo_checkpoint",
        allows=secure,
        legacy="put_checkpoint",
        asks=FileUpload,
        gives=str,
        form=JSON,
        limits=CHECKPOINT,
    )
    async def upload_hpo_checkpoint(self, caller: Caller, request: FileUpload, call: Call) -> Answer:
        """Keep a checkpoint of a task of the caller, named TASK_SUB. ``data`` is the path to read it at."""
        task_id, sub_id = _proper(call, request, "file", checkpoint_ids, request.file.name)
        try:
            name = await self._checkpoints.put(caller, request.file, task_id, sub_id)
        except (FileRefused, NotPermitted) as fault:
            return _unsuccessful(fault)
        text = f"Successfully placed at /cache/{name}"
        return Answer(message=text, data=f"/cache/{name}", value={"status": True, "message": text})

    @operation(
        "file_server/delete_hpo_checkpoint",
        allows=secure,
        legacy="delete_checkpoint",
        asks=DeletedCheckpoint,
        form=JSON,
    )
    async def delete_hpo_checkpoint(self, caller: Caller, request: DeletedCheckpoint, call: Call) -> Answer:
        """Forget a checkpoint of a task of the caller."""
        task_id = _proper(call, request, "task_id", checkpoint_task, request.task_id)
        sub_id = _proper(call, request, "sub_id", checkpoint_sub, request.sub_id)
        try:
            await self._checkpoints.delete(caller, task_id, sub_id)
        except (NotFound, NotPermitted) as fault:
            return _unsuccessful(fault)
        return Answer(value={"status": True, "message": "done"})


def _unsuccessful(fault: PandaError) -> Answer:
    """As Harvester reads that a checkpoint was not kept or deleted."""
    return Answer(success=False, message=str(fault), value={"status": False, "message": str(fault)})


def _proper(call: Call, request: Any, field: str, judge: Callable[[str], Any], value: str) -> Any:
    """A name as it is used. Raises BadRequest, which names the field as the caller's dialect does."""
    try:
        return judge(value)
    except ValueError as wrong:
        raise BadRequest(_spelt(call, request, field), str(wrong)) from None


def _spelt(call: Call, request: Any, field: str) -> str:
    how = attrs.fields_dict(type(request))[field].metadata["wire"]
    return (how.legacy or field) if call.dialect is Dialect.LEGACY else field
