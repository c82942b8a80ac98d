"""Which commands tasks take in which status, and how commands are written down."""

import json

import pytest

from pandatx.domain.task_commands import (
    NotTaskOwner,
    comment_of,
    qualifiers,
    reassign_comment,
    refusal,
    registered,
    reload_comment,
)
from pandatx.domain.task_split_rules import CHANGEABLE, changed
from pandatx.errors import BadRequest

STATUSES = frozenset(
    "waiting registered defined assigning ready topreprocess preprocessing scouting scouted running throttled pending "
    "paused staging staged prepared passed merging exhausted finishing aborting toabort tobroken toretry toincexec "
    "rerefine toreassign reassigning done finished failed broken aborted".split()
)
OVER = frozenset("finished done prepared broken aborted toabort aborting failed".split())
TAKEN = {
    "kill": STATUSES - OVER - {"waiting"},
    "finish": STATUSES - OVER - {"waiting"},
    "retry": frozenset(("finished", "failed", "exhausted")),
    "incexec": frozenset(("finished", "failed", "aborted", "done", "exhausted")),
    "pause": STATUSES - {"finished", "failed", "done", "aborted", "broken", "paused", "waiting"},
    "resume": frozenset(("paused", "throttled", "staging")),
    "avalanche": frozenset(("scouting",)),
    "release": frozenset(("scouting", "pending", "running", "ready", "assigning", "defined")),
    "reassign": frozenset("defined ready running scouting scouted pending assigning exhausted".split()),
}


@pytest.mark.parametrize("command", sorted(TAKEN))
def test_a_command_is_taken_in_these_statuses_only(command):
    taken = {status for status in STATUSES if refusal(command, status, production=True) is None}
    assert taken == TAKEN[command]


def test_a_refusal_names_command_and_status():
    told = "Command rejected: the kill command is not accepted if the task is in done status "
    assert refusal("kill", "done", production=True) == told


def test_an_exhausted_task_is_retried_by_the_production_role_only():
    told = refusal("retry", "exhausted", production=False)
    assert told.endswith("in exhausted status and production role is missing")
    assert refusal("retry", "finished", production=False) is None


def test_a_task_that_keeps_its_status_is_reassigned_whatever_that_is():
    assert {status for status in STATUSES if refusal("reassign", status, production=True, back=True)} == {"waiting"}


def test_a_command_says_who_gave_it():
    assert comment_of("kill", "Some User") == "kill by Some User"
    assert comment_of("finish", "Some User", "soft") == "soft finish by Some User"
    told = "command=kill is registered for task ID 7. will be executed in a few minutes"
    assert (registered("kill", 7).code, registered("kill", 7).message) == (0, told)


def test_a_retry_is_qualified_in_the_order_that_jedi_knows():
    words = qualifiers(
        no_child_retry=True,
        discard_events=True,
        disable_staging_mode=True,
        keep_gshare_priority=True,
        ignore_hard_exhausted=True,
    )
    assert words == ["sole", "discard", "staged", "keep", "transcend"]
    assert qualifiers() == []


def test_a_reload_has_no_parameters_and_its_qualifiers():
    assert json.loads(reload_comment(False)) == [{}, []]
    assert json.loads(reload_comment(True)) == [{}, ["transcend"]]


@pytest.mark.parametrize(
    ("site", "cloud", "nucleus", "mode", "comment"),
    [
        ("A", None, None, None, "site:A:y"),
        ("", None, None, None, "site::y"),
        ("A", "DE", "N", "kill", "site:A:y"),
        (None, "DE", None, "soft", "cloud:DE:n:soft reassign"),
        (None, None, "CERN", "nokill", "nucleus:CERN:n:nokill reassign"),
        (None, None, None, None, "cloud::n"),
    ],
)
def test_a_reassignment_is_written_as_jedi_reads_it(site, cloud, nucleus, mode, comment):
    assert reassign_comment(site, cloud, nucleus, mode) == comment


@pytest.mark.parametrize(
    "place",
    [
        {"site": "A:y", "cloud": None, "nucleus": None, "mode": None},
        {"site": "x" * 61, "cloud": None, "nucleus": None, "mode": None},
        {"site": None, "cloud": "x" * 11, "nucleus": None, "mode": None},
        {"site": None, "cloud": None, "nucleus": "x" * 53, "mode": None},
        {"site": "A", "cloud": None, "nucleus": None, "mode": "gently"},
    ],
)
def test_a_place_that_jedi_would_misread_is_refused(place):
    with pytest.raises(BadRequest):
        reassign_comment(**place)


def test_whose_task_it_is_not_is_told_in_the_words_of_each_dialect():
    others, nobodys = NotTaskOwner(7, known=True), NotTaskOwner(7, known=False)
    assert str(others) == str(nobodys) == "not the task owner or no production role"
    assert (others.code, others.told) == (3, "Permission denied: not the task owner or no production role")
    assert (nobodys.code, nobodys.told) == (2, "jediTaskID=7 not found")


def test_a_split_rule_is_replaced_added_and_removed():
    assert changed("NF=2,US=1", {"NF": 5}) == "US=1,NF=5"
    assert changed(None, {"NF": "5"}) == "NF=5"
    assert changed("AN=1,2,3,NF=2", {"NF": ""}) == "AN=1,2,3"
    assert changed("NF=2", {"NF": "None"}) == ""
    assert changed("NJ=1", {"NJ": 0, "MJ": 0}) == "NJ=0,MJ=0"


@pytest.mark.parametrize("value", ["1,US=3", "1=2", "1 2", "x" * 200])
def test_a_value_that_would_be_more_than_one_rule_is_refused(value):
    with pytest.raises(BadRequest):
        changed("US=1", {"NF": value})


def test_these_rules_may_be_changed():
    tags = "AI TW EC MF NG NI NF ES NJ AV IL LI LC CC OT UZ IM NP".split()
    assert list(CHANGEABLE.values()) == tags
