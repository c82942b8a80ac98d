"""Parts of a server that start one after the other and stop the other way round."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as Overdue
from twisted.logger import Logger

from pandatx.clock import ReactorTime
from pandatx.errors import StartFault

log = Logger()

STOP_LIMIT = 30.0
"""Seconds for everything to end and flush (rule R35)."""
LEAST = 0.5
"""Seconds that a part gets in any case."""


async def nothing() -> None:
    """For a part that has nothing to do at its start or its end."""


class Part(Service):
    """One part: ``start`` is awaited before the next one begins, ``stop`` before the one before it ends.

    ``by`` is when it has to have ended, in seconds from the begin of the stop. One that is ``eager`` begins to end at
    once, while those that started after it are still ending.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], Awaitable[Any]],
        stop: Callable[[], Awaitable[Any]] = nothing,
        *,
        by: float = STOP_LIMIT,
        eager: bool = False,
    ) -> None:
        self.name = name
        self.by = by
        self.eager = eager
        self._start = start
        self._stop = stop

    async def begin(self) -> None:
        await self._start()
        super().startService()  # type: ignore[no-untyped-call]

    async def end(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        await self._stop()


class Server(MultiService):
    """The whole server. A part that cannot start ends it: ``failed`` is told, with the exit code of rule R36."""

    def __init__(self, reactor: ReactorTime, failed: Callable[[StartFault], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self._failed = failed
        self._begun: list[Part] = []
        self._stopping = False
        self.up: Deferred[None] = Deferred()

    def add(self, part: Part) -> None:
        part.setServiceParent(self)  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        Service.startService(self)  # type: ignore[no-untyped-call]
        Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        part: Part
        for part in self:
            if self._stopping:
                return
            try:
                self._begun.append(part)
                await part.begin()
            except StartFault as fault:
                self._failed(fault)
                return
            except Exception as error:  # our bug: a traceback in the log, and no half-started server
                log.failure("{part} could not be started", part=part.name)
                self._failed(StartFault(1, f"{part.name} could not be started: {error}"))
                return
        log.info("up")
        self.up.callback(None)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)  # type: ignore[no-untyped-call]
        self._stopping = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        """End every part; what does not end in time is left, with its name in the log."""
        began = self._reactor.seconds()
        early = {part: Deferred.fromCoroutine(part.end()) for part in self._begun if part.eager}
        while self._begun:
            part = self._begun.pop()
            ending = early.get(part) or Deferred.fromCoroutine(part.end())
            left = max(LEAST, began + part.by - self._reactor.seconds())
            ending.addTimeout(left, self._reactor)  # type: ignore[arg-type]
            try:
                await ending
            except Overdue:
                log.warn("{part} has not ended {by:g} s after the stop: left as it is", part=part.name, by=part.by)
            except Exception:
                log.failure("{part} did not end well", part=part.name)
        log.info("stopped")


def say(line: str) -> None:
    """One line for whoever started the server: on the real stderr, since twistd makes log lines of the other one."""
    stderr = sys.__stderr__ or sys.stderr
    stderr.write(f"twistd panda: {line}\n")
    stderr.flush()
