"""The database connections of a child: made when they are first needed, and kept over calls until its end."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, field, frozen

CONNECT_LIMIT = 10


class NoConnection(RuntimeError):
    """The child may have no database connection, or none any more."""


@frozen(kw_only=True)
class Access:
    """How a child reaches the database; ``limit`` bounds a statement, in seconds, ``size`` the connections.

    ``conninfo`` may hold a password: it comes through the pipe and goes nowhere else (rule R30).
    """

    conninfo: str = field(repr=False)
    schemas: dict[str, str]
    limit: float
    size: int

    @property
    def options(self) -> str:
        """Settings of a session: a statement of a killed child ends, and so does a transaction that is forgotten."""
        path = ",".join(dict.fromkeys(self.schemas.values()))
        settings = {
            "client_connection_check_interval": "500",
            "statement_timeout": str(round(self.limit * 1000)),
            "idle_in_transaction_session_timeout": "60000",
            "timezone": "UTC",
            "search_path": f"{path},public",
        }
        return " ".join(f"-c {name}={value}" for name, value in settings.items())


@define(eq=False)
class Connections:
    """At most ``access.size`` connections; each thread of a script has its own, and one too many waits."""

    access: Access
    application: str = field(init=False, default="")
    _free: list[Any] = field(init=False, factory=list)
    _lent: dict[int, Any] = field(init=False, factory=dict)
    _turn: Any = field(init=False, factory=threading.Condition)
    _owner: int = field(init=False, factory=os.getpid)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A connection, for one transaction: committed at the end, rolled back on an exception.

        Inside an open transaction of the same thread it is that transaction, which is left open.
        """
        if self.mine is not None:
            yield self.mine
            return
        connection = self.begin()
        try:
            yield connection
            if os.getpid() == self._owner:
                connection.commit()
        finally:
            self.end()

    @property
    def mine(self) -> Any:
        """The connection that this thread has now, or None."""
        return self._lent.get(threading.get_ident())

    def begin(self) -> Any:
        """Give this thread a connection until ``end``."""
        if not self.access.size:
            raise NoConnection("[daemon] n_dbconn is 0: scripts have no database connection")
        with self._turn:
            self._turn.wait_for(lambda: len(self._lent) < self.access.size)
            self._lent[threading.get_ident()] = None
        try:
            connection = self._usable()
        except BaseException:
            self.end()
            raise
        self._lent[threading.get_ident()] = connection
        return connection

    def end(self) -> None:
        """Take this thread's connection back; what it has not committed is rolled back."""
        if os.getpid() != self._owner:
            return  # a process that the script has forked off: the connection is not its own to speak on
        connection = self.mine
        usable = connection is not None and _rolled_back(connection)
        with self._turn:
            if self._lent.pop(threading.get_ident(), None) is not None and usable:
                self._free.append(connection)
            self._turn.notify()

    def settle(self) -> None:
        """A call is over: nothing of it stays open, and its threads that go on lose their connections."""
        if os.getpid() != self._owner:
            return
        self.end()
        with self._turn:
            lost, self._lent = list(self._lent.values()), {}
        for connection in lost:
            with contextlib.suppress(Exception):  # whatever psycopg2 says of one that is being used
                connection.cancel()

    def _usable(self) -> Any:
        while (connection := self._next_free()) is not None:
            if not connection.closed and not _has_word_from_the_server(connection):
                if connection.info.parameter_status("application_name") != self.application:
                    _name(connection, self.application)
                return connection
            connection.close()
        return self._connect()

    def _next_free(self) -> Any:
        with self._turn:
            return self._free.pop() if self._free else None

    def _connect(self) -> Any:
        import psycopg2  # only here: children that need no database start without it
        import psycopg2.extensions

        access = self.access
        connection = psycopg2.connect(
            access.conninfo, application_name=self.application, options=access.options, connect_timeout=CONNECT_LIMIT
        )
        # NUMERIC is what PanDA's counters are: plain numbers, as older servers give them.
        psycopg2.extensions.register_type(psycopg2.extensions.new_type((1700,), "PLAIN", _number), connection)
        return connection


def _number(value: Any, _cursor: Any) -> int | float | None:
    if value is None:
        return None
    return float(value) if "." in value else int(value)


def _name(connection: Any, application: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('application_name', %s, false)", (application,))
    connection.commit()


def _has_word_from_the_server(connection: Any) -> bool:
    """An idle connection has nothing to read unless the server has ended it."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLHUP)
    return bool(poll.poll(0))


def _rolled_back(connection: Any) -> bool:
    try:
        connection.rollback()
    except Exception:  # it is broken, in whichever way
        connection.close()
    return not connection.closed
