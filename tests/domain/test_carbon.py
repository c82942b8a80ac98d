"""Emissions: the question, the answer, and the average."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandatx.domain.carbon import Emission, average, emissions, question
from pandatx.domain.dumps import UnreadableDump

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
MILLISECONDS = AT.timestamp() * 1000


def hit(region="DE", value=380.4, at=MILLISECONDS) -> dict:
    return {"_source": {"data": {"region": region, "gCO2_perkWh": value}, "metadata": {"timestamp": at}}}


def answer(*hits, status=200) -> bytes:
    return json.dumps({"responses": [{"status": status, "hits": {"hits": list(hits)}}]}).encode()


def test_the_question_is_two_lines_of_json_over_two_hours():
    head, wanted = question().decode().splitlines()
    assert json.loads(head)["index"] == ["monit_prod_green-it_raw_regionmetric*"]
    assert json.loads(wanted)["query"]["range"]["metadata.timestamp"] == {"gte": "now-2h", "lt": "now"}
    assert question().endswith(b"\n")


def test_an_answer_gives_region_time_and_value():
    assert emissions(answer(hit(), hit("FR", 50), hit())) == [Emission("DE", AT, 380), Emission("FR", AT, 50)]


@pytest.mark.parametrize(
    "bad",
    [
        1,
        {},
        hit(region=None),
        hit(region="x" * 33),
        hit(region="GRID"),
        hit(value="9"),
        hit(value=-1),
        hit(at="now"),
        hit(at=1e300),
    ],
)
def test_a_measure_of_another_form_is_left_out(bad):
    assert emissions(answer(bad, hit())) == [Emission("DE", AT, 380)]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"responses": []}', answer(status=500), b'{"responses": [1]}']
)
def test_an_answer_of_another_form_is_unreadable(content):
    with pytest.raises(UnreadableDump):
        emissions(content)


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["_source", "data", "region", "gCO2_perkWh", "metadata", "timestamp"]), inner
            )
        ),
    )
)
def test_no_measure_breaks_the_reader(bad):
    emissions(answer(bad))


@pytest.mark.parametrize(
    ("used", "total", "latest", "expected"),
    [
        ({"DE": 30, "FR": 10}, 40, {"DE": 400, "FR": 40}, 310),
        ({"DE": 30}, 60, {"DE": 400}, 200),
        ({"DE": 30, "XX": 30}, 60, {"DE": 400}, 200),
        ({"DE": 30, "GRID": 30}, 60, {"DE": 400, "GRID": 999}, 200),
        ({}, 10, {}, 0),
        ({}, 0, {"DE": 400}, None),
    ],
)
def test_the_average_weighs_regions_by_the_computing_in_them(used, total, latest, expected):
    assert average(used, total, latest) == expected
