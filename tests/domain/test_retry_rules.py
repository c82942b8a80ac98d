"""Which rules of operators apply to a failed job (reference/lifecycle.md 1.8)."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.job import Job
from pandatx.domain.retry_rules import (
    Action,
    ClassRow,
    JobError,
    Rule,
    RuleRow,
    Rules,
    choose,
    classify,
    errors_of_report,
    errors_of_server,
    errors_of_silence,
    parameters_of,
    plan,
    rules_of,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ERROR = JobError(source="pilotErrorCode", code=1305, diag="the payload\nran out of memory")
JOB = Job(
    pilot_error_code=1305,
    pilot_error_diag=ERROR.diag,
    exe_error_code=65,
    exe_error_diag="no output",
    cmt_config="x86_64-el9",
    atlas_release="Atlas-24.0.1",
    work_queue_id=7,
    jedi_task_id=1,
)


def row(id: int = 1, **values) -> RuleRow:
    return RuleRow(
        **{
            "retryerror_id": id,
            "errorsource": "pilotErrorCode",
            "errorcode": 1305,
            "errordiag": None,
            "parameters": None,
            "architecture": None,
            "release": None,
            "workqueue_id": None,
            "expiration_date": None,
            "retry_action": "no_retry",
            "error_active": "Y",
            "action_active": "Y",
            **values,
        }
    )


def kind(
    source: str = "pilotErrorCode", code: int = 1305, diag: str = ".*", name: str = "system", id: int = 1
) -> ClassRow:
    return ClassRow(id=id, error_source=source, error_code=code, error_diag=diag, error_class=name, active="Y")


def applied(*rows: RuleRow, job: Job = JOB) -> list[tuple[int, str]]:
    found = plan(job, [errors_of_report(job)], rules_of(rows, []), NOW)
    return [(each.rule.id, each.error.source) for each in found.applications]


# Conditions


@pytest.mark.parametrize(
    ("condition", "meets"),
    [
        ({}, True),
        ({"errorcode": 1306}, False),
        ({"errorsource": "exeErrorCode"}, False),
        ({"errordiag": "the payload.*out of memory"}, True),
        ({"errordiag": "out of memory"}, False),
        ({"errordiag": ".*out of memory"}, True),
        ({"errordiag": "the"}, True),
        ({"architecture": "x86_64-el9"}, True),
        ({"architecture": "x86_64"}, False),
        ({"release": "Atlas-24.0.1"}, True),
        ({"release": "Atlas-25.0.1"}, False),
        ({"workqueue_id": 7}, True),
        ({"workqueue_id": 8}, False),
        ({"expiration_date": NOW + timedelta(seconds=1)}, True),
        ({"expiration_date": NOW}, False),
        ({"architecture": "", "release": "", "errordiag": ""}, True),
        ({"architecture": "x86_64-el9", "release": "other"}, False),
    ],
)
def test_a_rule_applies_when_all_its_conditions_hold(condition, meets):
    assert bool(applied(row(**condition))) is meets


def test_a_regular_expression_begins_at_the_begin_and_its_dot_is_a_new_line_too():
    assert applied(row(errordiag="the payload.ran"))
    assert not applied(row(errordiag="payload.ran"))


def test_a_rule_that_was_set_down_badly_is_void_and_named_and_the_others_stand():
    rules = rules_of(
        [
            row(1, errordiag="a("),
            row(2, retry_action="resubmit"),
            row(3, retry_action="limit_retry", parameters="attempts=3"),
            row(4, retry_action="limit_retry", parameters="maxAttempt=many"),
            row(5, retry_action="reduce_input_per_job", parameters="steps=1,2"),
            row(6),
        ],
        [kind(diag="*"), kind(id=2)],
    )
    assert [rule.id for rule in rules.by_error["pilotErrorCode", 1305]] == [6]
    assert [each.id for each in rules.classes["pilotErrorCode", 1305]] == [2]
    assert [fault.split(":")[0] for fault in rules.faults] == [
        *(f"retry rule {n}" for n in range(1, 6)),
        "error class 1",
    ]


@pytest.mark.parametrize("text", ["(.*?,){11}P[0-9]", r".*([a-z0-9,]+)\1.*([a-z0-9,]+)\2.*([a-z0-9,]+)\3Q"])
def test_an_expression_that_takes_too_long_for_a_text_is_void_from_then_on_and_named(text):
    rules = rules_of([row(1, errordiag=text), row(2, errordiag="P")], [kind(diag=text)])
    job = evolve(JOB, pilot_error_diag=("PQ" + "1,ab" * 125)[:500])
    began = time.process_time()
    found = [plan(job, [errors_of_report(job)], rules, NOW) for _ in range(50)]
    assert time.process_time() - began < 1
    assert [[each.rule.id for each in one.applications] for one in found] == [[2]] * 50
    assert {one.classified for one in found} == {None}
    assert rules.slow == ["retry rule 1", "error class 1"]


@pytest.mark.parametrize("text", ["(the )+pay", "(.*n)*", r"(?=the).*\n(ran)", ".*out.*of.*"])
def test_an_expression_may_repeat_what_repeats_itself(text):
    rules = rules_of([row(errordiag=text)], [])
    assert plan(JOB, [errors_of_report(JOB)], rules, NOW).applications
    assert rules.slow == []


def test_both_the_rule_and_its_action_have_to_be_active():
    rules = rules_of([row(1), row(2, error_active="N"), row(3, action_active="N")], [])
    assert [rule.active for rule in rules.by_error["pilotErrorCode", 1305]] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("maxAttempt=3", {"maxAttempt": "3"}),
        ("a=1&b=2", {"a": "1", "b": "2"}),
        (
            "excluded_rules=nFilesPerJob,nGBPerJob&steps=1,2,3",
            {"excluded_rules": "nFilesPerJob,nGBPerJob", "steps": "1,2,3"},
        ),
        (None, {}),
        ("", {}),
        ("maxAttempt", {}),
        ("a=1=2", {}),
    ],
)
def test_parameters_are_pairs_joined_by_ampersands(text, found):
    assert parameters_of(text) == found


# Errors


def test_a_report_shows_the_pilots_the_payloads_and_the_datas_error_and_the_exit_code():
    job = Job(
        pilot_error_code=1,
        exe_error_code=2,
        ddm_error_code=3,
        trans_exit_code="4",
        sup_error_code=5,
        brokerage_error_code=6,
        job_dispatcher_error_code=7,
        task_buffer_error_code=8,
    )
    assert [(each.source, each.code) for each in errors_of_report(job)] == [
        ("pilotErrorCode", 1),
        ("exeErrorCode", 2),
        ("ddmErrorCode", 3),
        ("transExitCode", 4),
    ]
    assert [(each.source, each.code) for each in errors_of_silence(job)] == [("jobDispatcherErrorCode", 7)]
    assert [(each.source, each.code) for each in errors_of_server(job)] == [("taskBufferErrorCode", 8)]


@pytest.mark.parametrize("code", [None, "", "0", "killed"])
def test_an_exit_code_that_is_no_number_or_zero_is_no_error(code):
    assert errors_of_report(Job(trans_exit_code=code)) == []


# Choosing


def test_only_the_errors_up_to_the_first_that_a_rule_acts_on_count():
    both = (row(1), row(2, errorsource="exeErrorCode", errorcode=65))
    assert applied(*both) == [(1, "pilotErrorCode")]
    assert applied(row(1, errordiag="something else"), both[1]) == [(2, "exeErrorCode")]


def test_each_round_of_errors_counts_for_itself():
    job = Job(pilot_error_code=1305, task_buffer_error_code=101, jedi_task_id=1)
    rules = rules_of([row(1), row(2, errorsource="taskBufferErrorCode", errorcode=101)], [])
    found = plan(job, [errors_of_report(job), errors_of_server(job)], rules, NOW)
    assert [each.rule.id for each in found.applications] == [1, 2]


def test_of_memory_cpu_and_input_rules_the_first_of_each_kind_that_matches():
    rows = [
        row(n, retry_action=action, errordiag=diag)
        for n, (action, diag) in enumerate(
            [
                ("increase_memory", "nothing"),
                ("increase_memory", None),
                ("increase_memory", None),
                ("increase_cputime", None),
                ("increase_cputime", None),
                ("increase_memory_xtimes", None),
                ("reduce_input_per_job", None),
                ("reduce_input_per_job", None),
            ],
            start=1,
        )
    ]
    assert sorted(id for id, _ in applied(*rows)) == [2, 4, 6, 7]


def test_the_limit_with_most_conditions_wins_even_over_a_stricter_one():
    general = row(1, retry_action="limit_retry", parameters="maxAttempt=2")
    special = row(2, retry_action="limit_retry", parameters="maxAttempt=7", release="Atlas-24.0.1")
    assert applied(general, special) == [(2, "pilotErrorCode")]
    assert applied(row(3), special) == [(2, "pilotErrorCode")]


def test_of_limits_with_as_many_conditions_the_fewest_attempts_win_and_no_retry_is_none():
    five = row(1, retry_action="limit_retry", parameters="maxAttempt=5", workqueue_id=7)
    three = row(2, retry_action="limit_retry", parameters="maxAttempt=3", release="Atlas-24.0.1")
    assert applied(five, three) == [(2, "pilotErrorCode")]
    assert applied(five, three, row(3, architecture="x86_64-el9")) == [(3, "pilotErrorCode")]


def test_an_expression_on_the_diag_is_no_condition_that_makes_a_limit_win():
    assert applied(
        row(1, retry_action="limit_retry", parameters="maxAttempt=5", errordiag="the.*"),
        row(2, retry_action="limit_retry", parameters="maxAttempt=3"),
    ) == [(2, "pilotErrorCode")]


def test_a_rule_that_is_not_active_is_chosen_so_that_the_log_tells_what_it_would_do():
    found = plan(JOB, [errors_of_report(JOB)], rules_of([row(1, error_active="N")], []), NOW)
    assert [each.rule.active for each in found.applications] == [False]


limits = st.builds(
    Rule,
    id=st.integers(1, 50),
    source=st.just("pilotErrorCode"),
    code=st.just(1305),
    action=st.sampled_from([Action.NO_RETRY, Action.LIMIT_RETRY]),
    parameters=st.integers(0, 20).map(lambda n: {"maxAttempt": str(n)}),
    architecture=st.sampled_from([None, "x86_64-el9", "arm"]),
    release=st.sampled_from([None, "Atlas-24.0.1"]),
    work_queue=st.sampled_from([None, 7, 8]),
)


@given(st.lists(limits, unique_by=lambda rule: rule.id), st.randoms())
def test_the_strictest_limit_is_the_same_in_whatever_order_the_rules_come(rules, random):
    chosen = choose(JOB, ERROR, rules, NOW)
    shuffled = list(rules)
    random.shuffle(shuffled)
    assert choose(JOB, ERROR, shuffled, NOW) == chosen
    met = [rule for rule in rules if rule.architecture != "arm" and rule.work_queue != 8]
    assert bool(chosen) == bool(met)
    for rule in met:
        assert rule.conditions <= chosen[0].conditions
        assert rule.conditions < chosen[0].conditions or rule.max_attempt >= chosen[0].max_attempt


any_rule = st.builds(
    Rule,
    id=st.integers(1, 50),
    source=st.just("pilotErrorCode"),
    code=st.just(1305),
    action=st.sampled_from(Action),
    parameters=st.just({"maxAttempt": "3"}),
    release=st.sampled_from([None, "Atlas-24.0.1", "another"]),
)


@given(st.lists(any_rule, unique_by=lambda rule: rule.id))
def test_at_most_one_rule_of_a_kind_is_applied_and_never_one_that_does_not_match(rules):
    chosen = choose(JOB, ERROR, rules, NOW)
    kinds = ["limit" if rule.action in (Action.NO_RETRY, Action.LIMIT_RETRY) else rule.action for rule in chosen]
    assert len(kinds) == len(set(kinds))
    assert all(rule in rules and rule.release != "another" for rule in chosen)


# Classes


def test_the_first_error_with_a_class_gives_it():
    rules = rules_of([], [kind("exeErrorCode", 65, "no.*", "user", 1), kind("pilotErrorCode", 1305, "other", "x", 2)])
    found = classify(JOB, rules)
    assert found is not None
    assert (found.name, found.id) == ("user", 1)
    rules = rules_of([], [kind("exeErrorCode", 65, id=1), kind(id=2), kind(id=3)])
    found = classify(JOB, rules)
    assert found is not None
    assert found.id == 2


@pytest.mark.parametrize("source", ["pilot", "exe", "sup", "ddm", "brokerage", "job_dispatcher", "task_buffer"])
def test_errors_of_every_component_are_classified(source):
    spelling = source.split("_")[0] + "".join(word.capitalize() for word in source.split("_")[1:]) + "ErrorCode"
    job = Job(**{f"{source}_error_code": 9, f"{source}_error_diag": "text"})
    found = classify(job, rules_of([], [kind(spelling, 9, "te.t")]))
    assert found is not None
    assert classify(Job(**{f"{source}_error_code": 9}), rules_of([], [kind(spelling, 9, ".*")])) is None, "no diag"


def test_nothing_is_said_of_a_job_without_rules():
    assert not plan(JOB, [errors_of_report(JOB)], Rules(), NOW)
