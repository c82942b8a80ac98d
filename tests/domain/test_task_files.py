"""What the ends and changes of jobs count in their tasks, as plain values (reference/lifecycle.md 1.8 A, 7.12)."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.job import Job, JobFile
from pandatx.domain.task_files import TaskFile, TaskJob, copies_of, keys_of, settle

INPUT = JobFile(row_id=1, lfn="in", type="input", dataset_id=2, file_id=3, attempt_nr=1)
OUTPUT = JobFile(row_id=2, lfn="out", type="output", status="ready", dataset_id=4, file_id=5, attempt_nr=0, fsize=9)
JOB = Job(panda_id=7, jedi_task_id=1, job_status="holding", locked_by="jedi", files=(INPUT, OUTPUT))
ROW = TaskFile(
    task_id=1,
    dataset_id=2,
    file_id=3,
    attempt_nr=1,
    max_attempt=3,
    failed_attempt=0,
    keep_track=1,
    panda_id=7,
    n_events=5,
)
MADE = TaskFile(
    task_id=1,
    dataset_id=4,
    file_id=5,
    dataset_type="output",
    master=False,
    attempt_nr=0,
    keep_track=1,
    panda_id=7,
    out_panda_id=7,
)
STATUSES = ("finished", "failed", "cancelled", "closed")


def settled(status, row=ROW, made=MADE, job=JOB, **about):
    after = evolve(job, job_status=status, **about.pop("changes", {}))
    return settle([TaskJob(before=job, after=after, **about)], {row.key: row, made.key: made})


def counted(found):
    return {key: {name: n for name, n in counter.items() if n} for key, counter in found.datasets.items()}


@pytest.mark.parametrize(
    ("status", "before", "after", "counters"),
    [
        ("finished", {}, ("finished", 2, 0, "finished"), {"nfilesfinished": 1, "neventsused": 5}),
        ("failed", {}, ("ready", 2, 1, "ready"), {"nfilesused": -1}),
        ("cancelled", {}, ("ready", 2, 0, "ready"), {"nfilesused": -1}),
        ("closed", {}, ("ready", 2, 0, "ready"), {"nfilesused": -1}),
        ("failed", {"max_attempt": 2}, ("ready", 2, 1, "failed"), {"nfilesfailed": 1}),
        ("closed", {"max_attempt": 2}, ("ready", 2, 0, "failed"), {"nfilesfailed": 1}),
        ("failed", {"max_failure": 1}, ("ready", 2, 1, "failed"), {"nfilesfailed": 1}),
        ("cancelled", {"max_failure": 1}, ("ready", 2, 0, "ready"), {"nfilesused": -1}),
        ("failed", {"max_failure": 2}, ("ready", 2, 1, "ready"), {"nfilesused": -1}),
        ("failed", {"failed_attempt": None}, ("ready", 2, 1, "ready"), {"nfilesused": -1}),
        ("failed", {"max_attempt": None}, ("ready", 2, 1, "ready"), {}),
        ("failed", {"status": "picked"}, ("ready", 2, 1, "ready"), {"nfilesused": -1}),
    ],
)
def test_an_input_is_finished_or_ready_with_one_attempt_more(status, before, after, counters):
    found = settled(status, evolve(ROW, **before))
    row = found.files[ROW.key]
    assert (row.status, row.attempt_nr, row.failed_attempt or 0, row.proc_status) == after
    assert counted(found).get((1, 2), {}) == counters


@pytest.mark.parametrize(
    "theirs",
    [
        {"panda_id": 8},
        {"panda_id": None},
        {"attempt_nr": 2},
        {"keep_track": None},
        {"keep_track": 0},
        *({"status": status} for status in ("ready", "finished", "cancelled", "lost", "missing", "notmerged")),
    ],
)
@pytest.mark.parametrize("status", [*STATUSES, "transferring"])
def test_an_input_of_another_job_or_attempt_is_left_alone(theirs, status):
    found = settled(status, evolve(ROW, **theirs))
    assert ROW.key not in found.files
    assert (1, 2) not in counted(found)


@given(st.sampled_from(STATUSES), st.integers(2, 4), st.sampled_from((None, 1, 2)), st.sampled_from(STATUSES))
def test_an_end_that_comes_twice_counts_once(first, max_attempt, max_failure, second):
    row = evolve(ROW, max_attempt=max_attempt, max_failure=max_failure)
    once = settled(first, row)
    twice = settled(second, once.files[ROW.key], once.files[MADE.key])
    assert (twice.files, counted(twice)) == ({}, {})


@pytest.mark.parametrize(
    ("job", "file", "row"),
    [
        ("finished", {}, ("finished", None, {"nfilesfinished": 1, "nevents": 4})),
        ("failed", {"status": "failed"}, ("failed", 1, {"nfilesfailed": 1})),
        ("cancelled", {"status": "failed"}, ("cancelled", 1, {"nfilesfailed": 1})),
        ("closed", {"status": "failed"}, ("cancelled", 1, {"nfilesfailed": 1})),
        ("finished", {"status": "nooutput"}, ("nooutput", 1, {})),
        ("failed", {"status": "nooutput"}, ("nooutput", 1, {})),
    ],
)
def test_an_output_gets_the_status_of_its_job(job, file, row):
    changed = evolve(JOB, files=(INPUT, evolve(OUTPUT, **file)))
    found = settled(job, job=changed, n_events={"out": 4})
    after = found.files[MADE.key]
    status, keep_track, counters = row
    assert (after.status, after.keep_track, counted(found).get((1, 4), {})) == (status, keep_track, counters)
    if status == "finished":
        assert (after.lfn, after.fsize, after.n_events) == ("out", 9, 4)


@pytest.mark.parametrize(
    ("changes", "done"),
    [
        ({}, {"jobs": 1, "events": 4}),
        ({"prod_source_label": "panda"}, None),
        ({"processing_type": "pmerge"}, {"jobs": 0, "events": 4}),
        ({"locked_by": None}, None),
    ],
)
def test_done_jobs_are_those_of_jedi_that_build_and_merge_nothing(changes, done):
    found = settled("finished", n_events={"out": 4}, changes=changes)
    assert {task: dict(counter) for task, counter in found.done.items()} == ({1: done} if done else {})
    assert settled("failed", changes=changes).done == {}


@pytest.mark.parametrize(
    ("old", "new", "hold", "proc_status"),
    [
        ("holding", "transferring", 1, "transferring"),
        ("transferring", "holding", -1, None),
        ("transferring", "transferring", 0, None),
        ("holding", "merging", 0, "merging"),
        ("sent", "running", 0, "running"),
    ],
)
def test_inputs_are_on_hold_while_their_job_is_transferred(old, new, hold, proc_status):
    found = settled(new, job=evolve(JOB, job_status=old))
    assert counted(found).get((1, 2), {}).get("nfilesonhold", 0) == hold
    assert (found.files[ROW.key].proc_status if ROW.key in found.files else None) == proc_status


@pytest.mark.parametrize("status", STATUSES)
def test_the_hold_ends_with_the_job(status):
    found = settled(status, job=evolve(JOB, job_status="transferring"))
    assert counted(found)[(1, 2)]["nfilesonhold"] == -1


def test_a_task_whose_rows_are_not_there_counts_nothing():
    found = settle([TaskJob(before=JOB, after=evolve(JOB, job_status="finished"))], {})
    assert (found.files, found.datasets, found.done) == ({}, {}, {})


def test_withdrawn_consumers_of_the_event_service_leave_their_file_to_others():
    assert settled("closed", job=evolve(JOB, event_service=1)).files == {}
    assert settled("failed", job=evolve(JOB, event_service=1)).files


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_rows_of_clones_name_the_one_that_counts(status):
    theirs = {"panda_id": 8, "out_panda_id": 8}
    clone = evolve(JOB, special_handling="sc:2")
    found = settled(status, evolve(ROW, **theirs), evolve(MADE, **theirs), clone)
    assert (found.files[ROW.key].panda_id, found.files[ROW.key].out_panda_id) == (7, 8)
    assert (found.files[MADE.key].panda_id, found.files[MADE.key].out_panda_id) == (7, 7)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize(("max_attempt", "attempt"), [(3, 2), (2, 0), (None, 2)])
def test_the_input_of_a_search_for_hyperparameters_outlasts_its_jobs_and_their_attempts(status, max_attempt, attempt):
    found = settled(status, evolve(ROW, max_attempt=max_attempt), job=evolve(JOB, special_handling="ho"))
    row = found.files[ROW.key]
    assert (row.status, row.attempt_nr, row.failed_attempt, row.proc_status) == ("ready", attempt, 0, "ready")
    assert counted(found).get((1, 2), {}) == ({"nfilesused": -1} if max_attempt else {})


@pytest.mark.parametrize(
    ("sub_status", "row_status"), [("fg_done", "finished"), ("fg_partial", "ready"), (None, "ready")]
)
def test_the_input_of_a_fine_grained_job_is_finished_with_its_last_event(sub_status, row_status):
    found = settled("finished", job=evolve(JOB, event_service=6, job_sub_status=sub_status))
    assert found.files[ROW.key].status == row_status


def test_libraries_and_files_without_a_task_are_not_asked_for():
    library = JobFile(lfn="a.lib.tgz", type="input", dataset_id=2, file_id=9)
    made = JobFile(lfn="a.lib.tgz", type="output", dataset_id=4, file_id=6)
    job = evolve(JOB, files=(library, made, INPUT, JobFile(lfn="x", type="input")))
    jobs = [TaskJob(before=job, after=job)]
    assert [key for key, _ in keys_of(jobs)] == [(1, 2, 3), (1, 4, 6)]


def test_rows_are_asked_for_in_the_order_of_their_locks():
    jobs = [TaskJob(before=job, after=job) for job in (JOB, evolve(JOB, jedi_task_id=0))]
    assert [key for key, _ in keys_of(jobs)] == [(0, 2, 3), (0, 4, 5), (1, 2, 3), (1, 4, 5)]


def test_a_file_beside_an_output_begins_as_its_copy():
    after = evolve(JOB, files=(*JOB.files, evolve(OUTPUT, row_id=0, file_id=99, lfn="out_2")))
    (copy,) = copies_of([TaskJob(before=JOB, after=after)])
    assert (copy.panda_id, copy.key, copy.original, copy.lfn) == (7, (1, 4, 99), 5, "out_2")
