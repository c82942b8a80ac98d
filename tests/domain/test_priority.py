"""Priorities of reference/lifecycle.md 1.9."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.job import Job
from pandatx.domain.priority import Standing, current_priority, standing

NOBODY = Standing()


@pytest.mark.parametrize(
    ("job", "priority"),
    [
        (Job(prod_source_label="install", assigned_priority=5), 4100),
        (Job(prod_source_label="user", prod_user_name="artprod"), 7000),
        (Job(prod_source_label="panda", prod_user_name="artprod"), 7000),
        (Job(prod_source_label="managed", prod_user_name="artprod", assigned_priority=3), 3),
        (Job(prod_source_label="user", processing_type="pmerge", assigned_priority=5000), 5000),
        (Job(prod_source_label="user", processing_type="pmerge"), 1000),
        (Job(prod_source_label="user", assigned_priority=1499), 1000),
        (Job(prod_source_label="user", assigned_priority=1500), 1500),
        (Job(prod_source_label="user", special_handling="sj", assigned_priority=900), 900),
        (Job(prod_source_label="user", special_handling="ej,express"), 6000),
        (Job(prod_source_label="panda"), 2000),
        (Job(prod_source_label="panda", special_handling="express"), 6500),
        (Job(prod_source_label="managed", assigned_priority=777), 777),
        (Job(prod_source_label="ptest", assigned_priority=12), 12),
    ],
)
def test_a_job_starts_with_the_priority_of_its_kind(job, priority):
    assert current_priority(job, NOBODY, 0) == priority


def test_the_more_jobs_a_user_has_the_lower_is_the_next():
    job = Job(prod_source_label="user")
    user = standing(None, in_system=100, weight=0.255)
    assert current_priority(job, user, 0) == (1000 - 20 - 25)
    assert current_priority(job, user, 7) == int(1000 - 107 / 5 - 25)


def test_privileged_groups_and_robots_have_an_offset_whatever_they_run():
    assert standing(None, in_system=500, weight=1.0, privileged_group=True) == Standing(offset=2000)
    assert standing("gangarobot", in_system=500, privileged_group=True) == Standing(offset=3000)
    assert standing("hammercloud-fax", in_system=500) == Standing(offset=1001)
    assert current_priority(Job(prod_source_label="panda"), Standing(offset=2000), 9) == 4000


def test_a_boosted_user_has_the_boost_and_scouts_one_more():
    boosted = standing(None, in_system=500, boost=9000)
    assert current_priority(Job(prod_source_label="user"), boosted, 3) == 9000
    assert current_priority(Job(prod_source_label="user", special_handling="sj"), boosted, 3) == 9001
    assert current_priority(Job(prod_source_label="managed", assigned_priority=8), boosted, 3) == 8


@given(st.integers(0, 5000), st.integers(0, 100_000))
def test_a_later_job_of_a_submission_never_stands_before_an_earlier_one(index, running):
    job = Job(prod_source_label="user")
    user = standing(None, in_system=running)
    assert current_priority(job, user, index) >= current_priority(job, user, index + 1)
