"""The group ``pandatx``: operations of our own (rule R41)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict

from attrs import asdict, frozen

from pandatx.domain.caller import Caller
from pandatx.domain.daemons import DaemonSeen
from pandatx.domain.requests import DaemonName, DatasetName, JobId, JobSearch, NoArguments
from pandatx.domain.why import Explanation, wanted
from pandatx.resources.api import Answer, Call, operation, production, secure
from pandatx.resources.encoding import json_list
from pandatx.resources.job import in_chunks
from pandatx.services.daemons import DaemonBoard
from pandatx.services.datasets import Datasets
from pandatx.services.jobs import Jobs
from pandatx.services.why import Why


class DaemonGiven(TypedDict):
    """A daemon of a living server; times are UTC, durations seconds."""

    name: str
    condition: str
    period: float
    sync: bool
    loop: bool
    last_start: str | None
    last_duration: float | None
    next_start: str | None
    runs: int
    failures: int
    last_error: str | None
    late: bool
    server: str
    lock_holder: str | None
    locked_until: str | None


class FilterGiven(TypedDict):
    """What the job needs, and how many requests of the last hour that kept from it."""

    name: str
    job_has: str
    kept_out: int


class PilotsGiven(TypedDict):
    """Requests of the last hour that wanted the same. Times are UTC."""

    wanted: str
    asked: int
    served: int
    refused: int
    last: str
    why_not: list[str]


class ErrorGiven(TypedDict):
    """An error of the job in words."""

    component: str
    code: str
    text: str
    set_by: str


class WhyGiven(TypedDict):
    """Why a job is where it is; the weightiest reason comes first."""

    job_id: int
    status: str
    queue: str | None
    since: str | None
    reasons: list[str]
    filters: list[FilterGiven]
    pilots: list[PilotsGiven]
    errors: list[ErrorGiven]


@frozen
class PandatxResource:
    """For the command line and for operators."""

    _jobs: Jobs
    _datasets: Datasets
    _board: DaemonBoard
    _why: Why

    @operation("pandatx/list_jobs", verb="GET", asks=JobSearch, gives=list[dict[str, Any]], allows=secure)
    async def list_jobs(self, caller: Caller, request: JobSearch, call: Call) -> Answer:
        """List jobs, the newest first; without the production role only the caller's own."""
        owner = request.owner if caller.production else caller.name
        found = await self._jobs.find(request.status, request.queue, owner, request.limit)
        return Answer(data=json_list(await in_chunks(found, call)))

    @operation("pandatx/why", allows=secure, verb="GET", asks=JobId, gives=WhyGiven)
    async def why(self, caller: Caller, request: JobId, call: Call) -> Answer:
        """Say why a job is where it is: what it waits for, which pilots it does not fit, or what it failed of."""
        return Answer(data=_explained(await self._why.of(caller, request.job_id)))

    @operation("pandatx/complete_dataset", asks=DatasetName, gives=int, allows=secure)
    async def complete_dataset(self, caller: Caller, request: DatasetName, call: Call) -> Answer:
        """Say that the files of a dataset are there; the jobs that waited for them go on. ``data`` is their number."""
        return Answer(data=await self._datasets.complete(caller, request.name))

    @operation("pandatx/list_daemons", verb="GET", gives=list[DaemonGiven], allows=production)
    async def list_daemons(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """List the daemons of all servers that live: what each does, its times, and who holds its lock."""
        return Answer(data=[_described(each) for each in await self._board.seen()])

    @operation("pandatx/pause_daemon", asks=DaemonName, gives=str, allows=production)
    async def pause_daemon(self, caller: Caller, request: DaemonName, call: Call) -> Answer:
        """Begin no more runs of a daemon on any server, until it is resumed; one under way goes on."""
        await self._board.pause(caller, request.name)
        return Answer(data=request.name)

    @operation("pandatx/resume_daemon", asks=DaemonName, gives=str, allows=production)
    async def resume_daemon(self, caller: Caller, request: DaemonName, call: Call) -> Answer:
        """Let a paused daemon run again, at its next time."""
        await self._board.resume(caller, request.name)
        return Answer(data=request.name)


def _explained(why: Explanation) -> WhyGiven:
    job = why.job
    return {
        "job_id": job.panda_id,
        "status": job.job_status,
        "queue": job.computing_site,
        "since": _time(job.state_change_time or job.modification_time),
        "reasons": list(why.reasons),
        "filters": [asdict(each) for each in why.filters],  # type: ignore[misc]
        "pilots": [
            {
                "wanted": wanted(each.asked),
                "asked": each.asked.asked,
                "served": each.asked.served,
                "refused": each.asked.refused,
                "last": f"{each.asked.last:%Y-%m-%d %H:%M:%S}",
                "why_not": list(each.why_not),
            }
            for each in why.pilots
        ],
        "errors": [asdict(each) for each in why.errors],  # type: ignore[misc]
    }


def _described(seen: DaemonSeen) -> dict[str, Any]:
    """A daemon as the wire has it; times are UTC text, durations seconds."""
    state = asdict(seen.state)
    for name in ("last_start", "next_start"):
        state[name] = _time(state[name])
    return {**state, "server": seen.server, "lock_holder": seen.lock_holder, "locked_until": _time(seen.locked_until)}


def _time(value: datetime | None) -> str | None:
    return None if value is None else f"{value:%Y-%m-%d %H:%M:%S}"
