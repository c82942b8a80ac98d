"""How a job ends by its report and the answer of the adder plugin (reference/lifecycle.md 2.7, steps 7 to 12)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from attrs import evolve, field, frozen

from pandatx.domain import kill
from pandatx.domain.heartbeat import KILL
from pandatx.domain.job import Job, JobFile
from pandatx.domain.kill import KillOrder, KillRow
from pandatx.domain.lifecycle import TERMINAL
from pandatx.domain.report import OUTPUTS, WITHDRAWN, ReportOutcome, ddm_error

_BYTES_LIMIT: Final = 99_999_999_999
_LONGEST_RETRY: Final = timedelta(hours=24)
# A report is free when its lock is ten minutes old: this one is tried again after a minute.
_LOCKED_BEFORE: Final = timedelta(minutes=9)
_TEST_LABELS: Final = frozenset(("rucio_test", "ptest", "rc_test", "rc_test2", "rc_alrb"))
_TESTED_BUILDS: Final = frozenset(("pathena", "prun", "gangarobot-rctest", "hammercloud"))
_PILOT: Final = "pilot"
NO_WORK: Final = 60
"""The code of a kill by a pilot that found nothing to do."""
_PRODUCED: Final = frozenset(("ready", "transferring", "merging"))


@frozen(kw_only=True)
class PluginResult:
    """What an adder plugin answered: ``result`` is ok, temporary or fatal; the lists are LFNs.

    ``registered``: for each file that now belongs to blocks, its LFN and their names.
    """

    result: str = "ok"
    error: str | None = None
    transferring: tuple[str, ...] = ()
    merging: tuple[str, ...] = ()
    registered: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def crashed(cls, text: str) -> PluginResult:
        return cls(result="fatal", error=f"AdderPlugin failure: {text}")


@frozen(kw_only=True)
class Conclusion:
    """How a report ends for its job, to be written in one transaction.

    ``retry_locked_time``, where not None: nothing is written but this as the report's lockedTime. ``changes`` and
    ``file_changes`` as in ReportOutcome. ``blocks`` are the destination blocks for the Closer, ``library``: what
    this build has made, for the jobs that read it, ``registered`` counts the files that blocks have got (rule R18),
    ``last_attempt``: its task is not to try its inputs again.
    """

    status: str
    changed: bool = False
    retry_locked_time: datetime | None = None
    changes: dict[str, Any] = field(factory=dict)
    file_changes: dict[int, dict[str, Any]] = field(factory=dict)
    new_files: tuple[JobFile, ...] = ()
    blocks: tuple[str, ...] = ()
    library: tuple[JobFile, ...] = ()
    registered: Counter[str] = field(factory=Counter)
    last_attempt: bool = False

    @property
    def archives(self) -> bool:
        return self.retry_locked_time is None and self.status in TERMINAL


def conclude(
    job: Job, outcome: ReportOutcome, plugin: PluginResult | None, reported_at: datetime, now: datetime
) -> Conclusion:
    """Decide the job's status from its report and the plugin's answer (None where it was not called). Steps 8 to 12.

    ``job`` is the job before ``outcome`` was applied; ``reported_at`` is the timeStamp of the stored report.
    """
    if outcome.closed:
        return _closed(job, now)
    answer = plugin or PluginResult()
    if answer.result == "temporary" and now - reported_at < _LONGEST_RETRY:
        return Conclusion(status=job.job_status, retry_locked_time=now - _LOCKED_BEFORE)
    refused = answer.result != "ok"
    status = _status(job, outcome.failed or refused, answer)
    reported = outcome.applied_to(job).files
    files = tuple(_ended(each, answer, failed=status in TERMINAL and status != "finished") for each in reported)
    file_changes = {row_id: dict(values) for row_id, values in outcome.file_changes.items()}
    for before, after in zip(reported[: len(job.files)], files, strict=False):
        if after.status != before.status:
            file_changes.setdefault(after.row_id, {})["status"] = after.status
    changes = outcome.job_changes | _job_changes(job, status, files, now)
    if refused and not changes.get("ddm_error_code"):
        changes |= ddm_error(answer.error or "AdderPlugin failure")
    builds = status == "finished" and _is_build(job)
    return Conclusion(
        status=status,
        changed=status != job.job_status,
        changes=changes,
        file_changes={row_id: values for row_id, values in file_changes.items() if values},
        new_files=files[len(job.files) :],
        blocks=destination_blocks(files),
        library=tuple(each for each in files if builds and each.type == "output" and each.guid),
        registered=_registered(answer, files) if status == "finished" else Counter(),
    )


def _is_build(job: Job) -> bool:
    """Whether other jobs wait for what it makes; tests of pilots build under their own label."""
    return job.prod_source_label == "panda" or (
        job.prod_source_label in _TEST_LABELS and job.processing_type in _TESTED_BUILDS
    )


def _closed(job: Job, now: datetime) -> Conclusion:
    """As a kill with code 60 ends it, which the pilot may ask for whosever job it is (step 3)."""
    row = KillRow(
        panda_id=job.panda_id,
        job_status="holding",
        active=True,
        prod_source_label=job.prod_source_label,
        prod_user_name=_PILOT,
        processing_type=job.processing_type,
        event_service=job.event_service,
        start_time=job.start_time,
        end_time=job.end_time,
    )
    verdict = kill.decide(row, KillOrder(name=_PILOT, code=NO_WORK), now)
    return Conclusion(
        status=verdict.status or "closed",
        changed=True,
        changes=verdict.changes,
        file_changes={each.row_id: {"status": "failed"} for each in job.files if each.type in OUTPUTS},
        blocks=destination_blocks(job.files),
        last_attempt=verdict.ends_merge,
    )


def _registered(answer: PluginResult, files: Iterable[JobFile]) -> Counter[str]:
    """How many files each block has got; only those that the job was to make count."""
    made = {each.lfn for each in files if each.type in OUTPUTS and each.status == "ready"}
    return Counter(block for lfn, blocks in dict(answer.registered).items() if lfn in made for block in blocks)


def _job_changes(job: Job, status: str, files: Iterable[JobFile], now: datetime) -> dict[str, Any]:
    produced = [each for each in files if each.type == "output" and each.status in _PRODUCED]
    changes: dict[str, Any] = {
        "modification_time": now,
        "job_dispatcher_error_code": 0,
        "job_dispatcher_error_diag": None,
        "n_output_data_files": len(produced),
        "output_file_bytes": min(sum(each.fsize for each in produced), _BYTES_LIMIT),
    }
    if job.end_time is None:
        changes["end_time"] = now
    if status != job.job_status:
        changes["state_change_time"] = now
    if status == "transferring":
        changes["job_sub_status"] = None
    return changes


def destination_blocks(files: Iterable[JobFile]) -> tuple[str, ...]:
    """The blocks that the Closer looks at when a job has ended."""
    return tuple(
        sorted({each.destination_dblock for each in files if each.type in OUTPUTS and each.destination_dblock})
    )


def _status(job: Job, failed: bool, answer: PluginResult) -> str:
    if job.job_status in WITHDRAWN:
        return job.job_status
    if failed:
        return "cancelled" if job.command_to_pilot == KILL else "failed"
    if answer.merging:
        return "merging"
    return "transferring" if answer.transferring else "finished"


def _ended(each: JobFile, answer: PluginResult, *, failed: bool) -> JobFile:
    """The file with its last status; of a failed job no output and no log counts."""
    if each.type not in OUTPUTS:
        return each
    if failed:
        return evolve(each, status="failed")
    if each.lfn in answer.merging:
        return evolve(each, status="merging")
    return evolve(each, status="transferring") if each.lfn in answer.transferring else each
