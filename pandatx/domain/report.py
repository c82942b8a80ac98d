"""What a final report says about the files of its job (reference/lifecycle.md 2.7, steps 2 to 6)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from time import thread_time
from typing import Any, Final

import regex
from attrs import define, evolve, field, frozen

from pandatx.domain.job import Job, JobFile
from pandatx.domain.json_texts import read_json
from pandatx.domain.workers import WORKER_DONE

ADDER_ERROR: Final = 200
_UNREADABLE: Final = "Could not get GUID/LFN/MD5/FSIZE/SURL from pilot JSON"
_DIAG_LIMIT: Final = 500

_INPUTS: Final = frozenset(("input", "pseudo_input"))
OUTPUTS: Final = frozenset(("output", "log"))
_USER_LABELS: Final = frozenset(("user", "panda"))
_ON_SITE: Final = "om"
"""The tag of a job that merges on its site."""
_EVENT_SERVICE: Final = frozenset((1, 4, 5))
_SETTLED: Final = frozenset(("finished", "failed", "unknown", "merging"))
PILOT_CLOSED: Final = "pilot_closed"
"""The sub status of a job whose pilot found nothing to do."""
WITHDRAWN: Final = frozenset(("cancelled", "closed"))
_REGEX: Final = "regex|"
LONGEST_SEARCH: Final = 0.05
"""Seconds of CPU that expressions for outputs' names may take for all names of a report: users write both."""
_LONGEST_PATTERN: Final = 1000
_MOST_REPEATED: Final = 10_000
"""An expression that repeats more often than that takes gigabytes before a name is looked at."""
_REPETITION: Final = re.compile(r"\{\s*(\d*)\s*,?\s*(\d*)")
_LFN_LIMIT: Final = 4000
# JSON's way to write the one character that PostgreSQL stores nowhere.
_NUL: Final = "\\u0000"
_MD5: Final = re.compile(r"[0-9a-fA-F]{32}")


@frozen(kw_only=True)
class FileReport:
    """What the pilot reports of one file. ``fsize`` in bytes, ``checksum`` as ad:VALUE or md5:VALUE."""

    guid: str
    fsize: int | None = None
    checksum: str | None = None
    md5sum: str | None = None
    surl: str | None = None
    full_lfn: str | None = None
    endpoint: str | None = None


class UnreadableReport(ValueError):
    """The output report is not what a pilot writes today; its text says where."""


@frozen(kw_only=True)
class ReportOutcome:
    """What a report says, before the plugin has seen it.

    ``fatal``: the plugin is not to be called; ``closed``: nor does the report count, since the pilot did no work.
    ``job_changes`` and ``file_changes`` (by row_id) are attributes of Job
    and JobFile, None meaning NULL; ``new_files`` are rows to insert, with row_id 0. ``n_events`` is by LFN.
    """

    failed: bool
    fatal: bool = False
    closed: bool = False
    job_changes: dict[str, Any] = field(factory=dict)
    file_changes: dict[int, dict[str, Any]] = field(factory=dict)
    new_files: tuple[JobFile, ...] = ()
    reported: dict[str, FileReport] = field(factory=dict)
    n_events: dict[str, int] = field(factory=dict)
    metadata_guids: dict[str, str] = field(factory=dict)
    worker_node: dict[str, Any] | None = None
    worker_node_gpus: dict[str, Any] | None = None

    @property
    def status(self) -> str:
        """What the plugin is told."""
        return "failed" if self.failed else "finished"

    def applied_to(self, job: Job) -> Job:
        """The job as the report leaves it, new files included."""
        files = tuple(evolve(each, **self.file_changes.get(each.row_id, {})) for each in job.files)
        return evolve(job, **self.job_changes, files=files + self.new_files)


def stale(job: Job | None, attempt_nr: int) -> str | None:
    """Why a stored report has no effect and is deleted, None where it counts; ``job`` is None unless active."""
    if job is None:
        return "the job is not active"
    if job.job_status in _SETTLED:
        return f"the job is {job.job_status}"
    if job.attempt_nr != attempt_nr:
        return f"the report is of attempt {attempt_nr}, the job is at {job.attempt_nr}"
    return None


def interpret(job: Job, status: str, data: str, metadata: str | None = None, wrong: str | None = None) -> ReportOutcome:
    """Read a report of ``status`` (finished or failed) against the definition of its job. Steps 3 to 6.

    ``wrong``: why the job has failed whatever the report says.
    """
    withdrawn = job.job_status in WITHDRAWN
    if wrong is not None:
        found = _read(job, failed=True, data=data, metadata=metadata)
        return evolve(found, job_changes=found.job_changes | ddm_error(wrong))
    if job.job_sub_status == PILOT_CLOSED and not withdrawn:
        return ReportOutcome(failed=True, fatal=True, closed=True)
    return _read(job, failed=status == "failed" or withdrawn, data=data, metadata=metadata)


def _read(job: Job, *, failed: bool, data: str, metadata: str | None) -> ReportOutcome:
    changes = _error_codes_cleared() if job.job_status in WITHDRAWN else {}
    about = _read_metadata(metadata)
    found = ReportOutcome(
        failed=failed,
        job_changes=changes,
        n_events=_events_of(job, about),
        metadata_guids={name: guid for name, _, guid in _sub_files(about) if guid},
        worker_node=_block(about, "worker_node"),
        worker_node_gpus=_block(about, "worker_node_gpus"),
    )
    if not any(each.type in OUTPUTS for each in job.files):
        return found
    inputs = frozenset(each.lfn for each in job.files if each.type in _INPUTS)
    try:
        reported = parse(data, inputs)
    except UnreadableReport:
        return _unreadable(job, found)
    return _compare(job, evolve(found, reported=reported))


# Reading


def parse(data: str, inputs: frozenset[str]) -> dict[str, FileReport]:
    """The files of an output report by LFN. Raises UnreadableReport, also for the XML of pilots before 2020 (R17)."""
    try:
        found = read_json(data)
    except ValueError as error:
        raise UnreadableReport(str(error)) from error
    if not isinstance(found, dict):
        raise UnreadableReport("not an object")
    if _NUL in data or any(len(lfn) > _LFN_LIMIT for lfn in found):
        raise UnreadableReport("a text that no column holds")
    return {lfn: _file_report(lfn, values, lfn in inputs) for lfn, values in found.items()}


def _file_report(lfn: str, values: Any, is_input: bool) -> FileReport:
    if not isinstance(values, dict) or not isinstance(guid := values.get("guid"), str) or len(guid) > 64:
        raise UnreadableReport(f"no guid for {lfn}")
    md5sum = values.get("md5sum")
    if not isinstance(md5sum, str) or not _MD5.fullmatch(md5sum):
        md5sum = None
    adler = values.get("adler32")
    checksum = f"md5:{md5sum}" if md5sum else None
    if isinstance(adler, str) and 0 < len(adler) <= 33:
        checksum = f"ad:{adler}"
    fsize = _size(values.get("fsize"))
    if not is_input and (fsize is None or checksum is None):
        raise UnreadableReport(f"no size or no checksum for {lfn}")
    texts = {key: values[key] for key in ("surl", "full_lfn", "endpoint") if isinstance(values.get(key), str)}
    return FileReport(guid=guid, fsize=fsize, checksum=checksum, md5sum=md5sum, **texts)


def _size(value: Any) -> int | None:
    """Bytes from a number or its text."""
    try:
        size = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return size if 0 <= size < 2**63 else None


def _read_metadata(text: str | None) -> dict[str, Any]:
    try:
        found = read_json((text or "").replace(_NUL, ""))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _block(metadata: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    found = metadata.get(key)
    return found if isinstance(found, dict) and found else None


def _sub_files(metadata: Mapping[str, Any]) -> list[tuple[str, int | None, str | None]]:
    """Name, number of events and GUID of each output file that the metadata describes."""
    files = metadata.get("files")
    outputs = files.get("output") if isinstance(files, dict) else None
    found: list[tuple[str, int | None, str | None]] = []
    for output in outputs if isinstance(outputs, list) else ():
        parts = output.get("subFiles") if isinstance(output, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and isinstance(name := part.get("name"), str):
                guid = part.get("file_guid")
                found.append((name, _size(part.get("nentries")), guid if isinstance(guid, str) else None))
    return found


def _events_of(job: Job, metadata: Mapping[str, Any]) -> dict[str, int]:
    """Events by LFN, from the metadata, or the job's own number for the outputs of a managed job without any."""
    if not metadata and job.prod_source_label == "managed":
        return {each.lfn: job.n_events for each in job.files if each.type == "output"} if job.n_events else {}
    return {name: number for name, number, _ in _sub_files(metadata) if number is not None}


# Judging


def _error_codes_cleared() -> dict[str, Any]:
    """Errors of a job that was withdrawn are no reason to change how it is retried."""
    cleared: dict[str, Any] = {}
    for kind in ("pilot", "exe", "ddm"):
        cleared |= {f"{kind}_error_code": 0, f"{kind}_error_diag": None}
    return cleared


def inconsistent(mismatch: str) -> str:
    """What is wrong with a job of whose inputs one is not its own any more, as JEDI sees it."""
    return f"inconsistent inputs: {mismatch}; failed lest they are processed twice"


def ddm_error(text: str) -> dict[str, Any]:
    return {"ddm_error_code": ADDER_ERROR, "ddm_error_diag": text[:_DIAG_LIMIT]}


def _unreadable(job: Job, found: ReportOutcome) -> ReportOutcome:
    by_worker = job.sup_error_code or job.task_buffer_error_code == WORKER_DONE
    explained = job.pilot_error_code or by_worker or job.trans_exit_code not in (None, "", "0", "NULL")
    error = {} if explained else ddm_error(_UNREADABLE)
    return _all_failed(job, found, error)


def _all_failed(job: Job, found: ReportOutcome, error: dict[str, Any]) -> ReportOutcome:
    return evolve(
        found,
        failed=True,
        fatal=True,
        job_changes=found.job_changes | error,
        file_changes={each.row_id: {"status": "failed"} for each in job.files if each.type in OUTPUTS},
        new_files=(),
    )


def _compare(job: Job, found: ReportOutcome) -> ReportOutcome:
    """Hold the reported files against those that the job was to read and write."""
    renamed: dict[int, dict[str, Any]] = {}
    added: list[JobFile] = []
    if not found.failed:  # of a failed job only the log is taken, whatever else it names
        for original, names in _variable_outputs(job, found.reported).items():
            if original is None:
                text = f"pilot produced {names[0]} inconsistently with jobdef"
                return _all_failed(job, found, ddm_error(text))
            if original.lfn not in found.reported:
                renamed[original.row_id] = {"lfn": names.pop(0)}
            added.extend(evolve(original, row_id=0, file_id=None, guid=None, lfn=name) for name in names)
    changes = renamed
    missing: list[str] = []
    for each in job.files:
        name = renamed.get(each.row_id, {}).get("lfn", each.lfn)
        judged = _judge(job, each, found.reported.get(name), found.failed)
        if judged is None:
            missing.append(name)
            judged = {"status": "failed"}
        if judged:
            changes[each.row_id] = changes.get(each.row_id, {}) | judged
    error = ddm_error(f"expected output {missing[0]} is missing in pilot JSON") if missing else {}
    return evolve(
        found,
        failed=found.failed or bool(missing),
        job_changes=found.job_changes | error,
        file_changes=changes,
        new_files=tuple(evolve(each, **_stored(found.reported[each.lfn])) for each in added),
    )


def _judge(job: Job, expected: JobFile, report: FileReport | None, failed: bool) -> dict[str, Any] | None:
    """What becomes of one file of the job: its changes, or None where it had to be reported and was not."""
    if expected.type in _INPUTS:
        unused = "skipped" if job.prod_source_label in _USER_LABELS or _merges_on_site(job) else "failed"
        return {"status": unused} if report is not None else {}
    if expected.type not in OUTPUTS:
        return {}
    if failed and expected.type != "log":
        return {"status": "failed"}
    if report is not None:
        return _stored(report)
    if not failed and (expected.status == "nooutput" or "an" in (expected.dispatch_dblock_token or "").split(",")):
        return {"status": "nooutput"}
    return {} if job.event_service in _EVENT_SERVICE else None


def _merges_on_site(job: Job) -> bool:
    return _ON_SITE in (job.special_handling or "").split(",")


def _stored(report: FileReport) -> dict[str, Any]:
    found: dict[str, Any] = {"status": "ready", "fsize": report.fsize or 0}
    if report.guid:  # panda-pilot 3.7 reports an empty one for logs, which got theirs at submission
        found["guid"] = report.guid
    if report.checksum is not None:
        found["checksum"] = report.checksum
    if report.md5sum is not None:
        found["md5sum"] = report.md5sum
    return found


def _variable_outputs(job: Job, reported: Iterable[str]) -> dict[JobFile | None, list[str]]:
    """Reported names that the job does not know, by the output that they are instances of; None: of none."""
    unknown = sorted(set(reported) - {each.lfn for each in job.files})
    if not unknown:
        return {}
    outputs = [(each, _pattern(each.lfn)) for each in job.files if each.type in OUTPUTS]
    found: dict[JobFile | None, list[str]] = {}
    search = _Search()
    for name in unknown:
        original = next(
            (each for each, pattern in outputs if pattern is not None and search.finds(pattern, name)), None
        )
        found.setdefault(original, []).append(name)
    return {original: found[original] for original in sorted(found, key=lambda each: each is not None)}


def _pattern(lfn: str) -> regex.Pattern[str] | None:
    """What the names of the instances of an output look like: LFN_1, or a pattern of the submitter's; None for one that
    is no regular expression, or too large a one.
    """
    if not lfn.startswith(_REGEX):
        return regex.compile(rf"\A{re.escape(lfn)}\.*_\d+\Z")
    text = lfn.removeprefix(_REGEX)
    counts = (max(int(number or 1) for number in pair) for pair in _REPETITION.findall(text))
    if len(text) > _LONGEST_PATTERN or math.prod(max(count, 1) for count in counts) > _MOST_REPEATED:
        return None
    try:
        return regex.compile(text)
    except (regex.error, RecursionError, OverflowError):
        return None


@define
class _Search:
    """Looks for patterns in the names of one report; none is found any more once that has taken too long."""

    _left: float = LONGEST_SEARCH

    def finds(self, pattern: regex.Pattern[str], name: str) -> bool:
        """Whether a name fits; anywhere in it, where the pattern does not say otherwise."""
        if self._left <= 0:
            return False
        began = thread_time()
        try:
            return pattern.search(name, timeout=self._left) is not None
        except TimeoutError:
            return False
        finally:
            self._left -= thread_time() - began
