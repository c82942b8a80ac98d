"""The group ``job``: submitting, asking, ending."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, Final, TypedDict

from attrs import evolve, frozen

from pandatx.domain import offline_script
from pandatx.domain.caller import Caller
from pandatx.domain.debug_mode import SUCCEEDED
from pandatx.domain.job import Job
from pandatx.domain.query_requests import DebugMode, JobStatusIds, OneJob
from pandatx.domain.requests import JobCommand, JobIds, JobKill, JobSubmission
from pandatx.domain.task_requests import TaskId
from pandatx.domain.task_secrets import may_read, shown
from pandatx.errors import PandaError
from pandatx.resources.api import (
    JSON,
    MEBIBYTE,
    PICKLED,
    STATUS_JSON,
    TEXT,
    Answer,
    Call,
    LegacyForm,
    Limits,
    Style,
    anyone,
    operation,
    production,
    secure,
)
from pandatx.resources.encoding import Encoded, json_list, json_object, to_json
from pandatx.resources.jobspec import counted, described, job_of, read_jobs, state_of
from pandatx.services.debug_mode import DebugModes
from pandatx.services.jobs import Jobs
from pandatx.services.killing import Killing
from pandatx.services.submission import Submission, Submitted
from pandatx.services.user_metadata import UserMetadata

RECEIVED = "command received"
LARGEST: Final = 128 * MEBIBYTE
"""Bytes of descriptions that one answer has."""
_CHUNK = 50
_NUMBERED_LABELS = frozenset(("user", "panda", "ptest", "rc_test", "rc_test2", "rc_alrb"))


class StatusAndCommand(TypedDict):
    """The status of a job, and the command that waits for its pilot."""

    status: str
    command: str | None


class JobsetId(TypedDict):
    """What jobs of a user have in common."""

    jobsetID: int | None


Receipts: Final[Any] = list[tuple[int, int | None, JobsetId | str | None]]
"""PandaID, jobDefinitionID, and the jobset or, by the label, the name of each job."""
Descriptions: Final[Any] = list[dict[str, Any] | None]
"""Jobs by the names of reference/wire.md 3.4."""


@frozen(kw_only=True)
class Described(Answer):
    """Descriptions of jobs; ``states`` are told to a client of 2021 that asks for no pickle and accepts no JSON."""

    states: Encoded | None

    def legacy(self, as_json: bool) -> Encoded:
        """A JSON text in either case."""
        return self.data if as_json or self.states is None else self.states


@frozen
class JobResource:
    """What users and Harvester ask of jobs."""

    _jobs: Jobs
    _submission: Submission
    _killing: Killing
    _debug: DebugModes
    _metadata: UserMetadata

    @operation(
        "job/submit",
        legacy="submitJobs",
        asks=JobSubmission,
        gives=Receipts,
        form=PICKLED,
        limits=Limits(inflated=256 * MEBIBYTE),
        allows=secure,
    )
    async def submit(self, caller: Caller, request: JobSubmission, call: Call) -> Answer:
        """Store jobs, all or none. They come as state lists or as objects by field name, up to 5000 of them."""
        elements = await self._elements(request.jobs, call)
        if not elements:
            return Answer(success=False, message="No jobs were submitted", value=[])
        jobs = []
        for index, element in enumerate(elements):
            if index % _CHUNK == _CHUNK - 1:
                await call.breathe()
            jobs.append(job_of(element, index))
        stored = await self._submission.submit(caller, tuple(jobs), call.address)
        receipts = [_receipt(job, each) for job, each in zip(jobs, stored, strict=True)]
        return Answer(data=receipts, value=receipts)

    async def _elements(self, jobs: Any, call: Call) -> list[Any]:
        if type(jobs) is not str:
            return counted(jobs)
        if len(jobs) <= MEBIBYTE:
            return read_jobs(jobs)
        elements: list[Any] = await call.in_thread(lambda: read_jobs(jobs))
        return elements

    @operation(
        "job/get_status",
        legacy="checkJobStatus",
        verb="GET",
        asks=JobIds,
        gives=list[StatusAndCommand],
        allows_legacy=anyone,
        form=STATUS_JSON,
        allows=secure,
    )
    async def get_status(self, caller: Caller, request: JobIds, call: Call) -> Answer:
        """Say the status of jobs and the commands that wait for their pilots, in the order of the ids."""
        found = await self._jobs.commands(request.job_ids)
        data = [{"status": status, "command": command} for status, command in found]
        return Answer(data=data, fields={"data": data})

    @operation(
        "job/get_description",
        legacy="getJobStatus",
        verb=("GET", "POST"),
        asks=JobStatusIds,
        gives=Descriptions,
        allows_legacy=anyone,
        form=LegacyForm(Style.PICKLED, unless="no_pickle"),
        allows=secure,
    )
    async def get_description(self, caller: Caller, request: JobStatusIds, call: Call) -> Answer:
        """Describe jobs that are not archived, in the order of the ids; null for one that is not there."""
        states = None
        if request.no_pickle:
            states = await self._told(caller, request.job_ids, call, states=True)
        data = await self._told(caller, request.job_ids, call)
        return Described(data=data, states=states)

    @operation(
        "job/get_description_incl_archive",
        legacy="getFullJobStatus",
        verb=("GET", "POST"),
        asks=JobIds,
        gives=Descriptions,
        form=PICKLED,
        allows=secure,
    )
    async def get_description_incl_archive(self, caller: Caller, request: JobIds, call: Call) -> Answer:
        """Describe jobs wherever they are, in the order of the ids; null for one that is not there."""
        found = await self._told(caller, request.job_ids, call, archive=True)
        return Answer(data=found, value=found)

    async def _told(
        self, caller: Caller, ids: Sequence[int], call: Call, *, archive: bool = False, states: bool = False
    ) -> Encoded:
        """Whole jobs as the caller may see them: descriptions, or state lists of those that are there."""
        form: Callable[[Job], Any] = state_of if states else described
        batches = self._jobs.each(ids, archive)
        return await listed(batches, call, lambda job: form(told_to(caller, job)), there_only=states)

    @operation(
        "job/get_metadata_for_analysis_jobs",
        legacy="getUserJobMetadata",
        verb="GET",
        asks=TaskId,
        gives=dict[str, Any],
        allows_legacy=anyone,
        form=JSON,
        allows=secure,
    )
    async def get_metadata_for_analysis_jobs(self, caller: Caller, request: TaskId, call: Call) -> Answer:
        """Give what the pilots of the finished jobs of a user's task reported as metadata, by PandaID."""
        found = await self._metadata.of_task(caller, request.task_id)
        data = json_object(found.items())
        return Answer(data=data, message="" if found else "No metadata found", value=data)

    @operation(
        "job/generate_offline_execution_script",
        legacy="getScriptOfflineRunning",
        verb="GET",
        asks=OneJob,
        gives=str,
        allows=anyone,
        form=TEXT,
        plain=True,
    )
    async def generate_offline_execution_script(self, caller: Caller, request: OneJob, call: Call) -> Answer:
        """Make a shell script that runs a job again by hand; a text with ERROR where that cannot be."""
        job = await self._jobs.recent(request.job_id, request.days)
        if job is None:
            return Answer(value=offline_script.not_found(request.job_id, request.days))
        try:
            text = offline_script.script(job)
        except offline_script.NoScript as fault:
            return Answer(value=f"{offline_script.ERROR}{fault}")
        return Answer(value=text if may_read(caller, job.prod_user_name) else shown(text))

    @operation("job/kill", legacy="killJobs", asks=JobKill, gives=list[bool], form=PICKLED, allows=secure)
    async def kill(self, caller: Caller, request: JobKill, call: Call) -> Answer:
        """End jobs; a job that is not the caller's is left alone, and its place in the answer is false."""
        ended = await self._killing.kill(
            caller, request.job_ids, request.code, request.kill_options, request.use_email_as_id
        )
        return Answer(data=list(ended), value=list(ended))

    @operation("job/reassign", legacy="reassignJobs", asks=JobIds, form=PICKLED, allows=secure)
    async def reassign(self, caller: Caller, request: JobIds, call: Call) -> Answer:
        """Take jobs back from their queues, for their tasks to make new ones."""
        await self._killing.reassign(caller, request.job_ids)
        return Answer(value=True)

    @operation("job/set_debug_mode", legacy="setDebugMode", asks=DebugMode, gives=str, form=TEXT, allows=secure)
    async def set_debug_mode(self, caller: Caller, request: DebugMode, call: Call) -> Answer:
        """Turn the debug mode of a job on or off; ``data`` and the message say what became of it."""
        text = await self._debug.change(caller, request)
        return Answer(success=text == SUCCEEDED, message=text, data=text if text == SUCCEEDED else None, value=text)

    @operation("job/set_command", legacy="send_command_to_job", asks=JobCommand, allows=production, form=JSON)
    async def set_command(self, caller: Caller, request: JobCommand, call: Call) -> Answer:
        """Leave a text for a job's pilot, which reads it with its next report."""
        text = await self._killing.command(caller, request.job_id, request.command)
        return Answer(success=text == RECEIVED, message=text, value=[text == RECEIVED, text])


async def listed(
    batches: AsyncIterator[list[Job | None]], call: Call, form: Callable[[Job], Any], *, there_only: bool
) -> Encoded:
    """A list of jobs in JSON; ``there_only``: without nulls for those that are not there.

    Raises PandaError where there is too much: metadata can be large, and a job may be asked for many times at once.
    """
    found: list[bytes] = []
    size = 0
    async for jobs in batches:
        some = await in_chunks([job for job in jobs if job is not None] if there_only else jobs, call, form)
        size += sum(map(len, some))
        if size > LARGEST:
            raise PandaError(f"the descriptions have more than {LARGEST} bytes: ask for fewer jobs at a time")
        found += some
    return json_list(found)


async def in_chunks(jobs: Sequence[Job | None], call: Call, form: Callable[[Job], Any] = described) -> list[bytes]:
    """Jobs in JSON, null for one that is not there; made in a thread, some at a time."""
    found: list[bytes] = []
    for start in range(0, len(jobs), _CHUNK):
        found += await call.in_thread(partial(_in_json, jobs[start : start + _CHUNK], form))
    return found


def _in_json(jobs: Sequence[Job | None], form: Callable[[Job], Any]) -> list[bytes]:
    return [b"null" if job is None else to_json(form(job)) for job in jobs]


def told_to(caller: Caller, job: Job) -> Job:
    """A job without the secrets in its texts, where they are not for the caller."""
    if may_read(caller, job.prod_user_name):
        return job
    return evolve(job, job_parameters=shown(job.job_parameters), metadata=shown(job.metadata))


def _receipt(job: Job, stored: Submitted) -> list[Any]:
    """What the client gets for a job: its ids, and the jobset or the name by the label."""
    if job.prod_source_label in _NUMBERED_LABELS:
        return [stored.panda_id, stored.job_definition_id, {"jobsetID": stored.jobset_id}]
    return [stored.panda_id, stored.job_definition_id, stored.job_name]
