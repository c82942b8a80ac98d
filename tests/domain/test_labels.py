"""The label table of reference/lifecycle.md 6.2."""

from __future__ import annotations

import pytest

from pandatx.domain.labels import LabelFilter, accepted, asked_label, counts_sent
from pandatx.domain.queues import Queue

ONLINE = Queue(name="Q", type="unified")
IN_TEST = Queue(name="Q", type="production", status="test")
UNIFIED_IN_TEST = Queue(name="Q", type="unified", status="test")
MANAGED = {"managed", "test", "prod_test", "install"}


@pytest.mark.parametrize(
    ("asked", "labels"),
    [
        ("user", {"user", "panda", "install"}),
        (None, MANAGED),
        ("", MANAGED),
        ("managed", MANAGED),
        ("unified", MANAGED | {"user", "panda"}),
        ("ptest", {"ptest"}),
        ("rc_test2", {"rc_test2"}),
    ],
)
def test_an_asked_label_stands_for_the_labels_of_the_table(asked, labels):
    assert accepted(asked, "CE", None, ONLINE) == LabelFilter(frozenset(labels))


def test_test_without_a_computing_element_is_that_label_alone():
    assert accepted("test", None, None, ONLINE) == LabelFilter(frozenset({"test"}))


def test_test_with_a_computing_element_takes_all_tests_and_those_of_gangarobot():
    found = accepted("test", "CE", None, ONLINE)
    assert found.fits("prod_test", None) and found.fits("user", "gangarobot")
    assert not found.fits("user", "run") and not found.fits("managed", None)


def test_a_user_test_on_a_grandly_unified_queue_is_one_of_gangarobot():
    found = accepted("test", "CE", "user", ONLINE)
    assert found.fits("user", "gangarobot") and not found.fits("test", "run")
    assert accepted("test", "CE", "user", IN_TEST).fits("test", "run")
    assert accepted("test", "CE", "managed", ONLINE).fits("test", "run")


@pytest.mark.parametrize("asked", ["user", "managed", "unified"])
def test_a_queue_in_test_gives_tests_only(asked):
    assert asked_label(asked, IN_TEST) == "test"
    assert accepted(asked, "CE", None, IN_TEST) == accepted("test", "CE", None, ONLINE)
    assert accepted(asked, "CE", "user", UNIFIED_IN_TEST).labels == frozenset()


def test_a_queue_in_test_changes_no_other_label():
    assert asked_label(None, IN_TEST) is None and asked_label("ptest", IN_TEST) == "ptest"
    assert asked_label("user", None) == "user"


def test_only_managed_answers_count_what_was_sent():
    assert [counts_sent(label) for label in (None, "managed", "user", "unified")] == [True, True, False, False]
