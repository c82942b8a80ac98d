"""What the decoder makes of what clients send."""

from __future__ import annotations

import gzip
import io
import json
import math
import zlib
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sites import at_once

from pandatx.domain.requests import (
    Heartbeat,
    HeartbeatBatch,
    JobCommand,
    JobIds,
    JobKill,
    JobRequest,
    JobSearch,
    WorkerNode,
)
from pandatx.errors import BadRequest, TooLarge
from pandatx.resources import percent
from pandatx.resources.api import Dialect
from pandatx.resources.bodies import BodyReader, Malformed, _pairs, inflate_all, parse, parse_json
from pandatx.resources.convert import of_annotation
from pandatx.resources.decoding import ArgumentFault, decoder
from pandatx.resources.encoding import to_urlencoded
from pandatx.resources.percent import unquoted

V1, LEGACY = Dialect.V1, Dialect.LEGACY


def legacy(asks: type, as_text: bool = False, **raw: Any) -> Any:
    return decoder(asks, LEGACY).decode(raw, as_text)


def rest(asks: type, as_text: bool = False, **raw: Any) -> Any:
    return decoder(asks, V1).decode(raw, as_text)


def beat(**raw: Any) -> Heartbeat:
    return legacy(Heartbeat, jobId="5", state="running", **raw)


def test_names_of_both_dialects_and_of_older_clients_are_understood() -> None:
    assert legacy(JobRequest, siteName="Q", mem="2000.5", diskSpace=3) == JobRequest(
        site_name="Q", memory=2000, disk_space=3, n_jobs=None
    )
    assert rest(JobRequest, site_name="Q", resourceType="SCORE", taskID="5", mem=7) == JobRequest(
        site_name="Q", resource_type="SCORE", task_id=5, memory=7
    )


def test_names_of_a_request_for_jobs_that_are_remembered_are_cut() -> None:
    long = "x" * 10**5
    asked = legacy(JobRequest, siteName=long, prodSourceLabel=long, prodUserID=long, resourceType=long)
    kept = (asked.site_name, asked.prod_source_label, asked.prod_user_id, asked.resource_type)
    assert max(map(len, kept)) <= 1000 and len(asked.site_name) > 128, "no queue has such a name"


def test_the_dialects_own_spelling_wins() -> None:
    assert rest(JobRequest, site_name="new", siteName="old").site_name == "new"
    assert rest(JobRequest, siteName="old", site_name="new").site_name == "new"


def test_unknown_names_are_passed_over() -> None:
    assert rest(JobIds, job_ids=[1], something={"a": [1]}).job_ids == (1,)


def test_null_is_absent() -> None:
    assert rest(JobRequest, site_name="Q", memory=None, timeout=None) == JobRequest(site_name="Q")
    with pytest.raises(ArgumentFault, match="site_name"):
        rest(JobRequest, site_name=None)


def test_bad_memory_of_a_pilot_is_none_rather_than_a_refusal() -> None:
    for bad in ("NULL", "", -1, [], "nan", "1e400", float("inf")):
        assert legacy(JobRequest, siteName="Q", mem=bad).memory == 0, bad


@pytest.mark.parametrize(
    ("sent", "read"),
    [(5, 5), ("5", 5), (" 5 ", 5), ("5.9", 5), (5.9, 5), (True, 1), ("1e3", 1000)],
)
def test_an_integer_is_read_from_any_number(sent: Any, read: int) -> None:
    assert rest(WorkerNode, site="s", host_name="h", cpu_model="c", n_sockets=sent).n_sockets == read


def test_an_id_is_whole_or_refused_lest_it_be_anothers() -> None:
    for whole in (5, "5", " 5 ", 5.0, "5.0"):
        assert rest(JobIds, job_ids=[whole]).job_ids == (5,), whole
        assert rest(Heartbeat, job_id=whole, job_status="running").job_id == 5, whole
    for other in (5.5, "5.9", True, 2**63, -(2**70), "1e3", "", None, [5]):
        with pytest.raises(ArgumentFault) as refused:
            rest(JobKill, job_ids=[1, other])
        assert refused.value.rest == "Type error: All elements in 'job_ids' must be int."
        if other is not None:
            with pytest.raises(ArgumentFault):
                rest(JobCommand, job_id=other, command="x")


@pytest.mark.parametrize("sent", [[], {}, ["Q"], {"a": 1}])
def test_only_documents_are_taken_as_objects(sent: Any) -> None:
    with pytest.raises(ArgumentFault) as refused:
        rest(JobRequest, site_name=sent)
    assert refused.value.rest == f"Type error: 'site_name' must be of type str, got {type(sent).__name__}."
    found = beat(batchID=sent, metaData=sent)
    assert (found.batch_id, found.meta_data) == (None, json.dumps(sent))


@pytest.mark.parametrize("sent", [2**63 - 1, 1e15, -1, 0, "9e99"])
def test_a_time_beyond_the_calendar_is_left_out(sent: Any) -> None:
    assert beat(startTime=sent).start_time is None


@pytest.mark.parametrize("bad", ["", "five", "1_000", {}, [], 2**63, "9" * 5000, float("nan"), "0x10"])
def test_what_is_no_integer_is_refused(bad: Any) -> None:
    with pytest.raises(BadRequest):
        rest(WorkerNode, site="s", host_name="h", cpu_model="c", n_sockets=bad)


@pytest.mark.parametrize(
    ("sent", "read"),
    [(True, True), ("True", True), ("true", True), ("1", True), (1, True), ("False", False), (0, False)],
)
def test_truth_is_read_from_its_texts(sent: Any, read: bool) -> None:
    assert legacy(JobRequest, siteName="Q", viaTopic=sent).via_topic is read


def test_lists_are_repeated_names_or_separated_texts() -> None:
    for ids in ([1, "2"], "1,2", "1 2", "[1, 2]", " 1, 2 "):
        assert legacy(JobIds, ids=ids).job_ids == (1, 2), ids
    assert legacy(JobIds, ids=7).job_ids == (7,)
    assert legacy(JobKill, ids="1", killOpts="a,b").kill_options == ("a", "b")
    assert legacy(HeartbeatBatch, jobList='[{"jobId": 1}]').job_list == ({"jobId": 1},)


def test_too_many_elements_are_an_error_not_a_cut() -> None:
    with pytest.raises(ArgumentFault) as refused:
        rest(JobIds, job_ids=[1] * 5501)
    assert refused.value.rest == "Type error: 'job_ids' has more than 5500 elements."


@pytest.mark.parametrize("ids", ["1 " * 500_000, "[" + "1," * 500_000 + "1]", [1] * 500_000, ["1"] * 500_000])
def test_too_many_elements_are_refused_before_they_are_read(ids: Any) -> None:
    begun = process_time()
    with pytest.raises(ArgumentFault, match="has more than 5500 elements"):
        legacy(JobIds, ids=ids)
    assert process_time() - begun < 0.05


@pytest.mark.parametrize("names", ["," * 10_000_000, "a," * 5_000_000])
def test_too_many_names_are_refused_before_the_text_is_taken_apart(names: str) -> None:
    begun = process_time()
    with pytest.raises(ArgumentFault, match="has more than 100 elements"):
        legacy(JobKill, ids="1", killOpts=names)
    assert process_time() - begun < 0.05


def test_in_a_query_none_and_blanks_stand_for_nothing() -> None:
    found = rest(JobSearch, as_text=True, status="None", queue="", limit="")
    assert (found.status, found.queue, found.limit) == (None, "", 100)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (1767323045.5, datetime(2026, 1, 2, 3, 4, 5, 500000, UTC)),
        (1767323045, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("1767323045.5", datetime(2026, 1, 2, 3, 4, 5, 500000, UTC)),
        ("2026-01-02 03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02 03:04:05.5", datetime(2026, 1, 2, 3, 4, 5, 500000, UTC)),
        ("datetime/2026-01-02 03:04:05.500000", datetime(2026, 1, 2, 3, 4, 5, 500000, UTC)),
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T05:04:05+02:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ({"__datetime__": "2026-01-02T03:04:05"}, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_times_are_text_or_epoch(sent: Any, read: datetime) -> None:
    assert beat(startTime=sent).start_time == read


def test_a_bad_optional_field_of_a_report_is_left_out() -> None:
    found = beat(
        startTime="yesterday", endTime=-1, nEvents="many", maxRSS={}, meanCoreCount="nan", coreCount=10**12, stdout="x"
    )
    assert found == Heartbeat(job_id=5, job_status="running", stdout="x")


@pytest.mark.parametrize("bad", [{"jobId": "five"}, {"jobId": [1]}, {"attemptNr": "first"}, {"state": []}])
def test_a_bad_id_attempt_or_state_refuses_a_report(bad: dict[str, Any]) -> None:
    raw: dict[str, Any] = {"jobId": 5, "state": "running", **bad}
    if raw["state"] == []:
        raw["state"] = None
    with pytest.raises(ArgumentFault):
        decoder(Heartbeat, LEGACY).decode(raw)


def test_the_id_null_is_a_report_on_no_job() -> None:
    assert legacy(Heartbeat, jobId="NULL", state="running").job_id == 0


def test_input_and_output_are_kept_in_kilobytes_in_both_dialects() -> None:
    assert (beat(totRBYTES=4096, rateRCHAR="2048.5").tot_rbytes, beat(rateRCHAR="2048.5").rate_rchar) == (4, 2)
    found = rest(Heartbeat, job_id=5, job_status="running", tot_rbytes=10**18, rate_rchar=2048)
    assert (found.tot_rbytes, found.rate_rchar) == (10**10 - 1, 2)


def test_a_legacy_text_loses_its_sign_as_error_code() -> None:
    assert beat(pilotErrorCode="-1201").pilot_error_code == 1201
    assert beat(pilotErrorCode=-1201).pilot_error_code == -1201
    assert rest(Heartbeat, job_id=5, job_status="failed", pilot_error_code="-1201").pilot_error_code == -1201


def test_texts_are_cut_at_their_widths_and_lose_nuls() -> None:
    found = beat(
        node="n" * 200, pilotErrorDiag="a\0b" * 300, jobMetrics="m" * 501, stdout="o" * 5000, pilotID="p" * 300
    )
    assert [len(text or "") for text in (found.node, found.pilot_error_diag, found.job_metrics)] == [128, 500, 500]
    assert (len(found.stdout), "\0" in (found.pilot_error_diag or "")) == (2048, False)


def test_a_nul_in_another_request_is_refused() -> None:
    with pytest.raises(ArgumentFault) as refused:
        rest(JobRequest, site_name="a\0b")
    assert refused.value.rest == "Type error: 'site_name' must not hold a NUL character."


def test_a_report_as_an_object_becomes_its_text() -> None:
    assert beat(xml={"f": {"guid": "g"}}).job_output_report == '{"f": {"guid": "g"}}'


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
    max_leaves=5,
)
NAMES = sorted(decoder(Heartbeat, LEGACY).spellings)


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(), JSON_VALUES, max_size=12), st.sampled_from(Dialect))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_is_a_report_or_a_fault_of_the_request(raw: dict[str, Any], dialect: Dialect) -> None:
    try:
        found = decoder(Heartbeat, dialect).decode(raw)
    except ArgumentFault:
        return
    assert isinstance(found.job_id, int)
    for name in ("start_time", "end_time"):
        moment = getattr(found, name)
        assert moment is None or moment.utcoffset() == timedelta(0)
    for name in ("max_rss", "tot_rchar", "n_events", "mean_core_count"):
        value = getattr(found, name)
        assert value is None or math.isfinite(value)
    for name in ("node", "stdout", "job_output_report", "meta_data", "pilot_log", "corrupted_files"):
        value = getattr(found, name)
        assert value is None or "\0" not in value


@given(st.binary(max_size=300), st.sampled_from([b"", b"application/json", b"multipart/form-data; boundary=b", b"x/y"]))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_content_or_malformed(body: bytes, kind: bytes) -> None:
    try:
        found = parse(body, kind)
    except Malformed:
        return
    assert isinstance(found.values, dict)


@given(st.binary(max_size=3000), st.sampled_from([(gzip.compress, False), (zlib.compress, True)]))
def test_what_was_compressed_inflates_to_itself(body: bytes, how: Any) -> None:
    compress, deflated = how
    assert inflate_all(compress(body), 1 << 20, deflated) == body


@given(st.dictionaries(st.text(min_size=1), st.none() | st.integers() | st.text(min_size=1), min_size=1))
def test_urlencoded_answers_are_read_back_by_any_parser(values: dict[str, Any]) -> None:
    values = {name: value for name, value in values.items() if name < "\ud800" or name > "\udfff"}
    read = parse_qs(to_urlencoded(values).decode(), strict_parsing=bool(values))
    plain = {name: "NULL" if value is None else str(value) for name, value in values.items()}
    assert read == parse_qs(urlencode(plain, errors="replace"))


def test_python_writers_nan_and_halves_of_pairs_are_read() -> None:
    assert parse_json(b'{"a": NaN, "b": "\\ud800x"}')["b"] == "?x"


@pytest.mark.parametrize("annotation", [dict[str, Any], tuple[Any, ...], tuple[str, ...]])
def test_so_are_json_texts_within_a_body(annotation: Any) -> None:
    text = '{"a": "\\ud800"}' if annotation == dict[str, Any] else '["\\ud800"]'
    assert "?" in repr(of_annotation(annotation)(text))


def test_a_bomb_is_refused_before_it_is_in_memory() -> None:
    bomb = gzip.compress(b"0" * (100 << 20))
    with pytest.raises(TooLarge):
        inflate_all(bomb, 64 << 20)
    with pytest.raises(TooLarge):  # by its ratio
        inflate_all(bomb, 1 << 40)


def test_members_of_gzip_follow_each_other_and_trailing_zeros_are_nothing() -> None:
    assert inflate_all(gzip.compress(b"ab") + gzip.compress(b"cd") + b"\0\0", 1000) == b"abcd"


def test_a_body_of_a_hundred_thousand_gzip_files_is_refused_at_once() -> None:
    begun = process_time()
    with pytest.raises(Malformed, match="more than 1000 gzip files in one"):
        inflate_all(gzip.compress(b"") * 100_000, 64 << 20)
    assert inflate_all(gzip.compress(b"a") * 1000, 1000) == b"a" * 1000
    assert process_time() - begun < 1


def test_a_form_is_read_with_its_blanks_and_the_first_of_repeated_names() -> None:
    found = parse(b"a=1&a=2&b=&c=x+y%2B", b"application/x-www-form-urlencoded")
    assert found.values == {"a": "1", "b": "", "c": "x y+"}
    assert parse(b"a=1", b"").values == {"a": "1"}
    assert parse(b'{"a": 1}', b"").values == {"a": 1}


PIECES = [
    b"%",
    b"+",
    b"\\",
    b"4",
    b"F",
    b"%41",
    b"%c3%a9",
    b"%C3",
    b"%zz",
    b"%25",
    b"\\x41",
    b"\0",
    b"\n",
    b"N{",
    b"\xff",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), st.sampled_from([3, 8, 1 << 16]))
def test_percent_signs_are_undone_as_python_does_it(encoded: bytes, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(percent, "PIECE", piece)
        assert unquoted(encoded) == unquote_to_bytes(encoded.replace(b"+", b" ")).decode("utf-8", "replace")


@pytest.mark.parametrize("encoded", [b"%22", b"%22b", b"%"])
def test_a_form_of_nothing_but_percent_signs_is_read_soon_and_in_pieces(
    encoded: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    original = percent._bytes
    monkeypatch.setattr(percent, "_bytes", lambda piece: sizes.append(len(piece)) or original(piece))
    begun = process_time()
    parse(b"a=" + encoded * ((4 << 20) // len(encoded)), b"")
    assert process_time() - begun < 2
    assert sum(sizes) > 32 * max(sizes)


def test_many_repeated_names_of_a_query_are_gathered_at_once() -> None:
    query = b"&".join(b"%d=1" % (n // 2) for n in range(9_998))
    begun = process_time()
    found = _pairs(query, repeated=True)
    assert process_time() - begun < 0.5
    assert len(found) == 4_999 and found["7"] == ["1", "1"]


def test_a_small_multipart_form_is_read() -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="siteName"\r\n\r\nQ\r\n'
        b'--b\r\nContent-Disposition: form-data; name="mem"\r\n\r\n5\r\n--b--\r\n'
    )
    assert parse(body, b"multipart/form-data; boundary=b").values == {"siteName": "Q", "mem": "5"}
    for broken in (body[:-10], b"--b\r\n", b"nothing"):
        with pytest.raises(Malformed):
            parse(broken, b"multipart/form-data; boundary=b")
    with pytest.raises(Malformed):
        parse(body, b"multipart/form-data")


async def test_what_inflates_beyond_a_mebibyte_is_read_in_a_thread() -> None:
    used: list[bool] = []

    async def in_thread(work: Any) -> Any:
        used.append(True)
        return await at_once(work)

    class Asked:
        method, uri = b"POST", b"/"

        def __init__(self, body: bytes) -> None:
            self.content = io.BytesIO(body)

        def getHeader(self, name: bytes) -> bytes | None:
            return b"application/json" if name == b"content-type" else None

    reader = BodyReader(in_thread)
    small, middle, large = (
        json.dumps({"a": "xxx" + " ".join(map(str, range(n)))}).encode() for n in (1000, 80_000, 300_000)
    )
    for body, how in ((small, None), (middle, False), (large, True)):
        for sent in (body, gzip.compress(body, 1)):
            used.clear()
            found: Any = reader.read(Asked(sent), LEGACY, 64 << 20)  # type: ignore[arg-type]
            if how is not None:
                assert (found.large, used) == (how, []), "it waits for its turn"
                found = await found.read()
            assert (len(used), found.values["a"][:3]) == (how is not None, "xxx")
