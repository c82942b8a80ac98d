"""What becomes of an asynchronous request: how long it may take, how often it is tried, how it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from attrs import frozen

MOST_ATTEMPTS: Final = 3
"""A call that ended so many children is failed."""
LARGEST_RESULT: Final = 1_000_000
"""Characters of a result, and of its stderr, that are kept."""
LONGEST_ERROR: Final = 2048
LONGEST_NAME: Final = 64
ALIVE: Final = timedelta(minutes=60)
"""A machine that was seen within so long is expected to answer."""
RETENTION: Final = timedelta(days=7)
"""A request and its results are kept for so long."""

SERVICE: Final = "server"
ANY_MACHINE: Final = "any"
"""Stands for one machine of a service, whichever; older servers know it too."""
OUR_MACHINE: Final = "pandatx"
"""Stands for one of our servers, whichever. Older servers neither take nor end what is marked so."""


class Status(StrEnum):
    """Of a result, as all servers know it."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Access(StrEnum):
    """Who may read a result, beside its requester."""

    OWNER = "owner"
    PRODUCTION = "production"
    ANYONE = "anyone"


@frozen(kw_only=True)
class Kind:
    """A type of request. ``limit``: seconds of one call. A handler that asks to be called later is called again after
    ``pause``, until the request is older than ``patience``.

    ``once``: a call that was killed at its limit is not tried again. ``prefix`` begins the names of the files in which
    older front ends keep such requests; one that is older than ``settled`` is taken.
    """

    name: str
    limit: float = 240.0
    patience: timedelta = timedelta(hours=2)
    pause: timedelta = timedelta(minutes=1)
    once: bool = False
    prefix: str = ""
    settled: timedelta = timedelta(seconds=5)


GREP: Final = Kind(name="grep", once=True)
SLEEP_ECHO: Final = Kind(name="sleep_echo", once=True)
WORKFLOW: Final = Kind(name="workflow", limit=1800.0, prefix="workflow.")
FILE_RECOVERY: Final = Kind(name="file_recovery", limit=600.0, pause=timedelta(minutes=10), prefix="recov.")
EVENT_PICKING: Final = Kind(
    name="event_picking",
    limit=1800.0,
    patience=timedelta(hours=24),
    pause=timedelta(minutes=10),
    prefix="evp.",
    settled=timedelta(minutes=1),
)
KINDS: Final = {kind.name: kind for kind in (GREP, SLEEP_ECHO, WORKFLOW, FILE_RECOVERY, EVENT_PICKING)}


def kind_of(name: str) -> Kind:
    """A type of ours, or one that the operator has added."""
    return KINDS.get(name) or Kind(name=name)


class FileStep(StrEnum):
    """What to do with a file that asks for something."""

    WAIT = "wait"
    TRY = "try"
    LAST = "last"


def file_step(kind: Kind, age: timedelta) -> FileStep:
    """By the age of a file: it may still be written, it is tried, it is tried for the last time and then deleted."""
    if age > kind.patience:
        return FileStep.LAST
    return FileStep.TRY if age > kind.settled else FileStep.WAIT


@frozen(kw_only=True)
class Claim:
    """An attempt that has begun. ``attempts`` counts those whose end nobody has told, this one included."""

    request_id: str
    kind: Kind
    machine: str
    parameters: Mapping[str, Any]
    created_at: datetime
    attempts: int


@frozen(kw_only=True)
class Ending:
    """How an attempt ended. ``pause``: when a pending one may begin again. ``uncounted``: it does not count."""

    status: Status
    result: str | None = None
    stderr: str | None = None
    return_code: int | None = None
    error: str | None = None
    truncated: bool = False
    pause: timedelta = timedelta(0)
    uncounted: bool = False


def failed(why: str) -> Ending:
    """It is over, and this is why."""
    return Ending(status=Status.FAILED, error=why)


def answered(claim: Claim, answer: Any, now: datetime) -> Ending:
    """What a handler's answer means.

    An object with a ``status`` of done, failed or later, and as it likes ``result`` (a text, or what becomes its JSON),
    ``stderr``, ``return_code`` and ``error``; anything else is the result of what is done.
    """
    if not isinstance(answer, dict) or answer.get("status") not in ("done", "failed", "later"):
        answer = {"status": "done", "result": answer}
    error = None if answer.get("error") is None else str(answer["error"])[:LONGEST_ERROR]
    if answer["status"] == "later":
        return _later(claim, error or "no reason given", now)
    result, stderr = _text(answer.get("result")), _text(answer.get("stderr"))
    code = answer.get("return_code")
    return Ending(
        status=Status(answer["status"]),
        result=_cut(result),
        stderr=_cut(stderr),
        return_code=code if isinstance(code, int) and abs(code) < 1 << 15 else None,
        error=error,
        truncated=bool(answer.get("truncated")) or any(len(text or "") > LARGEST_RESULT for text in (result, stderr)),
    )


def _later(claim: Claim, why: str, now: datetime) -> Ending:
    if now - claim.created_at > claim.kind.patience:
        return failed(f"given up, since it is older than {claim.kind.patience}: {why}")
    return Ending(status=Status.PENDING, error=why, pause=claim.kind.pause, uncounted=True)


def died(claim: Claim, why: str) -> Ending:
    """The child has ended under the call."""
    if claim.attempts >= MOST_ATTEMPTS:
        return failed(given_up(why))
    return Ending(status=Status.PENDING, error=f"attempt {claim.attempts}: {why}")


def timed_out(claim: Claim, why: str) -> Ending:
    """The call was killed at its limit."""
    return failed(why) if claim.kind.once else died(claim, why)


def given_up(why: str | None) -> str:
    """What is told of a request that ended too many children."""
    return f"given up after {MOST_ATTEMPTS} attempts: {why or 'its server ended in the middle of it'}"


def given_back(why: str) -> Ending:
    """The attempt did not take place: the server stops."""
    return Ending(status=Status.PENDING, error=why, uncounted=True)


def may_read(parameters: Mapping[str, Any], caller: str, production: bool) -> bool:
    """Whether a caller may see what came of a request."""
    access = parameters.get("access", Access.OWNER)
    if caller and caller == parameters.get("requester"):
        return True
    return access == Access.ANYONE or (access == Access.PRODUCTION and production)


def complete(expected: list[str], results: list[tuple[str, str]]) -> bool:
    """Whether every expected machine has ended; ``results`` are machines and their statuses."""
    ended = {machine for machine, status in results if status in (Status.DONE, Status.FAILED)}
    return bool(expected) and ended.issuperset(expected)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("\0", "")


def _cut(text: str | None) -> str | None:
    return text if text is None else text[:LARGEST_RESULT]
