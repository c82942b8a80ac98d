"""Asking adder plugins, in the process pool, to register what jobs have made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import attrs
from attrs import frozen
from twisted.logger import Logger

from pandatx.domain.conclusion import PluginResult
from pandatx.domain.job import Job, JobFile
from pandatx.domain.report import FileReport, ReportOutcome
from pandatx.store.columns import SEPARATE
from pandatx.store.reports import Report

log = Logger()

CALL_LIMIT: Final = 600.0
"""Seconds for one call of a plugin, with a whole batch."""
_CALL: Final = "pandatx.plugins.run:add"
_ADLER: Final = "ad:"

_JOB_NAMES: Final = tuple(each.name for each in attrs.fields(Job) if each.name not in {*SEPARATE, "files"})
_FILE_NAMES: Final = tuple(each.name for each in attrs.fields(JobFile))
_REPORT_NAMES: Final = tuple(each.name for each in attrs.fields(FileReport))


class Pool(Protocol):
    """workers.pool, as far as it is called here."""

    async def call(self, name: str, *args: Any, timeout: float, context: str = "") -> Any: ...


@frozen(kw_only=True)
class Item:
    """A report in hand, and what it says of its job; ``job`` is as it was before, ``core_power`` its queue's HS06."""

    report: Report
    job: Job
    outcome: ReportOutcome
    core_power: float = 0.0


async def ask(pool: Pool, settings: Mapping[str, Any], target: str, items: Sequence[Item]) -> dict[int, PluginResult]:
    """What the plugin "module:Class" says of each job, by PandaID. Raises CallError when it was killed or died."""
    context = f"adder {items[0].job.panda_id}" + (f" and {len(items) - 1} more" if len(items) > 1 else "")
    jobs = [_described(item) for item in items]
    found = await pool.call(_CALL, target, jobs, settings, timeout=CALL_LIMIT, context=context)
    answers: dict[Any, PluginResult] = {}
    for answer in found if isinstance(found, list) else [found]:
        try:
            answers[answer["panda_id"]] = _result(answer)
        except (TypeError, LookupError, AttributeError, ValueError) as fault:
            log.error("{target}: an answer that does not follow the interface: {fault!r}", target=target, fault=fault)
    silent = PluginResult.crashed("it gave no valid answer for the job")
    return {item.job.panda_id: answers.get(item.job.panda_id, silent) for item in items}


def _described(item: Item) -> dict[str, Any]:
    """The job as the report leaves it, and the report, as JSON values."""
    job, outcome = item.job, item.outcome
    values: dict[str, Any] = {name: getattr(job, name) for name in _JOB_NAMES} | outcome.job_changes
    files = [_file(each) | outcome.file_changes.get(each.row_id, {}) for each in job.files]
    values["files"] = files + [_file(each) for each in outcome.new_files]
    reported = {lfn: _reported(each) for lfn, each in outcome.reported.items()}
    return {"job": values, "report": reported, "status": outcome.status}


def _file(each: JobFile) -> dict[str, Any]:
    return {name: getattr(each, name) for name in _FILE_NAMES}


def _reported(each: FileReport) -> dict[str, Any]:
    found = {name: value for name in _REPORT_NAMES if (value := getattr(each, name)) is not None}
    if each.checksum is not None and each.checksum.startswith(_ADLER):
        found["adler32"] = each.checksum.removeprefix(_ADLER)
    return found


def _result(answer: Mapping[str, Any]) -> PluginResult:
    error = answer.get("error")
    return PluginResult(
        result=str(answer.get("result")),
        error=None if error is None else _text(error),
        transferring=_texts(answer.get("transferring")),
        merging=_texts(answer.get("merging")),
        registered=tuple((_text(each["lfn"]), _texts(each["blocks"])) for each in answer.get("registered") or ()),
    )


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(map(_text, values or ()))


def _text(value: Any) -> str:
    """What a column holds, whatever a plugin has made of it."""
    return str(value).replace("\0", "")
