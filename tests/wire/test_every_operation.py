"""Whatever is wrong with a request, for each operation that is served and in both dialects: the answer of
reference/wire.md 1.3 and 1.4 as rule R21 changes it, no traceback, and a database in which nothing has changed."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from typing import Any, get_type_hints
from urllib.parse import parse_qs, urlencode

import attrs
import pytest
from attrs import frozen
from real import Real
from server import Tables
from sites import ANYBODY, LIMITED, PRODUCTION, USER, Got
from twisted.logger import capturedLogs

from pandatx.domain.requests import JobIds, Wire
from pandatx.resources.api import Dialect, Operation, Style, collect, production
from pandatx.resources.api import pilot_role as reporters
from pandatx.resources.api import pilots as by_proxies
from pandatx.resources.decoding import decoder
from pandatx.serving import RESOURCES

V1, LEGACY = Dialect.V1, Dialect.LEGACY
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
TABLE = collect(*RESOURCES)
GOOD = {
    "site_name": "LOCAL", "job_id": 1, "job_status": "running", "job_list": [], "job_ids": [1], "jobs": [],
    "worker_id": 1, "harvester_id": "h", "status": "started", "site": "LOCAL", "host_name": "h", "cpu_model": "c",
    "vendor": "v", "model": "m", "count": 1, "command": "ls", "name": "d",
    "pattern": "x", "log_filename": "panda-x.log", "service_name": "nobody", "message": "m", "request_id": "none",
    "data": "{}", "event_ranges": [], "job_task_ids": [],
}  # fmt: skip
BY_TYPE = {"str": "x", "int": 1, "bool": True, "dict": {}, "list": [], "file": "x"}
"""Where ``GOOD`` has no value for a field that is required."""
STORES: frozenset[str] = frozenset(
    (
        "creds/set_user_secrets",
        "file_server/register_cache_file",
        "harvester/add_dialogs",
        "harvester/add_target_slots",
        "harvester/heartbeat",
        "harvester/report_worker_statistics",
        "harvester/update_service_metrics",
        "harvester/update_workers",
        "workflow/submit_workflow",
        "workflow/submit_workflow_raw_request",
    )
)
"""Operations that may store what is well-formed, whatever it says: there the wildest values may change something."""
UNREADABLE = {
    "half an object": b'{"a": ',
    "no object": b"[1]",
    "null": b"null",
    "no text": b"\xff\xfe\x00",
    "too deep": b"[" * 100_000,
    "truncated gzip": gzip.compress(b'{"job_ids": [1], "siteName": "LOCAL"}')[:-9],
    "bad gzip": b"\x1f\x8b\x08 nothing that inflates",
}
NASTY: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**31, 2**63, 2**80, 1e99, float("nan"), float("inf"), "", "NULL", "None", "\0", "x" * 3000,
    "ü" * 700, "\ud800", "1_0", "1,2", "[1", "[]", "{}", [], [None], [[]], [1, "x"], {}, {"a": 1}, [{"job_id": 2**70}],
)  # fmt: skip


@frozen
class Target:
    """An operation in a dialect."""

    operation: Operation
    dialect: Dialect
    path: str

    def __str__(self) -> str:
        return self.path

    @property
    def reads_body(self) -> bool:
        return self.dialect is LEGACY or self.operation.verbs != ("GET",)

    def spelt(self, name: str) -> str:
        how: Wire = attrs.fields_dict(self.operation.asks)[name].metadata["wire"]
        return (how.legacy or name) if self.dialect is LEGACY else name

    def good(self) -> dict[str, Any]:
        """A request that would be taken."""
        needed = [each.name for each in attrs.fields(self.operation.asks) if each.default is attrs.NOTHING]
        return {self.spelt(name): GOOD[name] if name in GOOD else self._any(name) for name in needed}

    def _any(self, name: str) -> Any:
        return BY_TYPE[
            decoder(self.operation.asks, self.dialect).spellings[self.spelt(name)].expected.partition("[")[0]
        ]


def targets() -> Iterator[Any]:
    for operation in TABLE.operations:
        yield pytest.param(Target(operation, V1, f"/api/v1/{operation.path}"), id=operation.path)
        for name in operation.legacy:
            yield pytest.param(Target(operation, LEGACY, f"/server/panda/{name}"), id=name)


async def post(site: Real, target: Target, values: dict[str, Any] | bytes, **headers: str) -> Got:
    """As clients send: JSON, or a query where REST reads one. Whoever is not to be refused a pickle accepts JSON."""
    if target.dialect is LEGACY and target.operation.form.style is Style.PICKLED:
        headers = {"accept": JSON, **headers}
    if isinstance(values, bytes):
        return await site.ask("POST", target.path, values, content_type=JSON, **headers)
    if not target.reads_body:
        return await site.ask("GET", f"{target.path}?{urlencode(values, doseq=True, errors='replace')}", **headers)
    return await site.ask("POST", target.path, json.dumps(values).encode(), content_type=JSON, **headers)


@pytest.fixture(scope="module")
def jobs(shared_real: Real) -> None:
    """What there is to be changed."""
    tables = Tables(shared_real.dsn)
    tables.activate(2)
    tables.close()


@pytest.fixture
def sound(shared_real: Real, jobs: None) -> Iterator[Real]:
    """A site on which nothing may fail."""
    shared_real.caller = PRODUCTION
    with capturedLogs() as events:
        yield shared_real
    assert [event["log_format"] for event in events if "log_failure" in event] == []


@pytest.fixture
def quiet(sound: Real) -> Iterator[Real]:
    """A site on which nothing may change and nothing may fail."""
    before = sound.contents()
    yield sound
    changed = {name for name, digest in sound.contents().items() if before[name] != digest}
    assert changed == set()


def is_refusal(target: Target, got: Got, status: int, text: str) -> None:
    """REST says it in its envelope, the older dialect as a line of text."""
    if target.dialect is V1:
        assert got.header("content-type") == JSON
        assert set(got.json) == {"success", "message", "data"}
        assert (got.json["success"], got.json["data"]) == (False, None)
        told = got.json["message"]
    else:
        assert got.header("content-type").startswith("text/plain")
        assert got.text.startswith("ERROR : ")
        told = got.text.removeprefix("ERROR : ")
    assert got.status == status, got.text
    assert text in told, told
    assert "Traceback" not in got.text


@pytest.mark.parametrize("target", [each for each in targets() if each.values[0].reads_body])
async def test_a_body_that_cannot_be_read_is_400(quiet: Real, target: Target) -> None:
    for what, body in UNREADABLE.items():
        is_refusal(target, await post(quiet, target, body), 400, "body: "), what
    bomb = gzip.compress(b'{"a": "' + b" " * (3 << 20) + b'"}', 9)
    assert len(bomb) * 200 < 3 << 20
    is_refusal(target, await post(quiet, target, bomb), 413, "inflates to more than")


@pytest.mark.parametrize("target", list(targets()))
async def test_a_missing_argument_is_named(quiet: Real, target: Target) -> None:
    good = target.good()
    for name in good:
        for rest in ({}, {name: None}):
            got = await post(quiet, target, {key: value for key, value in good.items() if key != name} | rest)
            if target.reads_body or not rest:
                v1 = f"Argument error: missing a required argument: '{name}'"
                text, status = (v1, 200) if target.dialect is V1 else (f"{name}: missing a required argument", 400)
                is_refusal(target, got, status, text)


@pytest.mark.parametrize("target", [each for each in targets() if each.values[0].reads_body])
async def test_an_argument_of_a_wrong_type_is_named(quiet: Real, target: Target) -> None:
    asks = target.operation.asks
    for each in attrs.fields(asks):
        name = target.spelt(each.name)
        entry = decoder(asks, target.dialect).spellings[name]
        if entry.lenient or entry.forgiving or entry.expected in ("list[Any]", "Any", "dict"):
            continue
        if each.metadata["wire"].document:  # any JSON value stands for its text
            continue
        wrong = [[]] if entry.expected.startswith("list") else {"a": 1}
        got = await post(quiet, target, {**target.good(), name: wrong})
        if target.dialect is V1:
            is_refusal(target, got, 200, "Type error: ")
            assert f"'{name}' must be" in got.text, got.text
        else:
            is_refusal(target, got, 400, f"{name}: ")


@pytest.mark.parametrize("target", list(targets()))
async def test_a_wrong_verb_is_told_the_right_one(quiet: Real, target: Target) -> None:
    for verb in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "TRACK"):
        body = json.dumps(target.good()).encode()
        if target.dialect is V1 and verb not in target.operation.verbs and not verb.startswith("TRAC"):
            got = await quiet.ask(verb, target.path, body, content_type=JSON)
            is_refusal(target, got, 200, f"expecting {' or '.join(target.operation.verbs)}, received {verb}")
        elif verb.startswith("TRAC") or (target.dialect is LEGACY and verb not in ("GET", "POST", "PUT")):
            is_refusal(target, await quiet.ask(verb, target.path, body, content_type=JSON), 403, "is forbidden")


def refusals(operation: Operation, dialect: Dialect) -> Iterator[tuple[Any, str]]:
    """Who may not call, and what they are told on REST."""
    permission = operation.permission(dialect)
    if permission.name == "anyone":
        return
    yield ANYBODY, "SSL secure connection is required"
    if permission is not by_proxies:
        yield LIMITED, "SSL secure connection is required"
    if permission in (production, reporters):
        yield USER, "production or pilot role required"


@pytest.mark.parametrize("target", list(targets()))
async def test_who_has_not_the_role_is_told_so(quiet: Real, target: Target) -> None:
    for quiet.caller, text in refusals(target.operation, target.dialect):
        got = await post(quiet, target, target.good())
        form = target.operation.form
        if target.dialect is V1:
            is_refusal(target, got, 200, text)
        elif form.role_text is not None and not (form.style is Style.PICKLED and text.startswith("SSL")):
            assert got.text in ("failed to retrieve DN", form.role_text)
        elif form.style is Style.STATUS:
            assert parse_qs(got.text)["StatusCode"] == [str(form.role_code)]
        elif form.style is Style.STATUS_JSON:
            assert got.json["StatusCode"] == form.role_code
        elif form.style is Style.TEXT:
            assert got.text == text
        else:
            assert got.json == [form.refused[0 if text.startswith("SSL") else 1], text]
        assert got.status == 200


def test_what_anybody_may_call_has_no_large_body() -> None:
    for operation in TABLE.operations:
        if "anyone" in (operation.allows.name, operation.allows_legacy.name):
            assert operation.limits.inflated <= 1 << 20, operation.path


def test_no_list_is_without_an_end() -> None:
    for operation in TABLE.operations:
        hints = get_type_hints(operation.asks)
        for each in attrs.fields(operation.asks):
            if "tuple[" in str(hints[each.name]):
                assert each.metadata["wire"].most is not None, (operation.path, each.name)


async def test_roles_come_before_bodies_are_read(quiet: Real) -> None:
    quiet.caller = ANYBODY
    got = await quiet.ask("POST", "/api/v1/job/kill", b"{", content_type=JSON)
    assert (got.status, got.json["message"]) == (200, "SSL secure connection is required")


async def test_what_is_not_served_is_forbidden_in_the_dialect_of_its_path(quiet: Real) -> None:
    groups = {operation.path.partition("/")[0] for operation in TABLE.operations}
    for path in (*(f"/api/v1/{group}/nothing" for group in groups), "/api/v1/nothing/at_all", "/api/v2/job/kill",
                 "/api/v1/job/kill/", "/api/v1/job/kill/x", "/api/v1/job", "/api/v1/job/%ff"):  # fmt: skip
        got = await quiet.ask("POST", path, b"{}", content_type=JSON)
        assert (got.status, got.json["success"], got.json["data"]) == (403, False, None)
        assert got.json["message"].endswith("is forbidden")
    for name in ("nothing", "__init__", "getJob/", "x/getJob", "kill", "job/kill", "%ff"):
        got = await quiet.ask("POST", f"/server/panda/{name}", b"", content_type=FORM)
        assert (got.status, got.header("content-type")) == (403, "text/plain; charset=utf-8")
        assert got.text.startswith("ERROR : method ") and got.text.endswith(" is forbidden")


def stores(target: Target) -> bool:
    return target.operation.path in STORES


@pytest.mark.parametrize("target", [each for each in targets() if not stores(each.values[0])])
async def test_no_value_of_any_field_is_our_fault(quiet: Real, target: Target) -> None:
    """Ids point to no job, so that what is taken changes nothing either."""
    await try_wildest(quiet, target)


@pytest.mark.parametrize("target", [each for each in targets() if stores(each.values[0])])
async def test_no_value_of_any_field_breaks_what_stores_it(sound: Real, target: Target) -> None:
    await try_wildest(sound, target)


async def try_wildest(real: Real, target: Target) -> None:
    chance = random.Random(target.path)
    names = sorted(decoder(target.operation.asks, target.dialect).spellings)
    harmless = {name: 999 for name in names if target.operation.asks is not JobIds and name in ("job_id", "jobId")}
    if target.operation.path.startswith("pilot/update_worker"):
        names = [name for name in names if name not in ("site", "host_name", "workerID", "worker_id", "harvesterID")]
    for _ in range(60):
        values = {name: chance.choice(NASTY) for name in chance.sample(names, min(len(names), 3))}
        if "job_ids" in values or "ids" in values:
            values = {name: value for name, value in values.items() if value not in (1.5, True, "1,2")}
        values = {**harmless, **values, "unknown": 1}
        for headers in ({}, {"accept": JSON}):
            got = await post(real, target, values, **headers)
            assert got.status in (200, 400), (values, got.text)
            assert "internal error" not in got.text, values
