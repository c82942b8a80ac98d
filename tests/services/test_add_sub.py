"""SITEDATA from the servers' own counters, on a real database (reference/lifecycle.md 3.2)."""

import pytest
from endings import run, seed_job

from pandatx.domain.queues import Queue
from pandatx.scheduler.context import Context
from pandatx.scheduler.daemons.add_sub import AddSub
from pandatx.services.counters import Counters
from pandatx.services.facts import Facts, Known
from pandatx.services.site_data import SiteData, Turn

NEVER = Turn(interval=5, hosts=3, number=999)


@pytest.fixture
def facts(database, now) -> Facts:
    return Facts(database, now, known=Known(queues={name: Queue(name=name) for name in ("Q", "ANALY_Q")}))


async def count(database, now, instance: str, **requests: int) -> None:
    """Requests at Q that an instance counts now."""
    counters = Counters(database, now, instance)
    for what, number in requests.items():
        for _ in range(number):
            counters.count("Q", what)
    await counters.flush()


async def serve(database, instance: str, host: str) -> None:
    columns, values = "instance, host, started, seen", "%(i)s, %(h)s, '2026-1-1', '2026-1-1'"
    text = f"INSERT INTO {{own}}.instances ({columns}) VALUES ({values}) RETURNING 1"
    await run(database, text, i=instance, h=host)


async def sitedata(database) -> list:
    text = "SELECT site, flag, hours, getjob, nojob, updatejob, getjobabs, nojobabs, updatejobabs FROM {meta}.sitedata"
    return [
        (f"{site} {flag} {hours}", *values)
        for site, flag, hours, *values in await run(database, text + " ORDER BY 1, 2, 3")
    ]


async def once(site_data: SiteData, now) -> None:
    assert await AddSub(site_data).run(Context(now, "add_sub")) is False


async def test_servers_on_two_hosts_add_up_however_often_and_by_whomever_it_is_done(database, now, facts):
    await serve(database, "a1", "a.cern.ch")
    await serve(database, "a2", "a.cern.ch")
    await count(database, now, "a1", get_job=3, no_job=1)
    await count(database, now, "a2", get_job=1)
    await count(database, now, "b1", get_job=1, update_job=5)
    for _ in range(3):
        await once(SiteData(database, now, facts, NEVER), now)
    assert await sitedata(database) == [
        (f"Q {flag} {hours}", *numbers, *numbers)
        for flag, numbers in (("a", (4, 1, 0)), ("b1", (1, 0, 5)), ("production", (5, 1, 5)))
        for hours in (1, 3)
    ]


async def test_the_windows_are_one_hour_and_three(database, now, facts, time):
    site_data = SiteData(database, now, facts, NEVER)
    await count(database, now, "a", get_job=7)
    time.advance(3600)
    await count(database, now, "a", get_job=2)
    await once(site_data, now)
    assert {row[0]: row[1] for row in await sitedata(database)} == {
        "Q a 1": 2, "Q a 3": 9, "Q production 1": 2, "Q production 3": 9,
    }  # fmt: skip
    time.advance(2 * 3600)
    await once(site_data, now)
    assert {row[0]: row[1] for row in await sitedata(database)}["Q production 3"] == 2


async def test_a_queue_that_nobody_asks_for_comes_to_nought_and_its_row_goes_after_two_days(database, now, facts, time):
    site_data = SiteData(database, now, facts, NEVER)
    await count(database, now, "a", get_job=7)
    await once(site_data, now)
    await run(database, "UPDATE {meta}.sitedata SET laststart = '2026-01-01'")
    time.advance(3 * 3600 + 61)
    await once(site_data, now)
    assert [row[1:4] for row in await sitedata(database)] == [(0, 0, 0)] * 4
    assert len(await run(database, "SELECT 1 FROM {meta}.sitedata WHERE laststart = '2026-01-01'")) == 4
    time.advance(45 * 3600)
    await once(site_data, now)
    assert await sitedata(database) == []


async def test_the_running_jobs_of_users_are_counted_in_this_servers_turn_with_the_most_of_a_day(
    database, now, facts, time
):
    site_data = SiteData(database, now, facts, Turn(interval=5, hosts=3, number=1))
    for panda_id in (1, 2):
        await seed_job(database, panda_id, jobstatus="running")
    await seed_job(database, 3, jobstatus="running", prodsourcelabel="managed")
    await seed_job(database, 4, jobstatus="activated")
    assert await site_data.count_running() == 0
    time.advance(300)
    for _ in range(2):
        await once(site_data, now)
    running = "SELECT flag, hours, running FROM {meta}.sitedata WHERE site = 'Q' ORDER BY 1, 2"
    assert await run(database, running) == [("max", 0, 2), ("snapshot", 1005, 2)]
    await run(database, "DELETE FROM {panda}.jobsactive4 WHERE pandaid = 1 RETURNING 1")
    time.advance(900)
    await once(site_data, now)
    assert await run(database, running) == [("max", 0, 2), ("snapshot", 1005, 2), ("snapshot", 1020, 1)]
    time.advance(86400)
    await once(site_data, now)
    assert await run(database, running) == [("max", 0, 1), ("snapshot", 1020, 1)]
