"""How many requests of one caller may be under way; and limits of operations as an operator has them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import attrs
from attrs import define, field
from twisted.internet.defer import Deferred

from pandatx.domain.caller import Caller
from pandatx.errors import TooManyRequests
from pandatx.metrics import REQUESTS_THROTTLED, REQUESTS_WAITING
from pandatx.resources.api import Operation, Table


@define(eq=False)
class Throttle:
    """Counts the requests under way of each caller. One too many is refused; a report waits for its turn instead.

    ``_most`` of a caller, ``_most_of_roles`` of one with the pilot or production role; None: as many as come. Callers
    are told apart by their DN, holders of tokens by issuer and subject, those without one by their address.
    """

    _most: int | None = None
    _most_of_roles: int | None = None
    _under_way: dict[str, int] = field(factory=dict, init=False)
    _waiting: dict[str, deque[Deferred[str]]] = field(factory=dict, init=False)

    def enter(self, caller: Caller, operation: Operation) -> str | None:
        """Take a place, whose key ``leave`` gives back; None where there is no limit. Raises TooManyRequests."""
        most = self._most_of_roles if caller.reports else self._most
        if most is None:
            return None
        key = caller.identity or caller.address
        busy = self._under_way.get(key, 0)
        if busy >= most:
            REQUESTS_THROTTLED.labels(operation.path).inc()
            raise TooManyRequests(most)
        self._under_way[key] = busy + 1
        return key

    def turn(self, caller: Caller) -> str | Deferred[str] | None:
        """The same for a report: where there is no place it comes when one is free, in the order of the asking."""
        most = self._most_of_roles if caller.reports else self._most
        if most is None:
            return None
        key = caller.identity or caller.address
        busy = self._under_way.get(key, 0)
        if busy < most:
            self._under_way[key] = busy + 1
            return key
        turn: Deferred[str] = Deferred()
        self._waiting.setdefault(key, deque()).append(turn)
        REQUESTS_WAITING.inc()
        return turn

    def leave(self, key: str) -> None:
        """A request is over; a report that waits gets its place."""
        waiting = self._waiting.get(key)
        if waiting:
            turn = waiting.popleft()
            if not waiting:
                del self._waiting[key]
            REQUESTS_WAITING.dec()
            turn.callback(key)
            return
        left = self._under_way[key] - 1
        if left:
            self._under_way[key] = left
        else:
            del self._under_way[key]


def with_limits(table: Table, changes: Mapping[str, Mapping[str, Any]]) -> Table:
    """The table with other limits: ``changes`` by path, then by the name of the field of Limits.

    Raises KeyError with a path that is not served.
    """
    if not changes:
        return table
    by_path = dict(table.by_path)
    for path, limits in changes.items():
        served = by_path[path]
        operation = attrs.evolve(served.operation, limits=attrs.evolve(served.operation.limits, **limits))
        by_path[path] = attrs.evolve(served, operation=operation)
    return Table(by_path, {name: by_path[served.operation.path] for name, served in table.by_legacy.items()})
