"""Which connections are open, how many may be, and what they did: limits, counters, the end of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

log = Logger()


class Connection(Protocol):
    """One connection of a client, as the limits and the drain see it."""

    address: str

    @property
    def busy(self) -> bool:
        """A request is being read or answered."""
        ...

    @property
    def served(self) -> int:
        """Requests answered so far."""
        ...

    def end_when_done(self) -> None:
        """Close after the request at hand; at once when there is none."""
        ...

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        ...


@define
class Counters:
    """What the status line and the metrics tell; only ever added to, but for ``busy``.

    ``refused_address``: those of the connections refused whose address had too many already.
    """

    requests: int = 0
    busy: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    connections: int = 0
    refused: int = 0
    refused_address: int = 0
    timed_out: int = 0
    lost: int = 0

    @property
    def bytes(self) -> int:
        """In and out."""
        return self.bytes_in + self.bytes_out


@define
class Connections:
    """The open connections of all listeners of a process. ``limit`` counts all, ``per_address`` those of one address.

    At the limit a connection that idles makes room for a new one; when all are busy the new one is refused.
    """

    limit: int
    per_address: int
    counters: Counters = field(factory=Counters)
    unlimited: Container[str] = frozenset()
    draining: bool = field(default=False, init=False)
    _open: dict[Connection, None] = field(factory=dict, init=False)
    _by_address: Counter[str] = field(factory=Counter, init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)
    _told: set[str] = field(factory=set, init=False)

    def __len__(self) -> int:
        return len(self._open)

    def admits(self, address: str) -> bool:
        """Whether one more connection from this address may be opened now."""
        if self._by_address[address] >= self.per_address and address not in self.unlimited:
            self.counters.refused += 1
            self.counters.refused_address += 1
            self._tell(address)
            return False
        if len(self._open) >= self.limit and not self._make_room():
            self.counters.refused += 1
            return False
        return True

    def opened(self, connection: Connection) -> None:
        self._open[connection] = None
        self._by_address[connection.address] += 1
        self.counters.connections += 1

    def closed(self, connection: Connection) -> None:
        """A connection has ended; the last one ends the wait of ``all_closed``."""
        if connection not in self._open:
            return
        del self._open[connection]
        self._by_address[connection.address] -= 1
        if not self._by_address[connection.address]:
            del self._by_address[connection.address]
            self._told.discard(connection.address)
        if not self._open:
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                waiter.callback(None)

    def drain(self) -> None:
        """No further request on any connection. One that has not asked anything yet keeps its first request."""
        self.draining = True
        for connection in list(self._open):
            if connection.busy or connection.served:
                connection.end_when_done()

    def close_idle(self) -> None:
        """Close what has nothing under way, whether it ever asked something or not."""
        for connection in list(self._open):
            connection.end_when_done()

    def abort(self) -> int:
        """Cut what is still open; how many that were."""
        left = list(self._open)
        for connection in left:
            connection.abort()
        return len(left)

    def all_closed(self) -> Deferred[None]:
        """Fires when none is open any more."""
        waiter: Deferred[None] = Deferred()
        if self._open:
            self._waiting.append(waiter)
        else:
            waiter.callback(None)
        return waiter

    def _tell(self, address: str) -> None:
        """Once, until the last of its connections is closed."""
        if address not in self._told:
            self._told.add(address)
            log.warn("{address} has {n} connections and gets no more", address=address, n=self.per_address)

    def _make_room(self) -> bool:
        for connection in self._open:
            if not connection.busy:
                self.closed(connection)
                connection.abort()
                return True
        return False
