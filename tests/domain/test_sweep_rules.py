"""Decisions of copyArchive that are values in, values out (lifecycle.md 3.3)."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain import sweep_files, sweep_rebrokerage
from pandatx.domain.job import Job, JobFile
from pandatx.domain.parameters import parameters_of
from pandatx.domain.queues import Queue
from pandatx.domain.sweep_ages import (
    OLD,
    OLDEST,
    THROTTLED,
    WAITING,
    Circumstances,
    JumboTask,
    ages_of,
    gone,
    jumbo_is_over,
    no_reassign,
    overdue,
    shortest,
)
from pandatx.domain.sweep_files import Found, Sandbox, is_core, is_lost, is_old_in_cache, is_old_temporary
from pandatx.domain.sweep_merging import Kick, is_stuck, kick, sub_blocks
from pandatx.domain.sweep_rebrokerage import (
    FastLimits,
    Group,
    Load,
    analysis_wait,
    goes_elsewhere,
    is_inactive,
    is_kept_waiting,
    overload,
)

NOW = datetime(2026, 1, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def load(queued, running, share_queued):
    return Load(queue="Q", share="User", vo="wlcg", queued=queued, running=running, share_queued=share_queued)


# Step 6


@pytest.mark.parametrize(
    ("queued", "running", "share_queued", "excess"),
    [
        (100, 0, 100, 50),  # 50 are allowed by the threshold, none by what runs, 30 by the part of the share
        (100, 20, 100, 40),  # 60 may wait for 20 that run
        (100, 30, 100, 10),
        (100, 33, 100, 1),
        (101, 33, 101, 2),
        (99, 33, 99, None),  # not more than three times what runs
        (51, 0, 51, 1),
        (50, 0, 50, None),  # not more than the threshold
        (100, 0, 330, 1),
        (99, 0, 330, None),  # not more than 0.3 of the share
    ],
)
def test_the_excess_of_a_queue_is_what_brings_it_down_to_the_nearest_limit(queued, running, share_queued, excess):
    found = overload(load(queued, running, share_queued), FastLimits(threshold=50))
    assert (None if found is None else found.excess) == excess


def test_without_a_threshold_of_the_share_it_is_a_dry_run_from_ten():
    assert overload(load(10, 0, 10), FastLimits()) is None
    found = overload(load(11, 0, 11), FastLimits())
    assert found is not None and found.dry_run and found.excess == 1
    assert not overload(load(11, 0, 11), FastLimits(threshold=10)).dry_run


def test_what_is_no_positive_number_in_the_configuration_counts_as_absent():
    assert FastLimits.of(0, 0, 0) == FastLimits(ratio=3, fraction=0.3, threshold=None)
    assert FastLimits.of(2, 0.5, 7) == FastLimits(ratio=2, fraction=0.5, threshold=7)


@given(
    queued=st.integers(0, 10**6),
    running=st.integers(0, 10**6),
    others=st.integers(0, 10**6),
    ratio=st.floats(0.1, 20),
    fraction=st.floats(0.01, 1),
    threshold=st.integers(1, 10**5),
)
def test_without_the_excess_a_queue_is_no_more_overloaded_and_with_one_less_it_still_is(
    queued, running, others, ratio, fraction, threshold
):
    limits = FastLimits(ratio=ratio, fraction=fraction, threshold=threshold)
    total = queued + others
    found = overload(load(queued, running, total), limits)
    overloaded = queued > running * ratio and queued > threshold and queued > total * fraction
    assert (found is not None) == overloaded
    if found is not None:
        assert 1 <= found.excess <= queued
        assert overload(load(queued - found.excess, running, total), limits) is None
        less = overload(load(queued - found.excess + 1, running, total), limits)
        assert less is not None and less.excess == 1


# Step 7


def urgent(**changes):
    values = {
        "job_status": "activated",
        "modification_time": NOW - timedelta(hours=4),
        "state_change_time": NOW,
        "prod_source_label": "managed",
        "locked_by": "jedi",
        "current_priority": 800,
    }
    return Job(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "waits"),
    [
        ({}, True),
        ({"modification_time": NOW - timedelta(hours=4) + SECOND}, False),
        ({"current_priority": 799}, False),
        ({"locked_by": None}, False),
        ({"prod_source_label": "user"}, False),
        ({"processing_type": "pmerge"}, False),
        ({"relocation_flag": 2}, False),
        ({"job_status": "sent"}, False),
        ({"job_status": "starting"}, False),
        ({"job_status": "starting", "state_change_time": NOW - timedelta(hours=4)}, True),
        ({"job_status": "starting", "state_change_time": NOW - timedelta(hours=4) + SECOND}, False),
    ],
)
def test_an_urgent_job_is_kept_waiting_from_four_hours(changes, waits):
    assert is_kept_waiting(urgent(**changes), NOW) is waits


@pytest.mark.parametrize(
    ("status", "last_start", "inactive"),
    [
        ("online", NOW - timedelta(hours=2), True),
        ("online", NOW - timedelta(hours=2) + SECOND, False),
        ("online", None, False),
        ("offline", NOW, True),
        ("test", None, True),
        ("brokeroff", NOW, False),
        (None, NOW - timedelta(hours=3), True),
    ],
)
def test_a_queue_is_inactive_when_no_job_has_begun_for_two_hours_or_it_is_away(status, last_start, inactive):
    queue = None if status is None else Queue(name="Q", status=status)
    assert is_inactive(queue, last_start, NOW) is inactive


# Step 14

GROUP = Group(task=1, definition=2, queue="Q", owner="alice", working_group="higgs", vo="wlcg")
TWELVE = timedelta(hours=12)


@pytest.mark.parametrize(
    ("status", "waited", "recently", "goes"),
    [
        ("online", TWELVE, False, True),
        ("online", TWELVE - SECOND, False, False),
        ("online", TWELVE, True, False),
        ("offline", timedelta(hours=3), True, True),
        ("test", timedelta(hours=3), False, True),
        ("test", timedelta(hours=3) - SECOND, False, False),
        (None, TWELVE * 2, False, False),
    ],
)
def test_a_group_goes_elsewhere_after_its_time_or_at_once_from_a_queue_that_is_away(status, waited, recently, goes):
    queue = None if status is None else Queue(name="Q", status=status)
    assert goes_elsewhere(queue, NOW - waited, recently, TWELVE, NOW) is goes


def test_the_wait_of_a_group_is_its_working_groups_before_that_of_all():
    assert analysis_wait(GROUP, {}) == TWELVE
    assert analysis_wait(GROUP, {"ANALY_TIMEOUT": 5}) == timedelta(hours=5)
    assert analysis_wait(GROUP, {"ANALY_TIMEOUT": 5, "ANALY_TIMEOUT_higgs": 2}) == timedelta(hours=2)
    assert analysis_wait(GROUP, {"ANALY_TIMEOUT": 0, "ANALY_TIMEOUT_top": 2}) == TWELVE


# Ages


@pytest.mark.parametrize("rule", [*OLD, *WAITING, OLDEST, THROTTLED], ids=lambda rule: rule.name)
def test_no_rule_takes_a_job_from_the_other_table_or_one_without_a_time(rule):
    times = {"creation_time": NOW, "modification_time": NOW, "state_change_time": NOW}
    other = "activated" if not rule.active else "assigned"
    later = NOW + timedelta(days=30)
    job = Job(job_status=other, prod_source_label=min(rule.labels, default=None), locked_by="jedi", **times)
    assert not overdue(rule, job, later, Circumstances())
    assert not overdue(rule, Job(job_status="activated" if rule.active else "assigned"), later, Circumstances())


def test_a_tunable_counts_for_its_vo_only():
    rows = [
        {"app": "pandaserver", "component": "job_timeout", "key": "TIMEOUT_defined", "value": value, "type": "int",
         "vo": vo, "value_json": None}
        for vo, value in (("wlcg", "30"), ("lsst", "2"), ("odd", "-1"))
    ]  # fmt: skip
    ages = ages_of(parameters_of(rows).by_vo("job_timeout", "TIMEOUT_defined"))
    assert ages == {"wlcg": timedelta(hours=30), "lsst": timedelta(hours=2)}
    stuck = WAITING[0]
    assert shortest(stuck, Circumstances(ages=ages)) == timedelta(hours=2)
    assert shortest(stuck, Circumstances()) == timedelta(hours=4)


def test_jobs_stay_at_a_queue_that_says_so():
    queues = {
        "A": Queue(name="A", catchall=frozenset(("disableReassign", "x"))),
        "B": Queue(name="B", status="paused"),
    }
    assert no_reassign(queues) == {"A"}


def test_a_merge_is_without_a_maker_that_waits_no_more():
    assert gone({1: "merging", 2: "merging"}) is None
    assert gone({}) is None
    assert gone({1: "merging", 2: None, 3: "running"}) == 2


@pytest.mark.parametrize(
    ("task", "over"),
    [
        (JumboTask(), True),
        (JumboTask(status="running", files=10, done=9), False),
        (JumboTask(status="running", files=10, done=10), True),
        (JumboTask(status="running", use_jumbo="D", files=10), True),
        (JumboTask(status="finished", files=10), True),
    ],
)
def test_a_task_needs_its_jumbo_jobs_until_all_files_are_done(task, over):
    assert jumbo_is_over(task) is over


# Steps 1 and 2


def merging(*blocks, token="TOMERGE"):
    files = tuple(
        JobFile(lfn=str(n), type="output" if n else "log", destination_dblock=name, destination_dblock_token=token)
        for n, name in enumerate(blocks)
    )
    return Job(job_status="merging", files=files)


@pytest.mark.parametrize(
    ("statuses", "token", "verdict"),
    [
        ({"a_sub1": "defined", "b_sub2": "defined"}, "TOMERGE", Kick.MERGE),
        ({"a_sub1": "defined", "b_sub2": "tobeclosed"}, "TOMERGE", Kick.LEAVE),
        ({"a_sub1": "defined"}, "TOMERGE", Kick.END),
        ({"a_sub1": "defined", "b_sub2": "deleted"}, "TOMERGE", Kick.END),
        ({}, None, Kick.LEAVE),
    ],
)
def test_merging_begins_when_all_sub_blocks_are_there_and_ends_when_one_is_gone(statuses, token, verdict):
    assert kick(merging("a_sub1", "b_sub2", "top", token=token), statuses).kick is verdict


def test_sub_blocks_are_told_by_their_names():
    assert sub_blocks(merging("a_sub1", "top", "a_sub1", "b_sub", None)) == ("a_sub1",)


def test_a_merging_is_stuck_when_the_block_of_the_log_is_completed():
    job = merging("log_sub1", "out_sub2")
    assert is_stuck(job, {"log_sub1": "completed", "out_sub2": "defined"})
    assert not is_stuck(job, {"log_sub1": "defined", "out_sub2": "completed"})


# Step 17, tmpwatch


def test_a_file_of_the_cache_goes_after_seven_days_unless_tests_need_it():
    week = NOW - timedelta(days=7)
    assert is_old_in_cache("sources.x.tar.gz", week, NOW)
    assert not is_old_in_cache("sources.x.tar.gz", week + SECOND, NOW)
    for name in ("72c48dc5-f055-43e5-a86e-4ae9f8ea3497", "090f3f51-fc81-4e80-9749-a5e4b2bd58de"):
        assert not is_old_in_cache(f"sources.{name}.tar.gz", week, NOW)


@pytest.mark.parametrize(
    ("name", "head", "core"),
    [
        ("core.123", b"", True),
        ("core.py", b"import os\n" * 3, False),
        ("core.twistd.7", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x04\x00", True),
        ("core.twistd.7", b"\x7fELF\x02\x02\x01" + bytes(9) + b"\x00\x04", True),
        ("core.so.1", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00", False),
        ("core", b"", False),
        ("score.1", b"", False),
    ],
)
def test_a_core_dump_is_told_by_its_name_or_by_what_is_in_it(name, head, core):
    assert is_core(name, head) is core


def test_a_temporary_file_goes_after_its_hours():
    twelve = timedelta(hours=12)
    assert twelve == sweep_files.TEMPORARY_AGE
    assert is_old_temporary("tmpx", NOW - twelve, NOW, twelve)
    assert not is_old_temporary("tmpx", NOW - twelve + SECOND, NOW, twelve)
    assert not is_old_temporary("xtmp", NOW - twelve * 2, NOW, twelve)


# Step 18


@pytest.mark.parametrize(
    ("found", "age", "lost"),
    [
        (Found.GONE, timedelta(0), True),
        (Found.THERE, timedelta(days=99), False),
        (Found.AWAY, timedelta(days=30), True),
        (Found.AWAY, timedelta(days=30) - SECOND, False),
    ],
)
def test_a_sandbox_is_lost_when_its_host_says_so_or_is_away_for_thirty_days(found, age, lost):
    assert is_lost(found, NOW - age, NOW) is lost


@pytest.mark.parametrize(
    ("host", "name", "proper"),
    [
        ("panda.cern.ch", "sources.x.tar.gz", True),
        ("10.0.0.1", "jobO.x", True),
        ("host/path", "sources.x", False),
        ("user@host", "sources.x", False),
        ("host:1", "sources.x", False),
        ("", "sources.x", False),
        ("host", "sources/../../etc/passwd", False),
        ("host", "..", False),
    ],
)
def test_only_a_host_and_a_file_name_are_asked_for(host, name, proper):
    assert Sandbox(owner="x", name=name, host=host, created=NOW).proper is proper


def test_the_rounds_are_a_hundred_of_a_thousand():
    assert (sweep_files.ROUNDS, sweep_files.ROUND) == (100, 1000)
    assert sweep_rebrokerage.FAST == 10
