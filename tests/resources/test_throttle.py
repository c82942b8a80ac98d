"""What a caller may have under way, how long an operation may take, and what an operator may set for single ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve, frozen
from sites import ANYBODY, OTHER, PILOT, PRODUCTION, USER, Connection, site_of
from twisted.internet.defer import Deferred

from pandatx.domain.caller import Caller
from pandatx.domain.requests import NoArguments
from pandatx.errors import RoleRequired, TooManyRequests
from pandatx.metrics import REQUESTS_OVERDUE, REQUESTS_THROTTLED, REQUESTS_WAITING
from pandatx.resources import api
from pandatx.resources.api import Answer, Call, LegacyForm, Limits, Style, collect, operation
from pandatx.resources.throttle import Throttle, with_limits


@frozen
class Slow:
    """Operations that last until a test ends them."""

    under_way: list[Deferred[Answer]]

    def _wait(self) -> Deferred[Answer]:
        waiting: Deferred[Answer] = Deferred()
        self.under_way.append(waiting)
        return waiting

    @operation("slow/job", legacy="getJob", allows=api.anyone, form=LegacyForm(Style.STATUS, busy=20))
    async def job(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Say StatusCode 20 when the database is away, and 10 when there is too much."""
        return await self._wait()

    @operation("slow/text", legacy="text", allows=api.anyone, form=api.TEXT, limits=Limits(seconds=10))
    async def text(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Answer in ten seconds."""
        return await self._wait()

    @operation("slow/report", legacy="report", allows=api.anyone, limits=Limits(report=True))
    async def report(self, caller: Caller, request: NoArguments, call: Call) -> Answer:
        """Be taken in any case."""
        return await self._wait()


class World:
    """A site whose requests are sent and looked at one by one."""

    def __init__(self, most: int | None = 2, most_of_roles: int | None = None, large: int = 1) -> None:
        self.under_way: list[Deferred[Answer]] = []
        self.throttle, self.large = Throttle(most, most_of_roles), Throttle(large, 2 * large)
        self.site = site_of(Slow(self.under_way), throttle=self.throttle, large=self.large, patience=300.0)

    def send(self, path: str, caller: Caller = USER, headers: str = "", **values: Any) -> Connection:
        self.site.caller = caller
        connection = Connection(self.site)
        connection.post(path, values, headers)
        return connection

    def end(self, index: int = 0, **answer: Any) -> None:
        self.under_way.pop(index).callback(Answer(**answer))


REST, GET_JOB = "/api/v1/slow/job", "/server/panda/getJob"


def test_one_request_too_many_is_told_to_come_again_on_rest() -> None:
    world = World()
    taken = [world.send(REST), world.send(REST)]
    before = REQUESTS_THROTTLED.labels("slow/job")._value.get()
    refused = world.send(REST).received
    assert refused.startswith(b"HTTP/1.1 429 ") and b"\r\nRetry-After: 5\r\n" in refused
    body = json.loads(refused.partition(b"\r\n\r\n")[2])
    text = "you have 2 requests under way already, and one may not have more"
    assert body == {"success": False, "message": text, "data": None}
    assert REQUESTS_THROTTLED.labels("slow/job")._value.get() == before + 1
    world.end()
    assert b"200 OK" in taken[0].received
    world.send(REST)
    assert len(world.under_way) == 2


def test_a_pilot_is_told_status_code_10_by_the_older_dialect_and_a_text_answer_has_the_status() -> None:
    world = World()
    world.send(REST), world.send(REST)
    refused = world.send(GET_JOB).received
    assert refused.startswith(b"HTTP/1.1 200 ") and b"StatusCode=10&" in refused
    refused = world.send(GET_JOB, headers="Accept: application/json\r\n").received
    assert json.loads(refused.partition(b"\r\n\r\n")[2])["StatusCode"] == 10
    refused = world.send("/server/panda/text").received
    assert refused.startswith(b"HTTP/1.1 429 ") and b"\r\nRetry-After: 5\r\n" in refused and b"ERROR : you" in refused


@pytest.mark.parametrize("path", ["/api/v1/slow/report", "/server/panda/report"])
def test_a_report_is_never_refused_it_waits_for_its_turn(path: str) -> None:
    world = World()
    world.send(REST), world.send(REST)
    first, second = world.send(path), world.send(path)
    assert (first.received, second.received, REQUESTS_WAITING._value.get()) == (b"", b"", 2)
    assert len(world.under_way) == 2
    world.end()
    assert len(world.under_way) == 2 and REQUESTS_WAITING._value.get() == 1
    world.end(1, fields={"command": "NULL"})
    assert b"200 OK" in first.received and second.received == b""
    assert world.send(REST).received.startswith(b"HTTP/1.1 429 ")
    world.end()
    world.end()
    assert b"200 OK" in second.received
    assert (world.throttle._under_way, world.throttle._waiting) == ({}, {})


LARGE = "x" * (2 << 20)
REPORT, TEXT = "/api/v1/slow/report", "/server/panda/text"


def test_large_bodies_of_a_caller_wait_for_each_other_and_hold_up_nobody_else() -> None:
    world = World(most=5)
    sent = [world.send(path, text=LARGE) for path in (REPORT, TEXT, REPORT)]
    assert len(world.under_way) == 1
    world.send(REPORT), world.send(TEXT, OTHER, text=LARGE)
    for _ in range(3):
        world.send(REPORT, PILOT, text=LARGE)
    assert len(world.under_way) == 1 + 2 + 2
    for each in sent:
        assert each.received == b""
        world.end()
        assert each.received.startswith(b"HTTP/1.1 200 ")
        world.under_way.insert(0, world.under_way.pop())
    while world.under_way:
        world.end()
    assert (world.large._under_way, world.large._waiting, world.throttle._under_way) == ({}, {}, {})


def test_large_reports_do_not_wait_for_requests_that_wait_for_them() -> None:
    world = World(most=2)
    first, second, third = (world.send(path, text=LARGE) for path in (TEXT, TEXT, REPORT))
    assert len(world.under_way) == 1
    for each in (first, second, third):
        world.end()
        assert each.received.startswith(b"HTTP/1.1 200 ")


def test_a_report_that_waits_is_taken_though_its_client_has_gone() -> None:
    world = World(most=1)
    world.send(REST)
    report = world.send("/api/v1/slow/report")
    report.hang_up()
    world.end()
    assert len(world.under_way) == 1
    world.end()
    assert world.throttle._under_way == {}


def test_callers_do_not_count_for_each_other_and_the_unknown_count_by_address() -> None:
    world = World(most=1)
    near, far = (evolve(ANYBODY, address=f"192.0.2.{n}") for n in (1, 2))
    for caller in (USER, OTHER, near, far):
        assert world.send(REST, caller).received == b""
    for caller in (USER, OTHER, near, far):
        assert b" 429 " in world.send(REST, caller).received


def test_the_pilot_and_the_production_role_have_no_limit_unless_it_is_set() -> None:
    world = World(most=1)
    for caller in (PILOT, PRODUCTION):
        for _ in range(5):
            assert world.send(REST, caller).received == b""
    world = World(most=1, most_of_roles=3)
    for caller in (PILOT, PRODUCTION):
        assert [world.send(REST, caller).received[9:12] for _ in range(4)] == [b"", b"", b"", b"429"]


def test_who_is_refused_or_fails_or_hangs_up_leaves_nothing_behind() -> None:
    world = World(most=1)
    world.send("/api/v1/slow/nothing")
    world.send(REST)
    world.under_way.pop().errback(RoleRequired())
    world.send(REST)
    world.under_way.pop().errback(ZeroDivisionError())
    gone = world.send(REST)
    gone.hang_up()
    assert len(world.throttle._under_way) == 1, "what was begun goes on"
    world.end()
    assert world.throttle._under_way == {}


@pytest.mark.parametrize(("path", "seconds"), [(REST, 300), ("/api/v1/slow/text", 10)])
def test_a_request_that_takes_too_long_is_told_so_and_goes_on(path: str, seconds: int) -> None:
    world = World()
    name = path.removeprefix("/api/v1/")
    before = REQUESTS_OVERDUE.labels(name)._value.get()
    waiting = world.send(path)
    world.site.time.advance(seconds - 1)
    assert waiting.received == b""
    world.site.time.advance(1)
    assert waiting.received.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: 60\r\n" in waiting.received
    text = f"this takes longer than {seconds} s; what was begun goes on"
    assert json.loads(waiting.received.partition(b"\r\n\r\n")[2])["message"] == text
    assert REQUESTS_OVERDUE.labels(name)._value.get() == before + 1
    given_back: list[None] = []

    async def give_back() -> None:
        given_back.append(None)

    world.end(undelivered=give_back)
    assert given_back == [None], "rule R3"


def test_a_request_in_time_leaves_no_timer_behind() -> None:
    world = World()
    world.send(REST)
    world.end()
    assert world.site.time.getDelayedCalls() == []


def test_a_report_has_no_time_of_its_own() -> None:
    world = World()
    report = world.send("/api/v1/slow/report")
    world.site.time.advance(3600)
    assert report.received == b""
    world.end()
    assert b"200 OK" in report.received


def test_an_operator_sets_the_limits_of_single_operations_in_both_dialects() -> None:
    table = with_limits(collect(Slow([])), {"slow/text": {"inflated": 5, "seconds": 2.0}})
    assert table.by_path["slow/text"].operation.limits == Limits(inflated=5, seconds=2.0)
    assert table.by_legacy["text"].operation.limits == Limits(inflated=5, seconds=2.0)
    assert table.by_path["slow/job"].operation.limits == Limits(inflated=1 << 20)  # what anyone may call
    with pytest.raises(KeyError, match="slow/nothing"):
        with_limits(table, {"slow/nothing": {"seconds": 1.0}})


def test_holders_of_tokens_with_one_display_name_have_limits_of_their_own():
    throttle, (slow, *_) = Throttle(1), collect(Slow([])).operations
    first = evolve(USER, how="token", issuer="https://iam.example/", subject="first")
    throttle.enter(first, slow)
    throttle.enter(evolve(first, subject="second"), slow)
    with pytest.raises(TooManyRequests):
        throttle.enter(first, slow)
