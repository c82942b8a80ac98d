"""What a user may say of a task, and what of new parameters a task takes over."""

import contextlib

import orjson
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.caller import Caller
from pandatx.domain.shares import ResourceTypeRow
from pandatx.domain.task_submission import (
    TaskRefused,
    new_task,
    reopened,
    resource_type_of_task,
    still_active,
    taken_over,
    without_priority,
)

USER = Caller(dn="/CN=Alice", name="Alice", how="x509")
PRODUCTION = evolve(USER, dn="/CN=Prod", name="Prod", production=True)
TASK = {"taskName": "user.alice.x/", "vo": "wlcg", "prodSourceLabel": "user", "uniqueTaskName": True}
GROUP = evolve(USER, fqans=("/atlas/phys-higgs/Role=production",), working_groups=("phys-higgs", "higgs"))


def test_a_users_task_is_the_users_and_an_analysis():
    task = new_task({**TASK, "userName": "Bob", "taskType": "prod", "taskPriority": 9000}, USER)
    assert (task.user, task.priority, task.unique, task.official) == ("Alice", 1000, True, False)
    assert task.parameters["userName"] == "Alice"
    assert (task.parameters["taskType"], task.parameters["taskPriority"]) == ("anal", 1000)


def test_the_production_role_may_name_the_user_the_kind_and_the_priority():
    task = new_task(
        {**TASK, "userName": "Bob", "taskType": "prod", "taskPriority": "900", "prodSourceLabel": "managed"}, PRODUCTION
    )
    assert (task.user, task.priority, task.label, task.unique) == ("Bob", 900, "managed", False)
    assert new_task({**TASK, "taskType": "prod"}, PRODUCTION).priority == 100
    assert new_task(TASK, PRODUCTION).parameters["taskType"] == "anal"
    assert new_task(TASK, PRODUCTION).user == "Prod"


@pytest.mark.parametrize("label", ["managed", "test", "ptest", "install"])
def test_labels_of_others_need_the_production_role(label):
    with pytest.raises(TaskRefused, match=f"prodSourceLabel: label {label} needs the production role") as refused:
        new_task({**TASK, "prodSourceLabel": label}, USER)
    assert refused.value.code == 4
    assert new_task({**TASK, "prodSourceLabel": label}, PRODUCTION).label == label


def test_shares_groups_and_priorities_are_not_the_users_to_choose():
    asked = {**TASK, "gshare": "Express", "workingGroup": "higgs", "currentPriority": 5000, "priority": 5000}
    parameters = new_task(asked, USER).parameters
    assert not {"gshare", "workingGroup", "currentPriority", "priority"} & set(parameters)
    assert {"gshare", "workingGroup", "currentPriority", "priority"} <= set(new_task(asked, PRODUCTION).parameters)
    assert new_task(asked, GROUP).parameters["workingGroup"] == "higgs"


def test_super_users_may_choose_the_priority():
    asked = {**TASK, "currentPriority": 5000}
    assert new_task(asked, USER, "ps").parameters["currentPriority"] == 5000
    assert "currentPriority" not in new_task(asked, USER, "pg").parameters
    assert new_task({**asked, "workingGroup": "higgs"}, GROUP, "g").parameters["currentPriority"] == 5000
    assert "currentPriority" not in new_task({**asked, "workingGroup": "x"}, GROUP, "g").parameters


def test_an_official_task_is_its_groups():
    parameters = new_task({**TASK, "official": True, "workingGroup": "other"}, GROUP).parameters
    assert parameters["workingGroup"] == "phys-higgs"
    assert new_task({**TASK, "official": True}, GROUP).group == "phys-higgs"
    assert new_task(TASK, GROUP).group is None
    assert not new_task({**TASK, "official": True}, GROUP).official
    assert new_task({**TASK, "official": True}, PRODUCTION).official
    assert "workingGroup" not in new_task({**TASK, "official": True, "workingGroup": "other"}, USER).parameters


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"taskName": None}, "taskName is missing"),
        ({"taskName": ""}, "taskName is missing"),
        ({"taskName": 7}, "taskName is not a text"),
        ({"taskName": "x" * 257}, "taskName is longer than 256 characters"),
        ({"taskName": "a\0"}, "taskName has a character that cannot be printed"),
        ({"taskName": "a\ud800"}, "taskName has a character that cannot be printed"),
        ({"vo": None}, "vo is missing"),
        ({"vo": "x" * 33}, "vo is longer than 32 characters"),
        ({"prodSourceLabel": None}, "prodSourceLabel is missing"),
    ],
)
def test_what_a_task_needs_is_named(change, why):
    parameters = {key: value for key, value in {**TASK, **change}.items() if value is not None}
    with pytest.raises(TaskRefused) as refused:
        new_task(parameters, USER)
    assert (refused.value.code, str(refused.value)) == (4, f"failed to register task: {why}")


@pytest.mark.parametrize("priority", ["high", None, [1], 1e400, 2**70])
def test_a_priority_is_a_number(priority):
    with pytest.raises(TaskRefused, match="taskPriority is"):
        new_task({**TASK, "taskType": "prod", "taskPriority": priority}, PRODUCTION)


@pytest.mark.parametrize("value", ["\ud800", 2**70, {1: 2}])
def test_parameters_that_have_no_json_are_refused(value):
    with pytest.raises(TaskRefused, match="cannot be stored"):
        _ = new_task({**TASK, "x": value}, USER).document


def test_only_true_makes_a_name_unique_and_a_task_official():
    task = new_task({**TASK, "uniqueTaskName": "true", "official": 1}, USER)
    assert (task.unique, task.official, task.group) == (False, False, None)


def test_a_task_takes_over_where_it_runs_what_it_reads_and_how_it_is_split():
    given = {
        "dsForIN": "a,b", "site": None, "cloud": "DE", "includedSite": ["A"], "excludedSite": ["B"],
        "cliParams": "prun", "nFiles": 5, "nEvents": 6, "fixedSandbox": "s.tgz", "sourceURL": "https://h",
        "ramCount": "2000", "forceStaged": True, "nFilesPerJob": 2, "avoidVP": True, "currentPriority": 7,
    }  # fmt: skip
    changes = taken_over({**given, **TASK, "jobParameters": [], "log": {}, "noEmail": True})
    assert changes.parameters == given
    assert changes.ram_count == 2000


def test_some_parameters_change_their_name():
    assert taken_over({"priority": 3}).parameters == {"currentPriority": 3}
    assert taken_over({"loopingCheck": True}).parameters == {"noLoopingCheck": False}
    assert taken_over({"loopingCheck": False}).parameters == {"noLoopingCheck": True}
    assert taken_over({"sourceURL": "https://h"}).parameters == {}
    assert taken_over({"ramCount": None}).ram_count is None
    with pytest.raises(TaskRefused, match="ramCount is not a number"):
        taken_over({"ramCount": "much"})


def test_the_priority_of_a_task_that_is_there_is_not_its_users_to_change():
    assert without_priority({"priority": 1, "currentPriority": 2, "a": 3}, USER, "") == {"a": 3}
    assert without_priority({"priority": 1}, USER, "s") == {"priority": 1}
    assert without_priority({"priority": 1}, PRODUCTION, "") == {"priority": 1}


def test_refusals_say_what_clients_look_for():
    assert str(still_active(7, "running", "user.x/")).startswith(
        "jediTaskID=7 is in the running state for outDS=user.x/. You can re-submit "
    )
    assert reopened(7, "done") == (
        "reactivation accepted. jediTaskID=7 (currently in done state) will be re-executed with old and/or new input"
    )


NAMES = st.sampled_from(
    "taskName vo prodSourceLabel userName taskType taskPriority official workingGroup uniqueTaskName gshare priority "
    "currentPriority ramCount loopingCheck fixedSandbox sourceURL dsForIN nFiles".split()
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda each: st.lists(each, max_size=2) | st.dictionaries(st.text(max_size=5), each, max_size=2),
    max_leaves=3,
)


@given(
    st.dictionaries(NAMES | st.text(max_size=5), ANYTHING), st.booleans(), st.sampled_from((USER, PRODUCTION, GROUP))
)
def test_whatever_is_submitted_is_stored_within_its_columns_or_refused(parameters, whole, caller):
    with contextlib.suppress(TaskRefused):
        task = new_task({**parameters, **(TASK if whole else {})}, caller)
        assert len(task.name) <= 256 and len(task.vo) <= 32 and len(task.label) <= 20 and len(task.user) <= 128
        assert caller.production or (task.user, task.priority) == (caller.name, 1000)
        orjson.loads(task.document)
        changes = taken_over(task.parameters)
        assert caller.production or "currentPriority" not in changes.parameters


def test_the_resource_type_of_a_task_goes_by_memory_per_core_less_a_tenth():
    rows = (
        ResourceTypeRow(name="MCORE", min_core=2, max_ram_per_core=2000),
        ResourceTypeRow(name="MCORE_HIMEM", min_core=2, min_ram_per_core=2001),
        ResourceTypeRow(name="SCORE", max_core=1, max_ram_per_core=2000),
        ResourceTypeRow(name="SCORE_HIMEM", max_core=1, min_ram_per_core=2001),
    )
    assert resource_type_of_task(1, 2200, None, "MBPerCore", rows) == "SCORE"
    assert resource_type_of_task(None, 2300, 0, None, rows) == "SCORE_HIMEM"
    assert resource_type_of_task(0, 2000, 0, "MBPerCoreFixed", rows) == "MCORE"
    assert resource_type_of_task(8, 20000, 0, "MB", rows) == "MCORE_HIMEM"
    assert resource_type_of_task(8, 17000, 0, "MB", rows) == "MCORE"
