"""Jobs that wait for their outputs to be merged (reference/lifecycle.md 3.3, steps 1 and 2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Final

from attrs import frozen

from pandatx.domain.job import Job

STUCK: Final = timedelta(hours=2)
"""Managed jobs that have waited for that long are looked at."""
_SUB: Final = re.compile(r"_sub\d+\Z")
_OUTPUTS: Final = frozenset(("output", "log"))
TO_MERGE: Final = "TOMERGE"


class Kick(StrEnum):
    """LEAVE: nothing is to be done yet. MERGE: the merging may begin. END: it never can, the jobs are ended."""

    LEAVE = "leave"
    MERGE = "merge"
    END = "end"


@frozen(kw_only=True)
class KickVerdict:
    """What becomes of the jobs of a block; ``blocks`` are the sub blocks concerned."""

    kick: Kick
    blocks: tuple[str, ...] = ()


def sub_blocks(job: Job) -> tuple[str, ...]:
    """The sub blocks of a job's outputs."""
    names = {each.destination_dblock for each in job.files if each.type in _OUTPUTS and each.destination_dblock}
    return tuple(sorted(name for name in names if _SUB.search(name)))


def is_merged_elsewhere(job: Job) -> bool:
    """Whether other jobs merge what this one has made."""
    return any(each.type in _OUTPUTS and each.destination_dblock_token == TO_MERGE for each in job.files)


def kick(job: Job, statuses: Mapping[str, str]) -> KickVerdict:
    """Judge a job in merging, none of whose fellows is still at work; ``statuses``: of the blocks that have a row."""
    if not is_merged_elsewhere(job):
        return KickVerdict(kick=Kick.LEAVE)
    blocks = sub_blocks(job)
    lost = next((name for name in blocks if statuses.get(name, "deleted") == "deleted"), None)
    if lost is not None:
        return KickVerdict(kick=Kick.END, blocks=(lost,))
    ready = bool(blocks) and all(statuses[name] == "defined" for name in blocks)
    return KickVerdict(kick=Kick.MERGE if ready else Kick.LEAVE, blocks=blocks)


def is_stuck(job: Job, statuses: Mapping[str, str]) -> bool:
    """Whether the block of a job's log is completed, although its files are still to be merged."""
    logs = [each.destination_dblock for each in job.files if each.type == "log"]
    return any(statuses.get(name or "") == "completed" for name in logs)
