"""The table of time-outs in reference/lifecycle.md 2.8: each number, just below it and at it."""

from datetime import UTC, datetime, timedelta

import pytest

from pandatx.domain.sweep_ages import SILENT_FOR_LONGEST
from pandatx.domain.watch import JobFacts, Limits, verdict

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LABELS = ("user", "panda", "managed", "test")
WORKING = ("running", "starting", "stagein", "stageout")


def fails(limits: Limits, silent: timedelta, **facts: object) -> bool:
    job = JobFacts(panda_id=1, modification_time=NOW - silent, **facts)
    return verdict(job, None, NOW, limits) is not None


@pytest.mark.parametrize(
    ("hours", "facts"),
    [
        *((2, {"job_status": status, "prod_source_label": label})
          for status in WORKING for label in LABELS),
        *((2, {"job_status": "transferring", "prod_source_label": label}) for label in ("user", "panda")),
        *((0.5, {"job_status": "sent", "prod_source_label": label}) for label in LABELS),
        *((3, {"job_status": "holding", "prod_source_label": label}) for label in ("user", "panda")),
        (3, {"job_status": "holding", "prod_source_label": "managed", "current_priority": 801}),
        (48, {"job_status": "holding", "prod_source_label": "managed", "current_priority": 800}),
        (48, {"job_status": "holding", "prod_source_label": "user", "has_report": True}),
        (2, {"job_status": "running", "prod_source_label": "user", "queue_paused": True}),
    ],
)  # fmt: skip
def test_a_job_fails_when_its_silence_reaches_the_number_and_not_before(hours, facts):
    limit = timedelta(hours=hours)
    assert not fails(Limits(), limit - SECOND, **facts)
    assert fails(Limits(), limit, **facts)


@pytest.mark.parametrize(
    ("key", "facts"),
    [
        ("HEARTBEAT_TIMEOUT_analysis", {"job_status": "transferring", "prod_source_label": "user"}),
        ("HEARTBEAT_TIMEOUT_production", {"job_status": "running", "prod_source_label": "managed"}),
        ("HEARTBEAT_TIMEOUT_push", {"job_status": "running", "prod_source_label": "managed", "workflow": "push"}),
    ],
)
def test_the_hours_of_the_configuration_take_the_place_of_the_numbers(key, facts):
    limits = Limits.of_tunables({("watcher", key): 7})
    assert not fails(limits, timedelta(hours=7) - SECOND, **facts)
    assert fails(limits, timedelta(hours=7), **facts)


def test_the_hours_of_holding_are_a_tunable_too():
    limits = Limits.of_tunables({("job_timeout", "TIMEOUT_holding"): 30})
    facts = {"job_status": "holding", "prod_source_label": "managed"}
    assert not fails(limits, timedelta(hours=30) - SECOND, **facts)
    assert fails(limits, timedelta(hours=30), **facts)


@pytest.mark.parametrize("status", WORKING)
def test_a_paused_queue_is_spared_but_not_for_ever(status):
    facts = {"job_status": status, "prod_source_label": "managed", "queue_paused": True}
    assert not fails(Limits(), timedelta(days=300), **facts)
    assert not fails(SILENT_FOR_LONGEST, timedelta(days=21) - SECOND, **facts)
    assert fails(SILENT_FOR_LONGEST, timedelta(days=21), **facts)
