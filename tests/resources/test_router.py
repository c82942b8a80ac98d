"""The routes, the order of the checks, the refusals of each dialect, over the real Klein application."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from attrs import frozen
from sites import LIMITED, PILOT, PRODUCTION, USER, Connection, site_of
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as Time
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher

from pandatx import errors
from pandatx.domain.caller import ANONYMOUS, Caller
from pandatx.domain.requests import JobIds, NoArguments, wire
from pandatx.net.connections import Connections
from pandatx.net.site import PandaSite
from pandatx.resources import api
from pandatx.resources.api import MEBIBYTE, Answer, Call, LegacyForm, Limits, Style, collect, operation
from pandatx.resources.system import SystemResource


@frozen(kw_only=True)
class Question:
    """A request class for the tests."""

    number: int = wire()
    text: str | None = wire(None, legacy="theText")


@frozen
class Examples:
    """One operation of each kind; ``_does`` decides what happens."""

    _does: Any

    async def _answer(self) -> Answer:
        done = self._does()
        return await done if hasattr(done, "__await__") else done

    @operation(
        "example/status", allows=api.secure, legacy="status", asks=Question, form=LegacyForm(Style.STATUS, busy=20)
    )
    async def status(self, caller: Caller, request: Question, call: Call) -> Answer:
        """Answer with a StatusCode."""
        return await self._answer()

    @operation("example/hot", legacy="hot", allows=api.pilots, limits=Limits(hot=True))
    async def hot(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Answer from the dictionary in front."""
        return await self._answer()

    @operation("example/report", allows=api.pilots, limits=Limits(report=True))
    async def report(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Take a report."""
        return await self._answer()

    @operation("example/get", legacy="get", verb="GET", asks=JobIds, form=api.TEXT, allows=api.production)
    async def get(self, caller: Caller, request: JobIds, call: Call) -> Answer:
        """Answer with a text."""
        return await self._answer()

    @operation("example/pair", allows=api.secure, legacy="pair", form=api.JSON, limits=Limits(inflated=1000))
    async def pair(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Answer with a JSON text."""
        return await self._answer()

    async def undeclared(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Nobody can call this."""
        return await self._answer()


def examples(does: Any = lambda: Answer(data=[1], fields={"a": "b c"}), **more: Any) -> Any:
    return site_of(Examples(does), **more)


def fails(fault: Exception) -> Any:
    def does() -> Answer:
        raise fault

    return does


async def test_is_alive_is_said_in_both_dialects() -> None:
    site = site_of(SystemResource())
    assert (await site.get("/server/panda/isAlive")).text == "alive=yes"
    assert (await site.post("/server/panda/isAlive")).text == "alive=yes"
    for version in ("v1", "latest"):
        answer = await site.get(f"/api/{version}/system/is_alive")
        assert (answer.status, answer.json) == (200, {"success": True, "message": "", "data": None})


async def test_native_clients_send_a_body_with_a_get() -> None:
    site = site_of(SystemResource())
    answer = await site.ask("GET", "/api/v1/system/is_alive", {"content-type": "application/json"}, b"{}")
    assert answer.json["success"]


async def test_what_is_not_declared_is_forbidden() -> None:
    site = examples()
    for path in ("/server/panda/undeclared", "/server/panda/status/", "/server/panda//status", "/", "/x", "/server"):
        answer = await site.post(path)
        assert (answer.status, answer.text[:15]) == (403, "ERROR : method "), path
    for path in ("/api/v1/example/undeclared", "/api/v2/example/hot", "/api/v1/example/hot/", "/api/v1/example"):
        answer = await site.post(path)
        assert (answer.status, answer.json["success"]) == (403, False), path
    assert (await site.ask("TRACE", "/server/panda/hot")).status == 403
    assert (await site.ask("DELETE", "/server/panda/hot")).status == 403


def test_two_operations_cannot_have_one_path() -> None:
    with pytest.raises(ValueError, match="example/status"):
        collect(Examples(None), Examples(None))


async def test_each_answer_and_its_log_carry_a_request_id() -> None:
    site = examples(fails(ZeroDivisionError("secret detail")))
    seen: list[Any] = []
    globalLogPublisher.addObserver(seen.append)
    try:
        answer = await site.rest("example/pair")
        legacy = await site.pilot("pair")
    finally:
        globalLogPublisher.removeObserver(seen.append)
    assert answer.status == legacy.status == 500
    assert "secret" not in answer.text + legacy.text
    assert answer.json["message"] == f"internal error, request {answer.header('x-request-id')}"
    assert legacy.text == f"ERROR : internal error, request {legacy.header('x-request-id')}"
    logged = [event["id"] for event in seen if "log_failure" in event]
    assert logged == [answer.header("x-request-id"), legacy.header("x-request-id")]


async def test_a_legacy_answer_is_urlencoded_unless_json_is_accepted() -> None:
    site = examples()
    plain = await site.pilot("status", number=1)
    assert (plain.text, plain.header("content-type")) == ("StatusCode=0&a=b+c", "text/plain; charset=utf-8")
    accepted = await site.form("status", b"number=1", accept="application/json, */*")
    assert (accepted.json, accepted.header("content-type")) == ({"StatusCode": 0, "a": "b c"}, "application/json")


async def test_rest_checks_certificate_then_role_then_verb_then_arguments() -> None:
    site = examples(caller=ANONYMOUS)
    assert (await site.rest("example/get")).json["message"] == "SSL secure connection is required"
    site.caller = LIMITED
    assert (await site.rest("example/get")).json["message"] == "SSL secure connection is required"
    site.caller = USER
    assert (await site.rest("example/get")).json["message"] == "production or pilot role required"
    site.caller = PRODUCTION
    assert (await site.rest("example/get")).json["message"] == "expecting GET, received POST"
    missing = await site.get("/api/v1/example/get")
    assert missing.json == {
        "success": False,
        "message": "Argument error: missing a required argument: 'job_ids'",
        "data": None,
    }
    assert missing.status == 200
    wrong = await site.get("/api/v1/example/get?job_ids=x")
    assert wrong.json["message"].startswith(
        "Type error: 'job_ids' with value 'x' could not be casted to type list[int]"
    )
    wrong = await site.rest("example/status", number=[1])
    assert wrong.json["message"] == "Type error: 'number' must be of type int, got list."


async def test_a_limited_proxy_may_use_what_is_for_pilots_only() -> None:
    site = examples(caller=LIMITED)
    assert (await site.rest("example/hot")).json["success"]
    assert not (await site.rest("example/pair")).json["success"]


async def test_a_faulty_legacy_request_is_400_and_names_the_field() -> None:
    site = examples()
    missing = await site.pilot("status")
    assert (missing.status, missing.text) == (400, "ERROR : number: missing a required argument")
    wrong = await site.pilot("status", number="many")
    assert (wrong.status, wrong.text) == (400, "ERROR : number: must be of type int, got str")


async def test_a_body_that_cannot_be_read_is_400_in_both_dialects() -> None:
    site = examples()
    bodies = (b"{", b"[1]", b"\x1f\x8b\x08", gzip.compress(b'{"a": 1}')[:-9], b'{"a": \xff}', b"[" * 100_000)
    for body in bodies:
        legacy = await site.post("/server/panda/hot", body, content_type="application/json")
        assert (legacy.status, legacy.text[:8]) == (400, "ERROR : "), body[:20]
        rest = await site.post("/api/v1/example/hot", body, content_type="application/json; charset=utf-8")
        assert (rest.status, rest.json["success"]) == (400, False), body[:20]


async def test_a_body_larger_than_the_operation_takes_is_413() -> None:
    site = examples()
    for body in (json.dumps({"a": "x" * 2000}).encode(), gzip.compress(json.dumps({"a": "x" * 2_000_000}).encode())):
        answer = await site.post("/api/v1/example/pair", body, content_type="application/json")
        assert (answer.status, answer.json["success"]) == (413, False)


@pytest.mark.parametrize("fault", [errors.Banned("Some User"), errors.TokenRejected("No Origin")])
async def test_a_refused_identity_is_403_for_every_method(fault: Exception) -> None:
    site = examples(caller=fault)
    for path in ("/server/panda/status", "/server/panda/nothing"):
        answer = await site.post(path)
        assert answer.status == 403
    assert (await site.pilot("status")).text == f"ERROR : {fault}"
    rest = await site.rest("example/pair")
    assert (rest.status, rest.json["message"]) == (403, str(fault))


async def test_an_overload_is_503_on_rest_and_a_status_code_to_pilots() -> None:
    site = examples(fails(errors.DatabaseAway()))
    rest = await site.rest("example/status", number=1)
    assert (rest.status, rest.header("retry-after"), rest.json["success"]) == (503, "10", False)
    pilot = await site.pilot("status", number=1)
    assert (pilot.status, pilot.fields["StatusCode"]) == (200, "20")
    pair = await site.pilot("pair")
    assert (pair.status, pair.header("retry-after"), pair.json) == (503, "10", [False, "the database is away"])


async def test_refusals_have_the_form_of_the_answers_they_stand_for() -> None:
    site = examples(fails(errors.NotPermitted("not yours")))
    assert (await site.pilot("status", number=1)).fields == {"StatusCode": "70", "errorDialog": "not yours"}
    assert (await site.pilot("pair")).json == [False, "not yours"]
    rest = await site.rest("example/pair")
    assert (rest.status, rest.json) == (200, {"success": False, "message": "not yours", "data": None})
    site.caller = ANONYMOUS
    assert (await site.pilot("status", number=1)).fields["StatusCode"] == "60"
    site.caller = PRODUCTION
    assert (await site.get("/server/panda/get?ids=1")).text == "not yours"


async def test_pages_of_other_sites_cannot_make_a_browser_change_anything() -> None:
    site = examples()
    for headers in (
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "same-site", "origin": "https://wiki.example"},
        {"origin": "null"},
        {"origin": "http://["},
    ):
        for path in ("/api/v1/example/pair", "/server/panda/pair"):
            assert (await site.ask("POST", path, headers)).status == 403, headers
    assert (await site.ask("GET", "/server/panda/pair", {"sec-fetch-site": "same-site"})).status == 403, "an image"
    ours = {"origin": "https://panda.example:25443"}
    for place in ("same-origin", "same-site"):
        assert (await site.ask("POST", "/api/v1/example/pair", {"sec-fetch-site": place, **ours})).json["success"]
    nameless = Connection(site)
    nameless.send("pair", {}, "Origin: null\r\n", version="1.0", host="")
    assert nameless.received.startswith(b"HTTP/1.0 403")
    for origin in ("https://panda.example:25443", "atlas", "vo.role", "atlas:production", "httpvo"):
        assert (await site.ask("POST", "/api/v1/example/pair", {"origin": origin})).json["success"], origin
    site.caller = PRODUCTION
    assert (await site.ask("GET", "/api/v1/example/get?job_ids=1", {"sec-fetch-site": "cross-site"})).json["success"]


async def test_who_cannot_be_told_from_a_namesake_now_comes_again_but_reports_and_pilots_do_not_wait() -> None:
    async def nobody_knows(caller: Caller) -> None:
        raise errors.Busy("the database is busy")

    site = examples(admission=nobody_knows)
    assert (await site.rest("example/pair")).status == 503
    assert (await site.pilot("status", number=1)).fields["StatusCode"] == "20"
    assert (await site.pilot("hot")).fields["StatusCode"] == "10"
    assert (await site.rest("example/report")).json["success"]
    site.caller = PILOT
    assert (await site.rest("example/hot")).json["success"]
    assert (await site.rest("example/pair")).status == 503


async def test_a_client_that_hangs_up_does_not_stop_what_was_begun() -> None:
    for method in ("hot", "pair"):
        cancelled: list[Any] = []
        begun: Deferred[Answer] = Deferred(cancelled.append)
        ended: list[Answer] = []

        async def does(begun: Any = begun, ended: Any = ended) -> Answer:
            ended.append(await begun)
            return ended[0]

        connection = Connection(examples(does, caller=PILOT))
        connection.send(method, {})
        connection.hang_up()
        assert not cancelled, method
        begun.callback(Answer())
        assert ended
        assert connection.received == b""


async def test_an_answer_is_taken_back_if_the_client_was_gone_before_its_first_byte() -> None:
    begun: Deferred[None] = Deferred()
    taken_back: list[bool] = []

    async def undelivered() -> None:
        taken_back.append(True)

    async def does() -> Answer:
        await begun
        return Answer(undelivered=undelivered)

    site = examples(does, caller=PILOT)
    stays, goes = Connection(site), Connection(site)
    stays.send("hot", {})
    goes.send("hot", {})
    goes.hang_up()
    begun.callback(None)
    assert taken_back == [True]
    assert stays.received.endswith(b"StatusCode=0")
    stays.hang_up()
    assert taken_back == [True]


async def test_an_answer_that_cannot_be_encoded_is_taken_back() -> None:
    taken_back: list[bool] = []

    async def undelivered() -> None:
        taken_back.append(True)

    site = examples(lambda: Answer(data=object(), undelivered=undelivered))
    assert (await site.rest("example/pair")).status == 500
    assert taken_back == [True]


async def test_a_long_answer_goes_out_in_pieces_as_the_client_takes_them() -> None:
    connection = Connection(examples(lambda: Answer(data=["x" * (3 << 20)])))
    write, sizes = connection.transport.write, []
    connection.transport.write = lambda data: (sizes.append(len(data)), write(data))
    connection.post("/api/v1/example/pair", {})
    for _ in range(1000):
        await deferLater(reactor, 0)
    assert connection.received.endswith(b'xxx"]}')
    assert max(sizes) <= 128 * 1024
    gone = Connection(examples(lambda: Answer(data=["x" * (3 << 20)])))
    gone.post("/api/v1/example/pair", {})
    gone.hang_up()
    assert len(gone.received) < 1 << 20


async def test_requests_are_measured_by_operation_and_dialect() -> None:
    seen: list[tuple[Any, ...]] = []
    site = examples(measured=lambda *found: seen.append(found[:3]))
    await site.rest("example/pair")
    await site.pilot("hot")
    await site.pilot("nothing")
    assert seen == [("example/pair", "v1", 200), ("example/hot", "legacy", 200), ("unknown", "legacy", 403)]


async def test_times_travel_as_markers_decimals_as_numbers_and_no_number_as_null() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 600, UTC)
    site = examples(lambda: Answer(data=[moment, Decimal(5), Decimal("1.5"), float("nan")]))
    marker = {"__datetime__": "2026-01-02T03:04:05.000600"}
    assert (await site.rest("example/pair")).json["data"] == [marker, 5, 1.5, None]
    site = examples(lambda: Answer(data={"big": 2**70, "none": float("nan"), 1: moment}))
    assert (await site.rest("example/pair")).json["data"] == {"big": 2**70, "none": None, "1": marker}


def over_a_wire(site: Any, caller: Any, head: str, body: bytes) -> tuple[bytes, list[int | None]]:
    """What a site on a socket answers, and the bodies that it made files for."""
    kept: list[int | None] = []

    class Listening(PandaSite):
        def getContentFile(self, length: int | None) -> Any:
            kept.append(length)
            return super().getContentFile(length)

    class Wire(StringTransport):
        def setTcpNoDelay(self, enabled: bool) -> None:
            pass

        def abortConnection(self) -> None:
            pass

    site.caller = caller
    wire = Wire()
    channel = Listening(site.root, Connections(limit=9, per_address=9), Time()).buildProtocol(wire.getPeer())
    channel.makeConnection(wire)
    channel.dataReceived(f"POST /server/panda/hot HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode() + body)
    return bytes(wire.value()), kept


LONG = b"x=" + b"y" * MEBIBYTE


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (f"Content-Length: {len(LONG)}\r\n", LONG),
        ("Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(LONG), LONG)),
    ],
)
def test_a_long_body_of_a_caller_who_is_refused_anyhow_is_kept_nowhere(head: str, body: bytes) -> None:
    site = site_of(Examples(lambda: Answer(fields={"a": 1})))
    said, kept = over_a_wire(site, ANONYMOUS, head, body)
    assert b"StatusCode=60" in said and kept == []
    said, kept = over_a_wire(site, errors.Banned("Some User"), head, body)
    assert b" 403 " in said and b"ERROR : Some User is banned" in said and kept == []
    said, kept = over_a_wire(site, PILOT, head, body)
    assert b"StatusCode=0&a=1" in said and len(kept) == 1


def test_a_short_body_costs_no_question_before_it_has_come() -> None:
    site = site_of(Examples(lambda: Answer()))
    said, kept = over_a_wire(site, ANONYMOUS, "Content-Length: 3\r\n", b"x=y")
    assert b"StatusCode=60" in said and kept == [3]
