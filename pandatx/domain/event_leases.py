"""What becomes of the event ranges of jobs that have ended, and who of several clones may run or store.

Facts: reference/lifecycle.md 6.5 (tags) and 8.3 (eventservice).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final

from attrs import frozen

from pandatx.domain.events import CO_JUMBO, EVENTS, FINE_GRAINED, JUMBO
from pandatx.domain.job import Job

_CLONE, _RUN_ONCE, _SEARCH = "sc:", "sc:1", "ho"
_KILLED: Final = ("cancelled", "closed")
ALL_DONE: Final = "fg_done"
"""The sub status of a fine-grained job whose input has no events left."""


class Leaving(Enum):
    """What becomes of the ranges of a job that has ended."""

    CONSUMER = "finished ones are done, others go back to the jobset, failed ones as a new attempt"
    JUMBO = "those that are out go back to the jobsets that they are of, failed ones as a new attempt"
    FINE_GRAINED = "all but finished ones go back to the jobset, their attempt not counted"
    SAMPLES = "all but ended ones go back to nobody"
    WITHDRAWN = "processed ones are discarded, others cancelled, and those of the jobset"
    """Of the last consumer of a jobset only; one that is killed while others live on leaves as any consumer."""


@frozen(kw_only=True)
class Lease:
    """The ranges of a job that has ended, and how they are left. ``counts``: an attempt of those that go back is over.

    ``partial``: what has no attempts left is given up for good. ``keeps``: the job was withdrawn, its events are not.
    """

    panda_id: int
    task_id: int
    jobset_id: int | None
    how: Leaving
    counts: bool = True
    partial: bool = False
    keeps: bool = False


def is_clone(special_handling: str | None) -> bool:
    """Whether a job is one of several of which only one may count: tag sc (reference/lifecycle.md 6.5)."""
    return special_handling is not None and any(tag.startswith(_CLONE) for tag in special_handling.split(","))


def runs_once(special_handling: str | None) -> bool:
    """Whether of a job and its clones only the first one may run at all, and not only store its outputs."""
    return special_handling is not None and _RUN_ONCE in special_handling.split(",")


def is_search(special_handling: str | None) -> bool:
    """Whether a job tries points of a search for hyperparameters, of which its input holds as many as are wanted."""
    return special_handling is not None and _SEARCH in special_handling.split(",")


def end_in_parts(done: int, left: int) -> dict[str, str]:
    """What becomes of a fine-grained job that has ended, whatever its report says: attributes of Job.

    ``done`` events were processed by it, ``left`` are those of its jobset that nobody has processed.
    """
    if done or not left:
        return {"job_status": "finished", "job_sub_status": "fg_partial" if left else ALL_DONE}
    return {"job_sub_status": "fg_stumble"}


def lease_of(job: Job, status: str) -> Lease | None:
    """The lease of a job that ends with a status; None for a job that deals in no ranges.

    A clone keeps its one: it stands for the right to run at all (reference/lifecycle.md 6.5, tag sc).
    """
    tags = (job.special_handling or "").split(",")
    how = _leaving(job.event_service, tags, status)
    if how is None or job.jedi_task_id is None:
        return None
    return Lease(
        panda_id=job.panda_id,
        task_id=job.jedi_task_id,
        jobset_id=job.jobset_id,
        how=how,
        counts="df" not in tags,
        partial="ap" in tags,
        keeps="de" in tags,
    )


def _leaving(event_service: int | None, tags: Sequence[str], status: str) -> Leaving | None:
    if event_service == FINE_GRAINED:
        return Leaving.FINE_GRAINED
    if _SEARCH in tags:
        return Leaving.SAMPLES
    if event_service == JUMBO:
        return Leaving.JUMBO
    if event_service in (EVENTS, CO_JUMBO):
        return Leaving.WITHDRAWN if status in _KILLED else Leaving.CONSUMER
    return None
