"""What is taken of the network weather and of the cost matrix."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from pandatx.domain.dumps import UnreadableDump
from pandatx.domain.network import Measure, closeness, of_closeness, weather, worth_storing

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
AT = "2026-01-01T11:45:00"


def keys(about) -> dict:
    return {one.key: one.value for one in weather(json.dumps({"A:B": about}).encode())}


def test_files_done_and_queued_and_rates_are_taken_under_their_keys():
    found = keys(
        {
            "files": {
                "done": {
                    "Production Input": {"1h": 3, "6h": 9, "timestamp": AT},
                    "Express": {"1h": 1, "6h": 2, "timestamp": AT},
                    "Staging": {"1h": 7, "6h": 7, "timestamp": AT},
                },
                "queued": {"Production Output": {"latest": 5, "timestamp": AT}},
            },
            "mbps": {"dashb": {"1h": 1.6, "1d": 2, "1w": 3, "timestamp": AT}},
        }
    )
    assert found == {
        "Production Input_done_1h": 3,
        "Production Input_done_6h": 9,
        "Express_done_1h": 1,
        "Express_done_6h": 2,
        "Production Output_queued": 5,
        "dashb_mbps_1h": 2,
        "dashb_mbps_1d": 2,
        "dashb_mbps_1w": 3,
    }


@pytest.mark.parametrize(
    "about",
    [
        None,
        {"files": None, "mbps": []},
        {"mbps": {"x": {"1h": 1}}},
        {"mbps": {"x": {"1h": 1, "timestamp": "now"}}},
        {"mbps": {"x": {"1h": "1", "timestamp": AT}}},
    ],
)
def test_what_has_another_form_is_left_out(about):
    assert keys(about) == {}


def test_a_pair_without_a_colon_is_left_out_and_a_dump_that_is_none_is_refused():
    assert weather(b'{"AB": {"mbps": {"x": {"1h": 1, "timestamp": "2026-01-01T11:45:00"}}}}') == []
    with pytest.raises(UnreadableDump):
        weather(b"[]")
    with pytest.raises(UnreadableDump):
        closeness(b"{}")


@pytest.mark.parametrize(("minutes", "taken"), [(29, True), (30, False), (31, False)])
def test_what_is_half_an_hour_old_is_not_taken(minutes, taken):
    measure = Measure("A", "B", "k", 1, NOW - timedelta(minutes=minutes))
    assert bool(worth_storing([measure], frozenset("AB"), NOW)) is taken


@pytest.mark.parametrize(("source", "taken"), [("A", True), ("UNKNOWN", True), ("C", False)])
def test_only_sites_that_are_known_count(source, taken):
    assert bool(worth_storing([Measure(source, "B", "k", 1, NOW)], frozenset("AB"), NOW)) is taken


def test_closeness_is_that_of_now_between_known_sites():
    dump = [
        {"src": "A", "dst": "B", "closeness": 5},
        {"src": "A", "dst": "C", "closeness": 1},
        {"src": "A", "dst": "UNKNOWN", "closeness": 1},
        {"src": "B", "dst": "A"},
        {"src": "", "dst": "A", "closeness": 1},
        "text",
    ]
    found = of_closeness(closeness(json.dumps(dump).encode()), frozenset("AB"), NOW)
    assert found == [Measure("A", "B", "AGIS_closeness", 5, NOW)]
