"""The group ``pilot``: what pilots call, and Harvester on their behalf."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve, frozen
from twisted.logger import Logger

from pandatx.domain.caller import Caller
from pandatx.domain.job import Job
from pandatx.domain.lifecycle import REPORTABLE
from pandatx.domain.pilot_job import job_dictionary
from pandatx.domain.queues import Queue
from pandatx.domain.requests import (
    Heartbeat,
    HeartbeatBatch,
    JobIds,
    JobRequest,
    Reply,
    WorkerNode,
    WorkerNodeGpu,
    WorkerStatus,
)
from pandatx.errors import BadRequest, Busy, PandaError
from pandatx.resources.api import (
    JSON,
    URLENCODED,
    Answer,
    Call,
    Dialect,
    LegacyForm,
    Limits,
    Style,
    anyone,
    operation,
    pilot_role,
    pilots,
    secure,
)
from pandatx.resources.decoding import ArgumentFault, Decoder, decoder
from pandatx.resources.encoding import to_json, to_urlencoded
from pandatx.resources.pilot_answers import JobsGiven, JobStatusGiven, ReportAnswered, ReportTold
from pandatx.services.counters import What
from pandatx.services.dispatch import Acquired, Dispatch
from pandatx.services.heartbeats import Heartbeats
from pandatx.services.jobs import Jobs
from pandatx.services.pilot_news import PilotNews

log = Logger()

NO_COMMAND = "NULL"
INVALID, FAILED = 50, 30
_WORKER_STATES = ("started", "finished")
_CHUNK = 100
_GET_JOB = LegacyForm(Style.STATUS, busy=20)
_UPDATE_JOB = LegacyForm(Style.STATUS, busy=10)
_REPORT = Limits(hot=True, report=True)
_WORKER = LegacyForm(Style.STATUS, role_text="production or pilot role is required")


@frozen(kw_only=True)
class NoJobs(Answer):
    """No job fits, or none is there."""

    success: bool = False
    message: str = "No jobs in PanDA"

    def legacy(self, as_json: bool) -> dict[str, Any]:
        """StatusCode 20, in JSON with a text."""
        return {"StatusCode": 20, "errorDialog": "no jobs in PanDA"} if as_json else {"StatusCode": 20}


@frozen(kw_only=True)
class AcquiredJobs(Answer):
    """Jobs for a pilot. ``listed``: the number of jobs was asked for, so that the older dialect answers with a list."""

    jobs: tuple[Job, ...]
    describe: Callable[[Job], dict[str, Any]]
    listed: bool

    def envelope(self) -> dict[str, Any]:
        """Always a list, even of one."""
        data = {"StatusCode": 0, "jobs": [self.describe(job) for job in self.jobs]}
        return {"success": True, "message": "", "data": data}

    def legacy(self, as_json: bool) -> dict[str, Any]:
        """The fields of the job beside StatusCode, or ``jobs``, which is a JSON text where the answer is not JSON."""
        if not self.listed:
            return self.describe(self.jobs[0])
        jobs = [self.describe(job) for job in self.jobs]
        return {"StatusCode": 0, "jobs": jobs if as_json else to_json(jobs).decode()}


@frozen(kw_only=True)
class Told(Answer):
    """What a report is answered with. ``command`` is the text NULL where there is none: a null breaks newer pilots."""

    reply: Reply

    def told(self) -> dict[str, Any]:
        """The fields of both dialects."""
        reply = self.reply
        if reply.code == FAILED:
            return {"StatusCode": FAILED}
        found: dict[str, Any] = {"StatusCode": reply.code, "command": reply.command or NO_COMMAND}
        if reply.pilot_secrets is not None:
            found["pilotSecrets"] = reply.pilot_secrets
        return found

    def envelope(self) -> dict[str, Any]:
        """``command`` stands at both levels, since one published pilot looks for it at the upper one only."""
        told = self.told()
        return {"success": True, "message": "", "data": told, "command": told.get("command", NO_COMMAND)}

    def legacy(self, as_json: bool) -> dict[str, Any]:
        """A StatusCode form."""
        return self.told()


@frozen(kw_only=True)
class ToldMany(Answer):
    """An answer per report, in their order."""

    each: tuple[Answer, ...]

    def envelope(self) -> dict[str, Any]:
        """``data`` is a list of envelopes."""
        return {"success": True, "message": "", "data": [answer.envelope() for answer in self.each]}

    def legacy(self, as_json: bool) -> list[Any]:
        """Encoded answers inside the answer, as older Harvesters read them."""
        told = [answer.legacy(as_json) for answer in self.each]
        if as_json:
            return [True, [{"type": "json", "content": to_json(each).decode()} for each in told]]
        return [True, [to_urlencoded(each).decode() for each in told]]


def _uncounted(queue: str, what: What) -> None:
    """Where nobody wants to know."""


@frozen
class PilotResource:
    """What pilots call. ``_queue_of`` gives what is known of a queue, or None; ``_count`` counts requests by queue."""

    _dispatch: Dispatch
    _heartbeats: Heartbeats
    _jobs: Jobs
    _news: PilotNews
    _queue_of: Callable[[str], Queue | None]
    _count: Callable[[str, What], None] = _uncounted

    @operation(
        "pilot/acquire_jobs",
        legacy="getJob",
        asks=JobRequest,
        gives=JobsGiven,
        allows=pilots,
        form=_GET_JOB,
        limits=Limits(hot=True),
    )
    async def acquire_jobs(self, caller: Caller, request: JobRequest, call: Call) -> Answer:
        """Hand over up to ``n_jobs`` jobs of a queue, a hundred at most; they are then ``sent``."""
        if call.dialect is Dialect.V1 and request.scheduler_id and not request.harvester_id:
            request = evolve(request, harvester_id=request.scheduler_id.removeprefix("harvester-"))
        self._count(request.site_name, "get_job")
        acquired = await self._dispatch.acquire(caller, request, call.gone)
        if not acquired.jobs:
            self._count(request.site_name, "no_job")
            return NoJobs()
        return AcquiredJobs(
            jobs=acquired.jobs,
            describe=self._describer(acquired, request),
            listed=request.n_jobs is not None,
            undelivered=lambda: self._dispatch.give_back(acquired),
        )

    def _describer(self, acquired: Acquired, request: JobRequest) -> Callable[[Job], dict[str, Any]]:
        proxy_key = request.get_proxy_key in ("True", "true")
        queue = self._queue_of(request.site_name)
        return lambda job: job_dictionary(job, queue, acquired.extras(job, proxy_key))

    @operation(
        "pilot/update_job",
        legacy="updateJob",
        asks=Heartbeat,
        gives=ReportTold,
        allows=pilots,
        form=_UPDATE_JOB,
        limits=_REPORT,
    )
    async def update_job(self, caller: Caller, beat: Heartbeat, call: Call) -> Answer:
        """Store what a pilot reports of a job, and tell it the command that waits for it."""
        self._count(beat.site_name or "", "update_job")
        refused = _unusable(beat, call.dialect)
        return refused or Told(reply=await self._heartbeats.report(caller, beat))

    @operation(
        "pilot/update_jobs_bulk",
        legacy="updateJobsInBulk",
        asks=HeartbeatBatch,
        gives=list[ReportAnswered],
        allows=secure,
        form=JSON,
        limits=_REPORT,
    )
    async def update_jobs_bulk(self, caller: Caller, batch: HeartbeatBatch, call: Call) -> Answer:
        """Store reports on many jobs; the answers stand in their order, each as if it had come alone."""
        each: list[Answer | None] = []
        beats: list[Heartbeat] = []
        decode = decoder(Heartbeat, call.dialect)
        for index, element in enumerate(batch.job_list):
            if index % _CHUNK == _CHUNK - 1:
                await call.breathe()
            beat = _decoded(decode, element)
            refused = beat if isinstance(beat, Answer) else _unusable(beat, call.dialect)
            each.append(refused)
            if not isinstance(beat, Answer) and refused is None:
                self._count(beat.site_name or "", "update_job")
                beats.append(beat)
        outcomes = iter(await self._heartbeats.report_many(caller, beats) if beats else ())
        return ToldMany(each=tuple(refused or _outcome(next(outcomes)) for refused in each))

    @operation(
        "pilot/get_job_status",
        legacy="getStatus",
        verb="GET",
        asks=JobIds,
        gives=list[JobStatusGiven],
        allows=secure,
        allows_legacy=anyone,
        form=URLENCODED,
    )
    async def get_job_status(self, caller: Caller, request: JobIds, call: Call) -> Answer:
        """Say the status and the attempt number of some jobs."""
        found = {
            panda_id: (status, attempt) for panda_id, status, attempt in await self._jobs.statuses(request.job_ids)
        }
        rows = [(panda_id, *found.get(panda_id, ("not found", 0))) for panda_id in request.job_ids]
        return Answer(
            data=[
                {"job_id": panda_id, "status": status, "attempt_number": number} for panda_id, status, number in rows
            ],
            fields={
                "status": "+".join("notfound" if status == "not found" else status for _, status, _ in rows),
                "attemptNr": "+".join(str(number) for _, _, number in rows),
            },
        )

    @operation(
        "pilot/update_worker_status",
        legacy="updateWorkerPilotStatus",
        asks=WorkerStatus,
        allows=pilot_role,
        form=_WORKER,
    )
    async def update_worker_status(self, caller: Caller, request: WorkerStatus, call: Call) -> Answer:
        """Note that the pilot of a Harvester worker started or finished."""
        if request.status not in _WORKER_STATES:
            text = f"Invalid worker state. The worker state has to be in {_WORKER_STATES}"
            return Answer(success=False, message=text, value=text)
        return await _done(self._news.worker_status(request))

    @operation("pilot/update_worker_node", asks=WorkerNode, allows=pilot_role)
    async def update_worker_node(self, caller: Caller, request: WorkerNode, call: Call) -> Answer:
        """Note what hardware a worker node has."""
        return await _done(self._news.worker_node(request))

    @operation("pilot/update_worker_node_gpu", asks=WorkerNodeGpu, allows=pilot_role)
    async def update_worker_node_gpu(self, caller: Caller, request: WorkerNodeGpu, call: Call) -> Answer:
        """Note what graphics processors a worker node has."""
        return await _done(self._news.worker_node_gpu(request))


async def _done(work: Awaitable[None]) -> Answer:
    await work
    return Answer()


def _unusable(beat: Heartbeat, dialect: Dialect) -> Answer | None:
    """The answer to a report that names no job or a state that is none; nothing is changed then (rule R15)."""
    if beat.job_id and beat.job_status in REPORTABLE:
        return None
    text = f"invalid job status {beat.job_status[:40]!r}" if beat.job_id else "no job id"
    log.warn("a report on job {job} is passed over: {text}", job=beat.job_id, text=text)
    if dialect is Dialect.LEGACY:
        return Answer(fields={"command": NO_COMMAND})
    return Answer(success=False, message=text, data={"StatusCode": INVALID})


def _decoded(decode: Decoder, element: Any) -> Heartbeat | Answer:
    """A report of a batch, or the answer to one that cannot be read; the others are not touched by it."""
    if type(element) is not dict:
        return _faulty(BadRequest("job_list", "not an object"))
    try:
        beat: Heartbeat = decode.decode(element)
    except ArgumentFault as fault:
        return _faulty(fault)
    return beat


def _outcome(outcome: Reply | PandaError) -> Answer:
    if isinstance(outcome, Busy):
        return Told(reply=Reply(code=FAILED))
    return _faulty(outcome) if isinstance(outcome, PandaError) else Told(reply=outcome)


def _faulty(fault: PandaError) -> Answer:
    text = fault.rest if isinstance(fault, ArgumentFault) else str(fault)
    code = INVALID if isinstance(fault, BadRequest) else FAILED
    return Answer(success=False, message=text, value={"StatusCode": code, "errorDialog": text})
