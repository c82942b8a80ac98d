"""A call to the pool, and how it can fail."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred


class CallError(Exception):
    """A call to the pool that gave no result; ``outcome`` is the word for it in metrics."""

    outcome = "failed"


class CallFailed(CallError):
    """The function raised; the text is its exception's, ``traceback`` is for the log."""

    def __init__(self, text: str, traceback: str = "") -> None:
        super().__init__(text)
        self.traceback = traceback


class CallTimedOut(CallError):
    """The call's time was over: its child was killed with everything it had started."""

    outcome = "timed_out"


class CallDied(CallError):
    """The child ended under the call, or the pool was stopped before the call was over."""

    outcome = "died"


class CallOutgrew(CallDied):
    """The child held more memory than it may, and was killed."""

    outcome = "memory"


@define(eq=False)
class Call:
    """One call on its way. ``arguments`` is JSON already.

    ``script`` is the name of the daemon whose script it runs, or empty: only a script is given a task buffer.
    ``application`` begins the names that its child's database sessions carry.
    """

    name: str
    arguments: bytes
    timeout: float
    context: str
    script: str = ""
    outcome: Deferred[Any] = field(init=False)
    application: str = field(init=False, default="")

    @property
    def label(self) -> str:
        """What the log calls it."""
        return self.context or self.name
