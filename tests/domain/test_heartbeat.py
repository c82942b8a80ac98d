"""The table of reference/lifecycle.md 6.6, rule by rule, and the laws behind it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.heartbeat import ActiveRow, Verdict, command_of, decide
from pandatx.domain.job import Job
from pandatx.domain.lifecycle import REPORTABLE, JobStatus, may_change
from pandatx.domain.requests import Heartbeat

NOW = datetime(2026, 5, 4, 12, 30, 15, tzinfo=UTC)
EARLIER = datetime(2026, 5, 4, 11, 0, tzinfo=UTC)


def row(status: str = "running", **values: Any) -> ActiveRow:
    return ActiveRow(panda_id=7, attempt_nr=2, job_status=status, **values)


def beat(status: str = "running", **values: Any) -> Heartbeat:
    return Heartbeat(job_id=7, job_status=status, **({"attempt_nr": 2} | values))


def judge(old: str, new: str, **values: Any) -> Verdict:
    return decide(row(old, **values), beat(new, job_output_report="{}"), NOW)


def after(found: ActiveRow, verdict: Verdict) -> ActiveRow:
    """The row as the verdict leaves it."""
    changes = {k: v for k, v in (verdict.changes or {}).items() if k in attrs.fields_dict(ActiveRow)}
    if changes.get("job_dispatcher_error_diag") == "":
        changes["job_dispatcher_error_diag"] = None
    if verdict.new_status is not None:
        changes["job_status"] = verdict.new_status
    return attrs.evolve(found, **changes)


# Rule 0


def test_a_job_that_is_not_active_is_to_be_killed_and_nothing_is_kept_of_the_report():
    verdict = decide(None, beat("finished", meta_data="{}", stdout="x", pilot_log="y"), NOW)
    assert verdict == Verdict(rule=0, command="tobekilled")


def test_a_report_of_another_attempt_changes_nothing_and_is_told_so():
    assert decide(row(), beat("finished", attempt_nr=1), NOW) == Verdict(rule=0, command="tobekilled")


def test_a_report_without_an_attempt_number_is_of_the_attempt_found():
    assert decide(row(), beat(attempt_nr=None), NOW).rule == 8


@pytest.mark.parametrize("old", ["activated", "throttled", "defined"])
def test_a_job_that_nobody_was_given_is_not_started_by_a_report(old):
    verdict = judge(old, "running")
    assert (verdict.command, verdict.changes, verdict.new_status) == ("tobekilled", None, None)


def test_a_final_report_for_an_activated_job_ends_it():
    verdict = judge("activated", "finished")
    assert (verdict.new_status, verdict.stores_report) == ("holding", True)


# Rules 1 to 6, 9


@pytest.mark.parametrize("new", sorted(REPORTABLE))
@pytest.mark.parametrize("old", ["failed", "cancelled", "closed", "finished"])
def test_rule_1_a_job_that_has_ended_is_already_done(old, new):
    assert judge(old, new) == Verdict(rule=1, command="alreadydone")


@pytest.mark.parametrize("new", ["finished", "failed", "holding"])
def test_rule_2_transferring_after_the_adder_is_already_done(new):
    assert judge("transferring", new, job_dispatcher_error_diag=None) == Verdict(rule=2, command="alreadydone")


@pytest.mark.parametrize("new", ["finished", "failed"])
def test_rule_2_spares_a_job_that_its_pilot_had_set_to_transferring(new):
    verdict = judge("transferring", new, job_dispatcher_error_diag="set to transferring by the pilot")
    assert (verdict.rule, verdict.new_status, verdict.stores_report) == (8, "holding", True)


@pytest.mark.parametrize("diag", [None, "", "set to holding by the pilot"])
def test_rule_3_a_recovery_report_of_a_holding_job_changes_nothing(diag):
    verdict = judge("holding", "holding", job_dispatcher_error_diag=diag)
    assert (verdict.rule, verdict.command, verdict.changes) == (3, "", None)


@pytest.mark.parametrize("diag", [None, ""])
@pytest.mark.parametrize("new", ["finished", "failed"])
def test_rule_4_a_second_final_report_is_already_done(new, diag):
    assert judge("holding", new, job_dispatcher_error_diag=diag) == Verdict(rule=4, command="alreadydone")


def test_the_final_report_after_a_recovery_is_taken():
    verdict = judge("holding", "finished", job_dispatcher_error_diag="set to holding by the pilot")
    assert (verdict.rule, verdict.new_status, verdict.stores_report) == (8, None, True)
    assert verdict.changes is not None
    assert verdict.changes["state_change_time"] == NOW
    assert verdict.changes["job_dispatcher_error_diag"] == ""


@pytest.mark.parametrize("new", sorted(REPORTABLE))
def test_rule_5_a_merging_job_is_left_alone(new):
    verdict = judge("merging", new, command_to_pilot="ls -l")
    assert (verdict.rule, verdict.command, verdict.changes, verdict.stores_report) == (5, "ls -l", None, False)


@pytest.mark.parametrize("old", ["holding", "transferring"])
@pytest.mark.parametrize("new", ["running", "starting"])
def test_rule_6_a_late_report_is_ignored_with_the_usual_command(old, new):
    verdict = judge(old, new, special_handling="pc,dm")
    assert (verdict.rule, verdict.command, verdict.changes) == (6, "debug", None)


@pytest.mark.parametrize(("diag", "rule"), [(None, 6), ("", 6), ("set to transferring by the pilot", 8)])
def test_a_pilot_does_not_claim_the_adders_transferring(diag, rule):
    verdict = judge("transferring", "transferring", job_dispatcher_error_diag=diag)
    assert (verdict.rule, verdict.new_status) == (rule, None)


def test_rule_9_a_holding_job_does_not_go_to_transferring():
    verdict = judge("holding", "transferring")
    assert (verdict.rule, verdict.command, verdict.changes) == (9, "", None)


# Rule 7


def batch(stored: str | None, sent: str | None, status: str = "running") -> Verdict:
    return decide(row("running", batch_id=stored), beat(status, batch_id=sent), NOW)


def test_rule_7_another_batch_id_is_to_be_killed_and_noted():
    verdict = batch("slot1#a", "slot1#b")
    assert (verdict.rule, verdict.command, verdict.new_status) == (7, "tobekilled", None)
    assert verdict.changes is not None
    assert set(verdict.changes) == {"sup_error_code", "sup_error_diag"}
    assert verdict.changes["sup_error_code"] == 1


def test_rule_7_keeps_the_report_of_a_pilot_that_came_too_late():
    assert batch("slot1#a", "slot1#b", "failed").stores_report


@pytest.mark.parametrize(
    ("stored", "sent"),
    [("slot1#a", "slot1#a"), (None, "slot1#b"), ("", "x"), ("slot1#a", None), ("slot1#a", "")],
)
def test_rule_7_needs_two_different_batch_ids(stored, sent):
    assert batch(stored, sent).rule == 8


@pytest.mark.parametrize("number", ["12", "123456", "1234.0", "1..2"])
def test_a_plain_number_is_no_batch_id_to_compare(number):
    assert batch("slot1#a", number).rule == 8
    assert batch(number, "slot1#a").rule == 8


@pytest.mark.parametrize("text", ["1", "1.2.3", ".12", "12.", "-12", "12a", "12\n"])
def test_what_is_not_a_plain_number_is_compared(text):
    assert batch("slot1#a", text).rule == 7


# Rule 8


@pytest.mark.parametrize(
    ("old", "new", "stored"),
    [
        ("sent", "starting", "starting"),
        ("sent", "running", "running"),
        ("starting", "running", "running"),
        ("stagein", "running", "running"),
        ("running", "running", None),
        ("running", "starting", None),
        ("running", "transferring", "transferring"),
        ("running", "holding", "holding"),
        ("running", "finished", "holding"),
        ("running", "failed", "holding"),
        ("sent", "failed", "holding"),
        ("strange", "running", None),
        ("strange", "failed", "holding"),
    ],
)
def test_rule_8_stores_the_status(old, new, stored):
    verdict = judge(old, new)
    assert (verdict.rule, verdict.new_status) == (8, stored)
    assert verdict.changes is not None
    assert verdict.changes["modification_time"] == NOW
    assert ("state_change_time" in verdict.changes) == (stored is not None)
    assert verdict.foreign == (old == "strange")


@pytest.mark.parametrize("old", ["sent", "starting"])
def test_the_first_running_report_starts_the_job(old):
    verdict = judge(old, "running", start_time=EARLIER)
    assert verdict.first_running
    assert verdict.changes is not None
    assert verdict.changes["start_time"] == NOW


def test_a_start_that_the_pilot_gives_wins():
    verdict = decide(row("sent"), beat(start_time=EARLIER), NOW)
    assert verdict.changes is not None
    assert verdict.changes["start_time"] == EARLIER


def test_a_later_running_report_does_not_start_the_job_again():
    verdict = judge("running", "running")
    assert not verdict.first_running
    assert "start_time" not in (verdict.changes or {})


@pytest.mark.parametrize("new", ["finished", "failed", "holding", "transferring"])
def test_the_end_is_now_unless_known(new):
    assert (judge("running", new).changes or {})["end_time"] == NOW
    assert "end_time" not in (judge("running", new, end_time=EARLIER).changes or {})
    given_by_pilot = decide(row("running"), beat(new, end_time=EARLIER), NOW)
    assert (given_by_pilot.changes or {})["end_time"] == EARLIER


@pytest.mark.parametrize("new", ["running", "starting"])
def test_a_running_job_has_no_end(new):
    assert "end_time" not in (judge("running", new).changes or {})


def test_a_job_that_goes_from_sent_to_transferring_has_no_end_yet():
    assert "end_time" not in (judge("sent", "transferring").changes or {})


def test_a_final_report_clears_the_dispatchers_diag_and_holding_sets_it():
    assert (judge("running", "failed").changes or {})["job_dispatcher_error_diag"] == ""
    text = (judge("running", "holding").changes or {})["job_dispatcher_error_diag"]
    assert text == "set to holding by the pilot at 2026-05-04 12:30:15"
    assert "transferring" in (judge("running", "transferring").changes or {})["job_dispatcher_error_diag"]
    assert "job_dispatcher_error_diag" not in (judge("running", "running").changes or {})


def test_values_are_written_under_the_names_of_the_job():
    sent = beat(node="n", cpu_conversion_factor=1.5, core_count=8, trans_exit_code=65, tot_rchar=0, pilot_id="p")
    assert decide(row(), sent, NOW).changes == {
        "modification_host": "n",
        "cpu_conversion": 1.5,
        "actual_core_count": 8,
        "trans_exit_code": "65",
        "tot_rchar": 0,
        "pilot_id": "p",
        "modification_time": NOW,
    }


def test_every_field_of_a_report_is_stored_or_known_to_go_elsewhere():
    elsewhere = {"job_id", "job_status", "attempt_nr", "timeout", "site_name", "corrupted_files"}
    elsewhere |= {"job_output_report", "meta_data", "stdout", "pilot_log"}
    for field in attrs.fields(Heartbeat):
        if field.name not in elsewhere:
            value = "k=v" if field.name == "job_metrics" else 1
            assert len(decide(row(), beat(**{field.name: value}), NOW).changes or {}) == 2, field.name


def test_empty_values_are_not_written():
    changes = decide(row(), beat(node="", job_sub_status=None, pilot_error_diag=""), NOW).changes
    assert changes == {"modification_time": NOW}


def test_leak_and_chi2_are_taken_from_the_metrics():
    text = "coreCount=8 nEvents=12 leak=-12.75 chi2=3.5e2 noleak=4"
    changes = decide(row(), beat(job_metrics=text), NOW).changes or {}
    assert (changes["memory_leak"], changes["memory_leak_x2"]) == (-12, 350.0)


def test_chi2_is_held_within_its_column():
    changes = decide(row(), beat(job_metrics="chi2=1e50 leak=nan"), NOW).changes or {}
    assert changes["memory_leak_x2"] < 10**11
    assert "memory_leak" not in changes


# Commands and side tables


@pytest.mark.parametrize(
    ("command", "tags", "expected"),
    [
        (None, None, ""),
        ("", "", ""),
        (None, "pc,dm", "debug"),
        (None, "pc,dmx", ""),
        ("ls -l", "dm", "debug,ls -l"),
        ("softkill", None, "softkill"),
        ("tobekilled", "dm", "tobekilled"),
        ("tobekilled,x", None, "tobekilled"),
    ],
)
def test_the_usual_command(command, tags, expected):
    assert command_of(command, tags) == expected


def test_a_job_under_a_kill_flag_still_hands_in_its_report():
    verdict = judge("running", "failed", command_to_pilot="tobekilled")
    assert (verdict.command, verdict.stores_report, verdict.new_status) == ("tobekilled", True, "holding")


@pytest.mark.parametrize(("status", "text", "kept"), [("finished", "{}", True), ("failed", "{}", False)])
def test_metadata_of_a_failed_job_is_not_stored(status, text, kept):
    assert decide(row(), beat(status, meta_data=text), NOW).stores_metadata is kept


@pytest.mark.parametrize("text", ["", "NULL"])
def test_no_metadata_is_no_row(text):
    assert not decide(row(), beat("finished", meta_data=text), NOW).stores_metadata


def test_stdout_and_the_pilots_log_are_stored_while_the_job_is_active():
    verdict = decide(row(), beat(stdout="tail", pilot_log="log"), NOW)
    assert (verdict.stores_stdout, verdict.stores_pilot_log) == (True, True)


# Laws

TEXTS = st.none() | st.sampled_from(["", "12", "slot#1", "slot#2", "x" * 90])
ROWS = st.builds(
    ActiveRow,
    panda_id=st.just(7),
    attempt_nr=st.sampled_from([1, 2]),
    job_status=st.sampled_from([*JobStatus, "strange"]).map(str),
    batch_id=TEXTS,
    command_to_pilot=st.sampled_from([None, "tobekilled", "ls -l"]),
    job_dispatcher_error_diag=st.sampled_from([None, "", "set to holding by the pilot"]),
    end_time=st.sampled_from([None, EARLIER]),
)
BEATS = st.builds(
    Heartbeat,
    job_id=st.just(7),
    job_status=st.sampled_from(sorted(REPORTABLE)),
    attempt_nr=st.sampled_from([None, 1, 2]),
    batch_id=TEXTS,
    node=TEXTS,
    job_metrics=TEXTS,
    core_count=st.none() | st.integers(),
    mean_core_count=st.none() | st.floats(),
    start_time=st.sampled_from([None, EARLIER]),
    end_time=st.sampled_from([None, EARLIER]),
)


@given(ROWS, BEATS)
def test_a_report_never_writes_a_null_nor_a_name_that_is_not_a_jobs(found, sent):
    changes = decide(found, sent, NOW).changes or {}
    assert None not in changes.values()
    assert changes.keys() <= attrs.fields_dict(Job).keys() - {"job_status", "panda_id", "attempt_nr"}


@given(ROWS, BEATS)
def test_a_report_never_leaves_the_transition_table(found, sent):
    verdict = decide(found, sent, NOW)
    if verdict.new_status is not None:
        assert verdict.changes is not None
        assert may_change(found.job_status, verdict.new_status)


@given(ROWS, BEATS)
def test_a_second_final_report_is_never_stored_again(found, sent):
    first = decide(found, sent, NOW)
    if first.rule == 8 and sent.final:
        second = decide(after(found, first), sent, NOW)
        assert second == Verdict(rule=4, command="alreadydone")


@given(ROWS, st.lists(BEATS), st.sampled_from(["holding", "transferring", "merging"]))
def test_once_a_report_is_taken_no_other_is_whatever_comes_between(found, sent, by_the_adder):
    taken = attrs.evolve(found, job_status=by_the_adder, job_dispatcher_error_diag=None)
    for each in sent:
        verdict = decide(taken, each, NOW)
        assert not verdict.stores_report
        taken = after(taken, verdict)
        assert taken.job_status == by_the_adder


@given(ROWS, BEATS)
def test_what_is_not_accepted_leaves_the_status(found, sent):
    verdict = decide(found, sent, NOW)
    if verdict.rule != 8:
        assert verdict.new_status is None
    if verdict.rule not in (7, 8):
        assert (verdict.changes, verdict.stores_report) == (None, False)


@given(ROWS, BEATS)
def test_an_old_attempt_changes_nothing(found, sent):
    if sent.attempt_nr not in (None, found.attempt_nr):
        assert decide(found, sent, NOW) == Verdict(rule=0, command="tobekilled")
