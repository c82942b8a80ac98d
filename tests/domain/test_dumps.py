"""Dumps read piece by piece, and the caution with one that has shrunk."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.dumps import FEW, SHRUNKEN_FOR, Caution, UnreadableDump, entries, items, names

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5), st.sampled_from([None, 1]), st.booleans())
def test_an_object_read_piece_by_piece_is_what_json_reads(value, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert dict(entries(text.encode("utf-8", "surrogatepass"), "dump")) == value


@given(st.lists(VALUES, max_size=5), st.sampled_from([None, 1]))
def test_an_array_read_piece_by_piece_is_what_json_reads(value, indent):
    assert list(items(json.dumps(value, indent=indent), "dump")) == value


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), st.data())
def test_what_was_cut_short_is_unreadable(value, data):
    text = json.dumps(value)
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(UnreadableDump):
        list(entries(text[:cut], "dump"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "null",
        "1",
        "[]",
        '{"a" 1}',
        '{"a": 1,}',
        "{'a': 1}",
        '{"a": 1} x',
        "{1: 2}",
        "<html>",
        b"\xff",
        "[" * 9999,
    ],
)
def test_what_is_no_object_is_unreadable(text):
    with pytest.raises(UnreadableDump, match="dump"):
        list(entries(text, "dump"))


@pytest.mark.parametrize("text", ["{}", "[1", "[1,]", "[1 2]", ""])
def test_what_is_no_array_is_unreadable(text):
    with pytest.raises(UnreadableDump):
        list(items(text, "dump"))


def test_numbers_that_json_does_not_have_are_none():
    assert dict(entries('{"a": NaN, "b": [-Infinity]}', "dump")) == {"a": None, "b": [None]}


def test_a_dump_names_its_keys_or_its_texts():
    assert names('{"a": {}, "b": 1}', "dump") == {"a", "b"}
    assert names('["a", "b", 3]', "dump") == {"a", "b"}


@pytest.mark.parametrize(
    ("stored", "gone", "believed"), [(3, 3, True), (100, 50, True), (100, 51, False), (20, 11, False)]
)
def test_a_dump_that_lacks_more_than_half_is_not_believed_at_once(stored, gone, believed):
    assert Caution().believes(stored, gone, NOW) is believed


def test_a_few_may_always_go():
    assert Caution().believes(FEW, FEW, NOW)


def test_a_dump_that_says_so_for_a_day_is_believed():
    caution = Caution()
    assert not caution.believes(100, 60, NOW)
    assert not caution.believes(100, 60, NOW + SHRUNKEN_FOR - timedelta(seconds=1))
    assert caution.believes(100, 60, NOW + SHRUNKEN_FOR)


def test_a_dump_that_was_whole_in_between_is_doubted_anew():
    caution = Caution()
    assert not caution.believes(100, 60, NOW)
    assert caution.believes(100, 0, NOW + timedelta(hours=1))
    assert not caution.believes(100, 60, NOW + SHRUNKEN_FOR)


def test_a_dump_that_lacks_all_is_never_believed():
    caution = Caution()
    caution.believes(100, 100, NOW)
    assert not caution.believes(100, 100, NOW + 10 * SHRUNKEN_FOR)
