"""What pilots and Harvester are answered on REST, field by field."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class JobsGiven(TypedDict):
    """Jobs for a pilot, by the names that pilots know."""

    StatusCode: int
    jobs: list[dict[str, Any]]


class ReportTold(TypedDict):
    """What a report is answered with. The command NULL is none."""

    StatusCode: int
    command: NotRequired[str]
    pilotSecrets: NotRequired[str]


class ReportAnswered(TypedDict):
    """The answer to one of many reports, as if it had come alone."""

    success: bool
    message: str
    data: ReportTold | None
    command: NotRequired[str]


class JobStatusGiven(TypedDict):
    """The status of a job: not found, where it is not there."""

    job_id: int
    status: str
    attempt_number: int
