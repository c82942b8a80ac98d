"""Alive, ready, late, counted."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
import treq
from treq.testing import StubTreq
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.web.resource import Resource

from pandatx.clock import Clock
from pandatx.errors import EXIT_PORT, StartFault
from pandatx.metrics import LAG_EXCEEDED, REQUESTS
from pandatx.ops.health import Finding, Health, Livez, Readyz
from pandatx.ops.lag import LagGauge
from pandatx.ops.metrics import OperatorsPort, operators_pages


def passing(name: str) -> Any:
    async def check() -> Finding:
        return Finding(name=name, ok=True, text="fine")

    return check


def failing(name: str, vital: bool = True) -> Any:
    async def check() -> Finding:
        return Finding(name=name, ok=False, text="down: 10.0.0.7", vital=vital)

    return check


def health(**checks: Any) -> Health:
    return Health(Clock.manual(task.Clock()), checks)


async def get(page: Resource, path: str = "/") -> tuple[int, str]:
    root = Resource()
    root.putChild(b"x", page)
    client = StubTreq(root)
    asked = client.get(f"http://localhost/x{path}")
    client.flush()
    response = await asked
    client.flush()
    return response.code, await treq.text_content(response)


async def test_livez_says_ok_whatever_else_is_wrong() -> None:
    assert await get(Livez()) == (200, "ok\n")


async def test_readyz_in_public_says_only_whether() -> None:
    assert await get(Readyz(health(database=passing("database")))) == (200, "ok\n")
    assert await get(Readyz(health(database=failing("database")))) == (503, "not ready\n")


async def test_readyz_for_operators_says_what() -> None:
    code, text = await get(Readyz(health(a=passing("a"), database=failing("database")), detailed=True))
    assert code == 503
    assert json.loads(text) == {
        "ready": False,
        "checks": [
            {"name": "a", "ok": True, "text": "fine", "vital": True},
            {"name": "database", "ok": False, "text": "down: 10.0.0.7", "vital": True},
        ],
    }


async def test_a_daemon_at_fault_is_shown_and_leaves_the_server_ready() -> None:
    code, text = await get(Readyz(health(daemons=failing("daemons", vital=False)), detailed=True))
    assert code == 200
    assert json.loads(text)["checks"][0]["ok"] is False


async def test_a_check_that_breaks_is_a_finding() -> None:
    async def broken() -> Finding:
        raise ValueError("no")

    report = await health(broken=broken).report()
    assert report.findings == (Finding(name="broken", ok=False, text="ValueError: no"),)


async def test_a_check_that_hangs_fails_after_three_seconds() -> None:
    reactor_time = task.Clock()

    async def hanging() -> Finding:
        await Deferred()
        raise AssertionError

    asked = ensureDeferred(Health(Clock.manual(reactor_time), {"hanging": hanging}).report())
    reactor_time.advance(2.9)
    assert not asked.called
    reactor_time.advance(0.2)
    assert not (await asked).ready


async def test_many_who_ask_at_once_cost_one_look_a_second() -> None:
    reactor_time = task.Clock()
    looks: list[Deferred[None]] = []

    async def counted() -> Finding:
        looks.append(Deferred())
        await looks[-1]
        return Finding(name="counted", ok=True)

    asked_of = Health(Clock.manual(reactor_time), {"counted": counted})
    asked = [ensureDeferred(asked_of.report()) for _ in range(5)]
    looks[0].callback(None)
    assert {(await each).ready for each in asked} == {True}
    await asked_of.report()
    assert len(looks) == 1
    reactor_time.advance(1.1)
    again = ensureDeferred(asked_of.report())
    assert len(looks) == 2
    looks[1].callback(None)
    await again


async def test_lag_is_shown_and_leaves_the_server_ready() -> None:
    reactor_time = task.Clock()
    gauge = LagGauge(Clock.manual(reactor_time))
    gauge.start()
    reactor_time.advance(0.2)
    assert await gauge.check() == Finding(name="lag", ok=False, text="150 ms", vital=False)
    gauge.stop()


def test_the_lag_gauge_keeps_the_worst_of_ten_seconds_and_counts_what_is_over_50_ms() -> None:
    reactor_time = task.Clock()
    before = LAG_EXCEEDED._value.get()
    gauge = LagGauge(Clock.manual(reactor_time))
    gauge.start()
    reactor_time.advance(0.05)
    assert gauge.worst < 0.001
    reactor_time.advance(0.25)
    assert gauge.worst == pytest.approx(0.2)
    assert LAG_EXCEEDED._value.get() == before + 1
    reactor_time.pump([0.05] * 100)
    assert gauge.worst == pytest.approx(0.2)
    reactor_time.pump([0.05] * 110)
    assert gauge.worst < 0.001
    gauge.stop()
    assert reactor_time.getDelayedCalls() == []


async def test_the_operators_port_serves_metrics_and_details() -> None:
    REQUESTS.labels("test_health", "v1", "200").inc()
    port = OperatorsPort(reactor, ("127.0.0.1", 0), operators_pages(health(a=passing("a"))))
    number = port.start()
    try:
        response = await treq.get(f"http://127.0.0.1:{number}/metrics", persistent=False)
        text = await response.text()
        assert 'pandatx_requests_total{dialect="v1",operation="test_health",status="200"} 1.0' in text
        response = await treq.get(f"http://127.0.0.1:{number}/readyz", persistent=False)
        assert (await response.json())["ready"] is True
    finally:
        await port.stop()


async def test_a_taken_port_is_a_fault_for_the_first_process_and_another_port_for_the_next() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(StartFault, match="metrics_address") as fault:
            OperatorsPort(reactor, ("127.0.0.1", number), Resource()).start()
        assert fault.value.exit_code == EXIT_PORT
        other = OperatorsPort(reactor, ("127.0.0.1", number), Resource(), first=False)
        assert other.start() not in (0, number)
        await other.stop()
