"""Failing silent jobs, and not failing them for our own silence; on a real database, with a clock moved by hand."""

from datetime import timedelta
from functools import partial

import psycopg2
import pytest
from attrs import define
from endings import Told, job, logged, run, seed_block, seed_file, seed_job, seed_report, statuses
from sweeping import Loud
from twisted.internet import reactor

from pandatx.clock import Clock
from pandatx.domain.parameters import Parameters, parameters_of
from pandatx.domain.queues import Queue
from pandatx.scheduler.context import Context
from pandatx.scheduler.daemons.copy_archive import CopyArchive
from pandatx.services.closer import Closer
from pandatx.services.facts import Known
from pandatx.services.instances import Instances
from pandatx.services.watcher import Watcher
from pandatx.store.offset import measure_offset


@pytest.fixture
def watcher(database, now, facts) -> Watcher:
    return Watcher(database, now, facts, Loud(), Closer(database, now, Told().activate))


async def test_a_running_job_without_a_heartbeat_is_failed_after_two_hours(database, watcher, time):
    await seed_job(database, 1, jobstatus="running")
    await seed_file(database, 1, "out1")
    await seed_block(database)
    time.advance(7199)
    assert await watcher.run_once() == 0
    time.advance(2)
    assert await watcher.run_once() == 1
    row = await job(database, 1)
    assert (row["jobstatus"], row["jobdispatchererrorcode"]) == ("failed", 100)
    assert row["jobdispatchererrordiag"] == "lost heartbeat : 2026-01-01 00:00:00"
    assert row["endtime"].isoformat() == "2026-01-01T00:00:00+00:00"
    assert await statuses(database) == {"out1": "failed"}
    assert await logged(database) == [(1, "failed")]
    assert await run(database, "SELECT status FROM {panda}.datasets") == [("tobeclosed",)]
    assert await watcher.run_once() == 0


async def test_a_sent_job_without_a_word_is_failed_after_half_an_hour(database, watcher, time):
    await seed_job(database, 1, jobstatus="sent")
    time.advance(1799)
    assert await watcher.run_once() == 0
    time.advance(2)
    assert await watcher.run_once() == 1
    assert (await job(database, 1))["jobdispatchererrorcode"] == 102


async def test_a_holding_job_is_failed_after_its_limit(database, watcher, time):
    ended = "2026-01-01"
    await seed_job(database, 1, endtime=ended, prodsourcelabel="managed")
    await seed_job(database, 2, endtime=ended, prodsourcelabel="managed", currentpriority=900)
    await seed_job(database, 3, endtime=ended, statechangetime="2025-12-31")
    await seed_job(database, 4, endtime=ended, statechangetime="2025-12-31")
    await seed_report(database, 4)
    time.advance(3 * 3600 + 1)
    assert await watcher.run_once() == 2
    assert [(await job(database, n))["jobdispatchererrorcode"] for n in (2, 3)] == [103, 103]
    time.advance(45 * 3600)
    assert await watcher.run_once() == 2


async def test_waiting_and_merging_jobs_may_be_silent(database, watcher, time):
    for n, status in enumerate(("activated", "merging", "throttled"), 1):
        await seed_job(database, n, jobstatus=status)
    await seed_job(database, 9, jobstatus="transferring", prodsourcelabel="managed")
    time.advance(90 * 86400)
    assert await watcher.run_once() == 0


async def test_the_limits_are_those_of_the_configuration_and_of_the_queue(database, watcher, facts, time):
    facts.known = Known(
        queues={"P": Queue(name="P", status="paused"), "S": Queue(name="S", workflow="push")},
        parameters=Parameters(
            {
                ("pandaserver", "watcher", "HEARTBEAT_TIMEOUT_push", "wlcg"): 1,
                ("pandaserver", "watcher", "HEARTBEAT_TIMEOUT_production", "wlcg"): 5,
            }
        ),
    )
    for n, queue in ((1, "P"), (2, "S"), (3, "Q")):
        await seed_job(database, n, jobstatus="running", prodsourcelabel="managed", computingsite=queue, vo="wlcg")
    time.advance(3600 + 1)
    assert await watcher.run_once() == 1
    assert (await job(database, 2))["jobstatus"] == "failed"
    time.advance(4 * 3600)
    assert await watcher.run_once() == 1
    assert (await job(database, 3))["jobstatus"] == "failed"
    assert (await job(database, 1, "jobsactive4"))["jobstatus"] == "running"


async def test_the_limits_of_a_vo_are_those_of_its_jobs_alone(database, watcher, facts, time):
    rows = [
        ("watcher", "HEARTBEAT_TIMEOUT_production", 1),
        ("job_timeout", "TIMEOUT_holding", 1),
    ]
    facts.known = Known(
        parameters=parameters_of(
            {
                "app": "pandaserver",
                "component": c,
                "key": k,
                "vo": "wlcg",
                "value": v,
                "type": "int",
                "value_json": None,
            }
            for c, k, v in rows
        )
    )
    for n, vo in enumerate(("wlcg", "atlas", None)):
        for job_id, status in ((10 + n, "running"), (20 + n, "holding")):
            await seed_job(database, job_id, jobstatus=status, prodsourcelabel="managed", vo=vo)
    time.advance(3601)
    assert await watcher.run_once() == 2
    assert await run(database, "SELECT pandaid FROM {panda}.jobsarchived4 ORDER BY 1") == [(10,), (20,)]
    time.advance(3600)
    assert await watcher.run_once() == 2
    time.advance(46 * 3600)
    assert await watcher.run_once() == 2


async def test_a_silent_job_that_the_database_refuses_to_fail_stops_no_other(database, watcher, now, time, monkeypatch):
    monkeypatch.setattr("pandatx.services.watcher.TOGETHER", 3)
    for n in range(1, 10):
        await seed_job(database, n, jobstatus="running")
    time.advance(7201)
    await run(
        database,
        "INSERT INTO {panda}.jobsarchived4 (pandaid, jobstatus, creationtime, modificationtime, statechangetime)"
        " VALUES (2, 'closed', %(t)s, %(t)s, %(t)s) RETURNING 1",
        t=now.now(),
    )
    with pytest.raises(psycopg2.errors.UniqueViolation):
        await watcher.run_once()
    assert await run(database, "SELECT pandaid FROM {panda}.jobsactive4") == [(2,)]


async def test_a_worker_that_has_ended_is_named(database, watcher, time):
    await seed_job(database, 1, jobstatus="running")
    await run(database, "INSERT INTO {panda}.harvester_rel_jobs_workers VALUES ('h', 7, 1, '2026-01-01') RETURNING 1")
    await run(
        database,
        "INSERT INTO {panda}.harvester_workers (harvesterid, workerid, lastupdate, status, diagmessage)"
        " VALUES ('h', 7, '2026-01-01', 'failed', 'out of memory') RETURNING 1",
    )
    time.advance(7201)
    await watcher.run_once()
    row = await job(database, 1)
    assert (row["superrorcode"], row["superrordiag"]) == (2, "out of memory")


async def test_the_daemon_counts_what_it_failed(database, watcher, time, now):
    await seed_job(database, 1, jobstatus="running")
    time.advance(7201)
    context = Context(now, "copyArchive")
    assert await CopyArchive(watcher).run(context) is False
    assert context.counts["failed"] == 1


# Rule R4


@define
class Spool:
    pending: int = 0


def make_instances(database, now, name, spool) -> Instances:
    return Instances(database, now, name, "host", lambda: spool.pending)


async def test_a_server_that_comes_up_alone_waits_for_a_heartbeat_period(database, now, time):
    one = make_instances(database, now, "one", Spool())
    await one.start()
    assert not await one.silence_counts()
    time.advance(35 * 60 - 1)
    assert not await one.silence_counts()
    time.advance(1)
    assert await one.silence_counts()


async def test_a_restart_while_others_serve_is_no_outage(database, now, time):
    one, two = (make_instances(database, now, name, Spool()) for name in ("one", "two"))
    await one.start()
    time.advance(3600)
    await one.beat()
    await two.start()
    assert await two.silence_counts()


async def test_reports_in_the_spool_of_any_living_server_make_all_wait(database, now, time):
    spool = Spool()
    one, two = make_instances(database, now, "one", Spool()), make_instances(database, now, "two", spool)
    await one.start()
    await two.start()
    time.advance(3600)
    spool.pending = 3
    await two.beat()
    assert not await one.silence_counts()
    spool.pending = 0
    await two.beat()
    assert await one.silence_counts()
    spool.pending = 3
    await two.beat()
    time.advance(121)  # a server that is gone holds up nobody
    assert await one.silence_counts()


async def test_three_hours_without_a_database_fail_no_job(database, now, time, facts):
    servers = [make_instances(database, now, name, Spool()) for name in ("one", "two")]
    watchers = [Watcher(database, now, facts, one, Closer(database, now, Told().activate)) for one in servers]
    for one in servers:
        await one.start()
    time.advance(3600)
    await seed_job(database, 1, jobstatus="running", modificationtime=now.now())
    for one in servers:
        await one.beat()
    time.advance(3 * 3600)
    database.pool.last_outage_end = 1.0  # what the pool notes when the database is back
    assert [await one.run_once() for one in watchers] == [0, 0]
    time.advance(34 * 60)
    assert [await one.run_once() for one in watchers] == [0, 0]
    await run(database, "UPDATE {panda}.jobsactive4 SET modificationtime = %(t)s RETURNING 1", t=now.now())
    time.advance(60)
    assert [await one.run_once() for one in watchers] == [0, 0]
    time.advance(7200)
    assert sum([await one.run_once() for one in watchers]) == 1


async def test_an_outage_of_one_server_holds_up_the_watchers_of_all(database, now, time):
    one, two = (make_instances(database, now, name, Spool()) for name in ("one", "two"))
    await one.start()
    await two.start()
    time.advance(3600)
    await one.beat()
    two.note_outage_end()
    await two.beat()
    assert not await one.silence_counts()


async def test_a_build_that_fell_silent_takes_the_jobs_behind_it_along(database, watcher, time):
    await seed_job(database, 1, jobstatus="running", prodsourcelabel="panda", jobdefinitionid=5)
    await seed_file(database, 1, "lib.tgz")
    await seed_job(database, 2, "jobsdefined4", jobstatus="assigned", jobdefinitionid=5)
    await seed_file(database, 2, "lib.tgz", "input", destinationdblock=None)
    time.advance(7201)
    assert await watcher.run_once() == 1
    assert (await job(database, 2))["jobstatus"] == "cancelled"


async def test_by_a_clock_that_was_put_forward_nobody_is_silent(database):
    """It is measured each minute, and again before jobs are failed."""
    clock = Clock(reactor)
    one = Instances(database, clock, "one", "host", lambda: 0, (), partial(measure_offset, database, clock))
    clock.offset = timedelta(hours=5)
    await one.silence_counts()
    assert abs(clock.offset) < timedelta(minutes=1)
