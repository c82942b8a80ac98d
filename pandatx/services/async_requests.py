"""Taking asynchronous requests, and telling what came of them (reference/wire.md 5.1, 3.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from attrs import define
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.async_requests import (
    LONGEST_MESSAGE,
    LONGEST_PATTERN,
    MOST_SECONDS,
    FileRecovery,
    FileRequest,
    GrepRequest,
    SleepEchoRequest,
)
from pandatx.domain.async_work import (
    ALIVE,
    ANY_MACHINE,
    FILE_RECOVERY,
    GREP,
    LONGEST_NAME,
    OUR_MACHINE,
    SLEEP_ECHO,
    Access,
    Kind,
    Status,
    complete,
    may_read,
)
from pandatx.domain.caller import Caller
from pandatx.errors import BadRequest, NotConfigured, NotFound, NotPermitted, PandaError
from pandatx.identity.names import compact_name
from pandatx.services.owners import Owners
from pandatx.services.permissions_of_users import Letter, UserPermissions
from pandatx.store import async_requests as store
from pandatx.store import recovery as recovery_store
from pandatx.store.async_requests import NewRequest, Stored
from pandatx.store.database import Database, Transaction

log = Logger()

FIRST_LOOK: Final = 0.25
LONGEST_LOOK: Final = 5.0
"""Seconds between looks for an outcome that somebody waits for."""
_LONGEST_MACHINE: Final = 128


class NobodyAlive(PandaError):
    """No machine of the service was seen lately, so nobody would answer."""

    def __init__(self, service: str) -> None:
        super().__init__(f"no alive machines found for service '{service}'")


@define(eq=False)
class AsyncRequests:
    """Store requests and read their results. ``stored`` is told of each one.

    ``refused`` says of some kinds why callers cannot have them here: nobody tells them later that it came to nothing.
    """

    _database: Database
    _clock: Clock
    _stored: Callable[[], None]
    _permissions: UserPermissions
    _owners: Owners
    _refused: Mapping[str, str]

    async def grep(self, caller: Caller, request: GrepRequest) -> str:
        """Have a log searched by all machines of a service, or by one; the id. The caller needs the flag for it."""
        check_grep(request)
        if not self._permissions.has(caller, Letter.ASYNC):
            raise NotPermitted(f"'{caller.name}' is not authorized")
        parameters = {"pattern": request.pattern, "log_filename": request.log_filename}
        new = self._new(caller, GREP, parameters, Access.OWNER, request.service_name, request.machine_name)
        judge = _as_it_is if new.service is None else self._for_service
        return await self._store(caller, "async.grep", judge, new)

    async def sleep_echo(self, caller: Caller, request: SleepEchoRequest) -> str:
        """Have one machine of a service wait and answer; the id."""
        check_sleep_echo(request)
        parameters = {"seconds": request.seconds, "message": request.message}
        new = self._new(caller, SLEEP_ECHO, parameters, Access.PRODUCTION, request.service_name, ANY_MACHINE)
        return await self._store(caller, "async.sleep_echo", self._for_service, new)

    async def _for_service(self, tx: Transaction, new: NewRequest) -> NewRequest:
        service = new.service or ""
        alive = await store.alive(tx, service, self._clock.now() - ALIVE)
        if not alive:
            raise NobodyAlive(service)
        return new if new.machine == ANY_MACHINE else new.of(alive)

    async def recover_files(self, caller: Caller, request: FileRecovery, log_file: str) -> str:
        """Have lost files of a task or a dataset of the caller made again; the id."""
        new = self._of_ours(caller, FILE_RECOVERY, {**request.parameters, "log_file": log_file})
        return await self._store(caller, "async.recovery", self._recovery, caller, request, new)

    async def _recovery(self, tx: Transaction, caller: Caller, request: FileRecovery, new: NewRequest) -> NewRequest:
        if request.task_id is not None:
            owner = await recovery_store.owner_of_task(tx, request.task_id)
        else:
            owner = await recovery_store.owner_of_dataset(tx, request.dataset or "")
        if not caller.production and (owner is None or owner != caller.name):
            raise NotPermitted("not the task owner or no production role")
        if owner is None:
            raise NotFound("no such task" if request.task_id is not None else "no task has made such a dataset")
        return new

    async def submit(self, caller: Caller, kind: Kind, parameters: Mapping[str, Any]) -> str:
        """Store a request for whichever of our servers; the id. Raises NotConfigured for a kind that is refused."""
        if (why := self._refused.get(kind.name)) is not None:
            raise NotConfigured(why)
        return await self._store(caller, "async.submit", _as_it_is, self._of_ours(caller, kind, parameters))

    async def submit_file(self, kind: Kind, request_id: str, request: FileRequest, written: datetime) -> None:
        """Store what a file asks for, once for each id. Whoever wrote it, roles are not believed."""
        owner = Caller(dn=request.dn, name=compact_name(request.dn), how="file")
        new = self._of_ours(owner, kind, request.parameters).known_as(request_id, written)
        await self._store(None, "async.submit_file", _as_it_is, new)

    async def result(self, caller: Caller, request_id: str) -> dict[str, Any]:
        """What is known of a request, in the wire's words. Raises NotFound, NotPermitted."""
        found = await self._find(request_id)
        if not may_read(found.parameters, caller.name, caller.production):
            raise NotPermitted(f"'{caller.name}' is not authorized to read results of this request")
        statuses = [(row["machine_name"], row["status"]) for row in found.results]
        return {
            "overall_status": "complete" if complete(found.expected, statuses) else "pending",
            "expected_machines": found.expected,
            "results": [_told(row) for row in found.results],
        }

    async def outcome(self, request_id: str, seconds: float, gone: Callable[[], bool]) -> dict[str, Any] | None:
        """The result row of a request of ours once it has ended; None if it has not within ``seconds``, or nobody waits
        for it any more. It is looked for less and less often.
        """
        until, pause = self._clock.seconds() + seconds, FIRST_LOOK
        while not gone():
            for row in (await self._find(request_id)).results:
                if row["status"] in (Status.DONE, Status.FAILED):
                    return row
            if self._clock.seconds() >= until:
                break
            await self._clock.wait(pause)
            pause = min(1.5 * pause, LONGEST_LOOK)
        return None

    async def _find(self, request_id: str) -> Stored:
        found = await self._database.transaction("async.find", store.find, request_id)
        if found is None:
            raise NotFound(f"request_id '{request_id[:LONGEST_NAME]}' not found")
        return found

    def _new(
        self,
        caller: Caller,
        kind: Kind,
        parameters: Mapping[str, Any],
        access: Access,
        service: str | None,
        machine: str | None,
    ) -> NewRequest:
        return NewRequest(
            request_id=str(uuid4()),
            kind=kind.name,
            parameters={**parameters, "requester": caller.name, "access": access.value},
            service=service,
            machine=machine,
            expected=[machine] if machine else [],
            created_at=self._clock.now(),
        )

    def _of_ours(self, caller: Caller, kind: Kind, parameters: Mapping[str, Any]) -> NewRequest:
        """For one of our servers. Older ones neither take it nor count its time."""
        known = {**parameters, "dn": caller.dn, "production": caller.production}
        return self._new(caller, kind, known, Access.PRODUCTION, OUR_MACHINE, OUR_MACHINE)

    async def _store(self, caller: Caller | None, name: str, judge: Callable[..., Any], *args: Any) -> str:
        """Store a request, and whose its name is; of nobody's word for None."""

        async def work(tx: Transaction) -> NewRequest:
            new: NewRequest = await judge(tx, *args)
            await store.insert(tx, new)
            return new

        if caller is None:
            new = await self._database.transaction(name, work)
        else:
            new = await self._owners.making(name, caller, work)
        log.info("request {id}: {kind} of {who}", id=new.request_id, kind=new.kind, who=new.parameters["requester"])
        self._stored()
        return new.request_id


async def _as_it_is(tx: Transaction, new: NewRequest) -> NewRequest:
    return new


def check_grep(request: GrepRequest) -> None:
    """Raises BadRequest for what no machine should be asked."""
    if bool(request.service_name) == bool(request.machine_name):
        raise BadRequest("service_name", "exactly one of service_name or machine_name must be provided")
    _bounded("service_name", request.service_name, LONGEST_NAME)
    _bounded("machine_name", request.machine_name, _LONGEST_MACHINE)
    if request.machine_name in (ANY_MACHINE, OUR_MACHINE):
        raise BadRequest("machine_name", f"'{request.machine_name}' is not the name of a machine")
    _bounded("pattern", request.pattern, LONGEST_PATTERN)
    name = request.log_filename
    if "/" in name or "\\" in name or ".." in name:
        raise BadRequest("log_filename", "must not contain path separators")
    if not name.startswith("panda-") or not name.endswith((".log", ".gz")):
        raise BadRequest("log_filename", "must start with 'panda-' and end with '.log' or '.gz'")
    _bounded("log_filename", name, 255)


def check_sleep_echo(request: SleepEchoRequest) -> None:
    """Raises BadRequest for what no machine should be asked."""
    if not 0 <= request.seconds <= MOST_SECONDS:
        raise BadRequest("seconds", f"must be between 0 and {MOST_SECONDS}")
    _bounded("message", request.message, LONGEST_MESSAGE)
    _bounded("service_name", request.service_name, LONGEST_NAME)
    if not request.service_name:
        raise BadRequest("service_name", "must be provided")


def _bounded(name: str, value: str | None, most: int) -> None:
    if value is not None and len(value) > most:
        raise BadRequest(name, f"must be at most {most} characters")


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """A result as clients read it: times are texts, naive UTC."""
    times = {name: row[name] and str(row[name].replace(tzinfo=None)) for name in ("started_at", "finished_at")}
    return {**row, **times}
