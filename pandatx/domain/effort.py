"""How much work a job has taken."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from pandatx.domain.job import Job

_MOST: Final = 999_999_999
_CORES: Final = re.compile(r"coreCount=(\d{1,5})")


def cores_of(job: Job) -> int:
    """Those that the job has used, as far as its pilot has said so; else those that it was defined with."""
    if job.actual_core_count is not None:
        return job.actual_core_count
    told = _CORES.search(job.job_metrics or "")
    return int(told[1]) if told else job.core_count or 1


def hs06_seconds(job: Job, end: datetime | None, core_power: float) -> int | None:
    """HS06 seconds of a job that ended then, on cores of this power; None where it never began or none is known."""
    if job.start_time is None or end is None or core_power <= 0:
        return None
    seconds = int((end - job.start_time).total_seconds())
    return max(0, min(int(seconds * core_power * cores_of(job)), _MOST))
