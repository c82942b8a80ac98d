"""What a submitted value may be: settable attributes, widths and ranges of their columns (reference/lifecycle.md 8.3).

One line per attribute that job/submit reads (rule R20): its name, its name on the wire, and its limit, which is a
number of characters for a text, the largest value for a number, None for a text without limit.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Final

from attrs import frozen

from pandatx.errors import BadRequest

LFN_WIDTH: Final = 4000
PARAMETERS_WIDTH: Final = 1 << 20
"""The pilot puts them into one argument of a shell, for which Linux has 128 KiB; a longer text would hold up others."""
SMALLINT, INTEGER, BIGINT = 2**15 - 1, 2**31 - 1, 2**63 - 1


@frozen
class Text:
    width: int | None


@frozen
class Number:
    largest: int
    least: int = 0


JOB: Final[tuple[tuple[str, str, Text | Number], ...]] = (
    ("job_definition_id", "jobDefinitionID", Number(BIGINT)),
    ("atlas_release", "AtlasRelease", Text(64)),
    ("transformation", "transformation", Text(250)),
    ("homepackage", "homepackage", Text(80)),
    ("prod_series_label", "prodSeriesLabel", Text(20)),
    ("prod_source_label", "prodSourceLabel", Text(20)),
    ("assigned_priority", "assignedPriority", Number(INTEGER, -INTEGER)),
    ("attempt_nr", "attemptNr", Number(SMALLINT - 2)),
    ("max_attempt", "maxAttempt", Number(SMALLINT, -1)),
    ("job_name", "jobName", Text(256)),
    ("max_cpu_count", "maxCpuCount", Number(INTEGER, -1)),
    ("max_cpu_unit", "maxCpuUnit", Text(32)),
    ("max_disk_count", "maxDiskCount", Number(INTEGER)),
    ("max_disk_unit", "maxDiskUnit", Text(4)),
    ("ip_connectivity", "ipConnectivity", Text(5)),
    ("min_ram_count", "minRamCount", Number(INTEGER)),
    ("min_ram_unit", "minRamUnit", Text(2)),
    ("computing_site", "computingSite", Text(128)),
    ("computing_element", "computingElement", Text(128)),
    ("job_parameters", "jobParameters", Text(PARAMETERS_WIDTH)),
    ("metadata", "metadata", Text(None)),
    ("prod_dblock", "prodDBlock", Text(255)),
    ("dispatch_dblock", "dispatchDBlock", Text(255)),
    ("destination_dblock", "destinationDBlock", Text(255)),
    ("destination_se", "destinationSE", Text(250)),
    ("n_events", "nEvents", Number(INTEGER)),
    ("cloud", "cloud", Text(32)),
    ("source_site", "sourceSite", Text(36)),
    ("destination_site", "destinationSite", Text(36)),
    ("transfer_type", "transferType", Text(10)),
    ("task_id", "taskID", Number(INTEGER)),
    ("cmt_config", "cmtConfig", Text(250)),
    ("relocation_flag", "relocationFlag", Number(SMALLINT)),
    ("vo", "VO", Text(32)),
    ("working_group", "workingGroup", Text(20)),
    ("processing_type", "processingType", Text(64)),
    ("n_input_files", "nInputFiles", Number(INTEGER)),
    ("country_group", "countryGroup", Text(20)),
    ("parent_id", "parentID", Number(BIGINT)),
    ("special_handling", "specialHandling", Text(80)),
    ("jobset_id", "jobsetID", Number(BIGINT, -1)),
    ("core_count", "coreCount", Number(SMALLINT)),
    ("n_input_data_files", "nInputDataFiles", Number(INTEGER)),
    ("input_file_type", "inputFileType", Text(32)),
    ("input_file_project", "inputFileProject", Text(64)),
    ("input_file_bytes", "inputFileBytes", Number(BIGINT)),
    ("work_queue_id", "workQueue_ID", Number(INTEGER)),
    ("jedi_task_id", "jediTaskID", Number(BIGINT)),
    ("req_id", "reqID", Number(INTEGER)),
    ("max_walltime", "maxWalltime", Number(BIGINT)),
    ("nucleus", "nucleus", Text(52)),
    ("event_service", "eventService", Number(SMALLINT)),
    ("gshare", "gshare", Text(32)),
    ("resource_type", "resource_type", Text(56)),
    ("container_name", "container_name", Text(200)),
    ("job_label", "job_label", Text(20)),
    ("output_file_type", "outputFileType", Text(32)),
)
FILE: Final[tuple[tuple[str, str, Text | Number], ...]] = (
    ("guid", "GUID", Text(64)),
    ("lfn", "lfn", Text(LFN_WIDTH)),
    ("type", "type", Text(20)),
    ("dataset", "dataset", Text(255)),
    ("status", "status", Text(64)),
    ("prod_dblock", "prodDBlock", Text(255)),
    ("prod_dblock_token", "prodDBlockToken", Text(250)),
    ("dispatch_dblock", "dispatchDBlock", Text(255)),
    ("dispatch_dblock_token", "dispatchDBlockToken", Text(250)),
    ("destination_dblock", "destinationDBlock", Text(255)),
    ("destination_dblock_token", "destinationDBlockToken", Text(250)),
    ("destination_se", "destinationSE", Text(250)),
    ("fsize", "fsize", Number(BIGINT)),
    ("md5sum", "md5sum", Text(36)),
    ("checksum", "checksum", Text(36)),
    ("scope", "scope", Text(30)),
)
SETTABLE: Final = tuple(name for name, _, _ in JOB)
SETTABLE_OF_FILE: Final = tuple(name for name, _, _ in FILE)
job_values: Final = attrgetter(*SETTABLE)
file_values: Final = attrgetter(*SETTABLE_OF_FILE)
# Lists of the job dictionary are comma-joined, so no single value of theirs may hold a comma.
_LISTED: Final = ("lfn", "guid", "dataset", "scope", "checksum", "md5sum", "destination_dblock", "dispatch_dblock")
_listed_values: Final = attrgetter(*_LISTED)

_WIRE: Final = {name: wire for name, wire, _ in (*FILE, *JOB)}


def wire_name(attribute: str) -> str:
    """The attribute in the spelling of the wire, for texts that go to a caller."""
    return _WIRE[attribute]


def _split(table: tuple[tuple[str, str, Text | Number], ...]) -> tuple[Any, Any, tuple[int, ...], tuple[Any, ...]]:
    texts = [(name, limit.width) for name, _, limit in table if isinstance(limit, Text)]
    numbers = [(name, limit) for name, _, limit in table if isinstance(limit, Number)]
    widths = tuple(BIGINT if width is None else width for _, width in texts)
    return (
        attrgetter(*(name for name, _ in texts)),
        attrgetter(*(name for name, _ in numbers)) if len(numbers) > 1 else None,
        widths,
        tuple(limit for _, limit in numbers),
    )


_job_texts, _job_numbers, _JOB_WIDTHS, _JOB_LIMITS = _split(JOB)
_file_texts, _, _FILE_WIDTHS, _ = _split(FILE)


def check_job(job: Any, where: str) -> None:
    """Raise BadRequest, with the field named after ``where``, for a value that its column cannot hold."""
    for value, width in zip(_job_texts(job), _JOB_WIDTHS, strict=True):
        if value is not None and (len(value) > width or "\0" in value):
            _refuse(job, JOB, where)
    for value, limit in zip(_job_numbers(job), _JOB_LIMITS, strict=True):
        if value is not None and not limit.least <= value <= limit.largest:
            _refuse(job, JOB, where)


def check_file(file: Any, where: str) -> None:
    """As ``check_job``; besides, what goes into a comma-joined list must hold no comma."""
    for value, width in zip(_file_texts(file), _FILE_WIDTHS, strict=True):
        if value is not None and (len(value) > width or "\0" in value):
            _refuse(file, FILE, where)
    if not 0 <= file.fsize <= BIGINT:
        _refuse(file, FILE, where)
    for value in _listed_values(file):
        if value is not None and "," in value:
            name = next(name for name in _LISTED if "," in (getattr(file, name) or ""))
            raise BadRequest(f"{where}.{wire_name(name)}", "must not hold a comma")


def _refuse(record: Any, table: tuple[tuple[str, str, Text | Number], ...], where: str) -> None:
    """Find the faulty field once more, slowly, to name it."""
    for name, wire, limit in table:
        value = getattr(record, name)
        if value is None:
            continue
        if isinstance(limit, Text):
            if "\0" in value:
                raise BadRequest(f"{where}.{wire}", "must not hold a NUL character")
            if limit.width is not None and len(value) > limit.width:
                raise BadRequest(f"{where}.{wire}", f"is longer than {limit.width} characters")
        elif not limit.least <= value <= limit.largest:
            raise BadRequest(f"{where}.{wire}", f"{value} is not between {limit.least} and {limit.largest}")
