"""Turning the debug mode of a job on and off: its pilot then reports often, with the tail of the payload's output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from pandatx.domain.caller import Caller
from pandatx.domain.heartbeat import DEBUG_TAG

SUCCEEDED: Final = "Succeeded"
CHANGEABLE: Final = ("defined", "activated", "running", "sent", "starting", "assigned")
LIMIT: Final = 80
"""Characters of the tags of a job."""
OF_A_USER: Final = 3
OF_A_GROUP: Final = 10
"""Jobs that may be in debug mode at a time (reference/lifecycle.md 2.3)."""


@frozen(kw_only=True)
class DebugRow:
    """What of a job the change is judged by."""

    panda_id: int
    owner: str | None
    status: str
    tags: str | None
    working_group: str | None


@frozen(kw_only=True)
class DebugVerdict:
    """The answer in the words that clients know; ``tags`` are the new ones where ``reply`` is SUCCEEDED."""

    reply: str
    tags: str | None = None


@frozen(kw_only=True)
class Quota:
    """So many jobs at most may a user, or a working group, have in debug mode."""

    holder: str
    most: int


def quota(caller: Caller, row: DebugRow) -> Quota | None:
    """What a caller who may turn it on counts for; None for the roles that report on any job."""
    if caller.reports:
        return None
    if caller.name == row.owner:
        return Quota(holder=f"user {caller.name}", most=OF_A_USER)
    return Quota(holder=f"group {_group(row)}", most=OF_A_GROUP)


def over(quota: Quota, held: Sequence[int]) -> str | None:
    """The refusal, where no more of the jobs may be in debug mode than ``held`` are."""
    if len(held) < quota.most:
        return None
    return (
        f"You already hit the limit on the maximum number of debug subjobs ({quota.most} jobs). "
        f"Please set the debug mode off for one of the following PandaIDs : {','.join(map(str, held))}"
    )


def decide(caller: Caller, panda_id: int, row: DebugRow | None, on: bool) -> DebugVerdict:
    """Whether a caller may change the debug mode of a job, and to what."""
    if row is None:
        return DebugVerdict(reply=f"PandaID={panda_id} not found in active DB")
    if row.status not in CHANGEABLE:
        text = f"Cannot set debugMode since the job status is {row.status} which is not in one of {list(CHANGEABLE)}"
        return DebugVerdict(reply=text)
    if not _may(caller, row):
        return DebugVerdict(reply="Permission denied. Not the owner or production manager")
    tags = [tag for tag in (row.tags or "").split(",") if tag]
    if (DEBUG_TAG in tags) == on:
        return DebugVerdict(reply="Already set accordingly")
    text = ",".join([*tags, DEBUG_TAG] if on else [tag for tag in tags if tag != DEBUG_TAG])
    if len(text) > LIMIT:
        return DebugVerdict(reply="Cannot set debugMode since the job has too many tags")
    return DebugVerdict(reply=SUCCEEDED, tags=text or None)


def _may(caller: Caller, row: DebugRow) -> bool:
    """The owner, whoever produces for the job's working group, and the roles that report on any job."""
    if caller.reports or (caller.name and caller.name == row.owner):
        return True
    group = _group(row)
    return bool(group) and group in {each.lower() for each in caller.working_groups}


def _group(row: DebugRow) -> str:
    return (row.working_group or "").rsplit("_", 1)[-1].lower()
