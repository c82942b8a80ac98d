"""The metrics that brokers of JEDI read from METRICS and TASK_EVALUATION, how often they are made, and their locks."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from zlib import adler32

from attrs import frozen

NOTHING: Final = "NULL"
"""Stands in METRICS for the queue or the share of a metric that has none."""


@frozen(kw_only=True)
class Metric:
    """A metric, how often it is made among all servers, and how old a value of it others may still use."""

    name: str
    period: timedelta
    good_for: timedelta = timedelta(minutes=120)
    of_tasks: bool = False

    @property
    def lock(self) -> str:
        """The component of its lock row, as older servers spell it."""
        prefix, width = ("pandaTaskEval", 30) if self.of_tasks else ("pandaMetr", 16)
        return f"{prefix}.{self.name[:width]}.{adler32(self.name.encode()):x}"


def _minutes(number: int) -> timedelta:
    return timedelta(minutes=number)


GSHARE_PREFERENCE: Final = Metric(name="gshare_preference", period=_minutes(5))
WAIT_TIMES: Final = Metric(name="analy_pmerge_jobs_wait_time", period=_minutes(30))
SITE_CLASSES: Final = Metric(name="analy_site_eval", period=_minutes(30))
USERS_JOBS: Final = Metric(name="users_jobs_stats", period=_minutes(5), good_for=_minutes(15))
USERS: Final = Metric(name="analy_user_eval", period=_minutes(10), good_for=_minutes(20))
TASKS: Final = Metric(name="analy_task_eval", period=_minutes(10), of_tasks=True)
