"""The Watcher's decision: reference/lifecycle.md 2.8, row by row, and the silence after an outage (R4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.job import Job
from pandatx.domain.lifecycle import TERMINAL, JobStatus, may_change
from pandatx.domain.watch import Failure, JobFacts, Limits, WorkerFacts, limit_of, silence_counts, verdict

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LAST = NOW - 100 * HOUR
TEXT = "2026-04-30 08:00:00"


def job(status: str, **values: Any) -> JobFacts:
    known: dict[str, Any] = {"panda_id": 7, "modification_time": LAST, "prod_source_label": "user"}
    return JobFacts(job_status=status, **(known | values))


def judge(status: str, worker: WorkerFacts | None = None, **values: Any) -> dict[str, Any]:
    found = verdict(job(status, **values), worker, NOW, Limits())
    assert found is not None
    return found.changes


def reason(status: str, **values: Any) -> tuple[Any, Any]:
    changes = judge(status, **values)
    return changes.get("job_dispatcher_error_code"), changes.get("job_dispatcher_error_diag")


# Codes


@pytest.mark.parametrize(
    "more", [{}, {"pilot_error_diag": "x"}, {"job_dispatcher_error_diag": "x"}, {"end_time": LAST}]
)
def test_sent_is_102_whatever_else(more):
    assert reason("sent", **more) == (102, "sent, but no reply from the pilot within 30 min")


@pytest.mark.parametrize("status", ["running", "starting", "stagein", "stageout", "holding", "transferring"])
def test_without_diags_and_an_end_it_is_100(status):
    assert reason(status) == (100, f"lost heartbeat : {TEXT}")


@pytest.mark.parametrize(("status", "code"), [("holding", 103), ("transferring", 104), ("running", 105)])
def test_with_an_end_the_status_decides(status, code):
    assert reason(status, end_time=LAST) == (code, f"timeout in {status} : {TEXT}")


@pytest.mark.parametrize("status", ["running", "holding", "transferring"])
@pytest.mark.parametrize("end", [None, LAST])
def test_the_pilots_own_text_stays_and_the_code_with_it(status, end):
    changes = judge(status, job_dispatcher_error_diag="set to holding by the pilot", end_time=end)
    assert not {"job_dispatcher_error_code", "job_dispatcher_error_diag"} & changes.keys()


@pytest.mark.parametrize("diag", ["exe_error_diag", "pilot_error_diag"])
@pytest.mark.parametrize("more", [{}, {"end_time": LAST}, {"job_dispatcher_error_diag": "text"}])
def test_an_error_of_payload_or_pilot_is_a_failed_recovery(diag, more):
    assert reason("running", **{diag: "boom"}, **more) == (101, "job recovery failed for 2 hours")


@pytest.mark.parametrize("status", ["finished", "failed", "cancelled", "missed"])
def test_a_worker_that_has_ended_is_named(status):
    changes = judge("running", WorkerFacts(status=status, diag="condor said no"))
    assert (changes["sup_error_code"], changes["sup_error_diag"]) == (2, "condor said no")
    assert judge("running", WorkerFacts(status=status))["sup_error_diag"] == f"the worker is already {status}"


def test_a_worker_that_runs_is_not():
    assert "sup_error_code" not in judge("running", WorkerFacts(status="running"))


def test_the_job_ended_when_it_was_last_heard_of():
    assert judge("running")["end_time"] == LAST
    assert "end_time" not in judge("holding", end_time=LAST + HOUR)


# Limits


@pytest.mark.parametrize("status", ["activated", "throttled", "merging", "finished", "strange"])
def test_other_statuses_are_left_alone(status):
    assert verdict(job(status), None, NOW, Limits()) is None


@pytest.mark.parametrize(
    ("facts", "hours"),
    [
        (job("sent"), 0.5),
        (job("running"), 3),
        (job("starting", queue_paused=True), 3),
        (job("running", prod_source_label="managed"), 4),
        (job("running", prod_source_label="managed", workflow="slow"), 24),
        (job("running", workflow="slow"), 3),
        (job("running", prod_source_label="managed", queue_paused=True), None),
        (job("transferring"), 3),
        (job("transferring", prod_source_label="managed", job_sub_status="x"), None),
        (job("holding", prod_source_label="managed"), 30),
        (job("holding", prod_source_label="managed", current_priority=800), 30),
        (job("holding", prod_source_label="managed", current_priority=801), 3),
        (job("holding"), 3),
        (job("holding", has_report=True), 30),
        (job("holding", state_change_time=LAST), 30),
    ],
)
def test_the_limit_of_a_job(facts, hours):
    limits = Limits(production=4 * HOUR, analysis=3 * HOUR, holding=30 * HOUR, workflows={"slow": 24 * HOUR})
    assert limit_of(facts, limits) == (None if hours is None else hours * HOUR)


def test_limits_come_from_config():
    limits = Limits.of_tunables(
        {
            ("job_timeout", "TIMEOUT_holding"): 30,
            ("job_timeout", "TIMEOUT_defined"): 5,
            ("watcher", "HEARTBEAT_TIMEOUT_production"): 6.5,
            ("watcher", "HEARTBEAT_TIMEOUT_pull_ups"): 12,
            ("watcher", "HEARTBEAT_TIMEOUT_analysis"): 0,
            ("watcher", "HEARTBEAT_TIMEOUT_bad"): "x",
            ("watcher", "HEARTBEAT_TIMEOUT_nan"): float("nan"),
        }
    )
    assert (limits.holding, limits.production, limits.analysis) == (30 * HOUR, 6.5 * HOUR, 2 * HOUR)
    assert dict(limits.workflows) == {"production": 6.5 * HOUR, "pull_ups": 12 * HOUR}


# R4


def test_silence_counts_where_the_database_was_never_away():
    assert silence_counts(None, True, HOUR, NOW)


@pytest.mark.parametrize(("minutes", "counts"), [(0, False), (64, False), (65, True), (600, True)])
def test_after_an_outage_pilots_have_a_heartbeat_and_five_minutes(minutes, counts):
    assert silence_counts(NOW - timedelta(minutes=minutes), True, HOUR, NOW) is counts


def test_silence_does_not_count_while_reports_are_in_a_spool():
    assert not silence_counts(NOW - 100 * HOUR, False, HOUR, NOW)
    assert not silence_counts(None, False, HOUR, NOW)


# Laws

FACTS = st.builds(
    job,
    st.sampled_from([*JobStatus, "strange"]).map(str),
    modification_time=st.integers(0, 100).map(lambda hours: NOW - hours * HOUR),
    end_time=st.sampled_from([None, LAST]),
    prod_source_label=st.sampled_from(["user", "managed", None]),
    current_priority=st.sampled_from([0, 900]),
    pilot_error_diag=st.sampled_from([None, "", "x" * 300]),
    job_dispatcher_error_diag=st.sampled_from([None, "", "y"]),
    has_report=st.booleans(),
)


@given(FACTS)
def test_whoever_is_failed_could_be_and_was_silent(facts):
    found: Failure | None = verdict(facts, None, NOW, Limits())
    if found is not None:
        assert facts.job_status not in TERMINAL
        assert may_change(facts.job_status, "failed")
        assert found.silent_for >= timedelta(minutes=30)
        assert None not in found.changes.values()
        assert found.changes.keys() <= attrs.fields_dict(Job).keys()


@given(FACTS, st.integers(0, 1000))
def test_a_job_that_is_heard_of_is_never_failed_for_it(facts, seconds):
    heard = attrs.evolve(facts, modification_time=NOW - timedelta(seconds=seconds))
    assert verdict(heard, None, NOW, Limits()) is None
