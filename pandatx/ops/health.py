"""Whether the server lives and is ready: checks that are given in, and the pages /livez and /readyz."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from attrs import asdict, define, field, frozen
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.web.http import OK, SERVICE_UNAVAILABLE
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from pandatx.clock import Clock

log = Logger()

LONGEST_CHECK = 3.0
"""Seconds after which a check that has not answered counts as failed."""
MAX_AGE = 1.0
"""Seconds for which a report is given again, so that asking costs the database nothing."""


@frozen(kw_only=True)
class Finding:
    """What a check found. One that is not ``vital`` is shown, and leaves the server ready."""

    name: str
    ok: bool
    text: str = ""
    vital: bool = True


@frozen(kw_only=True)
class Report:
    """All findings of one look."""

    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        return all(finding.ok or not finding.vital for finding in self.findings)


Check = Callable[[], Awaitable[Finding]]


@define(eq=False)
class Health:
    """Runs the checks by name, at most once a second however many ask."""

    _clock: Clock
    _checks: dict[str, Check]
    _last: tuple[float, Report] | None = field(default=None, init=False)
    _asking: list[Deferred[Report]] = field(factory=list, init=False)

    def add(self, name: str, check: Check) -> None:
        """One more check."""
        self._checks[name] = check

    async def report(self) -> Report:
        """The newest findings; never fails."""
        if self._last is not None and self._clock.seconds() - self._last[0] < MAX_AGE:
            return self._last[1]
        answer: Deferred[Report] = Deferred()
        self._asking.append(answer)
        if len(self._asking) == 1:
            ensureDeferred(self._look())
        return await answer

    async def _look(self) -> None:
        looking = [ensureDeferred(self._run(name, check)) for name, check in self._checks.items()]
        report = Report(findings=tuple([await finding for finding in looking]))
        self._last = (self._clock.seconds(), report)
        asking, self._asking = self._asking, []
        for answer in asking:
            answer.callback(report)

    async def _run(self, name: str, check: Check) -> Finding:
        running = ensureDeferred(_awaited(check))
        running.addTimeout(LONGEST_CHECK, self._clock.reactor)  # type: ignore[arg-type]
        try:
            return await running
        except Exception as fault:  # a check that breaks is a finding
            return Finding(name=name, ok=False, text=f"{type(fault).__name__}: {fault}")


async def _awaited(check: Check) -> Finding:
    return await check()


class Livez(Resource):
    """/livez: the reactor answers, and that is all it says."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return _plain(request, OK, b"ok\n")


class Readyz(Resource):
    """/readyz: 200 when requests would be served, else 503; what each check says only if ``detailed`` (rule R26)."""

    isLeaf = True

    def __init__(self, health: Health, detailed: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._health = health
        self._detailed = detailed

    def render_GET(self, request: Any) -> int:
        asked = ensureDeferred(self._answer(request))
        asked.addErrback(lambda failure: log.failure("readyz", failure))
        return NOT_DONE_YET

    async def _answer(self, request: Any) -> None:
        gone = request.notifyFinish()
        gone.addErrback(lambda _: None)
        report = await self._health.report()
        if gone.called:
            return
        code = OK if report.ready else SERVICE_UNAVAILABLE
        if self._detailed:
            request.setResponseCode(code)
            request.setHeader(b"content-type", b"application/json")
            request.write(_json(report))
        else:
            request.write(_plain(request, code, b"ok\n" if report.ready else b"not ready\n"))
        request.finish()


def _plain(request: Any, code: int, text: bytes) -> bytes:
    request.setResponseCode(code)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    request.setHeader(b"cache-control", b"no-store")
    return text


def _json(report: Report) -> bytes:
    return orjson.dumps({"ready": report.ready, "checks": [asdict(finding) for finding in report.findings]}) + b"\n"
