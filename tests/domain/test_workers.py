"""What becomes of a worker and of its jobs, values in, values out; what Harvesters count and operators wish."""

from datetime import UTC, datetime, timedelta

import pytest

from pandatx.domain.caller import Caller
from pandatx.domain.harvester_requests import MOST_COUNTS, SweepRequest, WorkerReport, counts, expiry
from pandatx.domain.workers import (
    FINAL,
    Effect,
    Stored,
    Worker,
    WorkersJob,
    effect,
    may_concern_jobs,
    may_speak_for,
    merged,
    together,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = Stored(worker_id=1, last_update=NOW - timedelta(hours=2, minutes=59), status="finished")
JOB = WorkersJob(
    panda_id=5, status="running", attempt_nr=1, label="user", owner="alice", modification_time=NOW - timedelta(hours=1)
)


def report(**values) -> WorkerReport:
    return WorkerReport(worker_id=1, **values)


def worker(status="failed", error_code=0, diag="it broke", **values) -> Worker:
    return Worker(report=report(**values), status=status, error_code=error_code, diag=diag)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_worker_that_has_ended_stays_so_for_three_hours(status):
    stored = Stored(worker_id=1, last_update=ENDED.last_update, status=status)
    assert merged(report(status="running"), stored, NOW).status == status
    assert merged(report(status="running"), stored, NOW + timedelta(minutes=1)).status == "running"


def test_what_a_report_leaves_out_stays_as_it_was():
    stored = Stored(worker_id=1, last_update=NOW, status="running", error_code=7, diag="d")
    found = merged(report(), stored, NOW)
    assert (found.status, found.error_code, found.diag, found.was) == ("running", 7, "d", NOW)
    found = merged(report(error_code=0, diag_message="e"), stored, NOW)
    assert (found.error_code, found.diag) == (0, "e")


def test_a_new_worker_needs_a_status():
    assert merged(report(), None, NOW) is None
    found = merged(report(status="submitted", error_code=3, diag_message="d"), None, NOW)
    assert (found.status, found.error_code, found.diag, found.was) == ("submitted", 3, "d", None)


def test_several_reports_on_a_worker_are_one_and_its_end_stays():
    first = report(status="running", node_id="n", pandaid_list=(5,))
    found = together([first, report(status="finished"), report(status="idle", batch_id="b")])
    assert found == {1: report(status="finished", node_id="n", batch_id="b", pandaid_list=(5,))}


@pytest.mark.parametrize(
    ("values", "concerned"),
    [
        ({"status": "running"}, False),
        ({"status": "finished"}, False),
        ({"status": "finished", "sync_level": 0}, False),
        ({"status": "finished", "sync_level": 1}, True),
        ({"status": "running", "sync_level": 1}, False),
        ({"status": "running", "error_code": 3}, True),
        ({"status": "running", "error_code": 0}, False),
    ],
)
def test_only_an_end_in_step_or_an_error_concerns_jobs(values, concerned):
    assert may_concern_jobs(report(**values)) is concerned


@pytest.mark.parametrize("status", ["running", "starting"])
def test_a_job_in_step_with_its_worker_ends_with_it(status):
    job = WorkersJob(
        panda_id=5, status=status, attempt_nr=1, label="user", owner=None, modification_time=NOW - timedelta(days=31)
    )
    changes = {
        "task_buffer_error_code": 300,
        "task_buffer_error_diag": f"the worker was failed while the job was {status}: it broke",
    }
    started = {"start_time": None} if status == "starting" else {}
    assert effect(worker(sync_level=1), job, NOW) == Effect(changes=changes | started, fails=True)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"sync_level": 1}, "holding"),
        ({"sync_level": 1}, "transferring"),
        ({"sync_level": 1}, "sent"),
        ({"sync_level": 1, "status": "running"}, "running"),
        ({"sync_level": 0}, "running"),
        ({}, "running"),
        ({"error_code": 3}, "holding"),
    ],
)
def test_other_jobs_go_on(values, status):
    job = WorkersJob(panda_id=5, status=status, attempt_nr=1, label=None, owner=None, modification_time=NOW)
    assert effect(worker(**values), job, NOW) is None


def test_an_error_of_a_worker_is_noted_at_its_job():
    found = effect(worker("running", 3, "x" * 400), JOB, NOW)
    assert found == Effect(
        changes={"sup_error_code": 3, "sup_error_diag": f"of the worker: {'x' * 235}", "state_change_time": NOW}
    )
    assert len(found.changes["sup_error_diag"]) == 250


def test_an_error_is_not_noted_at_a_job_of_a_month_ago():
    job = WorkersJob(
        panda_id=5, status="running", attempt_nr=1, label=None, owner=None, modification_time=NOW - timedelta(days=30)
    )
    assert effect(worker("running", 3), job, NOW) is None


def test_for_a_harvester_speaks_its_owner_or_who_has_a_role():
    user = Caller(dn="/CN=a", name="a")
    assert not may_speak_for(user, None)
    assert not may_speak_for(user, "b")
    assert may_speak_for(user, "a")
    assert may_speak_for(Caller(dn="/CN=p", name="p", pilot=True), "b")


def test_counts_are_flat_and_without_undefined_resource_types():
    said = {"user": {"SCORE": {"running": 1, "to_submit": None}, "Undefined": {"running": 9}}, "managed": {}}
    assert counts(said) == [("user", "SCORE", "running", 1), ("user", "SCORE", "to_submit", 0)]
    assert counts({"null": {"MCORE": {"running": "3", "ready": 2.0}}}) == [
        ("null", "MCORE", "running", 3),
        ("null", "MCORE", "ready", 2),
    ]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"user": 1}, "by resource type"),
        ({"user": {"SCORE": [1]}}, "by status"),
        ({"user": {"SCORE": {"running": []}}}, "in numbers"),
        ({"user": {"SCORE": {"running": "x"}}}, "in numbers"),
        ({"user": {"SCORE": {"running": float("inf")}}}, "in numbers"),
        ({"user": {"SCORE": {"running": -1}}}, "more workers"),
        ({"user": {"SCORE": {"running": 2**31}}}, "more workers"),
        ({"u" * 53: {}}, "longer than 52"),
        ({"user": {"s\0": {}}}, "longer than 56"),
    ],
)
def test_what_are_no_counts_is_told(said, why):
    with pytest.raises(ValueError, match=why):
        counts(said)


@pytest.mark.parametrize(
    ("period", "until"),
    [
        (None, None),
        ("0", NOW),
        (" 7 ", NOW + timedelta(days=7)),
        ("2026-02-01", datetime(2026, 2, 1, tzinfo=UTC)),
        ("2026-02-01 12:00:00", datetime(2026, 2, 1, 12, tzinfo=UTC)),
        ("2026-02-01T12:00:00+02:00", datetime(2026, 2, 1, 10, tzinfo=UTC)),
    ],
)
def test_a_period_is_days_or_a_date(period, until):
    assert expiry(period, NOW) == until


@pytest.mark.parametrize("period", ["soon", "99999999999", "36501", "-1", "", "0001-01-01T00:00:00+23:00"])
def test_a_period_that_is_none_is_told(period):
    with pytest.raises(ValueError, match=r"days"):
        expiry(period, NOW)


def test_the_word_all_is_no_list_and_older_clients_quote():
    request = SweepRequest(
        panda_queue='"Q"', status_list=('"ALL"',), ce_list=("ALL",), submission_host_list=("ALL", "h")
    )
    assert request.queue == "Q"
    assert (request.statuses, request.computing_elements, request.submission_hosts) == ("ALL", "ALL", ["ALL", "h"])


class Read(dict):
    """An object that knows how many of its members have been looked at."""

    seen = 0

    def items(self):
        for item in super().items():
            self.seen += 1
            yield item


@pytest.mark.parametrize("within", [{}, {"running": 1}])
def test_counts_of_very_many_kinds_are_not_read_to_their_end(within):
    many = Read({f"r{n}": within for n in range(3 * MOST_COUNTS)})
    with pytest.raises(ValueError, match="has more than 5000 numbers"):
        counts({"user": many})
    assert many.seen <= MOST_COUNTS
    assert len(counts({"user": {"SCORE": {f"s{n}": n for n in range(MOST_COUNTS - 2)}}})) == MOST_COUNTS - 2
