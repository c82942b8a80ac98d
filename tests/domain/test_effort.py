"""How much work a job has taken."""

from datetime import UTC, datetime, timedelta

import pytest

from pandatx.domain.effort import cores_of, hs06_seconds
from pandatx.domain.job import Job

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "cores"),
    [
        ({}, 1),
        ({"core_count": 0}, 1),
        ({"core_count": 8}, 8),
        ({"core_count": 8, "job_metrics": "leak=1 coreCount=4 nEvents=7"}, 4),
        ({"core_count": 8, "job_metrics": "coreCount=4", "actual_core_count": 2}, 2),
    ],
)
def test_cores_are_those_that_the_pilot_has_told_before_those_of_the_definition(values, cores):
    assert cores_of(Job(**values)) == cores


@pytest.mark.parametrize(
    ("hours", "power", "expected"),
    [(1, 10.0, 3600 * 10 * 4), (1, 0.0, None), (-1, 10.0, 0), (10**5, 100.0, 999_999_999), (1, 1.5, 21600)],
)
def test_work_is_time_by_cores_by_their_power(hours, power, expected):
    job = Job(start_time=START, core_count=4)
    assert hs06_seconds(job, START + timedelta(hours=hours), power) == expected


def test_a_job_that_never_began_has_done_none():
    assert hs06_seconds(Job(core_count=4), START, 10.0) is None
    assert hs06_seconds(Job(start_time=START), None, 10.0) is None
