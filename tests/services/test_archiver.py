"""Ended jobs leave the live tables whole, and what is past its retention is dropped; on a real database (rule R10)."""

from collections import Counter
from contextvars import Context as Fresh
from datetime import timedelta

import psycopg2
import pytest
from attrs import define, field
from endings import run, seed_file, seed_job
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from pandatx.clock import Clock
from pandatx.domain.retention import KEPT
from pandatx.scheduler.context import Context
from pandatx.scheduler.daemons.archiver import Archive
from pandatx.services import archiver as service
from pandatx.services.archiver import Archiver
from pandatx.services.jobs import Jobs
from pandatx.store import archiver as store
from pandatx.store import jobs as readers
from pandatx.store import retention
from pandatx.store.columns import JOB

TABLES = ("{panda}.jobsarchived4", "{panda}.filestable4", "{panda}.jobparamstable", "{panda}.metatable")
ARCHIVE = ("{arch}.jobsarchived", "{arch}.filestable_arch", "{arch}.jobparamstable_arch", "{arch}.metatable_arch")
NOW = Clock.manual(task.Clock()).now()


@define
class Rests:
    """The reactor's time, with each delay noted and over at once; a transaction seems to take ``length`` seconds."""

    length: float = 0.0
    delays: list[float] = field(factory=list)
    _time: float = 0.0

    def seconds(self) -> float:
        self._time += self.length
        return self._time

    def callLater(self, delay, call, *args, **kw):
        self.delays.append(delay)
        return reactor.callLater(0, call, *args, **kw)


def clock(rests: Rests | None = None) -> Clock:
    return Clock(rests or Rests(), lambda: NOW)


def archiver(database, *, enabled=False, days=3, rests=None, **kept) -> Archiver:
    return Archiver(database, clock(rests), enabled, timedelta(days=days), kept)


async def once(work: Archiver, *arguments) -> Context:
    context = Context(clock(), "archiver", arguments)
    while await Archive(work).run(context):
        pass
    return context


async def seed_ended(database, panda_id, at="2025-12-28", **columns) -> None:
    """An ended job with two files, its parameters and its metadata."""
    row = {"jobstatus": "finished", "modificationtime": at, "statechangetime": at, **columns}
    await seed_job(database, panda_id, "jobsarchived4", **row)
    for lfn in (f"out{panda_id}", f"log{panda_id}"):
        await seed_file(database, panda_id, lfn, status="ready", modificationtime=at)
    await run(database, "INSERT INTO {panda}.metatable (pandaid, metadata) VALUES (%(i)s, 'm') RETURNING 1", i=panda_id)


async def counts(database, tables=TABLES) -> list[int]:
    return [(await run(database, f"SELECT count(*) FROM {table}"))[0][0] for table in tables]


async def test_a_job_that_ended_three_days_ago_leaves_the_live_tables_with_all_that_is_its_own(database):
    await seed_ended(database, 1, "2025-12-28 23:59:59")
    await seed_ended(database, 2, "2025-12-29 00:00:00")
    context = await once(archiver(database))
    assert context.counts == {"jobs": 1, "files": 2, "parameters": 1, "metadata": 1}
    assert await counts(database) == [1, 2, 1, 1]
    assert await counts(database, ARCHIVE) == [1, 2, 1, 1]
    assert await run(database, "SELECT pandaid FROM {arch}.jobsarchived") == [(1,)]


async def test_every_column_arrives_meancorecount_too_and_in_an_archive_of_another_order(database):
    columns = ", ".join(column for column, _ in reversed(JOB.values()))
    await run(database, "DROP TABLE {arch}.jobsarchived")
    await run(database, f"CREATE TABLE {{arch}}.jobsarchived AS SELECT {columns} FROM {{panda}}.jobsarchived4")
    await seed_ended(database, 1, meancorecount="7.25", corecount=8, jeditaskid=5, gco2_global="1.5", nucleus="N")
    before = await run(database, f"SELECT {columns} FROM {{panda}}.jobsarchived4")
    files = await run(database, "SELECT row_id, lfn, status, modificationtime FROM {panda}.filestable4 ORDER BY 1")
    await once(archiver(database))
    assert await run(database, f"SELECT {columns} FROM {{arch}}.jobsarchived") == before
    assert await run(database, "SELECT meancorecount FROM {arch}.jobsarchived") == [(7.25,)]
    there = "SELECT row_id, lfn, status, modificationtime FROM {arch}.filestable_arch ORDER BY 1"
    assert await run(database, there) == files


async def test_what_was_moved_is_found_by_every_reader(database):
    await seed_ended(database, 1)
    await seed_ended(database, 2, produsername="bob")
    await seed_job(database, 3, jobstatus="running")
    jobs = Jobs(database, clock())
    was = await jobs.describe([1], archive=False)
    await once(archiver(database))
    assert await jobs.describe([1], archive=True) == was
    assert [each.lfn for each in was[0].files] == ["out1", "log1"]
    assert (was[0].job_parameters, was[0].metadata) == ("x", "m")
    assert await jobs.describe([1], archive=False) == [None]
    assert await jobs.statuses([3, 1]) == [(3, "running", 1), (1, "finished", 1)]
    assert [job.panda_id for job in await jobs.find(None, None, None, 9)] == [3, 2, 1]
    assert [job.panda_id for job in await jobs.find("finished", "Q", "bob", 9)] == [2]
    assert [job.panda_id for job in await jobs.find(None, None, None, 2)] == [3, 2]


async def test_a_job_that_is_moved_while_it_is_described_keeps_its_files(database, monkeypatch):
    await seed_ended(database, 1)
    real = readers._whole

    async def moved_first(tx, jobs):
        await Fresh().run(lambda: Deferred.fromCoroutine(once(archiver(database))))
        return await real(tx, jobs)

    monkeypatch.setattr(readers, "_whole", moved_first)
    (found,) = await Jobs(database, clock()).describe([1], archive=False)
    assert await counts(database) == [0, 0, 0, 0]
    assert [each.lfn for each in found.files] == ["out1", "log1"]
    assert (found.job_parameters, found.metadata) == ("x", "m")


async def test_a_job_stays_whole_where_a_batch_breaks_off(database, monkeypatch):
    for panda_id in (1, 2, 3):
        await seed_ended(database, panda_id)
    real = store.move

    async def cut(tx, ids):
        await real(tx, ids)
        raise psycopg2.OperationalError("the server died before the commit")

    monkeypatch.setattr(store, "move", cut)
    with pytest.raises(psycopg2.OperationalError):
        await once(archiver(database))
    assert (await counts(database), await counts(database, ARCHIVE)) == ([3, 6, 3, 3], [0, 0, 0, 0])
    monkeypatch.setattr(store, "move", real)
    await once(archiver(database))
    await once(archiver(database))
    assert (await counts(database), await counts(database, ARCHIVE)) == ([0, 0, 0, 0], [3, 6, 3, 3])


async def test_a_job_that_somebody_holds_waits_for_the_next_run(database):
    await seed_ended(database, 1)
    await seed_ended(database, 2)

    async def hold(tx):
        await tx.run(store.SQL.oldest, since="1970-01-01", before="2026-01-01", limit=1, but=[])
        await Fresh().run(lambda: Deferred.fromCoroutine(once(archiver(database))))

    await database.transaction("hold", hold)
    assert (await counts(database), await counts(database, ARCHIVE)) == ([1, 2, 1, 1], [1, 2, 1, 1])
    await once(archiver(database))
    assert await counts(database, ARCHIVE) == [2, 4, 2, 2]


@pytest.mark.parametrize("refused", ["TYPE varchar(9)", "SET DEFAULT '', ADD CHECK (length(lfn) < 9)"])
async def test_a_job_that_the_archive_refuses_stays_and_stops_no_other(database, monkeypatch, refused):
    monkeypatch.setattr(service, "TOGETHER", 3)
    for panda_id in range(1, 8):
        await seed_ended(database, panda_id, f"2025-12-{panda_id:02}")
    await run(database, f"ALTER TABLE {{arch}}.filestable_arch ALTER lfn {refused}")
    await run(database, "UPDATE {panda}.filestable4 SET lfn = 'much too long' WHERE lfn IN ('out2', 'log6')")
    context = await once(archiver(database))
    assert context.counts["jobs"] == 5
    assert await run(database, "SELECT pandaid FROM {panda}.jobsarchived4 ORDER BY 1") == [(2,), (6,)]
    assert await counts(database) == [2, 4, 2, 2]


async def test_it_sleeps_as_long_as_each_batch_took(database, monkeypatch):
    monkeypatch.setattr(service, "TOGETHER", 2)
    for panda_id in range(1, 6):
        await seed_ended(database, panda_id)
    rests = Rests(length=0.25)
    assert (await archiver(database, rests=rests).move(Context(clock(), "archiver").breathe))[0]["jobs"] == 5
    assert rests.delays == [0.25, 0.25, 0.25]


async def test_it_gives_a_sign_of_life_each_minute_and_says_that_there_is_more(database, monkeypatch):
    monkeypatch.setattr(service, "TOGETHER", 1)
    for panda_id in range(1, 6):
        await seed_ended(database, panda_id)
    context = Context(clock(), "archiver")
    work = archiver(database, rests=Rests(length=10.0))
    assert await Archive(work).run(context) is True
    assert context.counts["jobs"] == 2
    while await Archive(work).run(context):
        pass
    assert context.counts["jobs"] == 5


async def test_a_found_database_is_left_alone_until_it_is_allowed(database, monkeypatch):
    await seed_ended(database, 1)
    await run(database, "DELETE FROM {own}.migrations WHERE name = '0001_panda'")
    await run(
        database,
        "INSERT INTO {panda}.jobs_statuslog (pandaid, modificationtime, jobstatus) VALUES (1, '2020-1-1', 'x')",
    )
    work = archiver(database, jobs_statuslog=30)
    daemon = Archive(work)
    with capturedLogs() as events:
        for _ in range(3):
            assert await daemon.run(Context(clock(), "archiver")) is False
    (said,) = [formatEvent(event) for event in events]
    assert "[pandatx] archive is not True" in said
    assert await counts(database) == [1, 2, 1, 1]
    await once(archiver(database, enabled=True, jobs_statuslog=30))
    assert await counts(database, ("{panda}.jobsarchived4", "{panda}.jobs_statuslog")) == [0, 0]


async def test_a_column_of_a_later_schema_is_not_lost(database):
    await seed_ended(database, 1)
    await run(database, "ALTER TABLE {panda}.jobsarchived4 ADD gpu_hours integer DEFAULT 4")
    assert "jobsarchived4.gpu_hours" in await archiver(database).why_idle()
    await once(archiver(database))
    assert await counts(database) == [1, 2, 1, 1]


async def test_a_dry_run_counts_and_changes_nothing_on_any_database(database):
    await run(database, "DELETE FROM {own}.migrations WHERE name = '0001_panda'")
    await seed_ended(database, 1)
    await seed_ended(database, 2)
    await seed_ended(database, 3, "2026-01-01")
    await run(database, "INSERT INTO {arch}.jobsarchived (pandaid, statechangetime) VALUES (9, '2020-1-1')")
    for day in (1, 2, 20):
        text = "INSERT INTO {panda}.pandalog (bintime) VALUES (%(at)s) RETURNING 1"
        await run(database, text, at=f"2025-12-{day:02}")
    context = await once(archiver(database, pandalog=20, jobsarchived=100), "--dry-run")
    assert context.counts == {"would_be_moved": 2, "would_be_dropped": 3}
    assert await counts(database) == [3, 6, 3, 3]
    assert await counts(database, ("{panda}.pandalog", "{arch}.jobsarchived")) == [3, 1]


async def test_what_is_past_its_retention_is_dropped_and_everything_else_is_kept_for_ever(database):
    for table in ("jobs_statuslog", "job_metrics"):
        columns = "pandaid, modificationtime, jobstatus" if table == "jobs_statuslog" else "pandaid, modificationtime"
        for day in ("2020-01-01", "2025-11-30 23:59", "2025-12-02"):
            status = ", 'running'" if table == "jobs_statuslog" else ""
            await run(database, f"INSERT INTO {{panda}}.{table} ({columns}) VALUES (1, '{day}'{status}) RETURNING 1")
    context = await once(archiver(database, jobs_statuslog=31))
    assert context.counts == {"dropped_jobs_statuslog": 2}
    assert await counts(database, ("{panda}.jobs_statuslog", "{panda}.job_metrics")) == [1, 3]


async def test_each_table_is_dropped_from_by_its_own_retention(database):
    """Sessions once knew these statements by the file that they stand in, and took the first table's for all."""
    for day in ("2020-01-01", "2025-12-10"):
        await run(
            database, f"INSERT INTO {{panda}}.job_metrics (pandaid, modificationtime) VALUES (1, '{day}') RETURNING 1"
        )
        await run(database, f"INSERT INTO {{panda}}.pandalog (bintime) VALUES ('{day}') RETURNING 1")
    kept = {"job_metrics": 365, "pandalog": 7}
    assert (await once(archiver(database, **kept), "--dry-run")).counts["would_be_dropped"] == 3
    assert (await once(archiver(database, **kept))).counts == {"dropped_job_metrics": 1, "dropped_pandalog": 2}
    assert await counts(database, ("{panda}.job_metrics", "{panda}.pandalog")) == [1, 0]


async def test_a_large_table_is_dropped_from_piece_by_piece(database, monkeypatch):
    monkeypatch.setattr(service, "PAGES", 3)
    await run(
        database,
        "INSERT INTO {panda}.pandalog (bintime, message) SELECT CASE WHEN n %% 2 = 0 THEN date '2020-01-01' ELSE "
        "date '2026-01-01' END, repeat('x', 500) FROM generate_series(1, 1000) n",
    )
    rests = Rests()
    dropped = await archiver(database, rests=rests, pandalog=7).drop(Context(clock(), "archiver").breathe)
    assert dropped == ({"pandalog": 500}, False)
    assert len(rests.delays) > 20
    assert await run(database, "SELECT count(*), min(bintime)::text FROM {panda}.pandalog") == [
        (500, "2026-01-01 00:00:00")
    ]


async def test_archived_jobs_are_dropped_with_all_that_is_theirs(database):
    for panda_id, at in ((1, "2024-06-01"), (2, "2025-06-01")):
        await seed_ended(database, panda_id, at)
    await once(archiver(database))
    await run(database, "DELETE FROM {own}.counted")
    context = await once(archiver(database, jobsarchived=365))
    assert context.counts["dropped_jobsarchived"] == 1
    assert await counts(database, ARCHIVE) == [1, 2, 1, 1]
    assert await run(database, "SELECT pandaid FROM {arch}.jobsarchived") == [(2,)]


async def test_the_tables_are_gone_through_once_a_day_among_all_servers(database):
    add = "INSERT INTO {panda}.pandalog (bintime) VALUES ('2020-01-01') RETURNING 1"
    await run(database, add)
    assert (await once(archiver(database, pandalog=7))).counts["dropped_pandalog"] == 1
    await run(database, add)
    assert "dropped_pandalog" not in (await once(archiver(database, pandalog=7))).counts
    await run(database, "UPDATE {own}.counted SET at = at - interval '1 day' WHERE what = 'retention pandalog'")
    assert (await once(archiver(database, pandalog=7))).counts["dropped_pandalog"] == 1


async def test_what_is_dropped_for_longer_than_a_turn_goes_on_where_it_was_in_the_next_one(database, monkeypatch):
    """A run is ended at its limit: of a table that takes longer the rest, and all tables behind it, would never go."""
    monkeypatch.setattr(service, "PAGES", 1)
    await run(
        database,
        "INSERT INTO {panda}.job_metrics (pandaid, modificationtime, data)"
        " SELECT n, '2020-01-01', repeat('x', 500) FROM generate_series(1, 300) n",
    )
    await run(database, "INSERT INTO {panda}.pandalog (bintime) VALUES ('2020-01-01') RETURNING 1")
    work = archiver(database, rests=Rests(length=4.0), job_metrics=7, pandalog=7)
    turns, more = [], True
    while more:
        dropped, more = await work.drop(Context(clock(), "archiver").breathe)
        turns.append(dropped)
    assert len(turns) > 2
    assert sum(turns, Counter()) == {"job_metrics": 300, "pandalog": 1}
    assert all(0 < turn["job_metrics"] < 200 for turn in turns[:-1]), turns
    assert await work.drop(Context(clock(), "archiver").breathe) == ({}, False), "once a day"


async def test_a_partitioned_table_is_left_to_the_keeper_of_its_partitions(database):
    await run(database, "DROP TABLE {panda}.pandalog")
    await run(database, "CREATE TABLE {panda}.pandalog (bintime timestamp) PARTITION BY RANGE (bintime)")
    await run(database, "CREATE TABLE {panda}.pandalog_default PARTITION OF {panda}.pandalog DEFAULT")
    await run(database, "INSERT INTO {panda}.pandalog VALUES ('2020-01-01')")
    assert (await once(archiver(database, pandalog=7))).counts["dropped_pandalog"] == 0
    assert await counts(database, ("{panda}.pandalog",)) == [1]


async def test_every_table_that_rows_may_be_dropped_from_is_there_with_its_time(database):
    for table in KEPT - {"jobsarchived"}:
        assert await retention.pages(database, table) is not None, table
        assert await database.transaction("test", retention.count_pages, table, 0, 9, NOW) == 0


async def test_a_found_database_is_partitioned_by_the_time_of_the_end_and_is_moved_from_all_the_same(database):
    for table in ("filestable4", "jobsarchived4"):
        await run(database, f"ALTER TABLE {{panda}}.{table} RENAME TO {table}_old")
        await run(
            database,
            f"CREATE TABLE {{panda}}.{table} (LIKE {{panda}}.{table}_old INCLUDING DEFAULTS)"
            " PARTITION BY RANGE (modificationtime)",
        )
        await run(
            database,
            f"CREATE TABLE {{panda}}.{table}_2025 PARTITION OF {{panda}}.{table}"
            " FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
        )
        await run(database, f"CREATE TABLE {{panda}}.{table}_rest PARTITION OF {{panda}}.{table} DEFAULT")
    for panda_id in (1, 2):
        await seed_ended(database, panda_id)
    await run(database, "UPDATE {panda}.filestable4 SET modificationtime = '1970-01-01' WHERE pandaid = 2")
    await once(archiver(database))
    assert (await counts(database), await counts(database, ARCHIVE)) == ([0, 0, 0, 0], [2, 4, 2, 2])
    assert await run(database, "SELECT DISTINCT modificationtime::date::text FROM {arch}.filestable_arch") == [
        ("2025-12-28",)
    ]
