"""How long rows are kept (rule R10): for ever, unless an operator has given days for a table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

JOBS: Final = "jobsarchived"
"""The archived jobs, and with them their files, parameters and metadata."""
KEPT: Final = frozenset(
    (
        JOBS,
        "jobs_statuslog",
        "tasks_statuslog",
        "job_metrics",
        "task_metrics",
        "task_attempts",
        "pandalog",
        "datasets",
        "harvester_dialogs",
        "harvester_metrics",
        "harvester_workers",
        "harvester_rel_jobs_workers",
        "request_counts",
    )
)
"""The tables that rows may be dropped from."""


def limits(days: Mapping[str, int], now: datetime) -> dict[str, datetime]:
    """Before when a row is past its retention, for each table that has one."""
    return {table: now - timedelta(days=number) for table, number in sorted(days.items())}
