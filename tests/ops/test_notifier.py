"""What systemd hears."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from pandatx.ops.notifier import Notifier
from pandatx.ops.status import Figures, StatusLine


class Systemd:
    """A stand-in for its socket."""

    def __init__(self, address: str) -> None:
        self.name = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        said = []
        while True:
            try:
                said.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return said

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    path = str(tmp_path / "notify") if request.param == "path" else f"@pandatx-{secrets.token_hex(8)}"
    listening = Systemd(path)
    yield listening
    listening.close()


def test_ready_comes_with_the_status_and_pings_at_a_third_of_the_watchdog(systemd: Systemd) -> None:
    clock = Clock()
    notifier = Notifier(clock, {"NOTIFY_SOCKET": systemd.name, "WATCHDOG_USEC": "6000000"}, lambda: "all well")
    assert systemd.heard() == []
    notifier.start()
    assert systemd.heard() == ["READY=1\nSTATUS=all well"]
    clock.pump([1] * 6)
    assert systemd.heard() == ["WATCHDOG=1"] * 3
    clock.pump([1] * 4)
    assert systemd.heard() == ["WATCHDOG=1", "STATUS=all well", "WATCHDOG=1"]
    notifier.stop()
    assert clock.getDelayedCalls() == []


def test_reloading_tells_the_time_and_ends_with_ready(systemd: Systemd) -> None:
    notifier = Notifier(Clock(), {"NOTIFY_SOCKET": systemd.name}, lambda: "x")
    notifier.start()
    systemd.heard()
    notifier.reloading()
    notifier.ready()
    reloading, ready = systemd.heard()
    first, second = reloading.split("\n")
    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=") and int(second.partition("=")[2]) > 0
    assert ready == "READY=1\nSTATUS=x"
    notifier.stop()


def test_pings_go_on_while_it_stops(systemd: Systemd) -> None:
    clock = Clock()
    notifier = Notifier(clock, {"NOTIFY_SOCKET": systemd.name, "WATCHDOG_USEC": "3000000"}, lambda: "x")
    notifier.start()
    notifier.stopping()
    systemd.heard()
    clock.pump([1] * 5)
    assert systemd.heard() == ["WATCHDOG=1"] * 5
    clock.pump([1] * 7)
    assert systemd.heard() == ["WATCHDOG=1"] * 7
    notifier.stop()


def test_a_watchdog_meant_for_another_process_is_not_fed(systemd: Systemd) -> None:
    clock = Clock()
    environ = {"NOTIFY_SOCKET": systemd.name, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid() + 1)}
    notifier = Notifier(clock, environ, lambda: "x")
    notifier.start()
    clock.pump([1] * 5)
    assert "WATCHDOG=1" not in systemd.heard()
    notifier.stop()


def test_a_status_that_cannot_be_made_does_not_end_the_pings(systemd: Systemd) -> None:
    clock = Clock()
    notifier = Notifier(clock, {"NOTIFY_SOCKET": systemd.name, "WATCHDOG_USEC": "30000000"}, lambda: str(1 / 0))
    notifier.start()
    clock.pump([10] * 2)
    assert systemd.heard() == [
        "READY=1\nSTATUS=status unknown",
        *["STATUS=status unknown", "WATCHDOG=1"] * 2,
    ]
    notifier.stop()


def test_without_a_socket_it_says_nothing() -> None:
    clock = Clock()
    notifier = Notifier(clock, {}, lambda: "x")
    notifier.start()
    notifier.reloading()
    notifier.stopping()
    notifier.stop()
    assert clock.getDelayedCalls() == []


def test_a_systemd_that_has_gone_does_no_harm(tmp_path: Path) -> None:
    clock = Clock()
    notifier = Notifier(clock, {"NOTIFY_SOCKET": str(tmp_path / "none")}, lambda: "x")
    notifier.start()
    clock.pump([10] * 3)
    notifier.stop()


def figures(requests: int, size: int) -> Figures:
    return Figures(
        requests=requests,
        bytes=size,
        busy=6,
        capacity=94,
        sessions_busy=8,
        sessions=20,
        daemons="12 ok, 1 late",
        schema="0.1.6 passed",
    )


def test_the_status_line_reads_as_operators_know_it() -> None:
    status = StatusLine()
    assert "0.0 requests/s; 0 kB/s" in status.text(figures(24514, 0), 100.0)
    assert status.text(figures(24631, 3_200_000), 110.0) == (
        "Total requests: 24631; busy 6/94; 11.7 requests/s; 320 kB/s; "
        "DB 8/20; daemons 12 ok, 1 late; schema 0.1.6 passed"
    )
