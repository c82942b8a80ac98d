"""Jobs that have waited for too long: each number of lifecycle.md 3.3, just below it and at it, on a real database."""

from datetime import timedelta

import psycopg2
import pytest
from endings import Told, held, job, logged, run, seed_file, seed_job, statuses
from sweeping import Loud, no_pause
from twisted.internet.defer import Deferred

from pandatx.domain.parameters import Parameters
from pandatx.domain.queues import Queue
from pandatx.domain.sweep_ages import OLD, OLDEST, THROTTLED, WAITING
from pandatx.errors import Busy
from pandatx.services.builds import Builds, BuildSweep
from pandatx.services.closer import Closer
from pandatx.services.facts import Known
from pandatx.services.killing import Killing
from pandatx.services.sweep_tasks import TaskSweep
from pandatx.services.sweeper import AgeSweep, Pages
from pandatx.services.watcher import Watcher
from pandatx.store import sweeps

RULES = {rule.name: rule for rule in (*OLD, *WAITING, OLDEST, THROTTLED)}
CREATED, TOUCHED, CHANGED = "creationtime", "modificationtime", "statechangetime"
MANAGED = {"prodsourcelabel": "managed", "lockedby": "jedi"}
DEFINED, ACTIVE = "jobsdefined4", "jobsactive4"
EXPIRED = ("closed", "toreassign", 102)
REASSIGNED = ("closed", "toreassign", 100)

NUMBERS = [
    ("defined for long", DEFINED, CREATED, {"days": 7}, {"jobstatus": "assigned"}, EXPIRED),
    ("defined for long", DEFINED, CREATED, {"days": 7}, {"jobstatus": "defined", **MANAGED}, EXPIRED),
    ("activated for long", ACTIVE, CREATED, {"days": 7}, {"jobstatus": "activated"}, EXPIRED),
    ("stuck in defined", DEFINED, TOUCHED, {"hours": 4}, {"jobstatus": "defined", **MANAGED}, REASSIGNED),
    (
        "stuck in defined",
        DEFINED,
        TOUCHED,
        {"hours": 4},
        {"jobstatus": "defined", "prodsourcelabel": "test", "lockedby": "jedi"},
        REASSIGNED,
    ),
    (
        "builds and taskless jobs in defined",
        DEFINED,
        CREATED,
        {"hours": 4},
        {"jobstatus": "defined", "prodsourcelabel": "panda", "transformation": "http://x/buildGen", "lockedby": "jedi"},
        EXPIRED,
    ),
    ("builds and taskless jobs in defined", DEFINED, CREATED, {"hours": 4}, {"jobstatus": "defined"}, EXPIRED),
    ("long before activation", DEFINED, TOUCHED, {"hours": 12}, {"jobstatus": "assigned", **MANAGED}, REASSIGNED),
    ("long activated", ACTIVE, TOUCHED, {"days": 2}, {"jobstatus": "activated", **MANAGED}, REASSIGNED),
    ("long starting", ACTIVE, CHANGED, {"hours": 48}, {"jobstatus": "starting", **MANAGED}, REASSIGNED),
    ("users' jobs untouched for long", ACTIVE, TOUCHED, {"days": 7}, {"jobstatus": "holding"}, EXPIRED),
    (
        "users' jobs untouched for long",
        ACTIVE,
        TOUCHED,
        {"days": 7},
        {"jobstatus": "transferring", "prodsourcelabel": "test"},
        EXPIRED,
    ),
    ("long pending", DEFINED, CREATED, {"hours": 1}, {"jobstatus": "pending"}, EXPIRED),
    ("event merge in waiting", DEFINED, CREATED, {"minutes": 10}, {"jobstatus": "waiting", "eventservice": 2}, EXPIRED),
    ("long waiting", DEFINED, CREATED, {"hours": 1}, {"jobstatus": "waiting"}, EXPIRED),
    (
        "long event service",
        ACTIVE,
        CHANGED,
        {"hours": 24},
        {"jobstatus": "running", "eventservice": 1, "currentpriority": 900},
        EXPIRED,
    ),
    (
        "long event merge",
        ACTIVE,
        CHANGED,
        {"hours": 24},
        {"jobstatus": "starting", "eventservice": 2},
        EXPIRED,
    ),
    ("alive for too long", ACTIVE, CREATED, {"days": 21}, {"jobstatus": "holding", **MANAGED}, EXPIRED),
    ("throttled for long", ACTIVE, CREATED, {"days": 7}, {"jobstatus": "throttled"}, EXPIRED),
]


@pytest.fixture
def killing(database, now) -> Killing:
    return Killing(database, now, Closer(database, now, Told().activate), lambda jobs: None)


@pytest.fixture
def sweep(database, now, facts, killing) -> AgeSweep:
    watcher = Watcher(database, now, facts, Loud(), Closer(database, now, Told().activate))
    return AgeSweep(Pages(database), now, facts, killing, watcher)


async def seed(database, now, panda_id, table, since, age, columns):
    """A job whose other times are those of this moment."""
    times = dict.fromkeys((CREATED, TOUCHED, CHANGED), now.now()) | {since: now.now() - age}
    await seed_job(database, panda_id, table, **{**times, "starttime": None, **columns})


@pytest.mark.parametrize(("name", "table", "since", "age", "columns", "end"), NUMBERS)
async def test_a_job_stays_until_its_age_is_reached(database, now, time, sweep, name, table, since, age, columns, end):
    await seed(database, now, 1, table, since, timedelta(**age), columns)
    await seed(database, now, 2, table, since, timedelta(**age) - timedelta(seconds=1), columns)
    await seed_file(database, 1, "out1")
    assert await sweep.end(RULES[name], no_pause) == 1
    row = await job(database, 1)
    assert (row["jobstatus"], row["jobsubstatus"], row["taskbuffererrorcode"]) == end
    assert (await statuses(database))["out1"] == "failed"
    assert await logged(database) == [(1, "closed")]
    assert await job(database, 2, table) is not None
    time.advance(1)
    assert await sweep.end(RULES[name], no_pause) == 1
    assert (await job(database, 2))["jobstatus"] == "closed"


@pytest.mark.parametrize(
    ("name", "table", "columns"),
    [
        ("stuck in defined", DEFINED, {"jobstatus": "defined", "prodsourcelabel": "managed"}),
        ("stuck in defined", DEFINED, {"jobstatus": "defined", "prodsourcelabel": "user", "lockedby": "jedi"}),
        ("stuck in defined", DEFINED, {"jobstatus": "assigned", **MANAGED}),
        (
            "builds and taskless jobs in defined",
            DEFINED,
            {"jobstatus": "defined", "lockedby": "jedi", "transformation": "build"},
        ),
        (
            "builds and taskless jobs in defined",
            DEFINED,
            {"jobstatus": "defined", "lockedby": "jedi", "transformation": "run", "prodsourcelabel": "panda"},
        ),
        ("builds and taskless jobs in defined", DEFINED, {"jobstatus": "assigned"}),
        ("long before activation", DEFINED, {"jobstatus": "assigned", "prodsourcelabel": "test", "lockedby": "jedi"}),
        ("long activated", ACTIVE, {"jobstatus": "activated", **MANAGED, "relocationflag": 2}),
        ("long activated", ACTIVE, {"jobstatus": "activated", **MANAGED, "computingsite": "STAY"}),
        ("long activated", ACTIVE, {"jobstatus": "sent", **MANAGED}),
        ("long starting", ACTIVE, {"jobstatus": "starting", **MANAGED, "relocationflag": 2}),
        ("long starting", ACTIVE, {"jobstatus": "starting", **MANAGED, "computingsite": "STAY"}),
        ("users' jobs untouched for long", ACTIVE, {"jobstatus": "holding", **MANAGED}),
        ("event merge in waiting", DEFINED, {"jobstatus": "waiting", "eventservice": 1}),
        ("long waiting", DEFINED, {"jobstatus": "waiting", "eventservice": 5}),
        ("long event service", ACTIVE, {"jobstatus": "running", "eventservice": 1, "currentpriority": 899}),
        ("long event service", ACTIVE, {"jobstatus": "running", "eventservice": 3, "currentpriority": 900}),
        ("long event merge", ACTIVE, {"jobstatus": "running", "eventservice": 1}),
        ("throttled for long", ACTIVE, {"jobstatus": "activated"}),
    ],
)
async def test_a_rule_leaves_alone_what_is_not_its_own(database, now, facts, sweep, name, table, columns):
    facts.known = Known(queues={"STAY": Queue(name="STAY", catchall=frozenset(("disableReassign",)))})
    rule = RULES[name]
    since = {"creation_time": CREATED, "modification_time": TOUCHED, "state_change_time": CHANGED}[rule.since]
    await seed(database, now, 1, table, since, timedelta(days=6), columns)
    assert await sweep.end(rule, no_pause) == 0
    assert await job(database, 1, table) is not None


async def test_the_limit_of_defined_jobs_is_that_of_their_vo_alone(database, now, facts, sweep):
    facts.known = Known(
        parameters=Parameters(
            {
                ("pandaserver", "job_timeout", "TIMEOUT_defined", "wlcg"): 30,
                ("pandaserver", "job_timeout", "TIMEOUT_defined", None): 30,
            }
        )
    )
    rule = RULES["stuck in defined"]
    for n, vo, hours in ((1, "wlcg", 29.99), (2, "wlcg", 30), (3, "other", 4), (4, "other", 3.99)):
        await seed(
            database, now, n, DEFINED, TOUCHED, timedelta(hours=hours), {"jobstatus": "defined", "vo": vo, **MANAGED}
        )
    assert await sweep.end(rule, no_pause) == 2
    assert [await job(database, n) is not None for n in (1, 2, 3, 4)] == [False, True, True, False]


async def test_a_job_that_others_hold_is_left_for_the_next_run(database, now, sweep):
    for n in (1, 2):
        await seed(database, now, n, ACTIVE, CREATED, timedelta(days=8), {"jobstatus": "throttled"})
    begun, end = Deferred(), Deferred()
    holding = Deferred.fromCoroutine(held(database, 1, begun, end))
    await begun
    assert await sweep.end(THROTTLED, no_pause) == 1
    end.callback(None)
    await holding
    assert await sweep.end(THROTTLED, no_pause) == 1


async def test_a_job_that_a_pilot_takes_meanwhile_is_not_ended(database, now, killing, sweep):
    await seed(database, now, 1, ACTIVE, TOUCHED, timedelta(days=3), {"jobstatus": "activated", **MANAGED})
    expire = killing.expire

    async def late(ids, *rest):
        await run(database, "UPDATE {panda}.jobsactive4 SET jobstatus = 'sent' RETURNING 1")
        return await expire(ids, *rest)

    class Late:
        def __init__(self) -> None:
            self.expire = late

    slow = AgeSweep(sweep._pages, now, sweep._facts, Late(), sweep._watcher)
    assert await slow.end(RULES["long activated"], no_pause) == 0
    assert (await job(database, 1, ACTIVE))["jobstatus"] == "sent"


async def test_all_pages_are_looked_at_and_others_have_their_turn_between_them(database, now, sweep):
    n = 2 * sweeps.PAGE + 7
    await run(
        database,
        "INSERT INTO {panda}.jobsdefined4 (pandaid, jobstatus, creationtime, modificationtime, statechangetime)"
        " SELECT n, CASE WHEN n %% 50 = 0 THEN 'pending' ELSE 'assigned' END, %(t)s, %(t)s, %(t)s"
        " FROM generate_series(1, %(n)s) n RETURNING 1",
        t=now.now() - timedelta(hours=2),
        n=n,
    )
    pauses = []

    async def pause() -> None:
        pauses.append(1)

    assert await sweep.end(RULES["long pending"], pause) == n // 50
    assert len(pauses) == 3 + 2  # three pages, and what was found on two of them


async def test_a_page_gives_only_so_many_jobs_however_many_are_found(database, now, sweep):
    n = 2 * sweeps.FOUND + 7
    await run(
        database,
        "INSERT INTO {panda}.jobsdefined4 (pandaid, jobstatus, creationtime, modificationtime, statechangetime)"
        " SELECT n, 'pending', %(t)s, %(t)s, %(t)s FROM generate_series(1, %(n)s) n RETURNING 1",
        t=now.now() - timedelta(hours=2),
        n=n,
    )
    search, last, seen = sweeps.Search(active=False, before=now.now()), 0, []
    while True:
        page = await database.transaction("page", sweeps.page, search, last)
        ids = [job.panda_id for jobs in page.batches(250) for job in jobs]
        assert len(ids) <= sweeps.FOUND
        seen += ids
        last = page.last
        if not page.more:
            break
    assert seen == list(range(1, n + 1))


@pytest.mark.parametrize("fault", [psycopg2.DataError("refused"), Busy("it takes too long")])
async def test_jobs_that_cannot_be_ended_do_not_hide_those_behind_them(database, now, sweep, fault):
    for n in range(1, 600):
        await seed_job(database, n, DEFINED, jobstatus="pending")
    seen = []

    async def work(jobs) -> int:
        seen.extend(job.panda_id for job in jobs)
        if len(seen) == 250:
            raise fault
        return len(jobs)

    with pytest.raises(type(fault)):
        await sweep._pages.each(sweeps.Search(active=False, before=now.now() + timedelta(days=1)), no_pause, work)
    assert seen == list(range(1, 600))


async def test_a_job_that_runs_for_21_days_is_told_to_end_and_fails_once_it_is_silent_for_as_long(
    database, now, time, facts, sweep
):
    """At a paused queue, where the other limits do not count."""
    facts.known = Known(queues={"Q": Queue(name="Q", status="paused")})
    columns = {"jobstatus": "running", **MANAGED}
    await seed(database, now, 1, ACTIVE, CREATED, timedelta(days=21), columns)
    (step, _) = sweep.oldest()
    assert await step.work(no_pause) == 0
    assert (await job(database, 1, ACTIVE))["commandtopilot"] == "tobekilled"
    time.advance(21 * 86400 - 1)
    assert await step.work(no_pause) == 0
    time.advance(1)
    assert await step.work(no_pause) == 1
    row = await job(database, 1)
    assert (row["jobstatus"], row["jobdispatchererrorcode"]) == ("failed", 100)


def test_the_steps_are_those_of_the_reference_in_their_order(sweep):
    steps = (*sweep.old(), *sweep.waiting(), *sweep.oldest())
    assert [step.name for step in steps] == [*(rule.name for rule in (*OLD, *WAITING)), OLDEST.name, THROTTLED.name]


# Step 16, what asks the task


@pytest.fixture
def tasks(database, now, killing) -> TaskSweep:
    return TaskSweep(database, Pages(database), now, killing)


async def seed_merge(database, now, panda_id, table, age, maker_status, label="managed"):
    """A merge job with a file that job 100 + its number has made."""
    columns = {"jobstatus": "activated" if table == ACTIVE else "assigned", "processingtype": "pmerge"}
    maker = 100 + panda_id
    await seed(
        database, now, panda_id, table, TOUCHED, age, {**MANAGED, **columns, "jeditaskid": 7, "prodsourcelabel": label}
    )
    await seed_file(
        database, panda_id, f"in{panda_id}", "input", jeditaskid=7, datasetid=5, fileid=panda_id, destinationdblock=None
    )
    await run(
        database,
        "INSERT INTO {panda}.jedi_dataset_contents (jeditaskid, datasetid, fileid, creationdate, lfn, type, status,"
        " pandaid, outpandaid) VALUES (7, 5, %(i)s, '2026-01-01', 'x', 'output', 'running', %(i)s, %(m)s) RETURNING 1",
        i=panda_id,
        m=maker,
    )
    if maker_status is not None:
        await seed_job(database, maker, jobstatus=maker_status, **MANAGED)


@pytest.mark.parametrize("table", [DEFINED, ACTIVE])
async def test_a_merge_job_of_half_an_hour_ends_when_a_job_that_it_merges_is_gone(database, now, time, tasks, table):
    half = timedelta(minutes=30)
    await seed_merge(database, now, 1, table, half, None)
    await seed_merge(database, now, 2, table, half, "merging")
    await seed_merge(database, now, 3, table, half, "running")
    await seed_merge(database, now, 4, table, half - timedelta(seconds=1), None)
    assert await tasks.end_merges(no_pause) == 2
    row = await job(database, 1)
    assert (row["jobstatus"], row["taskbuffererrorcode"]) == ("cancelled", 100)
    assert row["taskbuffererrordiag"] == "killed since pre-merge job 101 gone"
    assert (await job(database, 3))["jobstatus"] == "cancelled"
    time.advance(1)
    assert await tasks.end_merges(no_pause) == 1


async def test_jumbo_jobs_end_when_their_task_has_no_use_for_them(database, now, tasks):
    for task_id, status, flag, done in (
        (1, "running", "R", 9),
        (2, "running", "R", 10),
        (3, "running", "D", 0),
        (4, "aborted", "R", 0),
    ):
        await run(
            database,
            "INSERT INTO {panda}.jedi_tasks (jeditaskid, status, username, creationdate, modificationtime, usejumbo)"
            " VALUES (%(t)s, %(s)s, 'x', '2026-01-01', '2026-01-01', %(f)s) RETURNING 1",
            t=task_id,
            s=status,
            f=flag,
        )
        await run(
            database,
            "INSERT INTO {panda}.jedi_datasets (jeditaskid, datasetid, datasetname, type, creationtime,"
            " modificationtime, nfiles, nfilesfinished, nfilesfailed)"
            " VALUES (%(t)s, 1, 'x', 'input', '2026-01-01', '2026-01-01', 10, %(d)s, 0) RETURNING 1",
            t=task_id,
            d=done,
        )
        await seed_job(database, task_id, jobstatus="activated", eventservice=4, jeditaskid=task_id, **MANAGED)
        await seed_job(database, 10 + task_id, jobstatus="running", eventservice=4, jeditaskid=task_id, **MANAGED)
    await seed_job(database, 9, DEFINED, jobstatus="assigned", eventservice=4, jeditaskid=99, **MANAGED)
    assert await tasks.end_jumbo(no_pause) == 4
    ended = await run(database, "SELECT pandaid, jobstatus, jobsubstatus FROM {panda}.jobsarchived4 ORDER BY pandaid")
    assert ended == [(n, "closed", "taskdone") for n in (2, 3, 4, 9)]


# Jobs behind builds


async def seed_pair(database, definition, build_status, owner="alice"):
    """A build that has ended, and a job that waits for its library."""
    build, runner = 10 * definition, 10 * definition + 1
    await seed_job(
        database,
        build,
        "jobsarchived4",
        jobstatus=build_status,
        prodsourcelabel="panda",
        jobdefinitionid=definition,
        produsername=owner,
    )
    await seed_file(database, build, f"lib{definition}.tgz", status="failed")
    await seed_job(database, runner, DEFINED, jobstatus="assigned", jobdefinitionid=definition, produsername=owner)
    await seed_file(database, runner, f"lib{definition}.tgz", "input", destinationdblock=None)
    return runner


async def test_jobs_behind_a_build_that_was_killed_or_not_set_up_are_cancelled(database, now, time):
    sweep = BuildSweep(database, now, Builds(database, now))
    runners = [await seed_pair(database, n, how) for n, how in enumerate(("cancelled", "closed", "failed"), 1)]
    fine = await seed_pair(database, 4, "finished")
    time.advance(3600)
    assert await sweep.run(no_pause) == 3
    for runner in runners:
        row = await job(database, runner)
        assert (row["jobstatus"], row["taskbuffererrorcode"]) == ("cancelled", 100)
    assert await job(database, fine, DEFINED) is not None
    assert await sweep.run(no_pause) == 0


async def test_builds_are_looked_at_for_a_week_by_a_server_that_starts_and_then_since_the_last_run(database, now, time):
    await seed_pair(database, 1, "cancelled")
    time.advance(7 * 86400 + 1)
    sweep = BuildSweep(database, now, Builds(database, now))
    assert await sweep.run(no_pause) == 0
    again = BuildSweep(database, now, Builds(database, now))
    await run(database, "UPDATE {panda}.jobsarchived4 SET modificationtime = %(t)s RETURNING 1", t=now.now())
    assert await again.run(no_pause) == 1
    await seed_pair(database, 2, "cancelled")
    await run(
        database,
        "UPDATE {panda}.jobsarchived4 SET modificationtime = %(t)s WHERE pandaid = 20 RETURNING 1",
        t=now.now() - timedelta(minutes=59),
    )
    assert await again.run(no_pause) == 1


async def test_more_ended_builds_than_a_page_hide_none(database, now, time):
    await run(
        database,
        "INSERT INTO {panda}.jobsarchived4 (pandaid, jobstatus, prodsourcelabel, creationtime, modificationtime,"
        " statechangetime) SELECT n, 'failed', 'panda', %(t)s, %(t)s, %(t)s FROM generate_series(1, %(n)s) n"
        " RETURNING 1",
        t=now.now(),
        n=sweeps.BUILDS,
    )
    runner = await seed_pair(database, 900, "failed")
    time.advance(60)
    assert await BuildSweep(database, now, Builds(database, now)).run(no_pause) == 1
    assert (await job(database, runner))["jobstatus"] == "cancelled"
