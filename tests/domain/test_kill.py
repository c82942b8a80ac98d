"""Kills and commands: reference/lifecycle.md 1.6 by its numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.caller import Caller
from pandatx.domain.job import Job
from pandatx.domain.kill import KillAction, KillOrder, KillRow, KillVerdict, command, decide, refuse
from pandatx.domain.lifecycle import TERMINAL, JobStatus, may_change

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
EARLIER = datetime(2026, 5, 4, 11, tzinfo=UTC)


def row(status: str = "activated", **values: Any) -> KillRow:
    known = {"panda_id": 7, "active": True, "prod_user_name": "Alice", "prod_source_label": "user"}
    return KillRow(job_status=status, **(known | values))


def owner(code: int | None = None, **values: Any) -> KillOrder:
    return KillOrder(name="Alice", code=code, **values)


def production(code: int | None = None) -> KillOrder:
    return KillOrder(name="Manager", production=True, code=code)


def kill(found: KillRow | None, order: KillOrder) -> KillVerdict:
    return decide(found, order, NOW)


# 2. Permission


def test_an_owner_may_kill_and_a_stranger_may_not():
    assert refuse(row(), owner()) is None
    assert refuse(row(), KillOrder(name="Bob")) == "Bob is not the owner of job 7"
    assert kill(row(), KillOrder(name="Bob")).action is KillAction.REFUSE


def test_nobody_owns_a_job_without_a_name():
    assert refuse(row(prod_user_name=""), KillOrder(name="")) is not None


@pytest.mark.parametrize("label", ["user", "panda"])
def test_production_needs_a_code_for_users_jobs(label):
    allowed = {code for code in range(100) if refuse(row(prod_source_label=label), production(code)) is None}
    assert allowed == {2, 4, 7, 8, 9, 50, 51, 52, 91, 10, 99}
    assert refuse(row(prod_source_label=label), production(None)) is not None


def test_production_needs_no_code_for_other_jobs():
    assert refuse(row(prod_source_label="managed"), production(None)) is None


def test_an_owner_with_the_production_role_needs_no_code():
    assert refuse(row(), KillOrder(name="Alice", production=True)) is None


@pytest.mark.parametrize(("label", "allowed"), [("managed", True), ("test", True), ("user", False)])
def test_production_in_the_working_group_may_kill_its_managed_jobs(label, allowed):
    order = KillOrder(name="Bob", groups=("phys-higgs",))
    assert (refuse(row(prod_source_label=label, working_group="phys-higgs"), order) is None) is allowed
    assert refuse(row(prod_source_label=label, working_group="phys-top"), order) is not None


@pytest.mark.parametrize(
    ("working_group", "allowed"),
    [
        ("GP_SUSY", True),
        ("susy", True),
        ("AP_susy", True),
        ("GPSUSY", False),
        ("SUSY_GP", False),
        ("", False),
        (None, False),
    ],
)
def test_a_working_group_is_known_without_what_stands_before_its_name(working_group, allowed):
    order = KillOrder(name="Bob", groups=("susy",))
    assert (refuse(row(prod_source_label="managed", working_group=working_group), order) is None) is allowed
    assert refuse(row(prod_source_label="managed", working_group=working_group), KillOrder(name="Bob", groups=("",)))


def test_a_group_of_another_vo_is_another_group():
    jobs = [row(prod_source_label="managed", working_group="GP_SUSY", vo=vo) for vo in ("atlas", "cms", None)]
    fqans = ("/cms/susy/Role=production/Capability=NULL", "/cms")
    order = KillOrder.of(Caller(dn="/CN=b", name="Bob", working_groups=("susy",), fqans=fqans), None)
    assert [refuse(job, order) is None for job in jobs] == [False, True, True]


def test_an_order_is_made_of_the_caller():
    caller = Caller(dn="/CN=a", name="Alice", production=True, working_groups=("g",))
    order = KillOrder.of(caller, 9, ("keepUnmerged",))
    assert order == KillOrder(name="Alice", production=True, groups=("g",), code=9, keep_unmerged=True)


# 3. and 4. What happens at once


def test_a_running_job_is_only_flagged():
    verdict = kill(row("running"), owner())
    assert (verdict.action, verdict.status, verdict.done) == (KillAction.FLAG, None, True)
    assert verdict.changes == {"command_to_pilot": "tobekilled", "task_buffer_error_diag": "killed by Alice"}


def test_a_second_soft_kill_does_nothing():
    verdict = kill(row("running", command_to_pilot="tobekilled"), owner(91))
    assert (verdict.action, verdict.done) == (KillAction.NOTHING, False)


@pytest.mark.parametrize("code", [2, 9, 10, 52, 51, 60, 99])
def test_a_force_code_flags_again(code):
    assert kill(row("running", command_to_pilot="tobekilled"), owner(code)).action is KillAction.FLAG


def test_a_debug_command_is_replaced_by_the_kill():
    assert kill(row("running", command_to_pilot="ls -l"), owner()).changes["command_to_pilot"] == "tobekilled"


@pytest.mark.parametrize("status", ["activated", "sent", "starting", "holding", "transferring", "merging", "throttled"])
def test_an_active_job_that_is_not_running_is_archived_at_once(status):
    assert kill(row(status), owner()).action is KillAction.ARCHIVE


@pytest.mark.parametrize(
    ("code", "label", "order", "archived"),
    [
        (9, "managed", production, True),
        (9, "ptest", production, True),
        (52, "rucio_test", production, True),
        (9, None, production, True),
        (52, "test", production, True),
        (9, "user", production, False),
        (9, "user", owner, False),
        (99, "user", production, True),
        (99, "user", owner, False),
        (51, "managed", production, False),
    ],
)
def test_force_ends_a_running_job_for_some(code, label, order, archived):
    verdict = kill(row("running", prod_source_label=label), order(code))
    assert verdict.action is (KillAction.ARCHIVE if archived else KillAction.FLAG)


@pytest.mark.parametrize(("event_service", "archived"), [(1, True), (3, False), (None, False), (0, False)])
def test_a_running_event_service_job_is_archived_unless_it_is_cloned(event_service, archived):
    verdict = kill(row("running", event_service=event_service), owner())
    assert (verdict.action is KillAction.ARCHIVE) is archived


def test_a_merging_job_is_archived_although_it_is_being_killed():
    assert kill(row("merging", command_to_pilot="tobekilled"), owner()).action is KillAction.ARCHIVE


@pytest.mark.parametrize("status", ["pending", "waiting", "defined", "assigned"])
def test_a_job_before_activation_is_archived(status):
    assert kill(row(status, active=False), owner()).action is KillAction.ARCHIVE


def test_a_strange_job_before_activation_is_left_alone():
    assert kill(row("strange", active=False), owner(9)).action is KillAction.NOTHING


def test_a_job_that_is_not_there_is_not_killed():
    assert not kill(None, owner()).done


# 5. Error codes and final status


@pytest.mark.parametrize(
    ("code", "status", "sub_status", "error", "command_left"),
    [
        (2, "closed", "toreassign", 102, "tobekilled"),
        (4, "closed", "toreassign", 102, "tobekilled"),
        (3, "cancelled", None, 103, "tobekilled"),
        (7, "cancelled", None, 100, "tobekilled"),
        (8, "cancelled", None, 105, None),
        (9, "cancelled", None, 100, "tobekilled"),
        (10, "closed", None, 130, "tobekilled"),
        (50, "cancelled", None, 100, "tobekilled"),
        (52, "cancelled", None, 100, "tobekilled"),
        (51, "closed", "toreassign", 100, "tobekilled"),
        (55, "closed", "taskdone", 100, "tobekilled"),
        (60, "closed", None, 100, "tobekilled"),
        (91, "cancelled", None, 100, "tobekilled"),
        (99, "cancelled", None, 100, "tobekilled"),
        (1234, "cancelled", None, 100, "tobekilled"),
        (None, "cancelled", None, 100, "tobekilled"),
    ],
)
def test_the_code_decides_how_the_job_ends(code, status, sub_status, error, command_left):
    verdict = kill(row(), owner(code))
    assert verdict.status == status
    assert verdict.changes.get("job_sub_status") == sub_status
    assert verdict.changes["task_buffer_error_code"] == error
    assert verdict.changes["command_to_pilot"] == command_left
    assert verdict.changes["modification_time"] == verdict.changes["state_change_time"] == NOW


@pytest.mark.parametrize("code", [50, 52])
def test_jedi_gives_the_diag(code):
    order = KillOrder(name="task was aborted by {user}", production=True, code=code)
    assert kill(row(), order).changes["task_buffer_error_diag"] == "task was aborted by {user}"


def test_a_diag_is_cut_to_its_column():
    order = KillOrder(name="x" * 400, production=True, code=50)
    assert len(kill(row(), order).changes["task_buffer_error_diag"]) == 300


@pytest.mark.parametrize("code", [None, 2, 9, 51, 91])
def test_a_failed_job_keeps_its_status_and_its_codes(code):
    verdict = kill(row("failed", end_time=EARLIER), owner(code))
    assert (verdict.action, verdict.status) == (KillAction.ARCHIVE, "failed")
    assert verdict.changes == {"modification_time": NOW, "state_change_time": NOW}


def test_a_failed_job_is_marked_as_retried_by_code_7():
    verdict = kill(row("failed", command_to_pilot="tobekilled"), owner(7))
    assert verdict.status == "failed"
    assert (verdict.changes["task_buffer_error_code"], verdict.changes["command_to_pilot"]) == (106, None)


# 6. to 8.


def test_the_end_is_now_unless_known():
    assert kill(row(), owner()).changes["end_time"] == NOW
    assert kill(row(end_time=EARLIER), owner()).changes["end_time"] == EARLIER


def test_a_starting_job_starts_when_it_ends():
    assert kill(row("starting"), owner()).changes["start_time"] == NOW
    assert "start_time" not in kill(row("sent"), owner()).changes


def test_outputs_fail_and_datasets_are_closed():
    verdict = kill(row(), owner())
    assert (verdict.fails_outputs, verdict.closes_datasets) == (True, True)
    assert not kill(row(prod_source_label="panda"), owner()).closes_datasets


@pytest.mark.parametrize(("order", "ends"), [(owner(), True), (owner(keep_unmerged=True), False), (owner(51), False)])
def test_a_killed_merge_is_not_tried_again(order, ends):
    assert kill(row(processing_type="pmerge"), order).ends_merge is ends
    assert not kill(row(), order).ends_merge


# Commands


def test_a_command_is_received():
    verdict = command(7, "x" * 250, found=True, pending="ls")
    assert (verdict.reply, verdict.stored) == ("command received", True)


@pytest.mark.parametrize(
    ("text", "found", "pending", "reply"),
    [
        ("ls", True, "tobekilled", "job is being killed"),
        ("ls", False, None, "no active job with PandaID=7"),
        ("x" * 251, True, None, "the command is longer than 250 characters"),
    ],
)
def test_a_command_is_refused(text, found, pending, reply):
    verdict = command(7, text, found=found, pending=pending)
    assert (verdict.reply, verdict.stored) == (reply, False)


# Laws

ROWS = st.builds(
    row,
    st.sampled_from([*JobStatus, "strange"]).map(str),
    active=st.booleans(),
    command_to_pilot=st.sampled_from([None, "tobekilled", "ls"]),
    prod_source_label=st.sampled_from(["user", "panda", "managed", None]),
    event_service=st.sampled_from([None, 0, 1, 3]),
    end_time=st.sampled_from([None, EARLIER]),
)
ORDERS = st.builds(
    KillOrder,
    name=st.sampled_from(["Alice", "Bob", ""]),
    production=st.booleans(),
    code=st.none() | st.integers(0, 100),
)


@given(ROWS, ORDERS)
def test_a_kill_never_leaves_the_transition_table(found, order):
    verdict = kill(found, order)
    if verdict.status is not None:
        assert verdict.status in TERMINAL
        assert verdict.status == found.job_status or may_change(found.job_status, verdict.status)


@given(ROWS, ORDERS)
def test_who_may_not_changes_nothing(found, order):
    verdict = kill(found, order)
    assert (verdict.action is KillAction.REFUSE) == (refuse(found, order) is not None)
    if not verdict.done:
        assert (verdict.changes, verdict.status, verdict.fails_outputs) == ({}, None, False)


@given(ROWS, ORDERS)
def test_changes_are_attributes_of_a_job(found, order):
    assert kill(found, order).changes.keys() <= attrs.fields_dict(Job).keys() - {"job_status"}
