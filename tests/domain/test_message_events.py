"""What is read from messages of data management."""

import json

import pytest

from pandatx.domain.messages import Event, Meaning, UnreadableMessage, meaning, read


def message(kind="datasetlock_ok", **payload):
    about = {"scope": "mc", "name": "mc.x_dis7", "rse": "HERE"} | payload
    return json.dumps({"event_type": kind, "payload": about, "created_at": "2026-01-01 00:00:00"})


@pytest.mark.parametrize("kind", ["datasetlock_ok", "DATASETLOCK_OK", "rule_ok"])
@pytest.mark.parametrize("name", ["mc.x_dis7", "mc.x_sub0012"])
def test_a_block_is_complete_when_a_rule_over_it_is(kind, name):
    assert read(message(kind, name=name)) == Event(name=name, scope="mc", rse="HERE")


def test_a_name_may_carry_its_scope():
    assert read(message(name="mc:mc.x_dis7")).name == "mc.x_dis7"


def test_a_payload_may_be_text_within_the_text():
    body = json.dumps({"event_type": "rule_ok", "payload": json.dumps({"name": "mc.x_sub1"})})
    assert read(body.encode()) == Event(name="mc.x_sub1")


@pytest.mark.parametrize("kind", ["close", "transfer-done", "deletion-done", "rule_progress", "create_dts"])
def test_other_events_are_nothing_to_us(kind):
    assert read(message(kind)) is None


def test_a_rule_over_a_users_dataset_says_nothing_of_its_transfers():
    assert read(message(name="user.alice.out")) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"<xml/>",
        b"[]",
        b"17",
        b"null",
        b"{}",
        b'{"event_type": "rule_ok"}',
        b'{"event_type": "rule_ok", "payload": "x"}',
        b'{"event_type": "rule_ok", "payload": []}',
        b'{"event_type": "rule_ok", "payload": {}}',
        b'{"event_type": "rule_ok", "payload": {"name": 7}}',
        b'{"event_type": "rule_ok", "payload": {"name": "x\\u0000_dis1"}}',
    ],
)
def test_what_is_no_event_cannot_be_read(body):
    with pytest.raises(UnreadableMessage):
        read(body)


@pytest.mark.parametrize(
    ("name", "kind", "meant"),
    [
        ("mc.x_dis7", "dispatch", Meaning.ACTIVATE),
        ("mc.x_sub7", "output", Meaning.FINISH),
        ("panda.um.x_zip", "output", Meaning.ACTIVATE_AGAIN),
        ("mc.x_sub7", None, None),
    ],
)
def test_what_a_complete_block_leads_to(name, kind, meant):
    assert meaning(name, kind) is meant
