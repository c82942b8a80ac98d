"""The watch over the database's health."""

from __future__ import annotations

import psycopg2
import pytest
from twisted.internet import task
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs

from pandatx.clock import Clock
from pandatx.errors import DatabaseAway
from pandatx.metrics import DATABASE_UP, OLDEST_SNAPSHOT_SECONDS
from pandatx.ops.vitals import DatabaseWatch
from pandatx.store import vitals
from pandatx.store.cluster import Cluster
from pandatx.store.database import Database
from pandatx.store.vitals import Vitals


async def test_another_sessions_open_snapshot_is_seen(database: Database, cluster: Cluster, database_name: str) -> None:
    assert (await vitals.look(database)).writable
    session = psycopg2.connect(cluster.dsn(database_name))
    session.set_session(isolation_level="REPEATABLE READ")
    try:
        with session.cursor() as cursor:
            await deferToThread(cursor.execute, "SELECT pg_sleep(0.05)")
        assert (await vitals.look(database)).oldest_snapshot > 0.04
    finally:
        session.close()


async def test_a_database_that_may_only_be_read_is_not_writable(
    database: Database, cluster: Cluster, database_name: str
) -> None:
    session = psycopg2.connect(cluster.dsn("postgres", "postgres"))
    session.autocommit = True
    with session.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {database_name} SET default_transaction_read_only = on")
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database_name,))
    session.close()
    assert not (await vitals.look(database)).writable


class Seen:
    """What the watch will see."""

    def __init__(self) -> None:
        self.now: Vitals | Exception = Vitals(writable=True, oldest_snapshot=3.0)
        self.looks = 0

    async def look(self) -> Vitals:
        self.looks += 1
        if isinstance(self.now, Exception):
            raise self.now
        return self.now


async def test_it_looks_every_quarter_of_a_minute_and_outlives_an_outage() -> None:
    reactor_time, seen = task.Clock(), Seen()
    watch = DatabaseWatch(Clock.manual(reactor_time), seen.look)
    watch.start()
    assert (seen.looks, DATABASE_UP._value.get(), OLDEST_SNAPSHOT_SECONDS._value.get()) == (1, 1, 3.0)
    seen.now = DatabaseAway()
    reactor_time.advance(15)
    assert (seen.looks, DATABASE_UP._value.get()) == (2, 0)
    seen.now = Vitals(writable=True, oldest_snapshot=0.0)
    reactor_time.advance(15)
    assert (seen.looks, DATABASE_UP._value.get()) == (3, 1)
    watch.stop()
    assert reactor_time.getDelayedCalls() == []


async def test_a_snapshot_over_five_minutes_old_is_one_warning_until_it_is_gone() -> None:
    seen = Seen()
    watch = DatabaseWatch(Clock.manual(task.Clock()), seen.look)
    with capturedLogs() as events:
        for age in (299.0, 301.0, 316.0, 1.0, 400.0):
            seen.now = Vitals(writable=True, oldest_snapshot=age)
            assert (await watch.check()).ok
    assert [event["age"] for event in events if "age" in event] == [301, 400]


async def test_one_that_cannot_be_written_is_not_ready_and_one_that_is_away_raises() -> None:
    seen = Seen()
    watch = DatabaseWatch(Clock.manual(task.Clock()), seen.look)
    seen.now = Vitals(writable=False, oldest_snapshot=0.0)
    finding = await watch.check()
    assert (finding.ok, finding.text) == (False, "cannot be written")
    seen.now = DatabaseAway()
    with pytest.raises(DatabaseAway):
        await watch.check()
