"""What systemd is told (sd_notify): ready, status, alive, reloading, stopping."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

log = Logger()

STATUS_EVERY = 10.0
"""Seconds between two status lines."""


@define(eq=False)
class Notifier:
    """Speaks to the socket that ``environ`` names; without one it does nothing.

    ``start`` comes last of all parts, since READY=1 says that all the rest is up.
    """

    _reactor: Any
    _environ: Mapping[str, str]
    _status: Callable[[], str]
    _socket: socket.socket | None = field(default=None, init=False)
    _loops: list[LoopingCall] = field(factory=list, init=False)
    _failing: bool = field(default=False, init=False)

    def start(self) -> None:
        """READY=1 with the first status, then the watchdog's pings and a status every ten seconds."""
        address = self._environ.get("NOTIFY_SOCKET", "")
        if not address:
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self.ready()
        self._every(STATUS_EVERY, self._tell_status)
        if watchdog := _watchdog_seconds(self._environ):
            self._every(watchdog / 3, self._ping)

    def ready(self) -> None:
        """Up, for the first time or after ``reloading``."""
        self._send(f"READY=1\nSTATUS={self._line()}")

    def reloading(self) -> None:
        """Files are being read again; ``ready`` says when that is over."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """No more requests are taken. Pings go on, since flushing may take its time."""
        self._send("STOPPING=1\nSTATUS=Stopping")
        for loop in self._loops[:1]:
            if loop.running:
                loop.stop()

    def stop(self) -> None:
        """Say no more."""
        for loop in self._loops:
            if loop.running:
                loop.stop()
        self._loops.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _every(self, seconds: float, tell: Callable[[], None]) -> None:
        loop = LoopingCall(tell)
        loop.clock = self._reactor
        self._loops.append(loop)
        loop.start(seconds, now=False)

    def _tell_status(self) -> None:
        self._send(f"STATUS={self._line()}")

    def _ping(self) -> None:
        self._send("WATCHDOG=1")

    def _line(self) -> str:
        try:
            return self._status().replace("\n", " ")
        except Exception:  # the edge of a periodic loop: a bug in the line must not end it
            log.failure("the status line could not be made")
            return "status unknown"

    def _send(self, text: str) -> None:
        if self._socket is None:
            return
        name = self._environ["NOTIFY_SOCKET"]
        try:
            self._socket.sendto(text.encode(), "\0" + name[1:] if name.startswith("@") else name)
        except OSError as fault:
            if not self._failing:
                log.warn("systemd does not hear us on {name}: {fault}", name=name, fault=str(fault))
            self._failing = True
        else:
            self._failing = False


def _watchdog_seconds(environ: Mapping[str, str]) -> float:
    """The watchdog's limit, or 0 where there is none or it is meant for another process."""
    limit, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not limit.isdigit() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(limit) / 1e6
