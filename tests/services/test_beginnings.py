"""What is noted when a job begins to run, and of files that a pilot could not read (lifecycle.md 1.4 and 6.6)."""

import json

import pytest
from endings import Told, run, seed_job
from tasks_by_hand import make_job, make_task
from twisted.internet import task

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.requests import Heartbeat
from pandatx.services.closer import Closer
from pandatx.services.counters import Counters
from pandatx.services.facts import Facts
from pandatx.services.heartbeats import Heartbeats
from pandatx.services.killing import Killing

ALICE = Caller(dn="/CN=alice", name="alice", how="x509")
PILOT = Caller(dn="/CN=pilot", name="pilot", how="x509", pilot=True)
SINCE = 1767225600  # 2026-01-01


class NoSpool:
    async def add(self, caller: Caller, beat: Heartbeat) -> None:
        raise AssertionError("nothing is to be spooled")


@pytest.fixture
def time() -> task.Clock:
    return task.Clock()


@pytest.fixture
def counters(database, time) -> Counters:
    return Counters(database, Clock.manual(time), "here")


@pytest.fixture
def heartbeats(database, time, counters) -> Heartbeats:
    clock = Clock.manual(time)
    facts = Facts(database, clock)
    return Heartbeats(database, clock, facts, NoSpool(), lambda: None, 10.0, lambda: None, counters.started)


async def seed_site(database, site: str, flag: str = "production", hours: int = 3) -> None:
    await run(
        database,
        "INSERT INTO {meta}.sitedata (site, flag, hours, lastmod)"
        " VALUES (%(s)s, %(f)s, %(h)s, '2026-01-01') RETURNING 1",
        s=site,
        f=flag,
        h=hours,
    )


async def last_starts(database) -> list[tuple]:
    return await run(
        database,
        "SELECT site, flag, hours FROM {meta}.sitedata WHERE laststart = '2026-01-01 00:01' ORDER BY site, flag, hours",
    )


async def test_a_queue_where_a_job_begins_to_run_is_noted_once_a_minute(database, heartbeats, counters, time):
    for site, flag, hours in (
        ("Q", "production", 3),
        ("Q", "analysis", 3),
        ("Q", "production", 24),
        ("Q", "other", 3),
        ("R", "production", 3),
        ("S", "production", 3),
    ):
        await seed_site(database, site, flag, hours)
    await seed_job(database, 1, jobstatus="sent", computingsite="Q")
    await seed_job(database, 2, jobstatus="starting", computingsite="R")
    await seed_job(database, 3, jobstatus="running", computingsite="S")
    for panda_id in (1, 2, 3):
        await heartbeats.report(PILOT, Heartbeat(job_id=panda_id, job_status="running"))
    assert await last_starts(database) == [], "no statement for each report"
    time.advance(60)
    await counters.flush()
    noted = [("Q", "analysis", 3), ("Q", "production", 3), ("R", "production", 3)]
    assert await last_starts(database) == noted
    time.advance(60)
    await counters.flush()
    assert await last_starts(database) == noted, "nothing has begun since"


async def test_how_long_a_task_has_waited_is_noted_with_the_job_that_has_the_tag(database, heartbeats, time):
    task_ = await make_task(database)
    tagged = await make_job(database, task_, status="starting", specialhandling=f"cc,tq={SINCE}.5")
    plain = await make_job(database, task_, status="starting", specialhandling="cc")
    time.advance(90)
    for panda_id in (tagged, plain):
        await heartbeats.report(PILOT, Heartbeat(job_id=panda_id, job_status="running"))
    ((panda_id, task_id, data),) = await run(database, "SELECT pandaid, jeditaskid, data FROM {panda}.job_metrics")
    assert (panda_id, task_id) == (tagged, task_.id)
    assert json.loads(data) == {
        "queuingPeriod": {
            "start": {"_datetime_object": "2026-01-01 00:00:00.500000"},
            "end": {"_datetime_object": "2026-01-01 00:01:30.000000"},
            "status": "running",
        }
    }


@pytest.mark.parametrize("before", [None, "", "{}", '{"other": 1}'])
async def test_what_else_is_noted_of_a_job_stays(database, heartbeats, before):
    task_ = await make_task(database)
    panda_id = await make_job(database, task_, status="sent", specialhandling=f"tq={SINCE}")
    text = (
        "INSERT INTO {panda}.job_metrics (pandaid, jeditaskid, modificationtime, data)"
        " VALUES (%(i)s, 1, '2026-01-01', %(d)s) RETURNING 1"
    )
    await run(database, text, i=panda_id, d=before)
    await heartbeats.report(PILOT, Heartbeat(job_id=panda_id, job_status="running"))
    ((data,),) = await run(database, "SELECT data FROM {panda}.job_metrics")
    found = json.loads(data)
    assert found.pop("queuingPeriod")["status"] == "running"
    assert found == json.loads(before or "{}")


async def test_a_job_that_never_ran_tells_with_its_end_how_long_its_task_has_waited(database, heartbeats):
    task_ = await make_task(database)
    ran = await make_job(database, task_, status="sent", specialhandling=f"tq={SINCE}")
    waited = await make_job(database, task_, status="activated", specialhandling=f"tq={SINCE}")
    await heartbeats.report(PILOT, Heartbeat(job_id=ran, job_status="running"))
    clock = Clock.manual(task.Clock())
    killing = Killing(database, clock, Closer(database, clock, Told().activate), lambda jobs: None)
    assert await killing.kill(ALICE, [ran, waited], code=9) == [True, True]
    rows = await run(database, "SELECT pandaid, data FROM {panda}.job_metrics ORDER BY pandaid")
    assert [(i, json.loads(data)["queuingPeriod"]["status"]) for i, data in rows] == [
        (ran, "running"),
        (waited, "cancelled"),
    ]


@pytest.mark.parametrize("tag", ["tq=", "tq=yesterday", "tq=1e300", "atq=1"])
async def test_a_tag_without_a_time_notes_nothing(database, heartbeats, tag):
    task_ = await make_task(database)
    panda_id = await make_job(database, task_, status="sent", specialhandling=tag)
    reply = await heartbeats.report(PILOT, Heartbeat(job_id=panda_id, job_status="running"))
    assert reply.code == 0
    assert await run(database, "SELECT 1 FROM {panda}.job_metrics") == []


async def test_zip_files_that_a_merge_of_events_could_not_read_are_noted_once(database, heartbeats):
    await seed_job(database, 1, jobstatus="running", eventservice=2)
    await seed_job(database, 2, jobstatus="running")
    for panda_id in (1, 1, 2):
        beat = Heartbeat(job_id=panda_id, job_status="running", corrupted_files="a.zip, b.zip,a.zip,")
        await heartbeats.report(PILOT, beat)
    rows = await run(database, "SELECT pandaid, lfn, type, status FROM {panda}.filestable4 ORDER BY lfn")
    assert rows == [(1, "a.zip", "zipinput", "corrupted"), (1, "b.zip", "zipinput", "corrupted")]


async def test_of_zip_files_without_end_the_first_thousand_are_noted(database, heartbeats):
    await seed_job(database, 1, jobstatus="running", eventservice=2)
    names = ",".join(f"{n:05}.zip" for n in range(1500))
    await heartbeats.report(PILOT, Heartbeat(job_id=1, job_status="running", corrupted_files=names))
    rows = await run(database, "SELECT count(*), max(lfn) FROM {panda}.filestable4")
    assert rows == [(1000, "00999.zip")]
