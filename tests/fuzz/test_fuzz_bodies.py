"""Hostile bytes where bodies are read: forms, multipart, gzip, JSON, and what the fields make of them.

The law: what cannot be read is refused in words, soon, and leaves nothing behind; nothing else ever happens.
"""

from __future__ import annotations

import gzip
import json
import tempfile
import zlib
from pathlib import Path
from time import process_time
from typing import Any
from urllib.parse import quote_plus

from fuzzing import fuzzed
from hypothesis import strategies as some

from pandatx.domain.file_requests import Uploaded, judge_sandbox
from pandatx.errors import BadRequest, PandaError
from pandatx.resources.api import Dialect, Upload, collect
from pandatx.resources.bodies import inflate, inflate_all, parse
from pandatx.resources.decoding import decoder
from pandatx.resources.encoding import to_json
from pandatx.resources.multipart_parts import Parts
from pandatx.serving import RESOURCES

MIB = 1 << 20
LONGEST = 3.0
"""Seconds of CPU for one body: the machine has other things to do."""
KIND = b"multipart/form-data; boundary=xYz"
GOOD_FORM = (
    b'--xYz\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--xYz\r\nContent-Disposition: form-data; name="file"; filename="sources.1"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\ncontent\r\n--xYz--\r\n"
)
GOOD_JSON = json.dumps(
    {"job_id": 1, "job_list": [{"job_id": 1, "job_status": "running", "end_time": 1.5}], "a": None, "b": "\ud800"}
).encode()
GOOD_PAIRS = b"jobId=1&state=running&xml=%7B%22a%22%3A+1%7D&a=1&a=2&blank="

SPICES = [
    b"\r\n", b"\n", b"--xYz", b"--xYz--", b"\r\n--xYz\r\n", b'; filename="x"', b"filename*=utf-8''%2e%2e%2fx", b"\0",
    b'"', b"\\", b"%", b"%00", b"&", b"=", b"+", b"{", b"}", b"[", b"]", b",", b":", b"NaN", b"1e999", b"-0",
    b"\xff\xfe", b"\x1f\x8b",
    b"\xed\xa0\x80", b"Content-Disposition: form-data", b"Content-Transfer-Encoding: base64\r\n", b"_charset_",
    b"charset=utf-7", b"9" * 400, b"[" * 3000, b'{"a":' * 3000, b"&" * 3000, b"a=1&" * 3000, b"\r\n--xYz\r\n\r\n" * 200,
]  # fmt: skip
KINDS = [
    KIND, b"multipart/form-data", b"multipart/form-data; boundary=", b'multipart/form-data; boundary="a b"',
    b"multipart/form-data; boundary=" + b"x" * 5000, b"Multipart/Form-Data;boundary=xYz;charset=utf-7",
    b"application/json",
    b"application/json; charset=utf-16", b"application/x-www-form-urlencoded", b"", b"text/plain", b"\xff\xfe", b";;;=",
]  # fmt: skip


@some.composite
def spoilt(draw: Any, *good: bytes) -> bytes:
    """A sound body with pieces cut out, doubled, exchanged and put in."""
    body = draw(some.sampled_from(good))
    for _ in range(draw(some.integers(0, 6))):
        at, to = sorted(draw(some.tuples(*[some.integers(0, len(body))] * 2)))
        piece = draw(some.one_of(some.sampled_from(SPICES), some.binary(max_size=30), some.just(body[at:to])))
        body = draw(some.sampled_from((body[:at] + piece + body[to:], body[:at] + piece + body[at:], body[:to])))
        body = body[: 2 * MIB]
    return body


def soon(begun: float) -> None:
    assert process_time() - begun < LONGEST


@fuzzed(spoilt(GOOD_FORM, GOOD_JSON, GOOD_PAIRS), some.sampled_from(KINDS))
def test_a_body_of_any_type_is_read_or_refused(body: bytes, kind: bytes) -> None:
    begun = process_time()
    try:
        content = parse(body, kind)
    except BadRequest as fault:
        assert str(fault)
    else:
        assert all(type(name) is str for name in content.values)
        to_json(dict(content.values))  # whatever came can be told again
    soon(begun)


@fuzzed(
    spoilt(GOOD_FORM, gzip.compress(GOOD_FORM), gzip.compress(GOOD_FORM * 3)),
    some.sampled_from(KINDS),
    some.integers(1, 5000),
    some.booleans(),
    some.one_of(some.none(), some.integers(0, 2**40)),
)
def test_a_form_with_a_file_is_taken_whole_or_leaves_nothing(
    body: bytes, kind: bytes, step: int, deflated: bool, announced: int | None
) -> None:
    begun = process_time()
    with tempfile.TemporaryDirectory() as folder:
        reading = Parts(Path(folder), Upload(judge_sandbox, 768 * MIB), kind, deflated, announced)
        step = max(step, len(body) // 2000)
        for start in range(0, len(body), step):
            reading.feed(body[start : start + step])
        try:
            content = reading.finish()
        except PandaError as fault:
            assert str(fault)
            assert list(Path(folder).iterdir()) == []
        else:
            found = content.values.get("file")
            if isinstance(found, Uploaded):
                assert found.path.stat().st_size == found.size
                assert found.path.read_bytes()[-8:] == found.tail
            reading.discard()
            assert list(Path(folder).iterdir()) == []
    soon(begun)


@fuzzed(
    spoilt(
        gzip.compress(GOOD_JSON), zlib.compress(GOOD_JSON), gzip.compress(b"\0" * 300_000), zlib.compress(b"x")[2:-4]
    ),
    some.booleans(),
)
def test_what_is_compressed_inflates_within_its_bounds_or_is_refused(body: bytes, deflated: bool) -> None:
    begun = process_time()
    for work in (lambda: inflate(body, MIB, deflated), lambda: inflate_all(body, 4 * MIB, deflated)):
        try:
            found = work()
        except BadRequest as fault:
            assert str(fault)
        else:
            assert found is None or len(found) <= max(4 * MIB, len(body))
    soon(begun)


JSON_VALUES = some.recursive(
    some.one_of(
        some.none(), some.booleans(), some.integers(), some.floats(), some.text(max_size=20),
        some.sampled_from(["", "None", "NULL", "\0", "\ud800", "1_0", "1,2", "[1", "{}", "nan", 2**80, -(2**63)]),
        some.just("x" * 5000),
    ),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
OPERATIONS = collect(*RESOURCES).operations


@fuzzed(some.data(), examples=400)
def test_no_value_of_a_field_does_anything_but_fit_or_be_refused_by_name(data: Any) -> None:
    begun = process_time()
    operation = data.draw(some.sampled_from(OPERATIONS))
    dialect = data.draw(some.sampled_from(Dialect))
    made = decoder(operation.asks, dialect)
    names = some.one_of(some.sampled_from(sorted(made.spellings) or ["x"]), some.text(max_size=5))
    values = data.draw(some.dictionaries(names, JSON_VALUES, max_size=6))
    try:
        made.decode(values, data.draw(some.booleans()))
    except BadRequest as fault:
        assert str(fault)
    soon(begun)


@fuzzed(some.dictionaries(some.text(max_size=10), some.text(max_size=30), max_size=8))
def test_what_was_sent_as_a_form_is_what_is_read(values: dict[str, str]) -> None:
    plain = {
        name.encode("utf-8", "replace").decode(): value.encode("utf-8", "replace").decode()
        for name, value in values.items()
    }
    body = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in plain.items()).encode()
    found = parse(body, b"application/x-www-form-urlencoded").values
    assert {name: value for name, value in plain.items() if name or value} == {
        name: value for name, value in found.items() if name or value
    }
