"""The job as a pilot is told of it (reference/wire.md 2.2, lifecycle.md 6.5)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson
from attrs import field, frozen

from pandatx.domain.job import Job, JobFile
from pandatx.domain.json_texts import read_json
from pandatx.domain.queues import Queue

_BEGIN: Final = "<MULTI_STEP_EXEC>"
_END: Final = "</MULTI_STEP_EXEC>"
_FLAGS: Final = {
    "dm": "debug",
    "om": "onSiteMerging",
    "po": "putLogToOS",
    "nc": "noExecStrCnv",
    "if": "inFilePosEvtNum",
    "up": "usePrefetcher",
    "ho": "isHPO",
}
_CLONING: Final = {"1": "runonce", "2": "storeonce"}
_EVENT_SERVICE, _ES_MERGE = frozenset((1, 4, 5, 6)), 2
_NO_ENDPOINT: Final = frozenset((None, "", "NULL", "local", "TOMERGE"))
# What the steps of a user's job must not bring in: the server's own words.
_RESERVED: Final = frozenset(("secrets", "pilotSecrets", "credname", "myproxy", "userProxy", "nSent"))


@frozen(kw_only=True)
class Extras:
    """What goes to the pilot beside the job's rows. Secrets are given for those jobs only that may have them."""

    n_sent: int = 0
    secrets: str | None = field(default=None, repr=False)
    pilot_secrets: str | None = field(default=None, repr=False)
    io_intensity: float | None = None
    io_intensity_unit: str | None = None
    proxy_key: bool = False


NO_EXTRAS: Final = Extras()


def job_dictionary(job: Job, queue: Queue | None, extras: Extras = NO_EXTRAS) -> dict[str, Any]:
    """The job's answer dictionary in the wire's spelling, with its own StatusCode 0.

    Lists are comma-joined with aligned positions, files in the order of their row ids; an unset text is "NULL".
    Secrets are put in only for a job with the tag us, the pilot's only for one in debug mode.
    """
    tags = _tags(job.special_handling)
    files = _ordered(job.files)
    found = _columns(job)
    found["jobPars"], steps = _parameters(job, "ej" in tags)
    found.update(_inputs([file for file in files if file.type == "input"], queue))
    outputs = [file for file in files if file.type in ("output", "log")]
    found.update(_outputs(outputs, queue))
    found["ioIntensity"] = extras.io_intensity
    found["ioIntensityUnit"] = extras.io_intensity_unit
    found["nSent"] = extras.n_sent
    if tags or job.event_service:
        _flag(found, job, tags, files)
    if job.container_name:
        found["container_name"] = job.container_name
    if queue is not None and queue.virtual_placement:
        found["useVP"] = "True"
    _confide(found, tags, extras)
    for key, value in steps.items():
        if key not in _RESERVED:
            found.setdefault(key, value)
    if steps and job.cmt_config is None:
        found["cmtConfig"] = ""
    return found


def _columns(job: Job) -> dict[str, Any]:
    task_id = job.jedi_task_id if job.locked_by == "jedi" else job.task_id
    return {
        "StatusCode": 0,
        "PandaID": job.panda_id,
        "jobsetID": _or_null(job.jobset_id),
        "jobDefinitionID": job.job_definition_id,
        "taskID": _or_null(task_id),
        "reqID": _or_null(job.req_id),
        "attemptNr": job.attempt_nr,
        "prodSourceLabel": _or_null(job.prod_source_label),
        "processingType": _or_null(job.processing_type),
        "cloud": _or_null(job.cloud),
        "sourceSite": _or_null(job.source_site),
        "destinationSE": _or_null(job.destination_se),
        "transferType": _or_null(job.transfer_type),
        "jobName": _or_null(job.job_name),
        "homepackage": _or_null(job.homepackage),
        "swRelease": _or_null(job.atlas_release),
        "transformation": _or_null(job.transformation),
        "cmtConfig": _or_null(job.cmt_config),
        "prodUserID": _or_null(job.prod_user_id),
        "maxCpuCount": job.max_cpu_count,
        "minRamCount": job.min_ram_count,
        "maxDiskCount": job.max_disk_count,
        "maxWalltime": _or_null(job.max_walltime),
        "coreCount": 1 if job.core_count is None else job.core_count,
        "resource_type": _or_null(job.resource_type),
        "currentPriority": job.current_priority,
        "nucleus": _or_null(job.nucleus),
    }


def _inputs(files: Sequence[JobFile], queue: Queue | None) -> dict[str, str]:
    """One entry per LFN, the first file of it."""
    if not files:
        return dict(_NO_INPUTS)
    if len(files) > 1:
        files = list({file.lfn: file for file in reversed(files)}.values())[::-1]
    return {
        "inFiles": ",".join([file.lfn for file in files]),
        "GUID": _joined([file.guid for file in files]),
        "fsize": ",".join([str(file.fsize) for file in files]),
        "checksum": _joined([file.checksum or file.md5sum for file in files]),
        "scopeIn": _joined([file.scope for file in files]),
        "realDatasetsIn": _joined([file.dataset for file in files]),
        "prodDBlocks": _joined([file.prod_dblock for file in files]),
        "prodDBlockToken": _firsts([file.prod_dblock_token for file in files]),
        "dispatchDblock": _joined([file.dispatch_dblock for file in files]),
        "dispatchDBlockToken": _firsts([file.dispatch_dblock_token for file in files]),
        "ddmEndPointIn": ",".join([endpoint_in(file, queue) for file in files]),
    }


def _outputs(files: Sequence[JobFile], queue: Queue | None) -> dict[str, str]:
    """Outputs and the log in one list; only the scopes are apart."""
    found = {
        "outFiles": ",".join([file.lfn for file in files]),
        "realDatasets": _joined([file.dataset for file in files]),
        "destinationDblock": _joined([file.destination_dblock for file in files]),
        "destinationDBlockToken": ",".join([_destination_token(file) for file in files]),
        "dispatchDBlockTokenForOut": _firsts([file.dispatch_dblock_token for file in files]),
        "fileDestinationSE": _joined([file.destination_se for file in files]),
        "ddmEndPointOut": ",".join([endpoint_out(file, queue) for file in files]),
        "scopeOut": _joined([file.scope for file in files if file.type == "output"]),
    }
    for file in files:
        if file.type == "log":
            found["logFile"] = file.lfn
            found["logGUID"] = file.guid or "NULL"
            found["scopeLog"] = file.scope or "NULL"
    optional = [file.lfn for file in files if "an" in (file.dispatch_dblock_token or "").split(",")]
    if optional:
        found["allowNoOutput"] = ",".join(optional)
    return found


def endpoint_in(file: JobFile, queue: Queue | None) -> str:
    """Where an input is read: the endpoint its token names, if the queue has it, else the queue's first to read from.

    Empty where nothing is known: the pilot then looks into its own queue data.
    """
    if queue is None:
        return ""
    token = file.dispatch_dblock_token
    if token is not None and token in queue.endpoints:
        return token
    return queue.endpoint_in


def endpoint_out(file: JobFile, queue: Queue | None) -> str:
    """Where an output goes: a distributed destination (dst:, ddd:), an endpoint of the queue that its token or
    destination names, the queue's first to write to, else the destination itself. Empty as in ``endpoint_in``."""
    token, destination = file.destination_dblock_token, file.destination_se
    if token is not None:
        token = token.partition(",")[0]
        if token.startswith(("dst:", "ddd:")):
            return token[4:]
        if queue is not None and token in queue.endpoints:
            return token
    if queue is not None:
        if destination is not None and destination in queue.endpoints:
            return destination
        if queue.endpoint_out or destination == queue.name:
            return queue.endpoint_out
    return destination if destination is not None and destination not in _NO_ENDPOINT else ""


def _destination_token(file: JobFile) -> str:
    token = (file.destination_dblock_token or "NULL").partition(",")[0]
    return f"dst:{token[4:]}" if token.startswith("ddd:") else token


def _parameters(job: Job, encoded: bool) -> tuple[str, dict[str, Any]]:
    """The payload's arguments, and what its ``<MULTI_STEP_EXEC>`` part adds at the top level of the dictionary."""
    text = job.job_parameters or ""
    steps: dict[str, Any] = {}
    before, begin, rest = text.partition(_BEGIN)
    inner, end, _ = rest.partition(_END)
    if begin and end and (read := _read_steps(inner)) is not None:
        text, steps = before, read
    if encoded:
        text = b64encode(text.encode()).decode()
    return text, steps


def _read_steps(text: str) -> dict[str, Any] | None:
    try:
        read = read_json(text)
        orjson.dumps(read)  # what is nested too deeply could not be told to any pilot
    except (ValueError, TypeError):
        return None
    return read if isinstance(read, dict) else None


def _flag(found: dict[str, Any], job: Job, tags: dict[str, str], files: Sequence[JobFile]) -> None:
    """Add the keys that are there only when set."""
    for tag, key in _FLAGS.items():
        if tag in tags:
            found[key] = "True"
    if "lc" in tags:
        found["loopingCheck"] = False
    if "ao" in tags:
        found["altStageOut"] = tags["ao"] or "on"
    if tags.get("sc") in _CLONING:
        found["cloneJob"] = _CLONING[tags["sc"]]
    if "wf" in tags:
        found["writeToFile"] = _input_lists(file for file in files if file.type == "input")
    if job.event_service in _EVENT_SERVICE:
        found["eventService"] = "True"
        outputs = [file for file in files if file.type in ("output", "log")]
        found["prodDBlockTokenForOutput"] = _firsts([file.prod_dblock_token for file in outputs])
    elif job.event_service == _ES_MERGE:
        found["eventServiceMerge"] = "True"


def _input_lists(files: Iterable[JobFile]) -> str:
    """Per input dataset the name of a list that the pilot writes, and its LFNs."""
    datasets: dict[str, dict[str, None]] = {}
    for file in files:
        name = (file.dataset or "NULL").removesuffix("/").rpartition(":")[2]  # a second colon would end the pilot's job
        datasets.setdefault(name, {})[file.lfn] = None
    return "^".join(f"tmpin_{dataset}:{','.join(lfns)}" for dataset, lfns in datasets.items())


def _confide(found: dict[str, Any], tags: dict[str, str], extras: Extras) -> None:
    if extras.proxy_key:
        found["credname"] = found["myproxy"] = ""
    if extras.secrets is not None and "us" in tags:
        found["secrets"] = extras.secrets
    if extras.pilot_secrets is not None and "dm" in tags:
        found["pilotSecrets"] = extras.pilot_secrets


def _tags(special_handling: str | None) -> dict[str, str]:
    """The tags of specialHandling with their values: ``ao:on`` and ``rt=x`` have one, the others an empty text."""
    tags = {}
    for tag in (special_handling or "").split(","):
        name, _, value = tag.strip().replace("=", ":", 1).partition(":")
        if name:
            tags[name] = value
    return tags


def _ordered(files: Sequence[JobFile]) -> Sequence[JobFile]:
    return sorted(files, key=_row_id)


def _row_id(file: JobFile) -> int:
    return file.row_id


def _or_null(value: Any) -> Any:
    return "NULL" if value is None else value


def _joined(values: Iterable[str | None]) -> str:
    return ",".join([value or "NULL" for value in values])


def _firsts(tokens: Iterable[str | None]) -> str:
    """The first of each file's tokens: a second one would shift the list."""
    return ",".join([token.partition(",")[0] if token else "NULL" for token in tokens])


_NO_INPUTS: Final = dict.fromkeys(
    (
        "inFiles", "GUID", "fsize", "checksum", "scopeIn", "realDatasetsIn", "prodDBlocks", "prodDBlockToken",
        "dispatchDblock", "dispatchDBlockToken", "ddmEndPointIn",
    ),
    "",
)  # fmt: skip
