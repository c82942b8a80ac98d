"""Event ranges: what pilots say of them, and what becomes of those of jobs that have ended."""

import json

import pytest
from attrs import evolve

from pandatx.domain.event_leases import Leaving, lease_of
from pandatx.domain.event_requests import MOST_JOBS, RangeUpdates, pairs_of, parsed
from pandatx.domain.events import (
    MOST,
    EventJob,
    RangeId,
    RangeStatus,
    RangeUpdate,
    ZipFile,
    ids_of,
    judge,
    read_updates,
    status_name,
)
from pandatx.domain.job import Job

ID = "7-50-3-1-5"
JOB = EventJob(panda_id=50, job_status="running", jobset_id=9, jedi_task_id=7, event_service=1)
ENDED = Job(panda_id=50, jedi_task_id=7, jobset_id=9, event_service=1, job_status="finished")


def ended(status="finished", name=ID, **values):
    return {"eventRangeID": name, "eventStatus": status, **values}


def test_the_id_of_a_range_reads_as_it_is_written():
    assert RangeId.parse(ID) == RangeId(7, 50, 3, 1, 5)
    assert str(RangeId.parse(ID)) == ID


@pytest.mark.parametrize(
    "text", ["", "7-50-3-1", "7-50-3-1-5-6", "7-50-3-1-x", "7-50-3-1--5", "7-50-3-1-99999", f"{2**63}-1-1-1-1",
             None, 5, "７-50-3-1-5", "7-50-3-1-5\n", ["7-50-3-1-5"]],
)  # fmt: skip
def test_what_is_no_id_of_a_range_is_none(text):
    assert RangeId.parse(text) is None


@pytest.mark.parametrize(
    ("said", "status", "fatal"),
    [("finished", RangeStatus.FINISHED, False), ("failed", RangeStatus.FAILED, False),
     ("fatal", RangeStatus.FAILED, True)],
)  # fmt: skip
def test_ends_are_read(said, status, fatal):
    values = {"objstoreID": "5", "errorCode": 3, "errorDiag": "x" * 600, "pathConvention": 2}
    assert read_updates([ended(said, **values)]) == [
        RangeUpdate(
            id=RangeId(7, 50, 3, 1, 5), status=status, fatal=fatal, objstore_id=5, error_code=3,
            error_diag="x" * 500, path_convention=2,
        )
    ]  # fmt: skip


@pytest.mark.parametrize("said", ["running", "transferring"])
def test_what_is_on_its_way_is_not_stored(said):
    assert read_updates([ended(said)]) == [None]


@pytest.mark.parametrize("each", [None, [], "x", {}, ended("odd"), ended(None), ended(name="x"), {"eventRangeID": ID}])
def test_what_cannot_be_read_is_false_and_harms_no_other(each):
    assert [type(one) for one in read_updates([ended(), each])] == [RangeUpdate, bool]


@pytest.mark.parametrize("value", ["x", 2**80, float("nan"), float("inf"), [], {}, None])
def test_a_number_that_no_column_takes_is_left_out(value):
    (read,) = read_updates([ended(objstoreID=value, errorCode=value, pathConvention=value)])
    assert (read.objstore_id, read.error_code, read.path_convention) == (None, None, None)


def test_chunks_carry_the_file_that_their_ranges_were_packed_into():
    zipped = {"lfn": "z.zip", "objstoreID": 5, "adler32": "ab", "fsize": "7", "numEvents": 3, "pathConvention": 1000}
    second = ended(name="7-50-3-2-5")
    read = read_updates([{"eventRanges": [ended(), second], "zipFile": zipped}, ended(name="7-50-3-3-5")])
    one = ZipFile(lfn="z.zip", fsize=7, checksum="ad:ab", n_events="3", destination="5/1000")
    assert [each.zip for each in read] == [one, one, None]
    assert read_updates([{"eventRanges": [ended()], "zipFile": {"objstoreID": 5}}])[0].zip is None
    assert read_updates([{"eventRanges": [ended()], "zipFile": {"lfn": "z"}}])[0].zip == ZipFile(lfn="z")


@pytest.mark.parametrize("value", ["x", {}, None, 5])
def test_an_update_is_a_list(value):
    with pytest.raises(ValueError, match="is not a list of event ranges"):
        read_updates(value)


def test_of_more_ranges_than_one_update_may_have_nothing_is_said():
    read = read_updates([ended(name="x")] * (MOST + 2))
    assert (len(read), read[MOST - 1], read[MOST:]) == (MOST + 2, False, [None, None])


def test_an_update_may_be_a_text():
    assert RangeUpdates(event_ranges=json.dumps([ended()])).read() == RangeUpdates(event_ranges=[ended()]).read()
    assert RangeUpdates(event_ranges='[{"eventRangeID": "7-50-3-1-5", "eventStatus": "failed", "x": NaN}]').read()
    with pytest.raises(ValueError, match="is not JSON"):
        RangeUpdates(event_ranges="[").read()


def test_long_updates_are_large():
    assert not RangeUpdates(event_ranges=[ended()]).large
    assert not RangeUpdates(event_ranges=5).large
    assert RangeUpdates(event_ranges=[1] * 5000).large
    assert RangeUpdates(event_ranges="x" * 500_000).large


def test_so_are_few_long_chunks():
    assert RangeUpdates(event_ranges=[{"eventRanges": [ended()] * 600}] * 2).large
    assert not RangeUpdates(event_ranges=[{"eventRanges": [ended()] * 400}] * 2).large


def test_an_update_is_judged_by_the_jobs_that_it_speaks_of():
    read = read_updates([ended(), ended("running"), ended(name="7-51-3-1-5"), ended("odd"), ended(name="7-52-3-1-5")])
    jobs = {50: JOB, 51: evolve(JOB, panda_id=51, job_status="holding", command_to_pilot="tobekilled")}
    judged = judge(read, jobs, early=False)
    assert judged.returns == [True, None, False, False, False]
    assert judged.commands == {50: None, 51: "tobekilled", 52: "tobekilled"}
    assert [each.id.job_id for each in judged.accepted] == [50]
    assert judged.counted == {50}
    assert ids_of(read) == [(7, 50), (7, 51), (7, 52)]


def test_a_range_that_is_named_twice_counts_once_and_the_first_time():
    judged = judge(read_updates([ended("failed"), ended(), ended("fatal")]), {50: JOB}, early=False)
    assert judged.returns == [True, True, True]
    assert [each.status for each in judged.accepted] == [RangeStatus.FAILED]
    assert judged.counted == frozenset()


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [(None, 0, None), ("", 122, None), ("tobekilled", 0, "tobekilled"), ("tobekilled", 122, "softkill"),
     ("ls -l", 0, "ls -l"), (None, 122, None)],
)  # fmt: skip
def test_what_pilots_are_told(command, code, told):
    assert evolve(JOB, command_to_pilot=command, sup_error_code=code).command == told


@pytest.mark.parametrize("status", ["sent", "running", "starting", "transferring", "holding", "activated", "merging"])
def test_which_jobs_may_report_and_take(status):
    job = evolve(JOB, job_status=status)
    assert job.may_report(early=False) is (status in ("sent", "running", "starting", "transferring"))
    assert job.may_report(early=True) is (status in ("sent", "running", "starting", "transferring", "activated"))
    assert job.may_take(7) is job.may_take(None) is (status in ("sent", "running", "starting"))
    assert not job.may_take(8)
    assert not evolve(job, command_to_pilot="tobekilled").may_take(7)


def test_the_wire_has_names_for_statuses():
    assert [status_name(n) for n in range(11)] == [
        "ready", "sent", "running", "finished", "cancelled", "discarded", "done", "failed", "fatal", "merged",
        "corrupted",
    ]  # fmt: skip
    assert (status_name(98), status_name(99), status_name(50)) == ("reserved_fail", "reserved_get", "unknown 50")


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        ({}, Leaving.CONSUMER),
        ({"job_status": "failed"}, Leaving.CONSUMER),
        ({"job_status": "failed", "event_service": 5}, Leaving.CONSUMER),
        ({"job_status": "cancelled"}, Leaving.WITHDRAWN),
        ({"job_status": "closed"}, Leaving.WITHDRAWN),
        ({"event_service": 4, "job_status": "cancelled"}, Leaving.JUMBO),
        ({"event_service": 6}, Leaving.FINE_GRAINED),
        ({"event_service": None, "special_handling": "ho,x"}, Leaving.SAMPLES),
    ],
)
def test_jobs_leave_their_ranges_by_their_kind_and_end(changes, how):
    job = evolve(ENDED, **changes)
    assert lease_of(job, job.job_status).how is how


@pytest.mark.parametrize(
    "changes", [{"event_service": None}, {"event_service": 0}, {"event_service": 2}, {"jedi_task_id": None},
                {"event_service": 3, "special_handling": "sc:1"}],
)  # fmt: skip
def test_other_jobs_and_clones_leave_none(changes):
    assert lease_of(evolve(ENDED, **changes), "finished") is None


def test_tags_decide_on_attempts_and_what_is_kept():
    plain = lease_of(ENDED, "finished")
    tagged = lease_of(evolve(ENDED, special_handling="eventservice,df,ap,de"), "finished")
    assert (plain.counts, plain.partial, plain.keeps) == (True, False, False)
    assert (tagged.counts, tagged.partial, tagged.keeps) == (False, True, True)


PAIRS = [(1, 2), (3, 4)]


@pytest.mark.parametrize(
    "value",
    [
        [{"task_id": 1, "panda_id": 2}, {"task_id": 3, "panda_id": 4}],
        '[{"task_id": 1, "panda_id": 2}, {"task_id": 3, "job_id": 4}]',
        ["{'task_id': 1, 'panda_id': 2}", "{'task_id': 3, 'panda_id': 4}"],
        ['{"task_id": 1, "panda_id": 2}', '{"task_id": "3", "panda_id": "4"}'],
        ["[{'task_id': 1, 'panda_id': 2}, {'task_id': 3, 'panda_id': 4}]"],
        [{"task_id": 1, "panda_id": 2}, {"task_id": 3, "panda_id": 4}, {"task_id": 1, "panda_id": 2}],
    ],
)
def test_jobs_are_named_in_every_form_that_clients_send(value):
    assert pairs_of(value) == PAIRS


@pytest.mark.parametrize(
    "value", ["", "x", "[1]", 5, None, {"task_id": 1}, "{'task_id': 1}", "[" * 100_000, ["{'a': 1"],
              {"task_id": 1, "panda_id": True}, {"task_id": 2**70, "panda_id": 1}, "9" * 10_000,
              {"task_id": "9" * 10_000, "panda_id": 1}, {"task_id": 1.5, "panda_id": 1}],
)  # fmt: skip
def test_what_names_no_jobs_is_refused(value):
    with pytest.raises(ValueError, match=r"is not JSON|must be objects"):
        pairs_of(value)


def test_too_many_jobs_are_refused():
    with pytest.raises(ValueError, match="more than 1000 jobs"):
        pairs_of([{"task_id": 1, "panda_id": n} for n in range(MOST_JOBS + 1)])


def test_json_with_numbers_that_are_none_is_read():
    assert parsed('{"a": Infinity}') == {"a": float("inf")}


def test_halves_of_surrogate_pairs_which_no_column_takes_are_replaced():
    assert parsed('[{"errorDiag": "a\\ud800b"}]') == [{"errorDiag": "a?b"}]
