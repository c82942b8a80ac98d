"""The group ``job``: submitting, asking, ending."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.job import Job
from pandatx.domain.requests import JobCommand, JobIds, JobKill, JobSubmission
from pandatx.resources.api import (
    JSON,
    MEBIBYTE,
    STATUS_JSON,
    Answer,
    Call,
    Limits,
    anyone,
    operation,
    production,
)
from pandatx.resources.encoding import to_json
from pandatx.resources.jobspec import counted, described, job_of, read_jobs
from pandatx.services.jobs import Jobs
from pandatx.services.killing import Killing
from pandatx.services.submission import Submission, Submitted

RECEIVED = "command received"
_CHUNK = 50
_NUMBERED_LABELS = frozenset(("user", "panda", "ptest", "rc_test", "rc_test2", "rc_alrb"))


@frozen
class JobResource:
    """What users and Harvester ask of jobs."""

    _jobs: Jobs
    _submission: Submission
    _killing: Killing

    @operation("job/submit", asks=JobSubmission, limits=Limits(inflated=256 * MEBIBYTE))
    async def submit(self, caller: Caller, request: JobSubmission, call: Call) -> Answer:
        """Store jobs, all or none. They come as state lists or as objects by field name, up to 5000 of them."""
        elements = await self._elements(request.jobs, call)
        if not elements:
            return Answer(success=False, message="No jobs were submitted")
        jobs = []
        for index, element in enumerate(elements):
            if index % _CHUNK == _CHUNK - 1:
                await call.breathe()
            jobs.append(job_of(element, index))
        stored = await self._submission.submit(caller, tuple(jobs), call.address)
        return Answer(data=[_receipt(job, each) for job, each in zip(jobs, stored, strict=True)])

    async def _elements(self, jobs: Any, call: Call) -> list[Any]:
        if type(jobs) is not str:
            return counted(jobs)
        if len(jobs) <= MEBIBYTE:
            return read_jobs(jobs)
        elements: list[Any] = await call.in_thread(lambda: read_jobs(jobs))
        return elements

    @operation(
        "job/get_status", legacy="checkJobStatus", verb="GET", asks=JobIds, allows_legacy=anyone, form=STATUS_JSON
    )
    async def get_status(self, caller: Caller, request: JobIds, call: Call) -> Answer:
        """Say the status of jobs and the commands that wait for their pilots, in the order of the ids."""
        found = await self._jobs.commands(request.job_ids)
        data = [{"status": status, "command": command} for status, command in found]
        return Answer(data=data, fields={"data": data})

    @operation("job/get_description", verb=("GET", "POST"), asks=JobIds)
    async def get_description(self, caller: Caller, request: JobIds, call: Call) -> Answer:
        """Describe jobs that are not archived, in the order of the ids; null for one that is not there."""
        return await self._descriptions(request, call, archive=False)

    @operation("job/get_description_incl_archive", verb=("GET", "POST"), asks=JobIds)
    async def get_description_incl_archive(self, caller: Caller, request: JobIds, call: Call) -> Answer:
        """Describe jobs wherever they are, in the order of the ids; null for one that is not there."""
        return await self._descriptions(request, call, archive=True)

    async def _descriptions(self, request: JobIds, call: Call, archive: bool) -> Answer:
        return Answer(data=await in_chunks(await self._jobs.describe(request.job_ids, archive), call))

    @operation("job/kill", asks=JobKill)
    async def kill(self, caller: Caller, request: JobKill, call: Call) -> Answer:
        """End jobs; a job that is not the caller's is left alone, and its place in the answer is false."""
        ended = await self._killing.kill(
            caller, request.job_ids, request.code, request.kill_options, request.use_email_as_id
        )
        return Answer(data=list(ended))

    @operation("job/reassign", asks=JobIds)
    async def reassign(self, caller: Caller, request: JobIds, call: Call) -> Answer:
        """Take jobs back from their queues, for their tasks to make new ones."""
        await self._killing.reassign(caller, request.job_ids)
        return Answer()

    @operation("job/set_command", legacy="send_command_to_job", asks=JobCommand, allows=production, form=JSON)
    async def set_command(self, caller: Caller, request: JobCommand, call: Call) -> Answer:
        """Leave a text for a job's pilot, which reads it with its next report."""
        text = await self._killing.command(caller, request.job_id, request.command)
        return Answer(success=text == RECEIVED, message=text, value=[text == RECEIVED, text])


async def in_chunks(jobs: Sequence[Job | None], call: Call) -> list[orjson.Fragment]:
    """Descriptions, already JSON, made so many at a time that others are seen to in between."""
    found = []
    for start in range(0, len(jobs), _CHUNK):
        if start:
            await call.breathe()
        found += [orjson.Fragment(to_json(described(job))) for job in jobs[start : start + _CHUNK]]
    return found


def _receipt(job: Job, stored: Submitted) -> list[Any]:
    """What the client gets for a job: its ids, and the jobset or the name by the label."""
    if job.prod_source_label in _NUMBERED_LABELS:
        return [stored.panda_id, stored.job_definition_id, {"jobsetID": stored.jobset_id}]
    return [stored.panda_id, stored.job_definition_id, stored.job_name]
