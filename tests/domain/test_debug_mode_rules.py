"""Who may turn the debug mode of a job on or off, and what is answered (reference/wire.md 2.11, 7 item 7)."""

from __future__ import annotations

from typing import Any

import pytest

from pandatx.domain.caller import Caller
from pandatx.domain.debug_mode import SUCCEEDED, DebugRow, DebugVerdict, Quota, decide, over, quota

OWNER = Caller(dn="/CN=me", name="me", how="x509")
OTHER = Caller(dn="/CN=other", name="other", how="x509")
PRODUCTION = Caller(dn="/CN=p", name="p", how="x509", production=True)
PILOT = Caller(dn="/CN=p", name="p", how="x509", pilot=True)
PHYSICIST = Caller(dn="/CN=q", name="q", how="x509", working_groups=("higgs", "gr_higgs"))


def row(**values: Any) -> DebugRow:
    return DebugRow(
        **{"panda_id": 5, "owner": "me", "status": "running", "tags": None, "working_group": None, **values}
    )


@pytest.mark.parametrize("caller", [OWNER, PRODUCTION, PILOT])
def test_the_owner_and_those_that_report_on_any_job_may(caller: Caller) -> None:
    assert decide(caller, 5, row(), True) == DebugVerdict(reply=SUCCEEDED, tags="dm")


def test_whoever_produces_for_the_working_group_may() -> None:
    assert decide(PHYSICIST, 5, row(working_group="GP_Higgs"), True).reply == SUCCEEDED
    assert decide(PHYSICIST, 5, row(working_group="GP_Susy"), True).reply.startswith("Permission denied")


def test_others_may_not() -> None:
    text = "Permission denied. Not the owner or production manager"
    assert decide(OTHER, 5, row(), True) == DebugVerdict(reply=text)
    assert decide(Caller(), 5, row(owner=None), True) == DebugVerdict(reply=text)


def test_other_tags_stay() -> None:
    assert decide(OWNER, 5, row(tags="us,lc"), True).tags == "us,lc,dm"
    assert decide(OWNER, 5, row(tags="us,dm,lc"), False).tags == "us,lc"
    assert decide(OWNER, 5, row(tags="dm"), False) == DebugVerdict(reply=SUCCEEDED, tags=None)


@pytest.mark.parametrize(("tags", "on"), [("dm", True), (None, False), ("us", False), ("", False)])
def test_what_is_so_already_is_said(tags: str | None, on: bool) -> None:
    assert decide(OWNER, 5, row(tags=tags), on) == DebugVerdict(reply="Already set accordingly")


def test_a_job_that_is_gone_or_over_is_said() -> None:
    assert decide(OWNER, 5, None, True).reply == "PandaID=5 not found in active DB"
    told = decide(OWNER, 5, row(status="holding"), True).reply
    assert told.startswith("Cannot set debugMode since the job status is holding which is not in one of ['defined', ")


def test_tags_that_the_column_cannot_hold_are_not_stored() -> None:
    assert decide(OWNER, 5, row(tags="x" * 79), True).reply == "Cannot set debugMode since the job has too many tags"


def test_users_and_working_groups_have_so_many_at_most_and_roles_any_number() -> None:
    assert quota(OWNER, row()) == Quota(holder="user me", most=3)
    assert quota(PHYSICIST, row(working_group="GP_Higgs")) == Quota(holder="group higgs", most=10)
    assert quota(PRODUCTION, row()) is quota(PILOT, row()) is None


def test_whoever_is_at_the_limit_is_told_which_jobs_those_are() -> None:
    three = Quota(holder="user me", most=3)
    assert over(three, [1, 2]) is None
    assert over(three, [1, 2, 9]) == (
        "You already hit the limit on the maximum number of debug subjobs (3 jobs). "
        "Please set the debug mode off for one of the following PandaIDs : 1,2,9"
    )
