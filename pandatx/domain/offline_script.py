"""A shell script that runs a job again by hand, for a user who looks for what went wrong (reference/wire.md 3.4)."""

from __future__ import annotations

from shlex import quote
from typing import Final

from pandatx.domain.job import Job

ERROR: Final = "ERROR: "
_USER_TRANSFORMS: Final = ("runAthena", "runGen", "runcontainer", "runMerge", "buildJob", "buildGen")
_HEAD: Final = """#!/bin/bash
# PanDA job {job}, to be run by hand: in an empty directory, with the grid's tools at hand where it has inputs.
#   --no-inputs   the input files are here already
set -e
inputs=yes
for word in "$@"; do
  case "$word" in
    --no-inputs) inputs= ;;
    *) sed -n '2,3p' "$0"; exit 2 ;;
  esac
done
"""
_ALRB: Final = "source ${ATLAS_LOCAL_ROOT_BASE}/user/atlasLocalSetup.sh --quiet"


class NoScript(ValueError):
    """The job cannot be run again like this; the text says why."""


def not_found(job_id: int, days: int | None) -> str:
    """The answer where there is no such job."""
    if days is None:
        return f"{ERROR}Cannot get PandaID={job_id} in DB"
    return f"{ERROR}Cannot get PandaID={job_id} in DB for the last {days} days. You may change &days=N in the URL"


def script(job: Job) -> str:
    """The script. Raises NoScript."""
    steps = _steps(job)
    parts = [_HEAD.format(job=job.panda_id), _inputs(job)]
    if _is_users(job):
        parts += [f"curl -fsSLO {quote(steps[0][2])}\nchmod +x {quote(_name(steps[0][2]))}\n\n"]
    cores = job.core_count or 1
    if cores > 1:
        parts += [f"export ATHENA_PROC_NUMBER={cores} ATHENA_CORE_NUMBER={cores}\n\n"]
    for release, package, transformation, parameters in steps:
        tags = _tags(release, package)
        if tags:
            platform = (job.cmt_config or "").split("@")[0]
            option = f"--platform={quote(platform)} " if platform else ""
            parts += [f"{_ALRB}\nasetup {option}{quote(','.join(tags))}\n"]
        command = f"./{_name(transformation)}" if _is_users(job) else transformation.rsplit("/", 1)[-1]
        parts += [f"{quote(command)} {parameters}\n\n"]
    return "".join(parts)


def _is_users(job: Job) -> bool:
    """Its transformation is a file that is downloaded; there is one step."""
    return job.prod_source_label == "user" or any(name in (job.transformation or "") for name in _USER_TRANSFORMS)


def _steps(job: Job) -> list[tuple[str, str, str, str]]:
    """Release, package, transformation and parameters of each step."""
    columns = (job.atlas_release or "", job.homepackage or "", job.transformation or "", job.job_parameters or "")
    if not columns[2]:
        raise NoScript("The job has no transformation")
    if _is_users(job):
        return [columns]
    several = [column.split("\n") for column in columns]
    if len({len(each) for each in several}) != 1:
        raise NoScript("The number of releases or parameters or trfs is inconsistent with others")
    return list(zip(*several, strict=True))


def _tags(release: str, package: str) -> list[str]:
    """What asetup is told."""
    wanted = package.removeprefix("AnalysisTransforms").lstrip("-").replace("/", "_").split("_")
    tags = [tag for tag in wanted if tag]
    number = release.replace("Atlas-", "").strip()
    return tags if not number or number in tags else [*tags, number]


def _inputs(job: Job) -> str:
    names = dict.fromkeys(f"{file.scope}:{file.lfn}" for file in job.files if file.type == "input" and file.scope)
    if not names:
        return "\n"
    loads = "".join(f"    rucio download --no-subdir {quote(name)}\n" for name in names)
    setup = f'    if [ -n "$ATLAS_LOCAL_ROOT_BASE" ]; then {_ALRB}; lsetup rucio; fi\n'
    return f'\nif [ -n "$inputs" ]; then\n  (\n{setup}{loads}  )\nfi\n\n'


def _name(transformation: str) -> str:
    return transformation.rsplit("/", 1)[-1]
