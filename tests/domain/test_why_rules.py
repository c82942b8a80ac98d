"""Why a job is where it is: each status, each filter, each error."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve, fields
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.asks import Asked, document_of, want_of
from pandatx.domain.error_words import errors_of
from pandatx.domain.fit import UNLIMITED, Want
from pandatx.domain.job import Job, JobFile
from pandatx.domain.labels import LabelFilter
from pandatx.domain.lifecycle import JobStatus
from pandatx.domain.queues import Queue
from pandatx.domain.why import Evidence, Report, Worker, explain, misfits, wanted

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MANAGED = LabelFilter(frozenset(("managed", "test")))
JOB = Job(
    panda_id=7, job_status="activated", prod_source_label="managed", computing_site="Q", gshare="Production",
    resource_type="SCORE", min_ram_count=2000, max_disk_count=500, max_walltime=3600, prod_user_name="alice",
    modification_time=NOW,
)  # fmt: skip
WANT = Want(labels=MANAGED)

labels = st.frozensets(st.sampled_from(["managed", "test", "user", "panda", "install"]), min_size=1)
limits = st.sampled_from([0, 1, 1999, 2000, 2001, 10**9])
wants = st.builds(
    Want,
    labels=st.builds(LabelFilter, labels, st.frozensets(st.sampled_from(["gangarobot", "simul"]))),
    memory=limits,
    disk=limits,
    walltime=limits,
    resource_type=st.sampled_from([None, "SCORE", "MCORE"]),
    user=st.sampled_from([None, "alice", "bob"]),
    task_id=st.sampled_from([None, 1, 2]),
    background=st.booleans(),
    ram_per_core=st.sampled_from([None, 1000.0, 2000.0, 2500.5]),
)


def asked(want: Want | None = WANT, **more) -> Asked:
    return Asked(**{"want": want, "asked": 5, "last": NOW, **more})


def reasons(**found) -> str:
    return "\n".join(explain(Evidence(**{"job": JOB, "now": NOW, "queue": Queue(name="Q"), **found})).reasons)


@given(wants, st.sampled_from([JOB, evolve(JOB, prod_source_label="user", jedi_task_id=1, processing_type="simul")]))
def test_no_filter_is_named_exactly_where_dispatch_would_give_the_job(want, job):
    assert (not misfits(want, job)) == want.fits(job)


@given(wants)
def test_a_want_comes_back_from_its_document(want):
    assert want_of(document_of(want)) == want


@pytest.mark.parametrize(
    ("name", "want", "words"),
    [
        ("label", Want(labels=LabelFilter(frozenset(("user",)))), "they asked for user, the job has label managed"),
        ("memory", evolve(WANT, memory=1999), "they had 1999 MB of memory, the job needs 2000"),
        ("disk", evolve(WANT, disk=100), "they had 100 MB of disk, the job needs 500"),
        ("walltime", evolve(WANT, walltime=60), "they had 60 s of walltime, the job needs 3600"),
        ("resource_type", evolve(WANT, resource_type="MCORE"), "they asked for MCORE, the job is SCORE"),
        ("user", evolve(WANT, user="bob"), "they asked for jobs of bob only"),
        ("task", evolve(WANT, task_id=9), "they asked for jobs of task 9 only"),
        ("background", evolve(WANT, background=True), "they asked for background jobs only"),
        ("memory_per_core", evolve(WANT, ram_per_core=1000.0), "only jobs below 1000 MB a core go"),
    ],
)
def test_each_filter_is_told_with_what_it_kept_out(name, want, words):
    found = explain(Evidence(job=JOB, now=NOW, queue=Queue(name="Q"), asked=[asked(want), asked()]))
    kept = {each.name: each.kept_out for each in found.filters}
    assert kept.pop(name) == 5
    assert set(kept.values()) == {0} and len(kept) == 8
    assert words in found.pilots[0].why_not[0]
    assert found.pilots[1].why_not == (
        "the job fits: it was activated after they had asked, or is held by somebody at this moment",
    )


def test_an_activated_job_that_nobody_asks_for_says_so():
    assert reasons() == "no pilot has asked for a job of queue Q within the last hour"
    assert "queue Q is not known to this server" in reasons(queue=None)
    assert "queue Q is offline" in reasons(queue=Queue(name="Q", status="offline"))
    assert "queue Q is test" in reasons(queue=Queue(name="Q", status="test"))


def test_an_activated_job_is_told_of_what_comes_before_it():
    told = reasons(asked=[asked(served=5)], ahead=3, ranks={"Express": 0, "Production": 1, "User": 2})
    assert told.splitlines() == [
        "5 of 5 requests of pilots within the last hour could have had the job",
        "3 jobs of the same share and class come before it, by priority and age",
        "its share Production comes after Express at present",
    ]
    assert "more than 1000 jobs" in reasons(asked=[asked(served=5)], ahead=1001)
    assert "has no rank" in reasons(asked=[asked(served=5)], ranks={"Express": 0})
    found = explain(Evidence(job=JOB, now=NOW, queue=Queue(name="Q"), asked=[asked(served=5)]))
    assert found.pilots[0].why_not == ("the job fits, other jobs came before it",)


def test_pilots_that_it_does_not_fit_or_that_were_refused_could_not_have_had_it():
    small = evolve(WANT, memory=100)
    assert "5 requests of pilots came within the last hour, and the job fits none" in reasons(asked=[asked(small)])
    told = explain(Evidence(job=JOB, now=NOW, asked=[asked(refused=5)], queue=Queue(name="Q")))
    assert told.pilots[0].why_not == ("they were refused: neither the pilot nor the production role",)
    assert "fits none" in "\n".join(told.reasons)
    assert explain(Evidence(job=JOB, now=NOW, asked=[asked(None)])).pilots[0].why_not[0].startswith("what they wanted")
    told = reasons(asked=[asked(small), asked(None, asked=3)])
    assert told == (
        "8 requests of pilots came within the last hour, and the job fits none of them;"
        " what 3 of them wanted was not kept"
    )


def test_a_job_whose_inputs_are_missing_names_them_and_their_datasets():
    files = tuple(JobFile(lfn=f"in{n}", type="input", status="pending", dispatch_dblock="d_dis1") for n in range(7))
    told = reasons(job=evolve(JOB, job_status="assigned", files=files), blocks={"d_dis1": "defined"})
    assert "7 inputs are not there yet: in0, in1, in2, in3, in4 and 2 more" in told
    assert "it waits for the datasets d_dis1 (defined); `pandatx dataset complete NAME`" in told
    there = tuple(evolve(each, status="ready") for each in files)
    assert "datasetManager activates it" in reasons(job=evolve(JOB, job_status="assigned", files=there))


@pytest.mark.parametrize(
    ("status", "more", "words"),
    [
        ("defined", {}, "the Setupper has not answered yet"),
        ("pending", {}, "the Setupper has not answered yet"),
        ("throttled", {}, "alice has too many jobs at work"),
        ("merging", {}, "wait for a job that merges them"),
        ("holding", {}, "its report is not stored yet"),
        ("running", {}, "its last heartbeat was at 2026-01-01 12:00:00 UTC"),
        ("starting", {}, "its last heartbeat was at 2026-01-01 12:00:00 UTC"),
        ("sent", {}, "a pilot on node1 was given it at 2026-01-01 11:00:00 UTC and has not reported yet"),
        ("transferring", {}, "1 outputs are on their way: out to CERN"),
        (
            "holding",
            {"report": Report(status="finished", since=NOW)},
            "its report (finished) of 2026-01-01 12:00:00 UTC",
        ),
        (
            "holding",
            {"report": Report(status="failed", since=NOW, locked_by="h-1", locked_at=NOW)},
            "which h-1 has had in hand since 2026-01-01 12:00:00 UTC",
        ),
        (
            "running",
            {"workers": [Worker(harvester_id="H", worker_id=3, status="failed", diag="evicted")]},
            "its worker 3 of H is failed: evicted",
        ),
    ],
)
def test_each_status_says_what_it_waits_for(status, more, words):
    out = JobFile(lfn="out", type="output", status="transferring", destination_se="CERN")
    job = evolve(JOB, job_status=status, files=(out,), modification_host="node1", start_time=NOW - timedelta(hours=1))
    assert words in reasons(job=job, **more)


def test_no_status_is_without_a_reason():
    for status in JobStatus:
        assert reasons(job=evolve(JOB, job_status=status)), status


def test_the_watcher_and_a_kill_are_announced():
    job = evolve(JOB, job_status="running")
    assert "the Watcher fails it at 2026-01-01 14:00:00 UTC" in reasons(job=job, silence=timedelta(hours=2))
    killed = evolve(job, command_to_pilot="tobekilled", task_buffer_error_diag="killed by bob")
    assert "it is to be killed (killed by bob): the pilot hears of it next" in reasons(job=killed)
    assert "the command 'debug' before it" in reasons(job=evolve(job, command_to_pilot="debug"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trans_exit_code": "65"}, "(trans 65, set by the pilot, from the payload)"),
        ({"pilot_error_code": 1099, "pilot_error_diag": "stage-in"}, "stage-in (pilot 1099, set by the pilot)"),
        ({"exe_error_code": 65}, "no text was given (exe 65, set by the pilot, from the transformation's report)"),
        ({"ddm_error_code": 200, "ddm_error_diag": "x"}, "could not be registered: x (ddm 200, set by the Adder)"),
        ({"ddm_error_code": 100}, "(ddm 100, set by the Setupper)"),
        ({"job_dispatcher_error_code": 100}, "no heartbeat came for too long (job_dispatcher 100, set by the Watcher)"),
        ({"job_dispatcher_error_code": 102}, "never answered (job_dispatcher 102, set by the Watcher)"),
        ({"sup_error_code": 2}, "(sup 2, set by the Watcher, by what Harvester said of the worker)"),
        ({"sup_error_code": 77, "sup_error_diag": "held"}, "held (sup 77, set by Harvester)"),
        ({"brokerage_error_code": 1}, "(brokerage 1, set by the brokerage)"),
        (
            {"task_buffer_error_code": 100, "task_buffer_error_diag": "killed by bob"},
            "the job was killed: killed by bob (task_buffer 100, set by bob)",
        ),
        ({"task_buffer_error_code": 103, "task_buffer_error_diag": "aborted by bob"}, "(task_buffer 103, set by bob)"),
        ({"task_buffer_error_code": 300}, "(task_buffer 300, set by the server, by what Harvester said of the worker)"),
    ],
)
def test_a_failed_job_says_in_words_what_it_failed_of_and_who_set_it(changes, words):
    told = reasons(job=evolve(JOB, job_status="failed", end_time=NOW, **changes))
    assert "it is failed since 2026-01-01 12:00:00 UTC" in told
    assert words in told


def test_a_job_that_failed_without_an_error_says_that_nobody_said_why():
    assert "nobody has said why" in reasons(job=evolve(JOB, job_status="failed", trans_exit_code="0"))
    assert "sub-status is toreassign" in reasons(job=evolve(JOB, job_status="closed", job_sub_status="toreassign"))


def test_every_error_of_a_job_has_words():
    codes = [each.name for each in fields(Job) if each.name.endswith("_error_code")]
    assert len(errors_of(evolve(JOB, trans_exit_code="1", **dict.fromkeys(codes, 999)))) == len(codes) + 1


def test_what_was_wanted_is_one_line():
    want = Want(
        labels=LabelFilter(frozenset(("managed",)), frozenset(("gangarobot",))), memory=2000, disk=UNLIMITED,
        walltime=60, resource_type="SCORE", user="bob", task_id=9, background=True, ram_per_core=1500.0,
    )  # fmt: skip
    assert wanted(asked(want)) == (
        "labels managed, or processing types gangarobot, memory 2000 MB, walltime 60 s, resource type SCORE, user bob, "
        "task id 9, background only, at most 1500 MB a core"
    )
    assert wanted(asked(None)) == "unknown"
