"""The group ``pandatx``: operations of our own (rule R41)."""

from __future__ import annotations

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.requests import DatasetName, JobSearch
from pandatx.resources.api import Answer, Call, operation
from pandatx.resources.job import in_chunks
from pandatx.services.datasets import Datasets
from pandatx.services.jobs import Jobs


@frozen
class PandatxResource:
    """For the command line and for operators."""

    _jobs: Jobs
    _datasets: Datasets

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
