"""Three hours without a database, two servers on it: no job is failed for the silence, no report is lost (rule R4)."""

from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg2
import pytest
import pytest_twisted
from attrs import frozen
from endings import Told, job, run, seed_job
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from pandatx.clock import Clock
from pandatx.config import Schemas
from pandatx.domain.caller import Caller
from pandatx.domain.requests import Heartbeat
from pandatx.services.closer import Closer
from pandatx.services.facts import Facts
from pandatx.services.heartbeats import Heartbeats
from pandatx.services.instances import Instances
from pandatx.services.spooling import Spooler
from pandatx.services.watcher import Watcher
from pandatx.store.database import Database

PILOT = Caller(dn="/CN=pilot", name="pilot", how="x509", pilot=True)


@frozen
class Server:
    """What of a server hears of pilots, and what fails them."""

    database: Database
    spooler: Spooler
    heartbeats: Heartbeats
    instances: Instances
    watcher: Watcher

    @classmethod
    def make(cls, name: str, database: Database, clock: Clock, root) -> "Server":
        facts = Facts(database, clock)
        spooler = Spooler(root, name, lambda caller, beat: heartbeats.play(caller, beat))
        heartbeats = Heartbeats(database, clock, facts, spooler, lambda: None)
        instances = Instances(database, clock, name, "host", lambda: spooler.pending, (database,))
        watcher = Watcher(database, clock, facts, instances, Closer(database, clock, Told().activate))
        return cls(database, spooler, heartbeats, instances, watcher)


@pytest.fixture
def time() -> task.Clock:
    return task.Clock()


@pytest.fixture
def clock(time) -> Clock:
    """The wall is the test's, delays are real."""
    return Clock(reactor, Clock.manual(time).now)


@pytest_twisted.async_yield_fixture
async def servers(cluster, database_name, clock, tmp_path) -> AsyncIterator[list[Server]]:
    made = []
    for name in ("one", "two"):
        database = Database(name, cluster.dsn(database_name), clock, Schemas(), 3, hot=True)
        database.start()
        made.append(Server.make(name, database, clock, tmp_path / "spool"))
        made[-1].spooler.open()
        await made[-1].instances.start()
    yield made
    for one in made:
        one.spooler.close()
        await one.database.stop()


def allow(cluster, name: str, allowed: bool) -> None:
    connection = psycopg2.connect(cluster.dsn("postgres", "postgres"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}")
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
    connection.close()


async def until(condition) -> None:
    while not condition():
        await deferLater(reactor, 0.01)


def final(panda_id: int) -> Heartbeat:
    return Heartbeat(job_id=panda_id, job_status="finished", attempt_nr=1, job_output_report="{}")


async def test_no_job_is_failed_and_no_report_is_lost(servers, cluster, database_name, clock, time):
    one, two = servers
    time.advance(3600)  # the start of the servers was an outage too, and is over
    for panda_id in (1, 2, 3):
        await seed_job(one.database, panda_id, jobstatus="running", modificationtime=clock.now())
    for server in servers:
        await server.instances.beat()

    allow(cluster, database_name, False)
    attempts = (
        two.heartbeats.report(PILOT, final(1)),
        one.heartbeats.report(PILOT, Heartbeat(job_id=2, job_status="running", attempt_nr=1)),
        *(server.instances.beat() for server in servers),
        one.watcher.run_once(),
    )
    outcomes = await DeferredList([Deferred.fromCoroutine(one) for one in attempts], consumeErrors=True)
    assert [success for success, _ in outcomes] == [True, False, False, False, True]
    assert (two.spooler.pending, outcomes[4][1]) == (1, 0)
    time.advance(3 * 3600)
    allow(cluster, database_name, True)
    await until(lambda: one.database.up and two.database.up)

    for server in servers:
        await server.instances.beat()
    assert [await server.watcher.run_once() for server in servers] == [0, 0]
    time.advance(timedelta(hours=1).total_seconds())
    for server in servers:
        await server.instances.beat()
    assert await one.watcher.run_once() == 0  # a report waits in the spool of the other
    assert await two.spooler.play() == 1
    assert (await job(one.database, 1, "jobsactive4"))["jobstatus"] == "holding"
    await one.heartbeats.report(PILOT, Heartbeat(job_id=2, job_status="running", attempt_nr=1))
    for server in servers:
        await server.instances.beat()
    assert await one.watcher.run_once() == 1
    left = await run(one.database, "SELECT pandaid FROM {panda}.jobsactive4 ORDER BY 1")
    assert left == [(1,), (2,)]  # the third has really fallen silent
