"""Databases for tests, each as fresh as a copy of a template: made and made fresh again in a thread.

A copy costs some hundred files, so a database that is given back is emptied rather than dropped, unless a test has
changed its schema, its statistics or its settings.
"""

from __future__ import annotations

import contextlib
import io
import queue
import threading
import time
from collections.abc import Iterator

import psycopg2

from pandatx.clock import Clock
from pandatx.config import Schemas
from pandatx.store.cluster import Cluster
from pandatx.store.database import Database

AHEAD = 3
"""Databases that wait for a test."""
PATIENCE = 60.0
"""Seconds for a server that a test has ended to be back."""
_OURS = "n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
_SHAPE = f"""
SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
  SELECT concat_ws(' ', c.oid::regclass, c.relkind, c.reloptions, c.relowner, c.relacl) AS line
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS}
  UNION ALL SELECT concat_ws(' ', a.attrelid::regclass, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS}
  UNION ALL SELECT concat_ws(' ', d.adrelid::regclass, d.adnum, pg_get_expr(d.adbin, d.adrelid)) FROM pg_attrdef d
  UNION ALL SELECT concat_ws(' ', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid)) FROM pg_constraint k
    JOIN pg_namespace n ON n.oid = k.connamespace WHERE {_OURS}
  UNION ALL SELECT concat_ws(' ', i.indexrelid::regclass, i.indisvalid, pg_get_indexdef(i.indexrelid)) FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS}
  UNION ALL SELECT concat_ws(' ', t.tgrelid::regclass, t.tgname, t.tgenabled) FROM pg_trigger t WHERE NOT t.tgisinternal
  UNION ALL SELECT concat_ws(' ', p.oid::regprocedure, p.prosrc) FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {_OURS}
  UNION ALL SELECT concat_ws(' ', n.nspname, n.nspacl) FROM pg_namespace n WHERE {_OURS}
  UNION ALL SELECT concat_ws(' ', e.extname) FROM pg_extension e
  UNION ALL SELECT concat_ws(' ', 'statistics', s.starelid::regclass) FROM pg_statistic s
    JOIN pg_class c ON c.oid = s.starelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_OURS}
  UNION ALL SELECT concat_ws(' ', d.datallowconn, d.datconnlimit) FROM pg_database d
    WHERE d.datname = current_database()
  UNION ALL SELECT concat_ws(' ', r.setrole, r.setconfig) FROM pg_db_role_setting r
    JOIN pg_database d ON d.oid = r.setdatabase WHERE d.datname = current_database()) shape
"""
_TABLES = f"""
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND pg_relation_size(c.oid) > 0 AND {_OURS} ORDER BY 1
"""
_REWIND = """
SELECT setval(seqrelid, seqstart, false) FROM pg_sequence WHERE pg_sequence_last_value(seqrelid) IS NOT NULL
"""
_ALONE = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


def make_database(cluster: Cluster, name: str, clock: Clock, **settings) -> Database:
    """A Database on one of the cluster's; not started."""
    return Database(
        name="test", conninfo=cluster.dsn(name), clock=clock, schemas=Schemas(), **{"size": 3, "hot": True, **settings}
    )


class Supply:
    """Makes copies of ``template`` in a thread. ``dsn`` gives a superuser's DSN for the name of a database."""

    def __init__(self, dsn: object, template: str) -> None:
        self._dsn, self._template = dsn, template
        self._ready: queue.Queue[str | Exception] = queue.Queue()
        self._returned: queue.Queue[str | None] = queue.Queue()
        self._names = (f"test_{number}" for number in range(10**6))
        self._shape, self._seeds = "", {}
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def databases(self) -> Iterator[str]:
        """One database, which belongs to others afterwards."""
        made = self._ready.get(timeout=300)
        if isinstance(made, Exception):
            self._ready.put(made)
            raise made
        yield made
        self._returned.put(made)

    def stop(self) -> None:
        """Wait until everything that was given back is done with."""
        self._returned.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            for _ in range(AHEAD):
                self._make()
            while (used := self._returned.get()) is not None:
                if self._fresh(used):
                    self._ready.put(used)
                else:
                    self._administer(f"DROP DATABASE {used} WITH (FORCE)")
                    self._make()
        except Exception as fault:
            self._ready.put(fault)

    def _administer(self, command: str) -> None:
        """Each over a connection of its own, since tests end sessions and servers; again until the server is back."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                connection = self._connected("postgres")
                with contextlib.closing(connection), connection.cursor() as cursor:
                    cursor.execute(command)
                return
            except psycopg2.OperationalError:
                if time.monotonic() > end:
                    raise

    def _connected(self, name: str) -> psycopg2.extensions.connection:
        connection = psycopg2.connect(self._dsn(name), application_name="supply of databases")
        connection.autocommit = True
        return connection

    def _make(self) -> None:
        name = next(self._names)
        self._administer(f"CREATE DATABASE {name} TEMPLATE {self._template} OWNER panda STRATEGY file_copy")
        if not self._shape:
            self._learn(name)
        self._ready.put(name)

    def _learn(self, name: str) -> None:
        """What a fresh copy looks like."""
        connection = self._connected(name)
        with connection.cursor() as cursor:
            cursor.execute(_SHAPE)
            self._shape = cursor.fetchone()[0]
            cursor.execute(_TABLES)
            self._seeds = {table: _copied(cursor, table) for (table,) in cursor.fetchall()}
        connection.close()

    def _fresh(self, name: str) -> bool:
        """Empty a database; False where that would not make it as a fresh copy."""
        try:
            connection = self._connected(name)
        except psycopg2.OperationalError:
            return False
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '5s'; SET statement_timeout = '20s'")
                cursor.execute(_ALONE)
                cursor.execute(_SHAPE)
                if cursor.fetchone()[0] != self._shape:
                    return False
                self._empty(cursor)
                return True
        except psycopg2.Error:
            return False
        finally:
            connection.close()

    def _empty(self, cursor: psycopg2.extensions.cursor) -> None:
        cursor.execute(_TABLES)
        used = [table for (table,) in cursor.fetchall()]
        changed = [table for table in self._seeds if table not in used or _copied(cursor, table) != self._seeds[table]]
        emptied = [table for table in used if table not in self._seeds] + [table for table in changed if table in used]
        if emptied:
            cursor.execute(f"TRUNCATE {', '.join(emptied)} CASCADE")
        for table in changed:
            cursor.copy_expert(f"COPY {table} FROM STDIN", io.BytesIO(self._seeds[table]))
        cursor.execute(_REWIND)


def _copied(cursor: psycopg2.extensions.cursor, table: str) -> bytes:
    """The rows of a table."""
    rows = io.BytesIO()
    cursor.copy_expert(f"COPY {table} TO STDOUT", rows)
    return rows.getvalue()
