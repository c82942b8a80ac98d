"""Queue documents."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.dumps import UnreadableDump
from pandatx.domain.queues import Queue, load_dump, queue_of, with_children

LOCAL = {
    "nickname": "LOCAL",
    "status": "Online",
    "type": "unified",
    "cloud": "X",
    "corecount": "8",
    "corepower": 10.5,
    "meanrss": 2000,
    "maxrss": "16000",
    "workflow": "push_ups",
    "catchall": "allow_no_pilot, grandly_unified",
    "capability": "UCORE",
    "astorages": {"pr": ["IN", "B"], "pw": ["OUT"], "bad": "x"},
}


def test_a_document_becomes_a_record():
    queue = queue_of("key", LOCAL)
    assert (queue.name, queue.status, queue.core_count, queue.core_power) == ("LOCAL", "online", 8, 10.5)
    assert (queue.mean_rss, queue.max_rss, queue.pushed, queue.grandly_unified) == (2000, 16000, True, True)
    assert (queue.endpoint_in, queue.endpoint_out, queue.endpoints) == ("IN", "OUT", {"IN", "B", "OUT"})
    assert "allow_no_pilot" in queue.catchall and queue.document is LOCAL


def test_the_plain_list_of_endpoints_serves_where_there_is_none_by_activity():
    queue = queue_of("Q", {"ddm": "A, B"})
    assert (queue.endpoint_in, queue.endpoint_out, queue.endpoints) == ("A", "A", {"A", "B"})


def test_a_dump_is_keyed_by_nickname_and_names_what_it_leaves_out():
    dump = load_dump(
        json.dumps(
            {
                "a": LOCAL,
                "b": {"nickname": "LOCAL", "type": "analysis"},
                "PROD": {"type": "production", "cloud": ""},
                "UNI": {"type": "unified"},
                "ANA": {"type": "analysis"},
                "text": "text",
                "N" * 51: {},
            }
        )
    )
    assert [queue.name for queue in dump.queues] == ["LOCAL", "ANA"]
    faults = {fault.split()[1]: fault for fault in dump.faults}
    assert set(faults) == {"b", "PROD", "UNI", "text", "N" * 51}
    assert "cloud" in faults["PROD"] and "nickname" in faults["b"]


@pytest.mark.parametrize("text", ["", "[]", "{", "null", b"\xff\xfe"])
def test_a_dump_that_is_no_object_is_refused_and_not_taken_for_an_empty_one(text):
    with pytest.raises(UnreadableDump):
        load_dump(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=True) | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), st.dictionaries(st.sampled_from([*LOCAL, "ddm"]), JSON, max_size=6)))
def test_whatever_stands_in_a_document_each_entry_is_read_or_named(documents):
    dump = load_dump(json.dumps(documents))
    assert len(dump.queues) + len(dump.faults) == len(documents)


def test_a_queue_for_any_core_number_stands_for_one_of_each_resource_type():
    names = [queue.name for queue in with_children(queue_of("Q", LOCAL), ["SCORE", "MCORE"])]
    assert names == ["LOCAL", "LOCAL/SCORE", "LOCAL/MCORE"]
    assert with_children(Queue(name="Q"), ["SCORE"]) == (Queue(name="Q"),)


@pytest.mark.parametrize(
    ("kind", "label", "job_label"),
    [
        ("production", "user", "managed"),
        ("analysis", "managed", "user"),
        ("unified", "user", "user"),
        ("unified", "ptest", "user"),
        ("unified", "managed", "managed"),
    ],
)
def test_the_job_label_follows_the_type_of_the_queue(kind, label, job_label):
    assert Queue(name="Q", type=kind).job_label(label) == job_label
