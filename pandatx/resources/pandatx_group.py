"""The group ``pandatx``: operations of our own (rule R41)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from attrs import asdict, frozen

from pandatx.domain.caller import Caller
from pandatx.domain.daemons import DaemonSeen
from pandatx.domain.requests import DaemonName, DatasetName, JobSearch, NoArguments
from pandatx.resources.api import Answer, Call, operation, production
from pandatx.resources.job import in_chunks
from pandatx.services.daemons import DaemonBoard
from pandatx.services.datasets import Datasets
from pandatx.services.jobs import Jobs


@frozen
class PandatxResource:
    """For the command line and for operators."""

    _jobs: Jobs
    _datasets: Datasets
    _board: DaemonBoard

    @operation("pandatx/list_jobs", verb="GET", asks=JobSearch)
    async def list_jobs(self, caller: Caller, request: JobSearch, call: Call) -> Answer:
        """List jobs, the newest first; without the production role only the caller's own."""
        owner = request.owner if caller.production else caller.name
        found = await self._jobs.find(request.status, request.queue, owner, request.limit)
        return Answer(data=await in_chunks(found, call))

    @operation("pandatx/complete_dataset", asks=DatasetName)
    async def complete_dataset(self, caller: Caller, request: DatasetName, call: Call) -> Answer:
        """Say that the files of a dataset are there; the jobs that waited for them go on. ``data`` is their number."""
        return Answer(data=await self._datasets.complete(caller, request.name))

    @operation("pandatx/list_daemons", verb="GET", allows=production)
    async def list_daemons(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """List the daemons of all servers that live: what each does, its times, and who holds its lock."""
        return Answer(data=[_described(each) for each in await self._board.seen()])

    @operation("pandatx/pause_daemon", asks=DaemonName, allows=production)
    async def pause_daemon(self, caller: Caller, request: DaemonName, call: Call) -> Answer:
        """Begin no more runs of a daemon on any server, until it is resumed; one under way goes on."""
        await self._board.pause(caller, request.name)
        return Answer(data=request.name)

    @operation("pandatx/resume_daemon", asks=DaemonName, allows=production)
    async def resume_daemon(self, caller: Caller, request: DaemonName, call: Call) -> Answer:
        """Let a paused daemon run again, at its next time."""
        await self._board.resume(caller, request.name)
        return Answer(data=request.name)


def _described(seen: DaemonSeen) -> dict[str, Any]:
    """A daemon as the wire has it; times are UTC text, durations seconds."""
    state = asdict(seen.state)
    for name in ("last_start", "next_start"):
        state[name] = _time(state[name])
    return {**state, "server": seen.server, "lock_holder": seen.lock_holder, "locked_until": _time(seen.locked_until)}


def _time(value: datetime | None) -> str | None:
    return None if value is None else f"{value:%Y-%m-%d %H:%M:%S}"
