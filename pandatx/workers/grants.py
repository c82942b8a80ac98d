"""What the scripts of a pool are given: a database connection, and operations of the server by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pandatx.errors import PandaError

log = Logger()

Operation = Callable[..., Awaitable[Any]]
"""An operation: arguments and result are JSON. Its refusals are PandaErrors."""
Database = Callable[[], dict[str, Any]]
"""The fields of connections.Access but its size; asked for each call: an embedded database is known once it runs."""


@frozen
class Grants:
    """``database`` None: no connection. Its password goes through the pipe only, never to a log (rule R30).

    ``connections`` is how many a child may have at most.
    """

    operations: Mapping[str, Operation] = field(factory=dict)
    database: Database | None = field(default=None, repr=False)
    connections: int = 1

    def told(self) -> dict[str, Any]:
        """What a child learns of this at the beginning of a call."""
        return {
            "operations": list(self.operations),
            "database": None if self.database is None else {**self.database(), "size": self.connections},
        }


@define(eq=False)
class Requests:
    """The operations that a call has asked for. ``answer`` sends a message to its child."""

    _grants: Callable[[], Grants]
    _answer: Callable[[dict[str, Any]], None]
    _pending: set[Deferred[Any]] = field(init=False, factory=set)

    def begin(self, message: dict[str, Any]) -> None:
        """Do what a message of the child asks for, and answer it when it is done."""
        number, name = message["ask"], message["operation"]
        work: Deferred[Any] = Deferred.fromCoroutine(self._do(name, message["args"], message["kwargs"]))
        self._pending.add(work)

        def done(result: Any) -> None:
            self._pending.discard(work)
            self._send(number, {"ok": result})

        def failed(failure: Failure) -> None:
            self._pending.discard(work)
            if not isinstance(failure.value, CancelledError):
                self._send(number, _told(name, failure))

        work.addCallbacks(done, failed)
        work.addErrback(lambda failure: log.failure("the answer of {name}", failure, name=name))

    def drop(self) -> None:
        """Nobody waits any more: what has not begun is not done, a transaction under way is finished."""
        for work in list(self._pending):
            work.cancel()

    async def _do(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return await self._grants().operations[name](*args, **kwargs)

    def _send(self, number: int, told: dict[str, Any]) -> None:
        try:
            self._answer({"answer": number, **told})
        except TypeError as fault:  # a result that JSON cannot say
            self._answer({"answer": number, "error": f"the result cannot be told: {fault}", "kind": "TypeError"})


def _told(name: str, failure: Failure) -> dict[str, Any]:
    """A refusal in its own words, a wrong argument in Python's; anything else is our bug, and the script is told so."""
    fault = failure.value
    kind = type(fault).__name__
    if isinstance(fault, PandaError | TypeError | ValueError):
        return {"error": f"{name}: {fault}", "kind": kind}
    log.failure("operation {name}", failure, name=name)
    return {"error": f"{name}: internal fault, {kind}: {fault}", "kind": kind}
