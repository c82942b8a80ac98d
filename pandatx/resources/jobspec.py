"""Jobs on the wire: state lists slot by slot, objects by field name, descriptions (reference/wire.md 3.4, R20)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from operator import attrgetter
from typing import Any, Final, get_type_hints

from attrs import fields

from pandatx.domain import columns, json_texts
from pandatx.domain.job import Job, JobFile
from pandatx.domain.json_texts import has_more_values
from pandatx.errors import BadRequest
from pandatx.resources.bodies import Malformed, parse_json
from pandatx.resources.convert import BAD, Converter, Unfit, of_annotation, type_name

MOST_JOBS: Final = 5000
MOST_VALUES: Final = 10 * json_texts.MOST_VALUES
"""In a text of many jobs, each of which is read apart."""
# Longer texts are read job by job, so that the thread that reads them lets others run in between.
_READ_AT_ONCE: Final = 4 << 20
# The order of the slots is that of the record.
JOB_SLOTS: Final = tuple(
    """
    PandaID jobDefinitionID schedulerID pilotID creationTime creationHost modificationTime modificationHost
    AtlasRelease transformation homepackage prodSeriesLabel prodSourceLabel prodUserID assignedPriority
    currentPriority attemptNr maxAttempt jobStatus jobName maxCpuCount maxCpuUnit maxDiskCount maxDiskUnit
    ipConnectivity minRamCount minRamUnit startTime endTime cpuConsumptionTime cpuConsumptionUnit commandToPilot
    transExitCode pilotErrorCode pilotErrorDiag exeErrorCode exeErrorDiag supErrorCode supErrorDiag ddmErrorCode
    ddmErrorDiag brokerageErrorCode brokerageErrorDiag jobDispatcherErrorCode jobDispatcherErrorDiag
    taskBufferErrorCode taskBufferErrorDiag computingSite computingElement jobParameters metadata prodDBlock
    dispatchDBlock destinationDBlock destinationSE nEvents grid cloud cpuConversion sourceSite destinationSite
    transferType taskID cmtConfig stateChangeTime prodDBUpdateTime lockedby relocationFlag jobExecutionID VO
    pilotTiming workingGroup processingType prodUserName nInputFiles countryGroup batchID parentID specialHandling
    jobsetID coreCount nInputDataFiles inputFileType inputFileProject inputFileBytes nOutputDataFiles
    outputFileBytes jobMetrics workQueue_ID jediTaskID jobSubStatus actualCoreCount reqID maxRSS maxVMEM maxSWAP
    maxPSS avgRSS avgVMEM avgSWAP avgPSS maxWalltime nucleus eventService failedAttempt hs06sec gshare hs06 totRCHAR
    totWCHAR totRBYTES totWBYTES rateRCHAR rateWCHAR rateRBYTES rateWBYTES resource_type diskIO memory_leak
    memory_leak_x2 container_name job_label gco2_regional gco2_global cpu_architecture_level outputFileType
    """.split()
)
FILE_SLOTS: Final = tuple(
    """
    row_ID PandaID GUID lfn type dataset status prodDBlock prodDBlockToken dispatchDBlock dispatchDBlockToken
    destinationDBlock destinationDBlockToken destinationSE fsize md5sum checksum scope
    jediTaskID datasetID fileID attemptNr
    """.split()
)
_JOB_ATTRIBUTES: Final = tuple(each.name for each in fields(Job))[: len(JOB_SLOTS)]
_FILE_ATTRIBUTES: Final = tuple(each.name for each in fields(JobFile))
_job_values = attrgetter(*_JOB_ATTRIBUTES)
_file_values = attrgetter(*_FILE_ATTRIBUTES)

# slot, attribute, wire name, converter, name of its type: of those only that a client may set
_Slot = tuple[int, str, str, Converter, str]


def _settable(record: type, table: Any, slots: tuple[str, ...]) -> tuple[_Slot, ...]:
    hints = get_type_hints(record)
    return tuple(
        (slots.index(wire), name, wire, of_annotation(hints[name]), type_name(hints[name])) for name, wire, _ in table
    )


_JOB: Final = _settable(Job, columns.JOB, JOB_SLOTS)
_FILE: Final = _settable(JobFile, columns.FILE, FILE_SLOTS)


def described(job: Job) -> dict[str, Any]:
    """A job by the wire's names, with its files under ``Files``."""
    found = dict(zip(JOB_SLOTS, _job_values(job), strict=True))
    found["Files"] = [dict(zip(FILE_SLOTS, _file_values(file), strict=True)) for file in job.files]
    return found


def state_of(job: Job) -> list[Any]:
    """A job as a state list, as ``job_of`` reads them; what is not set is the text NULL."""
    files = [[*map(_stated, _file_values(file)), None] for file in job.files]
    return [*map(_stated, _job_values(job)), files]


def _stated(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"_datetime_object": f"{value:%Y-%m-%d %H:%M:%S.%f}"}
    return "NULL" if value is None else value


def read_jobs(text: str) -> list[Any]:
    """The elements of a JSON list, each still as it came. Raises BadRequest."""
    if len(text) > _READ_AT_ONCE and has_more_values(text, MOST_VALUES):
        raise BadRequest("jobs", f"more than {MOST_VALUES} values")
    try:
        found = parse_json(text) if len(text) <= _READ_AT_ONCE else list(islice(_one_by_one(text), MOST_JOBS + 1))
    except (Malformed, ValueError, RecursionError) as fault:
        raise BadRequest("jobs", str(fault)) from None
    return counted(found)


def counted(found: Any) -> list[Any]:
    """A list of as many jobs as one submission may have."""
    if type(found) is not list:
        raise BadRequest("jobs", "not a list of jobs")
    if len(found) > MOST_JOBS:
        raise BadRequest("jobs", f"more than {MOST_JOBS} jobs in one submission")
    return found


def _one_by_one(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    at = text.index("[") + 1
    end = text.rindex("]")
    if text[: at - 1].strip() or text[end + 1 :].strip():
        raise ValueError("not a list of jobs")
    at = _skip(text, at)
    while at != end:
        element, at = decoder.raw_decode(text, at)
        yield element
        at = _skip(text, at)
        if at != end:
            if at > end or text[at] != ",":
                raise ValueError(f"no comma at {at}")
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


def job_of(element: Any, index: int) -> Job:
    """A job from a state list or from an object by field name; what a client may not set is passed over (R20).

    Raises BadRequest with the job's index and the field.
    """
    where = f"jobs[{index}]"
    if type(element) is list:
        return _of_state(element, where)
    if type(element) is dict:
        return _of_object(element, where)
    raise BadRequest(where, "neither a state list nor an object")


def _of_state(state: list[Any], where: str) -> Job:
    """The last item is the list of files; slots that a shorter list does not reach are unset."""
    if not state or type(state[-1]) is not list:
        raise BadRequest(where, "the last item is not the list of files")
    values = _values(state[:-1], _JOB, where)
    values["files"] = tuple([_file_of_state(each, f"{where}.Files[{index}]") for index, each in enumerate(state[-1])])
    return Job(**values)


def _file_of_state(state: Any, where: str) -> JobFile:
    if type(state) is not list:
        return _file_of_object(state, where)
    return JobFile(**_values(state[:-1], _FILE, where))


def _of_object(named: Mapping[str, Any], where: str) -> Job:
    files = named.get("Files") or []
    if type(files) is not list:
        raise BadRequest(f"{where}.Files", "not a list")
    values = _named_values(named, _JOB, where)
    values["files"] = tuple([_file_of_object(each, f"{where}.Files[{index}]") for index, each in enumerate(files)])
    return Job(**values)


def _file_of_object(named: Any, where: str) -> JobFile:
    if type(named) is not dict:
        raise BadRequest(where, "not a file")
    return JobFile(**_named_values(named, _FILE, where))


def _values(state: list[Any], slots: tuple[_Slot, ...], where: str) -> dict[str, Any]:
    values = {}
    reached = len(state)
    for slot, name, wire, convert, expected in slots:
        if slot < reached:
            value = state[slot]
            if value is not None and value != "NULL":
                values[name] = _converted(value, convert, expected, where, wire)
    return values


def _named_values(named: Mapping[str, Any], slots: tuple[_Slot, ...], where: str) -> dict[str, Any]:
    values = {}
    for _, name, wire, convert, expected in slots:
        value = named.get(wire)
        if value is not None and value != "NULL":
            values[name] = _converted(value, convert, expected, where, wire)
    return values


def _converted(value: Any, convert: Converter, expected: str, where: str, wire: str) -> Any:
    try:
        return convert(value)
    except BAD as fault:
        why = str(fault) if isinstance(fault, Unfit) else f"must be of type {expected}"
        raise BadRequest(f"{where}.{wire}", why) from None
