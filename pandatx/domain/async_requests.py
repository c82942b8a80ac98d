"""What is asked for asynchronously, in both dialects (reference/wire.md 3.5, 3.6, 5.1), and files that say the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
from attrs import frozen

from pandatx.domain.requests import wire

MOST_SECONDS: Final = 60
LONGEST_MESSAGE: Final = 100
LONGEST_PATTERN: Final = 1000
MOST_GENERATIONS: Final = 10
LONGEST_DN: Final = 1024
_GUID: Final = re.compile(r"\(\s*'([^'\\]*)'\s*,\s*'([^'\\]*)'\s*\)\s*:\s*\[\s*'([^'\\]*)'\s*\]")
"""An entry of a runEvtGuidMap, a Python dict of (run, event) to [GUID]: read as a text, never as Python."""


@frozen(kw_only=True)
class GrepRequest:
    """Search a log file, of all machines of a service or of one machine."""

    pattern: str = wire()
    log_filename: str = wire()
    service_name: str | None = wire(None)
    machine_name: str | None = wire(None)


@frozen(kw_only=True)
class SleepEchoRequest:
    """Wait, then answer with a text, on any one machine of a service."""

    service_name: str = wire()
    message: str = wire()
    seconds: int = wire(10)


@frozen(kw_only=True)
class RequestId:
    """A request by the id that it was answered with."""

    request_id: str = wire()


@frozen(kw_only=True)
class FileRecovery:
    """Make lost files of a task, or of a dataset, again."""

    task_id: int | None = wire(None, legacy="jediTaskID", exact=True)
    dry_run: bool = wire(False, legacy="dryRun")
    dataset: str | None = wire(None)
    files: tuple[str, ...] = wire((), most=100_000)
    no_child_retry: bool = wire(True)
    resurrect_datasets: bool = wire(False)
    force: bool = wire(False)
    reproduce_parent: bool = wire(False)
    reproduce_upto_nth_gen: int = wire(0, bound=MOST_GENERATIONS, least=0)

    @property
    def parameters(self) -> dict[str, Any]:
        """What is stored of it."""
        return {
            "task_id": self.task_id,
            "dry_run": self.dry_run,
            "dataset": self.dataset or None,
            "files": list(self.files),
            "no_child_retry": self.no_child_retry,
            "resurrect_datasets": self.resurrect_datasets,
            "force": self.force,
            "generations": max(self.reproduce_upto_nth_gen, int(self.reproduce_parent)),
        }


@frozen(kw_only=True)
class WorkflowRequest:
    """A workflow of panda-client. ``dry_run`` and ``sync``: the caller waits for the outcome."""

    data: str = wire()
    dry_run: bool = wire(False, legacy="check")
    sync: bool = wire(False)

    @property
    def parameters(self) -> dict[str, Any]:
        """What is stored of it. Raises ValueError with what is wrong with ``data``."""
        return {"data": workflow_of(self.data), "dry_run": self.dry_run}


@frozen(kw_only=True)
class EventPicking:
    """Find the files that hold some events."""

    run_event_list: str = wire("", legacy="runEventList")
    data_type: str = wire("", legacy="eventPickDataType")
    stream_name: str = wire("", legacy="eventPickStreamName")
    dataset_name: str = wire("", legacy="eventPickDS")
    ami_tag: str = wire("", legacy="eventPickAmiTag")
    user_dataset_name: str = wire("", legacy="userDatasetName")
    locked_by: str = wire("", legacy="lockedBy")
    parameters: str = wire("", legacy="params")
    input_file_list: str = wire("", legacy="inputFileList")
    n_sites: str = wire("", legacy="eventPickNumSites")
    user_task_name: str = wire("", legacy="userTaskName")
    ei_api: str = wire("")
    include_guids: bool = wire(False, legacy="giveGUID")

    @property
    def picked(self) -> dict[str, Any]:
        """What is stored of it. Raises ValueError with what is wrong with the run and event list."""
        events, guids = events_of(self.run_event_list, self.include_guids)
        return {
            "events": events,
            "guids": guids,
            "data_type": self.data_type,
            "stream_name": self.stream_name,
            "datasets": comma_separated(self.dataset_name),
            "ami_tag": self.ami_tag,
            "user_dataset_name": self.user_dataset_name,
            "locked_by": self.locked_by,
            "parameters": self.parameters,
            "input_files": comma_separated(self.input_file_list),
            "n_sites": int(self.n_sites) if self.n_sites.isdecimal() else 1,
            "user_task_name": self.user_task_name,
            "ei_api": self.ei_api,
        }


def workflow_of(text: str) -> dict[str, Any]:
    """The document of a workflow. Raises ValueError with what is wrong with it."""
    try:
        found = orjson.loads(text)
    except ValueError:
        raise ValueError("is not JSON") from None
    return _workflow(found)


def _workflow(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict) or not isinstance(found.get("taskParams"), dict):
        raise ValueError("is not a workflow: it has no taskParams")
    try:
        orjson.dumps(found)
    except TypeError as fault:
        raise ValueError(f"cannot be stored: {fault}") from None
    return found


def events_of(text: str, with_guids: bool) -> tuple[list[list[str]], dict[str, str]]:
    """Runs and events, and GUIDs by "run,event". Lines of another form are passed over; ValueError if none is left."""
    lines = [words for words in map(str.split, text.split("\n")) if len(words) == (3 if with_guids else 2)]
    if not lines:
        form = "run event GUID" if with_guids else "run event"
        raise ValueError(f"has no line of the form '{form}'")
    return [words[:2] for words in lines], {",".join(words[:2]): words[2] for words in lines if with_guids}


def comma_separated(text: str) -> list[str]:
    """The items of a list, without empty ones."""
    return [item for item in text.split(",") if item]


@frozen(kw_only=True)
class FileRequest:
    """What a file of an older front end asks for; ``dn`` as its certificate had it."""

    dn: str
    parameters: Mapping[str, Any]


def workflow_file(text: str) -> FileRequest:
    """The content of a file workflow.*. Raises ValueError."""
    document = _object(text)
    return FileRequest(dn=_dn(document), parameters={"data": _workflow(document.get("data")), "dry_run": False})


def recovery_file(text: str) -> FileRequest:
    """The content of a file recov.*. That its writer is a production manager is not believed. Raises ValueError."""
    document = _object(text)
    asked = FileRecovery(
        task_id=int(document["jediTaskID"]) if document.get("jediTaskID") else None,
        dry_run=bool(document.get("dryRun")),
        dataset=str(document.get("ds") or "") or None,
        files=tuple(comma_separated(str(document.get("files") or ""))),
        no_child_retry=bool(document.get("noChildRetry", True)),
        resurrect_datasets=bool(document.get("resurrectDS")),
        force=bool(document.get("force")),
        reproduce_parent=bool(document.get("reproduceParent")),
        reproduce_upto_nth_gen=min(max(int(document.get("reproduceUptoNthGen") or 0), 0), MOST_GENERATIONS),
    )
    if asked.task_id is None and asked.dataset is None:
        raise ValueError("it names neither a task nor a dataset")
    log_file = str(document.get("logFilename") or "")
    return FileRequest(dn=_dn(document), parameters={**asked.parameters, "log_file": log_file or None})


def event_picking_file(text: str) -> FileRequest:
    """The content of a file evp.*: lines name=value. Raises ValueError."""
    pairs = [line.partition("=")[::2] for line in text.splitlines() if "=" in line]
    values = dict(pairs)
    events = [value.split(",")[:2] for name, value in pairs if name == "runEvent" and value.count(",") == 1]
    if not events:
        raise ValueError("it names no events")
    guids = values.get("runEvtGuidMap", "")
    if _GUID.sub("", guids).strip("{}, "):
        raise ValueError("its runEvtGuidMap cannot be read")
    known = {f"{run},{event}": guid for run, event, guid in _GUID.findall(guids)}
    asked = EventPicking(
        data_type=values.get("eventPickDataType", ""),
        stream_name=values.get("eventPickStreamName", ""),
        dataset_name=values.get("eventPickDS", ""),
        ami_tag=values.get("eventPickAmiTag", ""),
        user_dataset_name=values.get("userDatasetName", ""),
        locked_by=values.get("lockedBy", ""),
        parameters=values.get("params", ""),
        input_file_list=values.get("inputFileList", ""),
        n_sites=values.get("eventPickNumSites", ""),
        user_task_name=values.get("userTaskName", ""),
        ei_api=values.get("ei_api", ""),
        run_event_list="\n".join(" ".join(event) for event in events),
    )
    return FileRequest(dn=_dn(values), parameters={**asked.picked, "guids": known})


def _object(text: str) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except ValueError:
        raise ValueError("it is not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    return document


def _dn(values: Mapping[str, Any]) -> str:
    dn = values.get("userName")
    if not isinstance(dn, str) or not dn:
        raise ValueError("it does not say whose it is")
    if len(dn) > LONGEST_DN:
        raise ValueError(f"the name of its writer has more than {LONGEST_DN} characters")
    return dn
