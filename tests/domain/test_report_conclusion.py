"""How a job ends by its report and the plugin's answer: reference/lifecycle.md 2.7, steps 7 to 12."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.conclusion import Conclusion, PluginResult, conclude, destination_blocks
from pandatx.domain.job import Job, JobFile
from pandatx.domain.lifecycle import may_change
from pandatx.domain.report import ReportOutcome

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=1)
FILES = (
    JobFile(row_id=1, lfn="out", type="output", destination_dblock="user.out"),
    JobFile(row_id=2, lfn="log", type="log", destination_dblock="user.log"),
    JobFile(row_id=3, lfn="in", type="input", status="ready", prod_dblock="user.in"),
)
READY = {1: {"status": "ready", "fsize": 10, "guid": "g"}, 2: {"status": "ready", "fsize": 5, "guid": "l"}}


def job(**values: Any) -> Job:
    return Job(**({"panda_id": 7, "job_status": "holding", "files": FILES, "job_sub_status": "x"} | values))


def good(**values: Any) -> ReportOutcome:
    return ReportOutcome(**({"failed": False, "file_changes": READY} | values))


def end(found: Job, outcome: ReportOutcome, plugin: PluginResult | None = None, age: float = 0) -> Conclusion:
    return conclude(found, outcome, plugin, NOW - timedelta(hours=age), NOW)


def statuses(conclusion: Conclusion) -> dict[int, Any]:
    return {row_id: values.get("status") for row_id, values in conclusion.file_changes.items()}


def test_a_good_report_finishes_the_job():
    found = end(job(), good(), PluginResult())
    assert (found.status, found.changed, found.archives) == ("finished", True, True)
    assert found.changes == {
        "modification_time": NOW,
        "state_change_time": NOW,
        "end_time": NOW,
        "job_dispatcher_error_code": 0,
        "job_dispatcher_error_diag": None,
        "n_output_data_files": 1,
        "output_file_bytes": 10,
    }
    assert found.file_changes == READY
    assert found.blocks == ("user.log", "user.out")


def test_an_end_that_is_known_stays():
    assert "end_time" not in end(job(end_time=EARLIER), good()).changes


def test_a_failed_report_fails_the_job_and_all_its_outputs():
    found = end(job(), good(failed=True))
    assert (found.status, found.archives) == ("failed", True)
    assert statuses(found) == {1: "failed", 2: "failed"}
    assert found.file_changes[2]["guid"] == "l"
    assert found.changes["n_output_data_files"] == 0


def test_a_failed_job_that_was_to_be_killed_is_cancelled():
    assert end(job(command_to_pilot="tobekilled"), good(failed=True)).status == "cancelled"
    assert end(job(command_to_pilot="tobekilled"), good()).status == "finished"
    assert end(job(command_to_pilot="ls"), good(failed=True)).status == "failed"


@pytest.mark.parametrize("status", ["cancelled", "closed"])
def test_a_withdrawn_job_keeps_its_status(status):
    found = end(job(job_status=status), good(failed=True))
    assert (found.status, found.changed, found.archives) == (status, False, True)


# 7. and 9. The plugin


def test_transferring_files_keep_the_job_active():
    found = end(job(), good(), PluginResult(transferring=("out",)))
    assert (found.status, found.archives, found.changes["job_sub_status"]) == ("transferring", False, None)
    assert statuses(found) == {1: "transferring", 2: "ready"}


def test_merging_comes_before_transferring():
    found = end(job(), good(), PluginResult(transferring=("log",), merging=("out",)))
    assert (found.status, statuses(found)) == ("merging", {1: "merging", 2: "transferring"})


def test_a_transferring_job_whose_files_still_move_is_not_changed():
    found = end(job(job_status="transferring"), good(), PluginResult(transferring=("out",)))
    assert (found.status, found.changed) == ("transferring", False)
    assert "state_change_time" not in found.changes


@pytest.mark.parametrize(
    ("plugin", "text"),
    [
        (PluginResult(result="fatal", error="no such RSE"), "no such RSE"),
        (PluginResult(result="fatal"), "AdderPlugin failure"),
        (PluginResult.crashed("KeyError"), "AdderPlugin failure: KeyError"),
    ],
)
def test_a_fatal_answer_fails_the_job(plugin, text):
    found = end(job(), good(), plugin)
    assert (found.status, found.changes["ddm_error_code"], found.changes["ddm_error_diag"]) == ("failed", 200, text)


def test_what_the_report_failed_with_is_not_covered_by_the_plugin():
    outcome = good(failed=True, job_changes={"ddm_error_code": 200, "ddm_error_diag": "expected output"})
    assert end(job(), outcome, PluginResult.crashed("x")).changes["ddm_error_diag"] == "expected output"


# 8. Temporary answers


def test_a_temporary_answer_is_tried_again_after_a_minute():
    found = end(job(), good(), PluginResult(result="temporary", error="busy"), age=23.9)
    assert found == Conclusion(status="holding", retry_locked_time=NOW - timedelta(minutes=9))
    assert not found.archives


def test_after_a_day_a_temporary_answer_fails_the_job():
    found = end(job(), good(), PluginResult(result="temporary", error="busy"), age=24)
    assert (found.status, found.changes["ddm_error_diag"]) == ("failed", "busy")


# 10. and 12.


def test_the_size_of_the_outputs_is_capped_and_the_log_is_none():
    big = {1: {"status": "ready", "fsize": 10**12}, 2: {"status": "ready", "fsize": 5}}
    found = end(job(), good(file_changes=big))
    assert (found.changes["n_output_data_files"], found.changes["output_file_bytes"]) == (1, 99_999_999_999)


def test_outputs_that_were_not_made_are_not_counted():
    found = end(job(), good(file_changes={1: {"status": "nooutput"}, 2: {"status": "ready"}}))
    assert (found.status, found.changes["n_output_data_files"]) == ("finished", 0)


def test_new_files_share_the_end():
    new = JobFile(lfn="out_1", type="output", status="ready", fsize=7, destination_dblock="user.out")
    found = end(job(), good(new_files=(new,)), PluginResult(transferring=("out_1",)))
    assert [each.status for each in found.new_files] == ["transferring"]
    assert found.changes["output_file_bytes"] == 17
    assert [each.status for each in end(job(), good(new_files=(new,), failed=True)).new_files] == ["failed"]


def test_the_outputs_of_a_build_are_named_to_their_readers():
    assert end(job(prod_source_label="panda"), good()).library[0].guid == "g"
    assert end(job(prod_source_label="user"), good()).library == ()
    assert end(job(prod_source_label="panda"), good(failed=True)).library == ()
    assert end(job(prod_source_label="ptest", processing_type="prun"), good()).library[0].guid == "g"
    assert end(job(prod_source_label="ptest", processing_type="urgent"), good()).library == ()


def test_only_outputs_and_logs_have_destination_blocks():
    assert destination_blocks(FILES) == ("user.log", "user.out")


# Laws

PLUGINS = st.none() | st.builds(
    PluginResult,
    result=st.sampled_from(["ok", "temporary", "fatal"]),
    transferring=st.sampled_from([(), ("out",)]),
    merging=st.sampled_from([(), ("log",)]),
)


@given(
    st.sampled_from(["holding", "running", "sent", "strange", "activated"]),
    st.booleans(),
    st.none() | st.builds(PluginResult, result=st.sampled_from(["ok", "temporary", "fatal"])),
    st.floats(0, 48),
)
def test_an_end_never_leaves_the_transition_table(old, failed, plugin, age):
    found = end(job(job_status=old), good(failed=failed), plugin, age)
    assert not found.changed or may_change(old, found.status)


@given(st.booleans(), PLUGINS, st.floats(0, 48))
def test_a_finished_job_has_no_failed_output_and_a_failed_one_no_other(failed, plugin, age):
    found = end(job(), good(failed=failed), plugin, age)
    if found.archives:
        expected = "ready" if found.status == "finished" else "failed"
        assert statuses(found) == {1: expected, 2: expected}
        assert found.changes.keys() <= attrs.fields_dict(Job).keys() - {"job_status"}


@pytest.mark.parametrize("label", ["user", "panda", "managed"])
def test_a_job_that_its_pilot_found_closed_is_closed_whosever_it_is(label):
    found = end(job(prod_source_label=label, prod_user_name="alice"), good(failed=True, fatal=True, closed=True))
    assert (found.status, found.archives, found.last_attempt) == ("closed", True, False)
    assert found.changes["task_buffer_error_code"] == 100
    assert "job_sub_status" not in found.changes
    assert statuses(found) == {1: "failed", 2: "failed"}
    assert end(job(processing_type="pmerge"), good(closed=True)).last_attempt
