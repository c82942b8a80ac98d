"""Activator, Closer and Finisher: reference/lifecycle.md 2.6, 2.9, 2.10."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from pandatx.domain.closing import (
    BlockAction,
    BlockVerdict,
    activate,
    activate_block,
    close_block,
    finish,
    is_top_level,
)
from pandatx.domain.job import Job, JobFile
from pandatx.domain.lifecycle import may_change
from pandatx.domain.report import interpret

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def job(*files: JobFile, **values: Any) -> Job:
    return Job(panda_id=7, files=files, **values)


def output(lfn: str = "out", **values: Any) -> JobFile:
    return JobFile(**({"row_id": len(lfn), "lfn": lfn, "type": "output"} | values))


# Activator


@pytest.mark.parametrize("status", ["completed", "deleting", "deleted"])
def test_a_block_that_is_done_with_is_activated_only_by_force(status):
    assert not activate_block(status, "dispatch").runs
    assert activate_block(status, "dispatch", enforce=True).runs


@pytest.mark.parametrize(("kind", "status"), [("dispatch", "completed"), ("output", None)])
def test_a_dispatch_block_is_completed_and_a_library_is_not(kind, status):
    found = activate_block("defined", kind)
    assert (found.runs, found.status) == (True, status)


def test_a_job_whose_inputs_are_there_is_activated():
    files = [JobFile(lfn="a", type="input", status=status) for status in ("ready", "cached")]
    found = activate(job(*files, output(), job_status="defined"), NOW)
    assert found.activates
    assert found.changes == {"modification_time": NOW, "state_change_time": NOW}


def test_coming_from_assigned_keeps_the_time_of_the_change():
    assert activate(job(job_status="assigned"), NOW).changes == {"modification_time": NOW}


@pytest.mark.parametrize("status", ["unknown", "pending", "missing"])
def test_a_job_waits_for_its_inputs(status):
    found = activate(job(JobFile(lfn="a", type="input", status=status), job_status="assigned"), NOW)
    assert (found.activates, found.reason) == (False, "1 inputs are not there, among them a")


@pytest.mark.parametrize("status", ["pending", "waiting", "activated", "running", "strange"])
def test_only_defined_and_assigned_jobs_are_activated(status):
    assert not activate(job(job_status=status), NOW).activates


def test_a_job_that_is_being_killed_is_not_activated():
    assert not activate(job(job_status="defined", command_to_pilot="tobekilled"), NOW).activates


def test_what_is_activated_may_be():
    assert may_change("defined", "activated")
    assert may_change("assigned", "activated")


# Closer


def close(name: str = "user.a.out", status: str | None = "defined", n_unknown: int = 0, **values: Any) -> BlockVerdict:
    files = values.pop("files", (output(),))
    return close_block(job(*files, **values), name, status, n_unknown)


@pytest.mark.parametrize("name", ["mc.x_tid123_00", "mc.x_tid00123_00_01", "hc_test.top"])
def test_datasets_of_tasks_and_tests_are_skipped(name):
    assert close(name).action is BlockAction.SKIP


@pytest.mark.parametrize("name", ["hc_test.top_sub0001", "mc.x_tid123_00_sub0012"])
def test_their_sub_blocks_are_not(name):
    assert close(name).action is BlockAction.CLOSE


@pytest.mark.parametrize("status", ["cleanup", "tobeclosed", "completed", "deleted"])
def test_a_block_that_is_closed_is_skipped(status):
    assert close(status=status, n_unknown=3).action is BlockAction.SKIP


def test_an_unknown_dataset_and_unknown_files_are_waited_for():
    assert close(status=None).action is BlockAction.WAIT
    assert close(n_unknown=1).action is BlockAction.WAIT


@pytest.mark.parametrize(
    ("name", "values", "status"),
    [
        ("user.a.out", {"destination_se": "local", "prod_source_label": "user"}, "closed"),
        ("user.a.out", {"destination_se": "local", "prod_source_label": "panda"}, "closed"),
        ("user.a.out", {"destination_se": "local", "prod_source_label": "managed"}, "tobeclosed"),
        ("user.a.out", {"locked_by": "jedi"}, "closed"),
        ("user.a.out_sub0001", {"locked_by": "jedi"}, "tobeclosed"),
        ("user.a.out_sub0001", {"files": (output(destination_dblock_token="TOMERGE"),)}, "doing"),
        ("user.a.out", {}, "tobeclosed"),
    ],
)
def test_the_status_of_a_closed_block(name, values, status):
    assert close(name, **values).status == status


@pytest.mark.parametrize(
    ("name", "status", "activates"),
    [("user.lib", "finished", True), ("user.lib_sub0001", "finished", False), ("user.lib", "failed", False)],
)
def test_the_readers_of_a_whole_dataset_of_a_finished_job_are_activated(name, status, activates):
    assert close(name, job_status=status).activates is activates


def test_a_sub_block_is_not_top_level():
    assert is_top_level("user.a_sub")
    assert not is_top_level("user.a_sub0012")


# Finisher


def test_a_transferring_job_whose_outputs_arrived_is_reported_finished():
    files = (
        output("a", status="ready", guid="g1", fsize=5, checksum="ad:0000abcd"),
        output("bb", status="nooutput"),
        JobFile(lfn="in", type="input", status="ready"),
        output("log", type="log", status="ready", guid="g2", fsize=6, checksum="md5:" + "0" * 32),
    )
    found = finish(job(*files, job_status="transferring"))
    assert found is not None
    assert found.status == "finished"
    assert orjson.loads(found.data) == {
        "a": {"guid": "g1", "fsize": 5, "full_lfn": "a", "adler32": "0000abcd"},
        "log": {"guid": "g2", "fsize": 6, "full_lfn": "log", "md5sum": "0" * 32},
    }


def test_the_adder_can_read_it():
    files = (output("a", status="ready", guid="g1", fsize=5, checksum="ad:0000abcd"), output("bb", status="nooutput"))
    transferring = job(*files, job_status="transferring")
    report = finish(transferring)
    assert report is not None
    outcome = interpret(transferring, report.status, report.data)
    assert (outcome.failed, [each.status for each in outcome.applied_to(transferring).files]) == (
        False,
        ["ready", "nooutput"],
    )


def test_one_failed_output_fails_the_job():
    found = finish(job(output("a", status="failed"), output("bb", status="ready"), job_status="transferring"))
    assert found is not None
    assert found.status == "failed"


@pytest.mark.parametrize("status", ["unknown", "transferring", "merging"])
def test_a_job_waits_for_its_last_output(status):
    assert finish(job(output("a", status="ready"), output("bb", status=status), job_status="transferring")) is None


def test_only_transferring_jobs_are_finished():
    assert finish(job(output("a", status="ready"), job_status="holding")) is None
