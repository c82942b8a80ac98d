"""Fit classes and wants."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

import pandatx.store
from pandatx.domain.fit import (
    DISK_BOUNDS,
    RAM_BOUNDS,
    UNLIMITED,
    WALL_BOUNDS,
    Digits,
    Mark,
    Want,
    digits_of,
    fit_class,
    key_of,
    mark_of,
)
from pandatx.domain.job import Job
from pandatx.domain.labels import LabelFilter, accepted

LABELS = st.sampled_from(["managed", "test", "prod_test", "install", "user", "panda", "ptest", "rc_test", None])
AMOUNTS = st.one_of(st.integers(0, 200_000), st.sampled_from([*RAM_BOUNDS, *DISK_BOUNDS]), st.integers(-5, 2**40))
SECONDS = st.one_of(st.none(), st.integers(0, 400_000), st.sampled_from(WALL_BOUNDS))
LABEL_FILTERS = st.one_of(
    st.builds(accepted, LABELS, st.none() | st.just("CE"), st.none(), st.none()),
    st.frozensets(LABELS.filter(bool), max_size=3).map(LabelFilter),
)
WANTS = st.builds(
    Want,
    labels=LABEL_FILTERS,
    memory=st.integers(0, 140_000),
    disk=st.integers(0, 110_000),
    walltime=st.integers(0, 360_000),
    resource_type=st.none() | st.sampled_from(["SCORE", "MCORE"]),
    user=st.none() | st.just("Jo"),
    background=st.booleans(),
)
JOBS = st.builds(
    Job,
    prod_source_label=LABELS.filter(bool),
    processing_type=st.sampled_from([None, "gangarobot", "run"]),
    min_ram_count=st.integers(0, 140_000),
    max_disk_count=st.integers(0, 110_000),
    max_walltime=SECONDS,
    resource_type=st.sampled_from([None, "SCORE", "MCORE"]),
    prod_user_name=st.sampled_from([None, "Jo", "Al"]),
    job_execution_id=st.integers(0, 1),
)


def width_bucket(value: int, bounds: tuple[int, ...]) -> int:
    """What PostgreSQL's manual says of it: 0 below the first bound, the number of bounds at or above the last."""
    for number in range(len(bounds), 0, -1):
        if value >= bounds[number - 1]:
            return number
    return 0


@given(LABELS, AMOUNTS, AMOUNTS, SECONDS)
@example("managed", 1, 0, None)
@example("user", 128001, 100001, 345601)
def test_a_fit_class_is_the_number_that_the_sql_function_gives(label, ram, disk, wall):
    case = {"managed": 1, "test": 2, "prod_test": 2, "install": 3, "user": 4, "panda": 4}.get(label, 9)
    expected = case * 100000 + width_bucket(ram, RAM_BOUNDS) * 1000 + width_bucket(disk, DISK_BOUNDS) * 10
    assert fit_class(label, ram, disk, wall) == expected + width_bucket(wall or 0, WALL_BOUNDS)


@given(LABELS, AMOUNTS, AMOUNTS, SECONDS)
def test_the_digits_of_a_fit_class_do_not_run_into_each_other(label, ram, disk, wall):
    digits = digits_of(fit_class(label, ram, disk, wall))
    buckets = (width_bucket(ram, RAM_BOUNDS), width_bucket(disk, DISK_BOUNDS), width_bucket(wall or 0, WALL_BOUNDS))
    assert digits[1:] == buckets
    assert len(DISK_BOUNDS) < 100 and len(WALL_BOUNDS) < 10 and isinstance(digits, Digits)


def test_the_bounds_in_the_migrations_are_the_ones_used_here():
    texts = [path.read_text() for path in (Path(pandatx.store.__file__).parent / "migrations").glob("*.sql")]
    bodies = re.findall(r"FUNCTION \S*fit_class_1\(.*?\$\$(.*?)\$\$", "\n".join(texts), re.DOTALL)
    assert bodies
    for body in bodies:
        found = [tuple(map(int, bounds.split(","))) for bounds in re.findall(r"'\{([\d,\s]+)\}'", body)]
        assert found == [RAM_BOUNDS, DISK_BOUNDS, WALL_BOUNDS]


@given(WANTS, JOBS)
def test_a_want_searches_every_key_that_holds_a_job_which_fits(want, job):
    if want.fits(job):
        assert want.may_find(key_of(job))


@given(WANTS, JOBS)
def test_a_want_that_covers_a_key_fits_every_job_of_it(want, job):
    if want.covers(key_of(job)):
        assert want.fits(job)


def test_a_want_without_limits_covers_the_last_buckets_and_one_with_a_limit_inside_does_not():
    key = key_of(Job(prod_source_label="managed", min_ram_count=500_000, max_disk_count=10, resource_type="SCORE"))
    labels = accepted("managed", None, None, None)
    assert Want(labels=labels, memory=0).covers(key)
    assert not Want(labels=labels, memory=1_000_000).covers(key)
    assert Want(labels=labels, disk=500).covers(key)
    assert not Want(labels=labels, disk=499).covers(key)


def test_zero_and_less_filter_nothing():
    want = Want(labels=LabelFilter(frozenset()), memory=0, disk=-1, walltime=0)
    assert (want.memory, want.disk, want.walltime) == (UNLIMITED, UNLIMITED, UNLIMITED)


def test_jobs_without_a_share_stand_under_undefined_and_higher_priority_has_the_lower_mark():
    assert key_of(Job())[:2] == ("Undefined", "Undefined")
    assert mark_of(Job(current_priority=900, panda_id=7)) == Mark(-900, 7)
    assert mark_of(Job(current_priority=900)) < mark_of(Job(current_priority=100))


def test_the_memory_per_core_of_a_throttled_queue_counts_cores():
    want = Want(labels=accepted("managed", None, None, None), ram_per_core=1000.0)
    assert want.fits(Job(prod_source_label="managed", min_ram_count=8000, core_count=8))
    assert not want.fits(Job(prod_source_label="managed", min_ram_count=8001, core_count=8))
