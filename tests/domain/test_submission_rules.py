"""What becomes of jobs that are submitted."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain import submission
from pandatx.domain.caller import Caller
from pandatx.domain.columns import FILE, JOB, Text
from pandatx.domain.job import Job, JobFile
from pandatx.domain.queues import Queue
from pandatx.domain.shares import ResourceTypeRow, ShareRow, tree_of
from pandatx.domain.submission import (
    Placement,
    check,
    ids_needed,
    needs_user_counter,
    next_user_ids,
    prepare,
)
from pandatx.errors import BadRequest, NotPermitted, PandaError, UnknownQueue

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USER = Caller(dn="/C=DE/CN=Jo Doe", name="Jo Doe", how="x509", fqans=("/vo/de/Role=NULL",), working_groups=("gr",))
PRODUCTION = evolve(USER, production=True)
OUTPUT = JobFile(lfn="out.$JEDITASKID.$JOBSETID.$PANDAID", type="output", dataset="ds")
SENT = Job(prod_source_label="user", computing_site="LOCAL", job_parameters="-p 1", files=(OUTPUT,))
QUEUES = {"LOCAL": Queue(name="LOCAL", type="unified"), "PROD": Queue(name="PROD", type="production")}


def stored(*jobs: Job, caller: Caller = USER, **changes) -> tuple[Job, ...]:
    return prepare(jobs, placement(caller, **changes), NOW)


def placement(caller: Caller = USER, **changes) -> Placement:
    facts = {
        "caller": caller,
        "host": "laptop",
        "node": "server",
        "queues": QUEUES,
        "shares": tree_of([ShareRow(name="Users", value=1, prodsourcelabel="user")]),
        "resource_types": (ResourceTypeRow(name="SCORE", max_core=1),),
        "panda_ids": count(700),
        "row_ids": count(40),
        "user_ids": next_user_ids(None, None, 8),
    }
    return Placement(**{**facts, **changes})


def test_the_server_sets_what_is_its_own_whatever_was_sent():
    sent = evolve(
        SENT,
        panda_id=1,
        job_status="finished",
        creation_time=datetime(1999, 1, 1, tzinfo=UTC),
        creation_host="elsewhere",
        prod_user_id="/CN=Boss",
        prod_user_name="Boss",
        current_priority=9999,
        start_time=NOW,
        command_to_pilot="tobekilled",
        pilot_error_code=5,
        locked_by="jedi",
        max_rss=1,
        hs06=3,
    )
    (job,) = stored(sent)
    assert (job.panda_id, job.job_status, job.creation_host, job.modification_host) == (
        700, "defined", "laptop", "server",
    )  # fmt: skip
    assert {job.creation_time, job.modification_time, job.state_change_time, job.prod_db_update_time} == {NOW}
    assert (job.prod_user_id, job.prod_user_name, job.vo, job.country_group) == (USER.dn, "Jo Doe", "vo", "de")
    assert (job.current_priority, job.job_label, job.relocation_flag) == (1000, "user", 1)
    assert (job.gshare, job.resource_type) == ("Users", "SCORE")
    assert (job.start_time, job.command_to_pilot, job.pilot_error_code) == (None, None, 0)
    assert (job.locked_by, job.max_rss, job.hs06) == (None, None, None)


@pytest.mark.parametrize("queue", [None, "", "NOWHERE"])
def test_one_job_without_a_known_queue_makes_the_whole_submission_refused_and_is_named(queue):
    with pytest.raises(UnknownQueue) as refusal:
        stored(SENT, evolve(SENT, computing_site=queue))
    assert refusal.value.field == "jobs[1].computingSite"


@pytest.mark.parametrize("label", ["managed", "test", "ptest", "install", "rc_test"])
def test_labels_other_than_user_and_panda_need_the_production_role(label):
    with pytest.raises(NotPermitted, match=r"jobs\[0\]"):
        stored(evolve(SENT, prod_source_label=label))
    assert stored(evolve(SENT, prod_source_label=label), caller=PRODUCTION)[0].prod_source_label == label


def test_a_job_without_a_label_is_refused():
    with pytest.raises(BadRequest, match="prodSourceLabel"):
        stored(evolve(SENT, prod_source_label=None), caller=PRODUCTION)


def test_what_only_the_production_role_may_ask_for_is_not_given_to_a_user():
    asked = evolve(
        SENT,
        assigned_priority=5000,
        gshare="Production",
        working_group="other",
        special_handling="ej,express,sj, dm,hc:x",
        event_service=2,
    )
    (user,) = stored(asked)
    assert (user.assigned_priority, user.current_priority, user.gshare) == (1000, 1000, "Users")
    assert (user.working_group, user.special_handling, user.event_service) == (None, "ej,dm", None)
    (boss,) = stored(asked, caller=PRODUCTION)
    assert (boss.assigned_priority, boss.gshare, boss.working_group) == (5000, "Production", "other")
    assert boss.special_handling == asked.special_handling and boss.event_service == 2


def test_a_working_group_that_the_caller_has_is_kept():
    assert stored(evolve(SENT, working_group="gr"))[0].working_group == "gr"


def test_a_user_may_name_no_task_but_their_own():
    asked = evolve(SENT, jedi_task_id=55)
    with pytest.raises(NotPermitted, match="jediTaskID"):
        stored(asked)
    (job,) = stored(asked, tasks=frozenset({55}))
    assert job.jedi_task_id == 55 and job.files[0].jedi_task_id == 55


def test_an_invalid_job_label_is_refused_and_the_queue_gives_a_missing_one():
    with pytest.raises(BadRequest, match="job_label=x is not valid"):
        stored(evolve(SENT, job_label="x"))
    assert stored(evolve(SENT, computing_site="PROD"))[0].job_label == "managed"
    assert stored(evolve(SENT, computing_site="PROD", job_label="user"))[0].job_label == "user"


def test_placeholders_of_ids_are_replaced():
    sent = evolve(SENT, jedi_task_id=55, job_name="x.$ORIGINPANDAID", job_parameters="$JOBSETID $JEDITASKID $PANDAID")
    facts = {"panda_ids": count(42), "user_ids": next_user_ids(None, -1, 8), "tasks": frozenset({55})}
    (job,) = stored(sent, **facts)
    assert job.jobset_id == 9 and job.job_definition_id == 10
    assert job.files[0].lfn == "out.55.000009.00042"
    assert job.job_parameters == "000009 55 $PANDAID"
    assert job.job_name == "x.42"


def test_in_managed_jobs_only_the_panda_id_is_replaced():
    sent = evolve(SENT, prod_source_label="managed", job_parameters="$JOBSETID", jedi_task_id=5)
    (job,) = stored(sent, caller=PRODUCTION, panda_ids=count(1234567))
    assert job.files[0].lfn == "out.$JEDITASKID.$JOBSETID.1234567" and job.job_parameters == "$JOBSETID"


def test_files_get_row_ids_in_order_and_start_unknown_unless_they_are_there():
    files = tuple(JobFile(lfn="f", type="input", status=status) for status in ("ready", "cached", "finished", ""))
    first, second = stored(evolve(SENT, files=files), evolve(SENT, files=files[:1]))
    assert [file.status for file in first.files] == ["ready", "cached", "unknown", "unknown"]
    assert [file.row_id for file in first.files + second.files] == [40, 41, 42, 43, 44]
    assert {file.panda_id for file in second.files} == {second.panda_id}
    assert ids_needed([first, second]) == (2, 5)


def test_the_task_of_a_users_submission_counts_builds_and_runs():
    jobs = stored(evolve(SENT, prod_source_label="panda"), SENT, SENT)
    assert {job.task_id for job in jobs} == {1 + (2 << 1)}
    assert stored(evolve(SENT, prod_source_label="managed", task_id=9), caller=PRODUCTION)[0].task_id == 9


@pytest.mark.parametrize(
    ("attempt", "limit", "kept"), [(1, 0, 3), (1, -1, 1), (1, 1, 3), (1, 5, 5), (0, 0, 2), (0, -1, 0)]
)
def test_the_limit_of_attempts_of_a_users_job(attempt, limit, kept):
    assert stored(evolve(SENT, attempt_nr=attempt, max_attempt=limit))[0].max_attempt == kept


def test_empty_parameters_become_a_blank():
    assert [job.job_parameters for job in stored(evolve(SENT, job_parameters=None))] == [" "]


def test_a_relocation_flag_of_two_is_kept():
    assert [job.relocation_flag for job in stored(evolve(SENT, relocation_flag=2), SENT)] == [2, 1]


def test_the_vo_is_that_of_the_first_fqan_else_of_the_first_job_else_atlas():
    bare = evolve(USER, fqans=())
    assert stored(SENT, evolve(SENT, vo="b"), caller=bare)[1].vo == "atlas"
    assert stored(evolve(SENT, vo="a"), evolve(SENT, vo="b"), caller=bare)[1].vo == "a"
    job = stored(SENT, caller=evolve(USER, fqans=("/cms/Role=production/Capability=NULL",)))[0]
    assert (job.vo, job.country_group) == ("cms", None)


def test_priorities_fall_with_the_place_in_the_submission():
    assert [job.current_priority for job in stored(*[SENT] * 11)] == [1000, *[999] * 5, *[998] * 5]


@pytest.mark.parametrize(("name", "wire", "limit"), JOB)
def test_every_column_of_a_job_holds_its_limit_and_no_more(name, wire, limit):
    changes = {"computing_site": "computing_site", "prod_source_label": "prod_source_label"}
    if isinstance(limit, Text):
        bad = ["a\0b"] if limit.width is None else ["x" * (limit.width + 1), "\0"]
        fine = "x" * (limit.width or 100)
    else:
        bad, fine = [limit.largest + 1, limit.least - 1], limit.largest
    for value in bad:
        with pytest.raises(BadRequest) as refusal:
            stored(SENT, evolve(SENT, **{name: value}), caller=PRODUCTION)
        assert refusal.value.field == f"jobs[1].{wire}"
    if name not in changes and name != "job_label":
        check([evolve(SENT, **{name: fine})], PRODUCTION, QUEUES)


@pytest.mark.parametrize(("name", "wire", "limit"), FILE)
def test_every_column_of_a_file_holds_its_limit_and_no_more(name, wire, limit):
    for value in ["x" * (limit.width + 1), "\0"] if isinstance(limit, Text) else [-1, limit.largest + 1]:
        with pytest.raises(BadRequest) as refusal:
            stored(evolve(SENT, files=(OUTPUT, evolve(OUTPUT, **{name: value}))))
        assert refusal.value.field == f"jobs[0].Files[1].{wire}"


def test_a_comma_in_a_name_of_a_file_would_shift_the_lists_of_the_pilot_and_is_refused():
    for name in ("lfn", "guid", "dataset", "scope", "checksum", "destination_dblock"):
        with pytest.raises(BadRequest, match="comma"):
            stored(evolve(SENT, files=(evolve(OUTPUT, **{name: "a,b"}),)))


@pytest.mark.parametrize("change", [{"lfn": ""}, {"type": ""}, {"type": "none"}])
def test_a_file_needs_a_name_and_a_type(change):
    with pytest.raises(BadRequest, match=r"jobs\[0\]\.Files\[0\]"):
        stored(evolve(SENT, files=(evolve(OUTPUT, **change),)))


def test_a_job_has_no_more_files_than_others_wait_for(monkeypatch):
    monkeypatch.setattr(submission, "MOST_FILES", 3)
    assert len(stored(evolve(SENT, files=(OUTPUT,) * 3))[0].files) == 3
    with pytest.raises(BadRequest, match=r"jobs\[0\]\.Files: has more than 3 files"):
        stored(evolve(SENT, files=(OUTPUT,) * 4))


def test_a_name_that_grows_too_long_by_its_placeholders_is_refused():
    with pytest.raises(BadRequest, match="longer than"):
        stored(evolve(SENT, files=(evolve(OUTPUT, lfn="$PANDAID" * 500),)), panda_ids=count(10**12))


def test_a_user_whose_name_no_column_holds_is_refused():
    with pytest.raises(BadRequest, match="prodUserName"):
        stored(SENT, caller=evolve(USER, name="x" * 61))


@pytest.mark.parametrize(
    ("definition", "jobset", "ids"),
    [
        (None, None, (9, None, 9)),
        (0, 0, (9, None, 9)),
        (8, None, (9, None, 9)),
        (20, None, (20, None, 20)),
        (None, -1, (10, 9, 10)),
        (20, -1, (21, 20, 21)),
        (None, 5, (9, 5, 9)),
    ],
)
def test_ids_of_a_submission_come_from_the_users_counter(definition, jobset, ids):
    found = next_user_ids(definition, jobset, 8)
    assert (found.job_definition_id, found.jobset_id, found.last) == ids


@given(st.none() | st.integers(0, 99), st.none() | st.integers(-1, 99), st.integers(0, 99))
def test_the_users_counter_only_rises_and_no_id_is_used_twice(definition, jobset, last):
    found = next_user_ids(definition, jobset, last)
    assert found.last > last and found.job_definition_id == found.last
    if jobset == -1:
        assert last < found.jobset_id < found.last


def test_labels_of_users_count_and_merging_does_not():
    assert needs_user_counter("user") and needs_user_counter("panda", "run") and needs_user_counter("ptest")
    assert not needs_user_counter("managed") and not needs_user_counter("user", "merge")
    assert not needs_user_counter(None)


def test_managed_jobs_keep_their_ids_and_take_none_of_the_user():
    sent = evolve(SENT, prod_source_label="managed", job_definition_id=77, jobset_id=-1)
    (job,) = stored(sent, caller=PRODUCTION, user_ids=None)
    assert (job.job_definition_id, job.jobset_id) == (77, None)


def test_nothing_submitted_is_nothing_stored():
    assert stored() == ()


TEXTS = st.none() | st.text(max_size=30) | st.text(min_size=260, max_size=261) | st.just("LOCAL") | st.just("user")
ANY_FILE = st.builds(JobFile, lfn=TEXTS.filter(lambda text: text is not None), type=TEXTS.filter(bool), guid=TEXTS)


@given(
    st.builds(
        Job,
        computing_site=TEXTS,
        prod_source_label=TEXTS,
        special_handling=TEXTS,
        working_group=TEXTS,
        job_name=TEXTS,
        job_parameters=TEXTS,
        min_ram_count=st.integers(-1, 2**33),
        core_count=st.none() | st.integers(-1, 2**16),
        files=st.lists(ANY_FILE, max_size=2).map(tuple),
    ),
    st.booleans(),
)
def test_any_submission_is_stored_or_refused_in_words(job, production):
    caller = PRODUCTION if production else USER
    try:
        (placed,) = prepare([job], placement(caller), NOW)
    except PandaError:
        return
    assert placed.job_status == "defined" and placed.gshare and placed.resource_type and placed.job_parameters
