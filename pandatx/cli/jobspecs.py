"""Jobs as ``pandatx job submit`` makes them: plain values in, objects in the wire's field names out (rule R20)."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

from attrs import frozen

_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")
SCOPE_WIDTH = 30


@frozen(kw_only=True)
class ShellJob:
    """A shell command that is to run ``count`` times. ``outputs`` are files that it makes; ``memory`` in MB."""

    command: str
    queue: str
    label: str
    transformation: str
    owner: str
    stamp: str
    """Tells this submission from all others of its owner."""
    outputs: tuple[str, ...] = ()
    count: int = 1
    priority: int | None = None
    memory: int | None = None

    @property
    def scope(self) -> str:
        return f"user.{_UNFIT.sub('_', self.owner)}"[:SCOPE_WIDTH]

    @property
    def dataset(self) -> str:
        return f"{self.scope}.{self.stamp}"


def shell_jobs(wanted: ShellJob, guids: list[str]) -> list[dict[str, Any]]:
    """The jobs; ``guids`` has one for the log of each."""
    return [_job(wanted, index, guid) for index, guid in zip(range(1, wanted.count + 1), guids, strict=True)]


def _job(wanted: ShellJob, index: int, guid: str) -> dict[str, Any]:
    name = f"{wanted.dataset}.{index:06d}"
    promised = {made: f"{name}.{_UNFIT.sub('_', made)}" for made in wanted.outputs}
    job: dict[str, Any] = {
        "jobName": name,
        "jobsetID": -1,
        "prodSourceLabel": wanted.label,
        "processingType": "pandatx",
        "transformation": wanted.transformation,
        "jobParameters": parameters(wanted.command, promised),
        "computingSite": wanted.queue,
        "VO": "local",
        "destinationDBlock": wanted.dataset,
        "destinationSE": wanted.queue,
        "coreCount": 1,
        "maxAttempt": -1,
        "Files": [
            *(_file(wanted, lfn, "output", wanted.dataset) for lfn in promised.values()),
            {**_file(wanted, f"{name}.log.tgz", "log", f"{wanted.dataset}.log"), "GUID": guid},
        ],
    }
    if wanted.priority is not None:
        job["assignedPriority"] = wanted.priority
    if wanted.memory is not None:
        job |= {"minRamCount": wanted.memory, "minRamUnit": "MB"}
    return job


def _file(wanted: ShellJob, lfn: str, kind: str, dataset: str) -> dict[str, Any]:
    return {
        "lfn": lfn,
        "type": kind,
        "dataset": dataset,
        "destinationDBlock": dataset,
        "destinationSE": wanted.queue,
        "scope": wanted.scope,
    }


def parameters(command: str, promised: dict[str, str]) -> str:
    """The command line of the transform runGen; quoted so that it survives the pilot's shell."""
    line = f'--exec "{quote(command, safe="")}"'
    return f'{line} -o "{quote(json.dumps(promised), safe="")}"' if promised else line
