"""Jobs that ended long ago, for the archiver to move while something else is measured."""

from __future__ import annotations

import time

from attrs import define
from psycopg2 import sql

from bench.database import STEP, Tables

ENDED = "%(now)s::timestamp - interval '3 days' + %(lead)s * interval '1 s' - (%(number)s - n) * interval '10 us'"
"""They come of the age at which they are moved when the load is under way: all within seconds, the first first."""
LEAD = 60.0
LEAD_EACH = 0.00018
"""Seconds that the preparation takes at most, and more for each job."""


@define(eq=False)
class EndedTables(Tables):
    """A PanDA database with jobs that ended; the archive's schema is that of the tables' name and ``arch``."""

    def copy_ended(self, job: int, number: int) -> None:
        """``number`` finished copies of an active job, with its files and parameters."""
        sequence, rows = self._name("jobsdefined4_pandaid_seq"), self._name("filestable4_row_id_seq")
        [(first,)] = self.query("SELECT nextval(%(s)s)", s=sequence)
        self.query("SELECT setval(%(s)s, %(v)s)", s=sequence, v=first + number)
        [(files,)] = self.query(
            sql.SQL("SELECT count(*) FROM {} WHERE pandaid = %(job)s").format(self._table("filestable4")), job=job
        )
        [(row,)] = self.query("SELECT nextval(%(s)s)", s=rows)
        self.query("SELECT setval(%(s)s, %(v)s)", s=rows, v=row + (number + 1) * files)
        values = {"job": job, "first": first + 1, "row": row + 1, "files": files, "number": number}
        values |= {"now": self.now(), "lead": LEAD + number * LEAD_EACH}
        for start in range(0, number, STEP):
            for statement in self._ended():
                self.query(statement, start=start, stop=min(start + STEP, number) - 1, **values)
        for table in ("jobsarchived4", "filestable4", "jobparamstable"):
            self.query(sql.SQL("VACUUM (ANALYZE) {}").format(self._table(table)))

    def wipe(self) -> None:
        super().wipe()
        names = ("jobsarchived", "filestable_arch", "jobparamstable_arch", "metatable_arch")
        tables = [sql.Identifier(f"{self.schema}arch", name) for name in names]
        self.query(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(tables)))

    def deleted(self) -> int:
        """How many rows of ended jobs have ever left the live table; a second old or so."""
        text = "SELECT n_tup_del FROM pg_stat_user_tables WHERE schemaname = %(s)s AND relname = 'jobsarchived4'"
        return int(self.query(text, s=self.schema)[0][0])

    def left(self) -> int:
        """How many ended jobs are in the live tables."""
        return int(self.query(sql.SQL("SELECT count(*) FROM {}").format(self._table("jobsarchived4")))[0][0])

    def whole(self) -> dict[str, int]:
        """What the archive holds: jobs, and those of them that lack a file or their parameters."""
        arch = sql.Identifier(f"{self.schema}arch")
        text = """SELECT count(*), count(*) FILTER (WHERE f.n IS NULL OR f.n <> m.n),
                         count(*) FILTER (WHERE p.pandaid IS NULL), count(DISTINCT j.pandaid)
          FROM {arch}.jobsarchived j CROSS JOIN (SELECT max(n) AS n FROM (
               SELECT count(*) AS n FROM {arch}.filestable_arch GROUP BY pandaid) x) m
          LEFT JOIN (SELECT pandaid, count(*) AS n FROM {arch}.filestable_arch GROUP BY pandaid) f USING (pandaid)
          LEFT JOIN {arch}.jobparamstable_arch p USING (pandaid)"""
        [(jobs, without_files, without_parameters, distinct)] = self.query(sql.SQL(text).format(arch=arch))
        return {
            "archived": jobs,
            "archived_twice": jobs - distinct,
            "without_files": without_files,
            "without_parameters": without_parameters,
        }

    def _ended(self) -> list[sql.Composable]:
        job = {
            "pandaid": "%(first)s + n", "jobstatus": "'finished'::text", "jobname": "'ended.' || n",
            "starttime": "creationtime", "endtime": ENDED, "modificationtime": ENDED, "statechangetime": ENDED,
        }  # fmt: skip
        file = {
            "pandaid": "%(first)s + n", "lfn": "lfn || '.' || n", "status": "'ready'::text", "modificationtime": ENDED,
            "row_id": "%(row)s + n * %(files)s + row_number() OVER (PARTITION BY n) - 1",
        }  # fmt: skip
        text = {"pandaid": "%(first)s + n", "modificationtime": ENDED}
        return [
            self._from("jobsactive4", "jobsarchived4", job),
            self._from("filestable4", "filestable4", file),
            self._from("jobparamstable", "jobparamstable", text),
        ]

    def _from(self, source: str, target: str, changes: dict[str, str]) -> sql.Composable:
        columns = self._columns(source)
        values = [sql.SQL(changes[name]) if name in changes else sql.Identifier(name) for name in columns]
        text = """INSERT INTO {target} ({columns}) SELECT {values}
                    FROM {source} CROSS JOIN generate_series(%(start)s, %(stop)s) AS n WHERE pandaid = %(job)s"""
        return sql.SQL(text).format(
            source=self._table(source), target=self._table(target), values=sql.SQL(", ").join(values),
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        )  # fmt: skip


@define
class Moving:
    """How the archiver gets on: called once a second. PostgreSQL's own counters tell, since whoever counts rows here
    holds up the requests that are measured.
    """

    tables: EndedTables
    first: float | None = None
    last: float | None = None
    at_start: int = -1
    now: int = -1

    def tick(self, _elapsed: float) -> None:
        time_now, deleted = time.perf_counter(), self.tables.deleted()
        if self.at_start < 0:
            self.at_start = self.now = deleted
        if deleted != self.now:
            self.first, self.last = self.first or time_now, time_now
        self.now = deleted

    def figures(self) -> dict[str, float | int]:
        """Jobs that went under the load, those that are left, and the seconds between the first and the last."""
        took = round((self.last or 0.0) - (self.first or 0.0), 1)
        return {"ended_left": self.tables.left(), "moved": self.now - self.at_start, "moving_s": took}
