"""The JSON of the daemon section: a faulty entry stops only itself."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.config import DaemonSettings
from pandatx.config.daemons import with_entries


def read(**entries: Any) -> tuple[DaemonSettings, tuple[str, ...]]:
    return with_entries(DaemonSettings(document=entries))


def test_an_entry_needs_only_a_period():
    (entry,) = read(add_main={"period": 100})[0].entries
    assert (entry.name, entry.module, entry.period, entry.timeout) == ("add_main", "add_main", 100, 300)
    assert (entry.sync, entry.loop, entry.arguments) == (False, False, ())


def test_the_default_timeout_is_three_periods_but_an_hour_over_the_period_at_most():
    assert [read(d={"period": period})[0].entries[0].timeout for period in (1800, 1801, 7200)] == [5400, 5401, 10800]


def test_only_the_literal_false_disables():
    settings, _ = read(a={"enable": False}, b={"enable": None, "period": 1}, c={"enable": 0, "period": 1})
    assert (settings.disabled, [entry.name for entry in settings.entries]) == (("a",), ["b", "c"])


def test_arguments_are_passed_on_as_they_are():
    assert read(d={"period": 1, "arguments": ["--x", 5, None]})[0].entries[0].arguments == ("--x", 5, None)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (7, "its entry is not a JSON object"),
        ({}, "it has no period"),
        ({"timeout": 5}, "it has no period"),
        ({"period": "60"}, "period is not a whole number of seconds above 0"),
        ({"period": True}, "period is not a whole number of seconds above 0"),
        ({"period": 0}, "period is not a whole number of seconds above 0"),
        ({"period": 1, "timeout": 1.5}, "timeout is not a whole number of seconds above 0"),
        ({"period": 1, "module": 5}, "module is not a text"),
        ({"period": 1, "arguments": "--x"}, "arguments is not a list"),
        ({"period": 1, "sync": "yes"}, "sync is neither true nor false"),
        ({"period": 1, "loop": []}, "loop is neither true nor false"),
    ],
)
def test_a_faulty_entry_is_left_out_and_the_others_stay(values, why):
    settings, _ = read(before={"period": 1}, bad=values, after={"period": 2})
    assert [entry.name for entry in settings.entries] == ["before", "after"]
    assert [str(fault) for fault in settings.faults] == [f"daemon bad is left out: {why}"]


@pytest.mark.parametrize("name", ["", "a\0b", "a\nb", "\ud800", "x" * 101])
def test_a_name_that_the_tables_cannot_hold_is_left_out_under_one_that_they_can(name):
    settings, _ = read(**{name: {"period": 1}, "well": {"period": 1}})
    assert [entry.name for entry in settings.entries] == ["well"]
    [fault] = settings.faults
    assert fault.name.isprintable() and 0 < len(fault.name) <= 100


def test_the_name_of_a_sync_daemon_fits_into_the_lock_row():
    settings, _ = read(**{"x" * 49: {"period": 1, "sync": True}, "y" * 50: {"period": 1, "sync": True}})
    assert [entry.name for entry in settings.entries] == ["x" * 49]
    assert "at most 49 characters" in settings.faults[0].why
    assert read(**{"y" * 50: {"period": 1}})[0].entries


@pytest.mark.parametrize("values", [{"period": 10**9 + 1}, {"period": 1, "timeout": 10**18}])
def test_a_time_that_no_clock_reaches_is_left_out(values):
    settings, _ = read(d=values)
    assert settings.entries == () and "above 0" in settings.faults[0].why


def test_an_attribute_that_is_not_known_is_named():
    settings, warnings = read(d={"period": 1, "perod": 5})
    assert len(settings.entries) == 1
    assert warnings == ("daemon d: perod is not known; nothing reads it",)


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["period", "sync", "module"]), inner),
        ),
    )
)
def test_each_entry_is_read_disabled_or_named_as_a_fault(document):
    settings, _ = with_entries(DaemonSettings(document=json.loads(json.dumps(document))))
    assert len(settings.entries) + len(settings.disabled) + len(settings.faults) == len(document)


def test_a_documents_entries_keep_their_order():
    names = [entry.name for entry in read(z={"period": 1}, a={"period": 1})[0].entries]
    assert names == ["z", "a"]
