"""``tbuf``: what a daemon script is given of the server, after the task buffer of the PanDA daemon guide.

Two things: a database connection, and the operations of the server by name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from pandatx.workers.connections import Access, Connections
from pandatx.workers.parent import Parent

log = logging.getLogger("pandatx.tbuf")

_NAME = re.compile(r"(?<![:\w]):([A-Za-z_]\w*)")


class TaskBuffer:
    """The task buffer of a child; the same object in all its calls.

    SQL is PostgreSQL's and goes to the database as it is, with psycopg2's parameters: ``%(name)s`` and a mapping, or
    ``%s`` and a sequence. A mapping whose keys begin with a colon, as scripts for older servers have it, binds
    ``:name``. Nothing else of such SQL is rewritten: ``schemas`` has the names of the schemas, and all of them are
    in the search path. Times without a zone are UTC.
    """

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._names: Sequence[str] = ()
        self._connections: Connections | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._names:
            known = ", ".join(sorted(self._names)) or "none now"
            raise AttributeError(f"tbuf has no {name}; operations of this server: {known}")
        return partial(self.call, name)

    def call(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Have the server do an operation, such as ``call("jobs.statuses", [12, 13])``; all values are JSON.

        Raises AttributeError for one that it does not have, OperationFailed with the server's words.
        """
        if operation not in self._names:
            raise AttributeError(f"no operation {operation}; there are: {', '.join(sorted(self._names))}")
        return self._parent.ask(operation, args, kwargs)

    @property
    def operations(self) -> tuple[str, ...]:
        """The names that ``call`` takes."""
        return tuple(sorted(self._names))

    # The database.

    @property
    def schemas(self) -> Mapping[str, str]:
        """The schemas' names, by what they are: panda, arch, meta, deft, own."""
        return dict(self._database.access.schemas)

    def connection(self) -> AbstractContextManager[Any]:
        """``with tbuf.connection() as connection:`` is one transaction on a psycopg2 connection."""
        return self._database.transaction()

    def cursor(self) -> Any:
        """A cursor in a transaction that lasts until ``commit`` or ``rollback``; the script's end rolls it back."""
        database = self._database
        return (database.mine or database.begin()).cursor()

    def commit(self) -> None:
        """Keep what was done through ``cursor``."""
        if (mine := self._database.mine) is not None:
            mine.commit()
            self._database.end()

    def rollback(self) -> None:
        """Undo what was done through ``cursor``."""
        self._database.end()

    def querySQLS(self, sql: str, varMap: Any = None, arraySize: int = 1000) -> tuple[Any, Any]:
        """One statement in a transaction of its own: (True, rows or the number of rows touched).

        (-1, None) and an error in the log when it fails, as scripts for older servers expect.
        """
        try:
            with self.connection() as connection, connection.cursor() as cursor:
                cursor.arraysize = arraySize
                cursor.execute(*_bound(sql, varMap))
                return True, cursor.rowcount if cursor.description is None else cursor.fetchall()
        except Exception as fault:  # this is where the caller's contract turns faults into values
            self._failed(sql, fault)
            return -1, None

    def querySQL(self, sql: str, varMap: Any = None, arraySize: int = 1000) -> Any:
        """The second part of what ``querySQLS`` gives: None when it failed."""
        return self.querySQLS(sql, varMap, arraySize)[1]

    def executemanySQL(self, sql: str, varMaps: Sequence[Any], arraySize: int = 1000) -> int | None:
        """The same statement for each of ``varMaps``, in one transaction: the number of rows, None when it failed."""
        try:
            count = 0
            with self.connection() as connection, connection.cursor() as cursor:
                for values in varMaps:
                    cursor.execute(*_bound(sql, values))
                    count += max(cursor.rowcount, 0)
            return count
        except Exception as fault:
            self._failed(sql, fault)
            return None

    # For the child.

    def open(self, message: Mapping[str, Any]) -> None:
        """A call begins: what it is given stands in its message."""
        given = message["script"]
        self._names = given["operations"]
        if (database := given["database"]) is not None:
            access = Access(**database)
            if self._connections is None or self._connections.access != access:
                self._connections = Connections(access)
            self._connections.application = message["application"]

    def close(self) -> None:
        """The call is over: what it left open is rolled back, its connections stay for the next one."""
        self._names = ()
        if self._connections is not None:
            self._connections.settle()

    @property
    def _database(self) -> Connections:
        if self._connections is None or self._parent.call is None or self._parent.forked:
            raise RuntimeError("there is no database connection here: only a running script has one, and no fork of it")
        return self._connections

    @staticmethod
    def _failed(sql: str, fault: Exception) -> None:
        why, statement = (" ".join(text.split())[:500] for text in (str(fault), sql))
        log.error("%s: %s; the statement was: %s", type(fault).__name__, why, statement)


def _bound(sql: str, values: Any) -> tuple[str, Any]:
    """Statement and parameters as psycopg2 takes them."""
    if not values:
        return sql, None
    if not isinstance(values, Mapping) or not all(str(key).startswith(":") for key in values):
        return sql, values
    named = {key[1:]: value for key, value in values.items()}

    def instead(found: re.Match[str]) -> str:
        return f"%({found[1]})s" if found[1] in named else found[0]

    return _NAME.sub(instead, sql.replace("%", "%%")), named
