"""Datasets at the ends of a job: activation, closing, finishing (reference/lifecycle.md 2.6, 2.9 and 2.10)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import orjson
from attrs import field, frozen

from pandatx.domain.conclusion import destination_blocks
from pandatx.domain.job import Job, JobFile
from pandatx.domain.report import OUTPUTS
from pandatx.domain.task_files import TO_MERGE

_USER_LABELS: Final = frozenset(("user", "panda"))

# Activator


_DONE_WITH: Final = frozenset(("completed", "deleting", "deleted"))
_AVAILABLE: Final = frozenset(("ready", "cached"))


@frozen(kw_only=True)
class BlockActivation:
    """What a complete dispatch block leads to: its files become ready, its jobs are tried, it becomes ``status``."""

    runs: bool
    status: str | None = None


def activate_block(status: str | None, type: str | None, *, enforce: bool = False) -> BlockActivation:
    """Decide for a dataset that is the dispatch block of jobs; ``enforce``: although it was done before."""
    if status in _DONE_WITH and not enforce:
        return BlockActivation(runs=False)
    return BlockActivation(runs=True, status="completed" if type == "dispatch" else None)


@frozen(kw_only=True)
class Activation:
    """Whether a job goes to jobsactive4 now; ``changes`` are attributes of Job."""

    activates: bool
    reason: str = ""
    changes: dict[str, Any] = field(factory=dict)


def activate(job: Job, now: datetime) -> Activation:
    """Decide for a job in jobsdefined4, as it is read under its lock with its files."""
    if job.job_status not in ("defined", "assigned"):
        return Activation(activates=False, reason=f"the job is {job.job_status}")
    if job.command_to_pilot:
        return Activation(activates=False, reason=f"the job is under {job.command_to_pilot}")
    absent = [each.lfn for each in job.files if each.type == "input" and each.status not in _AVAILABLE]
    if absent:
        return Activation(activates=False, reason=f"{len(absent)} inputs are not there, among them {absent[0]}")
    changes = {"modification_time": now}
    if job.job_status == "defined":
        changes["state_change_time"] = now
    return Activation(activates=True, changes=changes)


# Closer

_TASK_OUTPUT: Final = re.compile(r"_tid[\d_]+\Z")
_SUB: Final = re.compile(r"_sub\d+\Z")
_CLOSED_ALREADY: Final = frozenset(("cleanup", "tobeclosed", "completed", "deleted"))


class BlockAction(StrEnum):
    """SKIP: not the Closer's. WAIT: files are still unknown. CLOSE: give the block its status."""

    SKIP = "skip"
    WAIT = "wait"
    CLOSE = "close"


@frozen(kw_only=True)
class BlockVerdict:
    """What to do with a destination block.

    With CLOSE the row becomes ``status`` where it has another one and nobody holds it, so that one process wins; the
    winner activates the jobs that read the block if ``activates``.
    """

    action: BlockAction
    status: str | None = None
    activates: bool = False


def is_top_level(name: str) -> bool:
    """Whether a dataset is no sub block."""
    return _SUB.search(name) is None


def close_block(job: Job, name: str, status: str | None, n_unknown: int) -> BlockVerdict:
    """Decide for one destination block of a job that has ended.

    ``status`` is that of the block's Datasets row, None where there is none; ``n_unknown`` counts its files in unknown.
    """
    top = is_top_level(name)
    if _TASK_OUTPUT.search(name) or (top and name.startswith("hc_test.")):
        return BlockVerdict(action=BlockAction.SKIP)
    if status is None:
        return BlockVerdict(action=BlockAction.WAIT)
    if status in _CLOSED_ALREADY:
        return BlockVerdict(action=BlockAction.SKIP)
    if n_unknown > 0:
        return BlockVerdict(action=BlockAction.WAIT)
    return BlockVerdict(
        action=BlockAction.CLOSE,
        status=_closed_status(job, top),
        activates=top and job.job_status == "finished",
    )


def _closed_status(job: Job, top: bool) -> str:
    if job.destination_se == "local" and job.prod_source_label in _USER_LABELS:
        return "closed"
    if top and job.locked_by == "jedi":
        return "closed"
    return "doing" if any(_is_unmerged(each) for each in job.files) else "tobeclosed"


def _is_unmerged(each: JobFile) -> bool:
    return each.type in OUTPUTS and each.destination_dblock_token == TO_MERGE


def unmerged_datasets(job: Job) -> frozenset[tuple[int, int]]:
    """Task and dataset of the job's outputs that are to be merged."""
    return frozenset(
        (job.jedi_task_id, each.dataset_id)
        for each in job.files
        if job.jedi_task_id and each.dataset_id and _is_unmerged(each)
    )


def blocks_to_merge(job: Job, verdicts: Mapping[str, BlockVerdict]) -> list[str]:
    """The blocks of the job whose merging can begin: none as long as a file is to come in any of them.

    ``verdicts`` holds those of all its blocks, and maybe of others.
    """
    own = {name: verdicts[name] for name in destination_blocks(job.files) if name in verdicts}
    if not unmerged_datasets(job) or any(verdict.action is BlockAction.WAIT for verdict in own.values()):
        return []
    return [name for name, verdict in own.items() if verdict.action is BlockAction.CLOSE]


# Finisher

_SETTLED: Final = frozenset(("ready", "failed", "nooutput"))


@frozen(kw_only=True)
class SyntheticReport:
    """A report in the pilot's form, to be stored in job_output_report for the Adder."""

    status: str
    data: str


def finish(job: Job) -> SyntheticReport | None:
    """The report that ends a transferring job once all of its outputs have arrived or failed, else None."""
    outputs = [each for each in job.files if each.type in OUTPUTS]
    if job.job_status != "transferring" or any(each.status not in _SETTLED for each in outputs):
        return None
    failed = any(each.status == "failed" for each in outputs)
    entries = {each.lfn: _entry(each) for each in outputs if each.status != "nooutput"}
    return SyntheticReport(status="failed" if failed else "finished", data=orjson.dumps(entries).decode())


def _entry(each: JobFile) -> dict[str, Any]:
    kind, _, value = (each.checksum or "").partition(":")
    entry: dict[str, Any] = {"guid": each.guid or "", "fsize": each.fsize, "full_lfn": each.lfn}
    if value:
        entry["md5sum" if kind == "md5" else "adler32"] = value
    return entry
