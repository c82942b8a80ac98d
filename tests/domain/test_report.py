"""How output reports are read: reference/lifecycle.md 2.7, steps 2 to 6."""

from __future__ import annotations

import json
import math
from time import thread_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain import json_texts
from pandatx.domain.job import Job, JobFile
from pandatx.domain.report import FileReport, ReportOutcome, UnreadableReport, interpret, parse, stale

UNREADABLE = "Could not get GUID/LFN/MD5/FSIZE/SURL from pilot JSON"
GOOD = {"guid": "g", "fsize": 10, "adler32": "0000abcd"}
OUT, LOG, IN = 1, 2, 3


def file(row_id: int, lfn: str, type: str = "output", **values: Any) -> JobFile:
    return JobFile(row_id=row_id, lfn=lfn, type=type, **values)


FILES = (file(OUT, "out"), file(LOG, "log", "log"), file(IN, "in", "input", status="ready"))


def job(*files: JobFile, **values: Any) -> Job:
    known: dict[str, Any] = {"panda_id": 7, "job_status": "holding", "prod_source_label": "user", "attempt_nr": 2}
    return Job(files=files or FILES, **(known | values))


def read(found: Job, report: Any, status: str = "finished", metadata: Any = None) -> ReportOutcome:
    text = report if isinstance(report, str) else json.dumps(report)
    return interpret(found, status, text, None if metadata is None else json.dumps(metadata))


def statuses(outcome: ReportOutcome, found: Job) -> dict[str, str]:
    return {each.lfn: each.status for each in outcome.applied_to(found).files}


# 2. Which reports count


@pytest.mark.parametrize("status", ["finished", "failed", "unknown", "merging"])
def test_a_report_of_a_settled_job_is_stale(status):
    assert stale(job(job_status=status), 2) == f"the job is {status}"


@pytest.mark.parametrize("status", ["holding", "running", "transferring", "cancelled"])
def test_a_report_of_another_attempt_or_job_is_stale(status):
    assert stale(job(job_status=status), 2) is None
    assert stale(job(job_status=status), 1) is not None
    assert stale(None, 2) is not None


# 4. Withdrawn jobs


@pytest.mark.parametrize("status", ["cancelled", "closed"])
def test_a_withdrawn_job_is_treated_as_failed_without_its_errors(status):
    found = read(job(job_status=status, pilot_error_code=1099), {"log": GOOD})
    assert found.failed
    for kind in ("pilot", "exe", "ddm"):
        assert found.job_changes[f"{kind}_error_code"] == 0
        assert found.job_changes[f"{kind}_error_diag"] is None


# 6. Parsing


def test_a_report_is_parsed():
    assert parse(json.dumps({"out": {**GOOD, "surl": "s", "full_lfn": "f", "endpoint": "e"}}), frozenset()) == {
        "out": FileReport(guid="g", fsize=10, checksum="ad:0000abcd", surl="s", full_lfn="f", endpoint="e")
    }


def test_an_md5sum_of_32_digits_counts_and_another_does_not():
    good, bad = "0" * 32, "0" * 31
    assert parse(json.dumps({"a": {"guid": "g", "fsize": "5", "md5sum": good}}), frozenset())["a"] == FileReport(
        guid="g", fsize=5, checksum=f"md5:{good}", md5sum=good
    )
    assert parse(json.dumps({"a": {**GOOD, "md5sum": bad}}), frozenset())["a"].md5sum is None
    with pytest.raises(UnreadableReport):
        parse(json.dumps({"a": {"guid": "g", "fsize": 5, "md5sum": bad}}), frozenset())


@pytest.mark.parametrize(
    "values",
    [
        {"fsize": 1, "adler32": "a"},
        {"guid": "g", "adler32": "a"},
        {"guid": "g", "fsize": 1},
        {"guid": "g", "fsize": "x", "adler32": "a"},
        {"guid": "g", "fsize": -1, "adler32": "a"},
        {"guid": "g", "fsize": 1, "adler32": "a" * 34},
        {"guid": "g" * 65, "fsize": 1, "adler32": "a"},
        "text",
        None,
    ],
)
def test_an_output_needs_guid_size_and_checksum(values):
    with pytest.raises(UnreadableReport):
        parse(json.dumps({"out": values}), frozenset())


@pytest.mark.parametrize("report", ['{"out\\u0000": 1}', json.dumps({"x" * 4001: GOOD}), '{"\\ud800": {"guid": "g"}}'])
def test_texts_that_no_column_holds_are_unreadable(report):
    with pytest.raises(UnreadableReport):
        parse(report, frozenset())


def test_an_input_needs_a_guid_only():
    assert parse('{"in": {"guid": "g"}}', frozenset(("in",)))["in"].fsize is None


XML = '<?xml version="1.0"?><POOLFILECATALOG/>'


@pytest.mark.parametrize("report", ["", XML, "[]", "null", '{"out": {}}', '{"out": NaN}', '"x"'])
def test_a_report_that_cannot_be_read_fails_the_job_and_keeps_the_plugin_out(report):
    found = read(job(), report)
    assert (found.failed, found.fatal, found.status) == (True, True, "failed")
    assert found.job_changes == {"ddm_error_code": 200, "ddm_error_diag": UNREADABLE}
    assert statuses(found, job()) == {"out": "failed", "log": "failed", "in": "ready"}


@pytest.mark.parametrize(
    ("error", "explained"),
    [
        ({"pilot_error_code": 1099}, True),
        ({"trans_exit_code": "65"}, True),
        ({"trans_exit_code": "0"}, False),
        ({"sup_error_code": 1}, True),
        ({"task_buffer_error_code": 300}, True),
        ({"task_buffer_error_code": 100}, False),
        ({"exe_error_code": 5}, False),
    ],
)
def test_an_error_that_is_already_known_is_not_covered(error, explained):
    assert (read(job(**error), "").job_changes == {}) is explained


def test_a_job_without_outputs_needs_no_report():
    found = read(job(FILES[2]), XML)
    assert (found.failed, found.fatal, found.file_changes) == (False, False, {})


# Files


def test_reported_files_are_ready_with_what_the_pilot_says():
    found = read(job(), {"out": GOOD, "log": {"guid": "l", "fsize": 3, "md5sum": "f" * 32}})
    assert not found.failed
    assert found.file_changes == {
        OUT: {"guid": "g", "status": "ready", "fsize": 10, "checksum": "ad:0000abcd"},
        LOG: {"guid": "l", "status": "ready", "fsize": 3, "checksum": "md5:" + "f" * 32, "md5sum": "f" * 32},
    }
    assert found.reported["out"].checksum == "ad:0000abcd"


@pytest.mark.parametrize(("label", "status"), [("user", "skipped"), ("panda", "skipped"), ("managed", "failed")])
def test_an_input_in_the_report_was_not_used(label, status):
    found = read(job(prod_source_label=label), {"out": GOOD, "log": GOOD, "in": {"guid": "g"}})
    assert found.file_changes[IN] == {"status": status}
    assert not found.failed


@pytest.mark.parametrize(("tags", "status"), [("om", "skipped"), ("sj,om", "skipped"), ("omit", "failed")])
def test_an_input_of_a_job_that_merges_on_its_site_was_not_used_whatever_its_label(tags, status):
    managed = job(prod_source_label="managed", special_handling=tags)
    found = read(managed, {"out": GOOD, "log": GOOD, "in": {"guid": "g"}})
    assert found.file_changes[IN] == {"status": status}


def test_of_a_failed_job_only_the_log_is_taken():
    found = read(job(), {"out": GOOD, "log": GOOD, "stranger": GOOD}, "failed")
    assert (found.failed, found.fatal, found.job_changes) == (True, False, {})
    assert found.file_changes[OUT] == {"status": "failed"}
    assert found.file_changes[LOG]["guid"] == "g"


def test_a_failed_job_without_its_log_has_an_error_of_its_own():
    found = read(job(pilot_error_code=1099), {}, "failed")
    assert found.job_changes == {
        "ddm_error_code": 200,
        "ddm_error_diag": "expected output log is missing in pilot JSON",
    }


def test_a_missing_output_fails_the_job():
    found = read(job(), {"log": GOOD})
    assert (found.failed, found.fatal) == (True, False)
    assert found.job_changes["ddm_error_diag"] == "expected output out is missing in pilot JSON"
    assert found.file_changes[OUT] == {"status": "failed"}


@pytest.mark.parametrize(("token", "allowed"), [("an", True), ("x,an", True), ("any", False), (None, False)])
def test_an_output_may_be_missing_where_its_token_says_so(token, allowed):
    files = (file(OUT, "out", dispatch_dblock_token=token), *FILES[1:])
    found = read(job(*files), {"log": GOOD})
    assert found.failed is not allowed
    assert found.file_changes[OUT] == {"status": "nooutput" if allowed else "failed"}


def test_event_service_jobs_may_miss_outputs():
    found = read(job(event_service=1), {"log": GOOD})
    assert (found.failed, OUT in found.file_changes) == (False, False)


# Variable number of outputs


@pytest.mark.parametrize("name", ["stranger", "out_x", "out_1x", "xout_1", "out1"])
def test_an_unknown_file_fails_the_job_with_all_its_files(name):
    found = read(job(), {"out": GOOD, "log": GOOD, name: GOOD})
    assert (found.failed, found.fatal) == (True, True)
    assert found.job_changes["ddm_error_diag"] == f"pilot produced {name} inconsistently with jobdef"
    assert (statuses(found, job())["out"], statuses(found, job())["log"]) == ("failed", "failed")
    assert found.new_files == ()


def test_numbered_outputs_are_copies_of_the_row():
    found = read(job(), {"out": GOOD, "out_1": {**GOOD, "guid": "g1"}, "out.._02": GOOD, "log": GOOD})
    assert not found.failed
    assert [(each.row_id, each.lfn, each.status) for each in found.new_files] == [
        (0, "out.._02", "ready"),
        (0, "out_1", "ready"),
    ]
    assert found.new_files[1].guid == "g1"
    assert "lfn" not in found.file_changes[OUT]


def test_the_first_numbered_output_takes_the_row_where_the_plain_one_is_missing():
    found = read(job(), {"out_1": GOOD, "out_2": GOOD, "log": GOOD})
    assert not found.failed
    assert found.file_changes[OUT]["lfn"] == "out_1"
    assert [each.lfn for each in found.new_files] == ["out_2"]


def test_a_pattern_names_the_outputs():
    files = (file(OUT, r"regex|data\d+\.root"), *FILES[1:])
    found = read(job(*files), {"data1.root": GOOD, "data22.root": GOOD, "log": GOOD})
    assert not found.failed
    assert found.file_changes[OUT]["lfn"] == "data1.root"
    assert [each.lfn for each in found.new_files] == ["data22.root"]


def test_a_pattern_that_nothing_matches_may_be_allowed_to_miss():
    files = (file(OUT, r"regex|data\d+", dispatch_dblock_token="an"), *FILES[1:])
    assert read(job(*files), {"log": GOOD}).file_changes[OUT] == {"status": "nooutput"}


@pytest.mark.parametrize("pattern", [r"\.root$", r"(\d)+\.root", r"^data", r"[a-z]{4}\d{1,6}\.r(o){2,}t"])
def test_a_pattern_is_looked_for_anywhere_in_a_name(pattern):
    files = (file(OUT, f"regex|{pattern}"), *FILES[1:])
    assert read(job(*files), {"data1.root": GOOD, "log": GOOD}).file_changes[OUT]["lfn"] == "data1.root"


@pytest.mark.parametrize("pattern", [
    *("(", "b", "((" * 3000, "(a+)+$", "a*b*c*d*e", "(a|aa)+$", ".*a.*a.*a.*b", "[a-z]{1,1000}" * 70 + "b"),
    *("(?:(?:(?:x{50}){50}){50}){50}", "a{999999999}", "(?:a{2,}){ 50 ,60000}", "(?=.*a)" * 500 + "b"),
])  # fmt: skip
def test_a_pattern_that_is_no_good_or_could_take_for_ever_matches_nothing(pattern):
    """Everything else waits meanwhile, and there may be as many names as fit into ten megabytes."""
    files = (file(OUT, f"regex|{pattern}"), *FILES[1:])
    names = {"a" * (3900 + n) + "!": GOOD for n in range(50)}
    began = thread_time()
    assert read(job(*files), names | {"log": GOOD}).fatal
    assert thread_time() - began < 0.5


# Metadata


def test_events_and_guids_come_from_the_metadata():
    parts = [{"name": "out", "nentries": 40, "file_guid": "G"}, {"name": "x", "nentries": "?"}, 5, {}]
    metadata = {
        "files": {"output": [{"subFiles": parts}, 3, {"subFiles": None}]},
        "worker_node": {"site": "S", "host_name": "h"},
        "worker_node_gpus": [],
    }
    found = read(job(), {"out": GOOD, "log": GOOD}, metadata=metadata)
    assert found.n_events == {"out": 40}
    assert found.metadata_guids == {"out": "G"}
    assert found.worker_node == {"site": "S", "host_name": "h"}
    assert found.worker_node_gpus is None


@pytest.mark.parametrize(("label", "events"), [("managed", {"out": 12}), ("user", {})])
def test_without_metadata_the_number_of_a_managed_job_counts(label, events):
    assert read(job(prod_source_label=label, n_events=12), {"out": GOOD, "log": GOOD}).n_events == events


@pytest.mark.parametrize("text", ["", "NULL", "[1]", "{", '{"files": 1, "worker_node": 2}'])
def test_bad_metadata_does_no_harm(text):
    found = interpret(job(), "finished", json.dumps({"out": GOOD, "log": GOOD}), text)
    assert (found.failed, found.n_events, found.worker_node) == (False, {}, None)


def test_a_number_that_is_none_takes_nothing_else_from_the_metadata():
    """Payloads write their reports with Python's json, which knows NaN."""
    parts = [{"name": "out", "nentries": 40}, {"name": "log", "nentries": math.nan}]
    text = json.dumps({"files": {"output": [{"subFiles": parts}]}, "cpu": math.nan, "worker_node": {"site": "S"}})
    found = interpret(job(), "finished", json.dumps({"out": GOOD, "log": GOOD}), text)
    assert (found.n_events, found.worker_node) == ({"out": 40}, {"site": "S"})


def test_what_would_take_too_long_to_read_is_not_read(monkeypatch):
    """An owner may report on a job of theirs, and the server has other things to do."""
    monkeypatch.setattr(json_texts, "MOST_VALUES", 1000)
    many = json.dumps({"out": GOOD, "log": GOOD, "x": [[]] * 2000})
    found = interpret(job(), "finished", many, many)
    assert found.failed and found.n_events == {}
    assert not interpret(job(), "finished", json.dumps({"out": GOOD, "log": GOOD}), many).failed


def test_metadata_is_freed_of_what_no_column_holds():
    found = interpret(job(), "finished", "{}", '{"worker_node": {"site": "S\\u0000"}}')
    assert found.worker_node == {"site": "S"}


# Laws

REPORTS = st.dictionaries(
    st.sampled_from(["out", "log", "in", "out_1", "out_2", "stranger"]),
    st.sampled_from([GOOD, {"guid": "g"}, {}, None]),
)


@given(REPORTS, st.sampled_from(["finished", "failed"]))
def test_no_report_leaves_an_output_unknown_or_finishes_without_one(report, status):
    found = read(job(), report, status)
    for each in found.applied_to(job()).files:
        assert each.status in (("ready", "failed") if each.type != "input" else ("ready", "skipped"))
    if not found.failed:
        assert all(each.guid for each in found.applied_to(job()).files if each.type != "input")


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), lambda x: st.dictionaries(st.text(), x)))
def test_nothing_that_a_pilot_sends_raises(report):
    found = read(job(), report, metadata=report)
    assert found.failed


# Empty GUIDs


def test_an_empty_guid_takes_none_away():
    """panda-pilot 3.7.0.36 sends one for logs, which got theirs at submission."""
    found = job(file(OUT, "out"), file(LOG, "log", "log", guid="1111"))
    outcome = read(found, {"out": GOOD, "log": GOOD | {"guid": ""}})
    assert not outcome.failed
    assert [each.guid for each in outcome.applied_to(found).files] == ["g", "1111"]


def test_an_unannounced_output_does_not_inherit_a_guid():
    found = job(file(OUT, "out", guid="1111"))
    outcome = read(found, {"out": GOOD, "out._1": GOOD | {"guid": ""}})
    assert [each.guid for each in outcome.new_files] == [None]
