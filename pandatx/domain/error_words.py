"""A job's errors in words, and who set them (reference/lifecycle.md 1.7)."""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from pandatx.domain.job import Job


@frozen(kw_only=True)
class JobError:
    """One error of a job; ``code`` is a text since an exit code may be one."""

    component: str
    code: str
    text: str
    set_by: str


@frozen
class _Component:
    """A pair of columns: its name, who sets it, what its codes mean, and who else sets some of them."""

    name: str
    set_by: str
    words: dict[int, str] | None = None
    others: dict[int, str] | None = None


_COMPONENTS: Final = (
    _Component("pilot", "the pilot"),
    _Component("exe", "the pilot, from the transformation's report"),
    _Component(
        "sup",
        "Harvester",
        {1: "the batch id in a heartbeat was not that of the job", 2: "the worker had ended before"},
        {1: "the server, at a heartbeat", 2: "the Watcher, by what Harvester said of the worker"},
    ),
    _Component(
        "ddm",
        "the Adder",
        {
            100: "the inputs or destinations could not be prepared",
            101: "a GUID could not be looked up",
            200: "the outputs could not be registered",
            201: "the outputs could not be subscribed to",
            203: "the location of a dataset is not known",
            204: "the number of events of an output is missing",
            205: "the GUID of an output is not that of the job",
            206: "the storage is not configured well",
        },
        {100: "the Setupper"},
    ),
    _Component("brokerage", "the brokerage"),
    _Component(
        "job_dispatcher",
        "the Watcher",
        {
            100: "no heartbeat came for too long",
            101: "the pilot did not recover the job in time",
            102: "the pilot that was given the job never answered",
            103: "the job was holding for too long",
            104: "the outputs were not transferred in time",
            105: "the job was silent for too long",
        },
    ),
    _Component(
        "task_buffer",
        "the server",
        {
            100: "the job was killed",
            101: "the outputs were not transferred in time",
            102: "the job waited for too long",
            103: "the job was aborted",
            105: "the job was given to another site",
            106: "the server retried the job",
            107: "the pilot retried the job",
            111: "the events that are left go to another job",
            112: "the outputs of the events wait to be merged",
            113: "the outputs could not be merged",
            114: "an event has no attempt left",
            115: "other jobs of the same events are still at work",
            116: "the job processed no event",
            117: "some events were not processed",
            118: "some events were not processed, and no job is left for them",
            119: "all events failed",
            120: "the job was killed, its events are kept",
            121: "the job was killed, its events are lost",
            122: "the worker was preempted",
            123: "there was no event to process",
            124: "the inputs of the events do not fit together",
            125: "no queue takes jobs with events",
            126: "the job cannot have ended like that",
            130: "the queue was overloaded",
            200: "another copy of the job was faster",
            300: "the worker ended before the job did",
        },
        {101: "datasetManager", 130: "copyArchive", 300: "the server, by what Harvester said of the worker"},
    ),
)
_BY_HAND: Final = re.compile("(?:killed|aborted) by (.+)", re.DOTALL)
"""The texts of domain/kill.py that name who has asked."""


def errors_of(job: Job) -> list[JobError]:
    """The errors that a job carries, the payload's exit code first."""
    found = []
    if (code := (job.trans_exit_code or "").strip()) not in ("", "0", "NULL"):
        text = "exit code of the transformation"
        found.append(JobError(component="trans", code=code, text=text, set_by="the pilot, from the payload"))
    for component in _COMPONENTS:
        number: int = getattr(job, f"{component.name}_error_code")
        if not number:
            continue
        diag: str | None = getattr(job, f"{component.name}_error_diag")
        words = (component.words or {}).get(number)
        set_by = (component.others or {}).get(number, component.set_by)
        if component.name == "task_buffer" and (by_hand := _BY_HAND.fullmatch(diag or "")):
            set_by = by_hand[1]
        text = ": ".join(part for part in (words, diag) if part) or "no text was given"
        found.append(JobError(component=component.name, code=str(number), text=text, set_by=set_by))
    return found
