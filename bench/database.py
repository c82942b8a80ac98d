"""The database side of a run: rows that are there before it, and what is true in the tables after it.

Rows are copies of one job that went in through the API, with its files and parameters, so they are as the server
writes them, whatever its version.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import psycopg2
from attrs import define
from psycopg2 import sql
from psycopg2.errors import InsufficientPrivilege

JOB_TABLES = ("jobsdefined4", "jobsactive4", "jobsarchived4", "jobswaiting4")
ALL_TABLES = (*JOB_TABLES, "filestable4", "jobparamstable", "metatable", "jobs_statuslog", "job_output_report")
BEGINNING = datetime(1970, 1, 1)
STEP = 50_000
"""Jobs in one INSERT, so that progress shows and no transaction is long."""


@define(eq=False)
class Tables:
    """A PanDA database, reached by ``dsn``; ``schema`` is the one that holds the job tables."""

    dsn: str
    schema: str = "doma_panda"
    _connection: Any = None

    def query(self, text: sql.Composable | str, **values: Any) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = psycopg2.connect(self.dsn, application_name="bench")
            self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            cursor.execute(text, values)
            return cursor.fetchall() if cursor.description else []

    def wipe(self) -> None:
        """Empty the job tables. All jobs are gone afterwards, not only ours."""
        there = {
            name for (name,) in self.query("SELECT tablename FROM pg_tables WHERE schemaname = %(s)s", s=self.schema)
        }
        tables = [self._table(name) for name in ALL_TABLES if name in there]
        self.query(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(tables)))

    def first_job(self, queue: str) -> int | None:
        """A job of ``queue`` that waits for a pilot, to be copied."""
        text = "SELECT max(pandaid) FROM {} WHERE computingsite = %(queue)s AND jobstatus = 'activated'"
        [(found,)] = self.query(sql.SQL(text).format(self._table("jobsactive4")), queue=queue)
        return None if found is None else int(found)

    def wait_for_first_job(self, queue: str, patience: float) -> int:
        start = time.perf_counter()
        while (found := self.first_job(queue)) is None:
            if time.perf_counter() - start > patience:
                raise SystemExit(f"the job to be copied is not activated on queue {queue} after {patience:g} s")
            time.sleep(0.05)
        return found

    def copy_job(
        self, job: int, number: int, *, queues: Sequence[str], shares: Sequence[str | None], status: str
    ) -> range:
        """``number`` copies of a job, dealt out over queues and shares in turn, of a hundred priorities."""
        sequence = self._name("jobsdefined4_pandaid_seq")
        [(last,)] = self.query("SELECT nextval(%(sequence)s)", sequence=sequence)
        self.query("SELECT setval(%(sequence)s, %(value)s)", sequence=sequence, value=last + number)
        files = self.query(
            sql.SQL("SELECT count(*) FROM {} WHERE pandaid = %(job)s").format(self._table("filestable4")), job=job
        )[0][0]
        rows = self._name("filestable4_row_id_seq")
        [(row,)] = self.query("SELECT nextval(%(sequence)s)", sequence=rows)
        self.query("SELECT setval(%(sequence)s, %(value)s)", sequence=rows, value=row + (number + 1) * files)
        for start in range(0, number, STEP):
            stop = min(start + STEP, number) - 1
            values = {"job": job, "start": start, "stop": stop, "first": last + 1, "row": row + 1, "files": files}
            values |= {"queues": list(queues), "shares": list(shares), "status": status}
            for statement in self._copies(status):
                self.query(statement, **values)
        return range(last + 1, last + 1 + number)

    def settle(self) -> None:
        """What autovacuum and the checkpointer would do in the middle of the run, done before it."""
        for table in ("jobsactive4", "filestable4", "jobparamstable"):
            self.query(sql.SQL("VACUUM (ANALYZE) {}").format(self._table(table)))
        with suppress(InsufficientPrivilege):  # pg_checkpoint may be granted, and need not be
            self.query("CHECKPOINT")

    def count(
        self, *, since: datetime = BEGINNING, statuses: Sequence[str] = ("activated",), archived: bool = False
    ) -> int:
        table = self._table("jobsarchived4" if archived else "jobsactive4")
        text = sql.SQL("SELECT count(*) FROM {} WHERE creationtime >= %(since)s AND jobstatus = ANY(%(statuses)s)")
        return int(self.query(text.format(table), since=since, statuses=list(statuses))[0][0])

    def now(self) -> datetime:
        """The database's time, UTC as the tables have it. PandaIDs tell less: servers take them in blocks."""
        return self.query("SELECT clock_timestamp() AT TIME ZONE 'UTC'")[0][0]

    def wait_for(
        self,
        number: int,
        *,
        patience: float,
        since: datetime = BEGINNING,
        statuses: Sequence[str] = ("activated",),
        archived: bool = False,
    ) -> float:
        """Seconds until ``number`` jobs made since then are there; SystemExit after ``patience`` seconds."""
        start = time.perf_counter()
        while (found := self.count(since=since, statuses=statuses, archived=archived)) < number:
            if time.perf_counter() - start > patience:
                raise SystemExit(f"only {found} of {number} jobs are {'/'.join(statuses)} after {patience:g} s")
            time.sleep(0.05)
        return time.perf_counter() - start

    def _name(self, table: str) -> str:
        return f"{self.schema}.{table}"

    def _table(self, name: str) -> sql.Identifier:
        return sql.Identifier(self.schema, name)

    def _columns(self, table: str) -> list[str]:
        text = """SELECT column_name FROM information_schema.columns
                   WHERE table_schema = %(schema)s AND table_name = %(table)s ORDER BY ordinal_position"""
        return [name for (name,) in self.query(text, schema=self.schema, table=table)]

    def _copies(self, status: str) -> list[sql.Composable]:
        queues, shares = "%(queues)s::text[]", "%(shares)s::text[]"
        job = {
            "pandaid": "%(first)s + n",
            "computingsite": f"({queues})[1 + n %% cardinality({queues})]",
            "gshare": f"coalesce(({shares})[1 + n / cardinality({queues}) %% cardinality({shares})], gshare)",
            "currentpriority": "1000 + (n::bigint * 7919 %% 100)::int",
            "jobstatus": "%(status)s::text",
            "jobname": "'copy.' || n",
        }
        if status != "activated":
            job |= {"starttime": "statechangetime", "pilotid": "'unknown|Local|PR|3.11.5.1'::text"}
        file = {
            "pandaid": "%(first)s + n",
            "row_id": "%(row)s + n * %(files)s + row_number() OVER (PARTITION BY n) - 1",
        }
        file["lfn"] = "lfn || '.' || n"
        tables = (("jobsactive4", job), ("filestable4", file), ("jobparamstable", {"pandaid": "%(first)s + n"}))
        return [self._copy(table, changes) for table, changes in tables]

    def _copy(self, table: str, changes: Mapping[str, str]) -> sql.Composable:
        columns = self._columns(table)
        values = [sql.SQL(changes[name]) if name in changes else sql.Identifier(name) for name in columns]
        text = """INSERT INTO {table} ({columns}) SELECT {values}
                    FROM {table} CROSS JOIN generate_series(%(start)s, %(stop)s) AS n WHERE pandaid = %(job)s"""
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        return sql.SQL(text).format(table=self._table(table), columns=names, values=sql.SQL(", ").join(values))
