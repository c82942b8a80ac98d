"""Jobs that are taken back from queues (lifecycle.md 3.3, steps 6, 7 and 14), on a real database."""

from datetime import timedelta

import pytest
from endings import Told, job, run, seed_job
from sweeping import no_pause

from pandatx.domain.parameters import Parameters
from pandatx.domain.queues import Queue
from pandatx.services import sweep_rebrokerage
from pandatx.services.closer import Closer
from pandatx.services.facts import Known
from pandatx.services.killing import Killing
from pandatx.services.statistics import Statistics
from pandatx.services.sweep_rebrokerage import GROUPS, RebrokerageSweep
from pandatx.store import rebrokerage as store

DEFINED, ACTIVE = "jobsdefined4", "jobsactive4"
JEDI = {"lockedby": "jedi", "gshare": "User", "workqueue_id": 9, "jeditaskid": 5, "jobdefinitionid": 6, "jobsetid": 4}


class Silence:
    """Whether silence counts."""

    counts = True

    async def silence_counts(self) -> bool:
        return self.counts


@pytest.fixture
def silence() -> Silence:
    return Silence()


@pytest.fixture
def sweep(database, now, facts, silence) -> RebrokerageSweep:
    killing = Killing(database, now, Closer(database, now, Told().activate), lambda jobs: None)
    return RebrokerageSweep(database, now, facts, silence, killing)


def tunables(facts, queues=(), **rows):
    facts.known = Known(
        queues={queue.name: queue for queue in queues},
        parameters=Parameters({("pandaserver", "rebroker", key, "wlcg"): value for key, value in rows.items()}),
    )


async def alive(database) -> list[int]:
    found = await run(
        database, "SELECT pandaid FROM {panda}.jobsactive4 UNION ALL SELECT pandaid FROM {panda}.jobsdefined4"
    )
    return sorted(panda_id for (panda_id,) in found)


async def work_queue(database, number, function):
    await run(
        database,
        "INSERT INTO {panda}.jedi_work_queue (queue_id, queue_name, queue_type, vo, queue_function)"
        " VALUES (%(n)s, %(f)s, 'user', 'wlcg', %(f)s) RETURNING 1",
        n=number,
        f=function,
    )


# Step 6


async def seed_queue(database, now, facts):
    """At Q 20 jobs wait for 2 that run, 25 of the share wait in all; counted."""
    await work_queue(database, 9, "other")
    for n, (table, status) in enumerate(
        [(DEFINED, "defined"), (DEFINED, "assigned"), (ACTIVE, "activated"), (ACTIVE, "starting")] * 5, 1
    ):
        await seed_job(database, n, table, jobstatus=status, **JEDI)
    for n in (101, 102):
        await seed_job(database, n, ACTIVE, jobstatus="running", **JEDI)
    for n in range(111, 116):
        await seed_job(database, n, ACTIVE, jobstatus="activated", computingsite="R", **JEDI)
    await Statistics(database, now, facts).count()


async def test_the_oldest_jobs_beyond_the_limits_of_an_overloaded_queue_are_closed(database, now, facts, sweep):
    await seed_queue(database, now, facts)
    tunables(facts, FAST_REBRO_THRESHOLD_NQUEUE_User=8)
    assert await sweep.end_overload(no_pause) == 12  # to 8; three times what runs would be 6, 0.3 of the share 7.5
    assert await alive(database) == [*range(13, 21), 101, 102, *range(111, 116)]
    row = await job(database, 3)
    assert (row["jobstatus"], row["taskbuffererrorcode"]) == ("closed", 130)
    assert row["taskbuffererrordiag"] == "fast rebrokerage due to an overloaded queue"
    await Statistics(database, now, facts).count()
    assert await sweep.end_overload(no_pause) == 0


@pytest.mark.parametrize(
    ("rows", "ended"),
    [
        ({"FAST_REBRO_THRESHOLD_NQUEUE_User": 1}, 13),  # to 7.5, the part of the share
        ({"FAST_REBRO_THRESHOLD_NQUEUE_User": 1, "FAST_REBRO_THRESHOLD_NQUEUE_FRAC": 0.1}, 17),  # to 6, and R to 2.5
        ({"FAST_REBRO_THRESHOLD_NQUEUE_User": 1, "FAST_REBRO_THRESHOLD_NQNR_RATIO": 9.5}, 1),
        ({"FAST_REBRO_THRESHOLD_NQUEUE_User": 1, "FAST_REBRO_THRESHOLD_NQNR_RATIO": 10}, 0),
        ({"FAST_REBRO_THRESHOLD_NQUEUE_User": 1, "FAST_REBRO_THRESHOLD_NQUEUE_FRAC": 0.8}, 0),
        ({"FAST_REBRO_THRESHOLD_NQUEUE_User": 19}, 1),
        ({"FAST_REBRO_THRESHOLD_NQUEUE_User": 20}, 0),
        ({}, 0),
    ],
)
async def test_the_limits_of_an_overload_are_those_of_the_configuration(database, now, facts, sweep, rows, ended):
    await seed_queue(database, now, facts)
    tunables(facts, **rows)
    assert await sweep.end_overload(no_pause) == ended


async def test_an_overload_is_read_from_fresh_statistics_only(database, now, time, facts, sweep):
    await seed_queue(database, now, facts)
    tunables(facts, FAST_REBRO_THRESHOLD_NQUEUE_User=8)
    time.advance(3601)
    assert await sweep.end_overload(no_pause) == 0


async def test_jobs_for_resources_of_their_own_and_queues_with_slots_are_spared(database, now, facts, sweep):
    await seed_queue(database, now, facts)
    tunables(facts, FAST_REBRO_THRESHOLD_NQUEUE_User=8)
    await run(database, "UPDATE {panda}.jedi_work_queue SET queue_function = 'Resource' RETURNING 1")
    assert await sweep.end_overload(no_pause) == 0
    await run(database, "UPDATE {panda}.jedi_work_queue SET queue_function = 'x' RETURNING 1")
    await run(
        database,
        "INSERT INTO {panda}.harvester_slots (pandaqueuename, numslots, modificationtime)"
        " VALUES ('Q', 5, '2026-01-01') RETURNING 1",
    )
    assert await sweep.end_overload(no_pause) == 0


async def test_jobs_without_a_task_are_not_ended_since_nobody_would_make_them_again(database, now, facts, sweep):
    await seed_queue(database, now, facts)
    await run(database, "UPDATE {panda}.jobsactive4 SET lockedby = NULL WHERE pandaid < 13 RETURNING 1")
    tunables(facts, FAST_REBRO_THRESHOLD_NQUEUE_User=8)
    assert await sweep.end_overload(no_pause) == 12
    assert [n for n in await alive(database) if n < 13] == [3, 4, 7, 8, 11, 12]


async def test_a_large_excess_is_ended_piece_by_piece(database, now, facts, sweep, monkeypatch):
    monkeypatch.setattr(sweep_rebrokerage, "TOGETHER", 5)
    await seed_queue(database, now, facts)
    tunables(facts, FAST_REBRO_THRESHOLD_NQUEUE_User=8)
    assert await sweep.end_overload(no_pause) == 12
    assert [n for n in await alive(database) if n < 100] == list(range(13, 21))


# Step 7

URGENT = {"prodsourcelabel": "managed", "lockedby": "jedi", "currentpriority": 800}


async def seed_urgent(database, now):
    """Two jobs that have waited for four hours, and two that have waited for a second less."""
    four = now.now() - timedelta(hours=4)
    later = four + timedelta(seconds=1)
    await seed_job(database, 1, jobstatus="activated", modificationtime=four, statechangetime=later, **URGENT)
    await seed_job(database, 2, jobstatus="starting", modificationtime=later, statechangetime=four, **URGENT)
    await seed_job(database, 3, jobstatus="activated", modificationtime=later, statechangetime=later, **URGENT)
    await seed_job(database, 4, jobstatus="starting", modificationtime=later, statechangetime=later, **URGENT)


async def seed_start(database, at):
    await run(
        database,
        "INSERT INTO {meta}.sitedata (site, flag, hours, laststart, lastmod)"
        " VALUES ('Q', 'production', 3, %(at)s, %(at)s)"
        " ON CONFLICT (site, flag, hours) DO UPDATE SET laststart = excluded.laststart RETURNING 1",
        at=at,
    )


async def test_urgent_jobs_leave_a_queue_where_no_job_has_begun_for_two_hours(database, now, time, sweep):
    time.advance(86400)
    await seed_urgent(database, now)
    assert await sweep.end_inactive(no_pause) == 0
    await seed_start(database, now.now() - timedelta(hours=2) + timedelta(seconds=1))
    assert await sweep.end_inactive(no_pause) == 0
    await seed_start(database, now.now() - timedelta(hours=2))
    assert await sweep.end_inactive(no_pause) == 2
    row = await job(database, 1)
    assert (row["jobstatus"], row["jobsubstatus"], row["taskbuffererrorcode"]) == ("closed", "toreassign", 100)
    assert await alive(database) == [3, 4]
    time.advance(1)
    assert await sweep.end_inactive(no_pause) == 2


@pytest.mark.parametrize(("status", "ended"), [("offline", 2), ("test", 2), ("paused", 0)])
async def test_urgent_jobs_leave_a_queue_that_is_away_at_once(database, now, time, facts, sweep, status, ended):
    time.advance(86400)
    tunables(facts, [Queue(name="Q", status=status)])
    await seed_urgent(database, now)
    assert await sweep.end_inactive(no_pause) == ended


async def test_a_queue_where_jobs_run_is_not_inactive_whatever_the_site_data_say(database, now, time, sweep):
    time.advance(86400)
    await seed_urgent(database, now)
    await seed_start(database, now.now() - timedelta(hours=9))
    begun = now.now() - timedelta(minutes=119)
    await seed_job(database, 5, jobstatus="running", starttime=begun)
    assert await sweep.end_inactive(no_pause) == 0
    await run(database, "DELETE FROM {panda}.jobsactive4 WHERE pandaid = 5 RETURNING 1")
    await seed_job(database, 6, "jobsarchived4", jobstatus="finished", starttime=begun, modificationtime=now.now())
    assert await sweep.end_inactive(no_pause) == 0
    await run(database, "DELETE FROM {panda}.jobsarchived4 WHERE pandaid = 6 RETURNING 1")
    assert await sweep.end_inactive(no_pause) == 2


async def test_urgent_jobs_stay_while_pilots_could_not_ask_or_the_queue_says_so(
    database, now, time, facts, sweep, silence
):
    time.advance(86400)
    await seed_urgent(database, now)
    silence.counts = False
    tunables(facts, [Queue(name="Q", status="offline")])
    assert await sweep.end_inactive(no_pause) == 0
    silence.counts = True
    tunables(facts, [Queue(name="Q", status="offline", catchall=frozenset(("disableReassign",)))])
    assert await sweep.end_inactive(no_pause) == 0


async def test_a_job_that_is_not_urgent_stays(database, now, time, facts, sweep):
    time.advance(86400)
    tunables(facts, [Queue(name="Q", status="offline")])
    old = {"modificationtime": "2026-01-01", "statechangetime": "2026-01-01", "jobstatus": "activated"}
    await seed_job(database, 1, **old, **{**URGENT, "currentpriority": 799})
    assert await sweep.end_inactive(no_pause) == 0


# Step 14

USERS = {"prodsourcelabel": "user", "lockedby": "jedi", "jeditaskid": 5, "jobdefinitionid": 6, "jobsetid": 4}


async def seed_activated(database, panda_id, at, **columns):
    """A job that was activated then, as the status log has it."""
    row = {"jobstatus": "activated", "creationtime": "2025-12-01", "statechangetime": "2025-12-01", **USERS, **columns}
    await seed_job(database, panda_id, **row)
    await run(
        database,
        "INSERT INTO {panda}.jobs_statuslog (pandaid, modificationtime, jobstatus, prodsourcelabel)"
        " VALUES (%(i)s, %(at)s, 'activated', 'user') RETURNING 1",
        i=panda_id,
        at=at,
    )


async def test_the_waiting_jobs_of_a_user_task_leave_their_queue_after_twelve_hours(database, now, time, facts, sweep):
    tunables(facts, [Queue(name="Q")])
    await seed_activated(database, 1, now.now())
    await seed_activated(database, 2, now.now() + timedelta(hours=5))
    await seed_job(database, 3, jobstatus="starting", creationtime="2025-12-01", **USERS)
    await seed_job(database, 4, DEFINED, jobstatus="assigned", creationtime="2025-12-01", **USERS)
    await seed_job(database, 5, jobstatus="activated", **{**USERS, "jobdefinitionid": 7})
    await seed_job(database, 6, jobstatus="activated", computingsite="OTHER", **USERS)
    time.advance(12 * 3600 - 1)
    assert await sweep.end_groups(no_pause) == 0
    time.advance(1)
    assert await sweep.end_groups(no_pause) == 4
    row = await job(database, 1)
    assert (row["jobstatus"], row["jobsubstatus"], row["taskbuffererrordiag"]) == (
        "closed",
        "toreassign",
        "reassigned by JEDI",
    )
    assert await alive(database) == [5, 6]


@pytest.mark.parametrize(
    ("rows", "group", "hours"),
    [
        ({"ANALY_TIMEOUT": 5}, None, 5),
        ({"ANALY_TIMEOUT": 5}, "higgs", 5),
        ({"ANALY_TIMEOUT": 5, "ANALY_TIMEOUT_higgs": 4}, "higgs", 4),
        ({"ANALY_TIMEOUT": 5, "ANALY_TIMEOUT_higgs": 4}, "top", 5),
    ],
)
async def test_the_wait_is_that_of_the_working_group_or_of_the_configuration(
    database, now, time, facts, sweep, rows, group, hours
):
    tunables(facts, [Queue(name="Q")], **rows)
    await seed_activated(database, 1, now.now(), workinggroup=group)
    time.advance(hours * 3600 - 1)
    assert await sweep.end_groups(no_pause) == 0
    time.advance(1)
    assert await sweep.end_groups(no_pause) == 1


@pytest.mark.parametrize("status", ["offline", "test"])
async def test_from_a_queue_that_is_away_they_go_after_three_hours(database, now, time, facts, sweep, status):
    tunables(facts, [Queue(name="Q", status=status)])
    await seed_activated(database, 1, now.now())
    time.advance(3 * 3600 - 1)
    assert await sweep.end_groups(no_pause) == 0
    time.advance(1)
    assert await sweep.end_groups(no_pause) == 1


@pytest.mark.parametrize(
    ("table", "status", "minutes", "ended"),
    [
        ("jobsactive4", "running", 179, 0),
        ("jobsactive4", "running", 180, 1),
        ("jobsarchived4", "finished", 179, 0),
        ("jobsarchived4", "failed", 1, 1),
        ("jobsarchived4", "closed", 1, 1),
    ],
)
async def test_a_group_of_which_a_job_has_changed_within_three_hours_stays(
    database, now, time, facts, sweep, table, status, minutes, ended
):
    tunables(facts, [Queue(name="Q")])
    await seed_activated(database, 1, now.now())
    time.advance(13 * 3600)
    changed = now.now() - timedelta(minutes=minutes)
    await seed_job(database, 2, table, jobstatus=status, **{**USERS, "statechangetime": changed})
    assert await sweep.end_groups(no_pause) == ended


async def test_a_group_that_was_never_activated_counts_from_its_youngest_job(database, now, time, facts, sweep):
    tunables(facts, [Queue(name="Q")])
    await seed_job(database, 1, DEFINED, jobstatus="assigned", **{**USERS, "creationtime": now.now()})
    await seed_job(
        database, 2, DEFINED, jobstatus="defined", **{**USERS, "creationtime": now.now() + timedelta(hours=1)}
    )
    time.advance(13 * 3600 - 1)
    assert await sweep.end_groups(no_pause) == 0
    time.advance(1)
    assert await sweep.end_groups(no_pause) == 2


async def test_jobs_without_a_task_at_unknown_queues_or_after_an_outage_stay(
    database, now, time, facts, sweep, silence
):
    tunables(facts, [Queue(name="Q")])
    await seed_activated(database, 1, now.now(), jeditaskid=None)
    await seed_activated(database, 2, now.now(), lockedby=None, jobdefinitionid=8)
    await seed_activated(database, 3, now.now(), computingsite="NOWHERE")
    time.advance(13 * 3600)
    assert await sweep.end_groups(no_pause) == 0
    silence.counts = False
    await seed_activated(database, 4, "2026-01-01")
    assert await sweep.end_groups(no_pause) == 0
    silence.counts = True
    assert await sweep.end_groups(no_pause) == 1


async def test_many_groups_are_read_and_asked_for_some_at_a_time(database, now, time, facts, sweep, monkeypatch):
    tunables(facts, [Queue(name="Q")])
    n = store.GROUPS_PAGE + 150
    for table, low, statuses in ((ACTIVE, 1, "activated"), (DEFINED, 10_001, "assigned")):
        await run(
            database,
            f"INSERT INTO {{panda}}.{table} (pandaid, jobstatus, prodsourcelabel, lockedby, jeditaskid,"
            " jobdefinitionid, jobsetid, computingsite, produsername, creationtime, modificationtime, statechangetime)"
            " SELECT n, %(s)s, 'user', 'jedi', 5, n, 4, 'Q', 'alice', %(t)s, %(t)s, %(t)s"
            " FROM generate_series(%(low)s, %(high)s) n RETURNING 1",
            s=statuses,
            low=low,
            high=low + n - 1,
            t=now.now(),
        )
    await run(
        database,
        "INSERT INTO {panda}.jobs_statuslog (pandaid, modificationtime, jobstatus, prodsourcelabel)"
        " SELECT pandaid, modificationtime, 'activated', 'user' FROM {panda}.jobsactive4 RETURNING 1",
    )
    time.advance(12 * 3600 - 60)  # nothing is to be ended yet
    asked: list[tuple[str, int]] = []

    def watch(name):
        work = getattr(store, name)

        async def watched(tx, *args):
            answer = await work(tx, *args)
            asked.append((name, len(answer.groups) if name == "waiting_groups" else len(args[0])))
            return answer

        monkeypatch.setattr(store, name, watched)

    for name in ("waiting_groups", "activated_at", "lively"):
        watch(name)
    assert await sweep.end_groups(no_pause) == 0
    assert max(found for name, found in asked if name == "waiting_groups") == store.GROUPS_PAGE
    assert max(found for name, found in asked if name != "waiting_groups") == GROUPS
    assert sum(found for name, found in asked if name == "lively") == 2 * n
