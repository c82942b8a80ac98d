"""JSON that is read, and JSON that would hold up everybody."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain import json_texts
from pandatx.domain.json_texts import has_more_values, read_json

VALUES = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('a,[{"\\é\n'), max_size=9),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(st.sampled_from('x",[\\'), max_size=3), each),
    max_leaves=20,
)


def marks(value: object) -> int:
    """Brackets that open, and commas, of a value without those in its texts."""
    if isinstance(value, dict):
        return 1 + max(0, len(value) - 1) + sum(map(marks, value.values()))
    return 1 + max(0, len(value) - 1) + sum(map(marks, value)) if isinstance(value, list) else 0


@given(VALUES, st.sampled_from([1, 2, 3, 7, 65536]))
def test_values_are_counted_without_what_stands_in_texts(value, piece):
    body = json.dumps(value, ensure_ascii=False).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_texts, "_PIECE", piece)
        assert not has_more_values(body, marks(value))
        assert has_more_values(body, marks(value) - 1)


def test_a_body_of_too_many_values_is_not_read(monkeypatch):
    monkeypatch.setattr(json_texts, "MOST_VALUES", 1000)
    for text in ("[" + "[]," * 1500 + "[]]", b"[" + b"1," * 1500 + b"1]", '{"a":' * 1500):
        with pytest.raises(ValueError, match="more than 1000 values"):
            read_json(text)
    assert len(read_json(b"[" + b"1," * 900 + b"1]")) == 901


def test_commas_in_a_text_of_a_body_are_no_values(monkeypatch):
    monkeypatch.setattr(json_texts, "MOST_VALUES", 1000)
    assert read_json(json.dumps({"jobs": '[",' * 2000}).encode()) == {"jobs": '[",' * 2000}
