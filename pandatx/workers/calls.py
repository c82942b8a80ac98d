"""A call to the pool, and how it can fail."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred


class CallError(Exception):
    """A call to the pool that gave no result."""


class CallFailed(CallError):
    """The function raised; the text is its exception's, ``traceback`` is for the log."""

    def __init__(self, text: str, traceback: str = "") -> None:
        super().__init__(text)
        self.traceback = traceback


class CallTimedOut(CallError):
    """The call's time was over: its child was killed with everything it had started."""


class CallDied(CallError):
    """The child ended under the call, or the pool was stopped before the call was over."""


@define(eq=False)
class Call:
    """One call on its way. ``arguments`` is JSON already; ``application`` is the name its database sessions carry."""

    name: str
    arguments: bytes
    timeout: float
    context: str
    outcome: Deferred[Any] = field(init=False)
    application: str = field(init=False, default="")
