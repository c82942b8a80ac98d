"""What copyArchive ends is told to the tasks of the jobs, as any other end (promise 8, lifecycle.md 1.6)."""

import psycopg2
import pytest
from endings import Told, job, run, seed_file, seed_job
from sweeping import Loud, no_pause
from tasks_by_hand import counters, files, make_job, make_task, n_ready, recount

from pandatx.domain.queues import Queue
from pandatx.domain.sweep_ages import OLD, OLDEST, WAITING
from pandatx.services.builds import Builds, BuildSweep
from pandatx.services.closer import Closer
from pandatx.services.facts import Known
from pandatx.services.killing import Killing
from pandatx.services.sweep_rebrokerage import RebrokerageSweep
from pandatx.services.sweeper import AgeSweep, Pages
from pandatx.services.watcher import Watcher

RULES = {rule.name: rule for rule in (*OLD, *WAITING, OLDEST)}


@pytest.fixture
def killing(database, now) -> Killing:
    return Killing(database, now, Closer(database, now, Told().activate), lambda jobs: None)


@pytest.fixture
def ages(database, now, facts, killing) -> AgeSweep:
    watcher = Watcher(database, now, facts, Loud(), Closer(database, now, Told().activate))
    return AgeSweep(Pages(database), now, facts, killing, watcher)


async def settled(database, made):
    """The counters of a task are those of its rows."""
    assert await counters(database, made) == await recount(database, made)


@pytest.mark.parametrize(
    ("rule", "status", "label"),
    [
        ("defined for long", "assigned", "user"),
        ("activated for long", "activated", "user"),
        ("stuck in defined", "defined", "managed"),
        ("long activated", "activated", "managed"),
        ("users' jobs untouched for long", "holding", "user"),
        ("long pending", "pending", "managed"),
        ("alive for too long", "starting", "managed"),
    ],
)
async def test_the_inputs_of_jobs_that_waited_for_too_long_are_ready_again(database, time, ages, rule, status, label):
    made = await make_task(database, label=label, n_files=3)
    for _ in range(2):
        await make_job(database, made, status=status, relocationflag=1)
    time.advance(22 * 86400)
    assert await n_ready(database, made) == 1
    assert await ages.end(RULES[rule], no_pause) == 2
    assert await n_ready(database, made) == 3
    await settled(database, made)
    assert [row["attemptnr"] for row in (await files(database, made)).values()] == [1, 1, 0]
    assert [row["failedattempt"] or 0 for row in (await files(database, made)).values()] == [0, 0, 0]


async def test_rebrokerage_ends_the_run_jobs_before_their_build(database, now, time, facts, killing):
    facts.known = Known(queues={"Q": Queue(name="Q", status="offline")})
    made = await make_task(database, n_files=2, with_lib=True)
    build = await make_job(database, made, build=True, jobsetid=1)
    runners = [await make_job(database, made, jobsetid=1, status="assigned") for _ in range(2)]
    await run(
        database,
        "INSERT INTO {panda}.jobs_statuslog (pandaid, modificationtime, jobstatus) VALUES (%(i)s, %(t)s, 'activated')"
        " RETURNING 1",
        i=build,
        t=now.now(),
    )
    time.advance(3 * 3600)
    sweep = RebrokerageSweep(database, now, facts, Loud(), killing)
    assert await sweep.end_groups(no_pause) == 3
    assert {(await job(database, each))["jobsubstatus"] for each in (build, *runners)} == {"toreassign"}
    assert await n_ready(database, made) == 2
    await settled(database, made)


async def test_jobs_behind_a_build_that_was_killed_give_their_inputs_back(database, now, time, killing):
    made = await make_task(database, n_files=2, with_lib=True)
    build = await make_job(database, made, build=True, status="activated")
    runner = await make_job(database, made, status="assigned")
    lib = (
        await run(database, "SELECT lfn FROM {panda}.filestable4 WHERE pandaid = %(b)s AND type = 'output'", b=build)
    )[0][0]
    await seed_file(database, runner, lib, "input", destinationdblock=None)
    assert await killing.expire([build], 9, lambda job: True) == 1
    time.advance(60)
    assert await BuildSweep(database, now, Builds(database, now)).run(no_pause) == 1
    assert (await job(database, runner))["jobstatus"] == "cancelled"
    assert await n_ready(database, made) == 2
    await settled(database, made)


# Kills by the server itself


@pytest.mark.parametrize("label", ["user", "panda", "managed", "test", "ptest"])
@pytest.mark.parametrize(
    ("code", "end"),
    [
        (2, ("closed", "toreassign", 102)),
        (4, ("closed", "toreassign", 102)),
        (10, ("closed", None, 130)),
        (51, ("closed", "toreassign", 100)),
        (52, ("cancelled", None, 100)),
    ],
)
async def test_the_server_may_end_jobs_of_any_label(database, killing, code, end, label):
    told = "tobekilled" if code != 4 else None  # which is not among the codes that insist
    await seed_job(database, 1, jobstatus="activated", prodsourcelabel=label, commandtopilot=told)
    assert await killing.expire([1], code, lambda job: True) == 1
    row = await job(database, 1)
    assert (row["jobstatus"], row["jobsubstatus"], row["taskbuffererrorcode"]) == end


async def test_a_job_that_runs_is_flagged_and_not_counted_as_ended(database, killing):
    await seed_job(database, 1, jobstatus="running", prodsourcelabel="managed")
    await seed_job(database, 2, jobstatus="running", prodsourcelabel="managed")
    await seed_job(database, 3, jobstatus="activated", prodsourcelabel="managed")
    assert await killing.expire([1, 2, 3], 51, lambda job: job.panda_id != 2) == 1
    commands = dict(await run(database, "SELECT pandaid, commandtopilot FROM {panda}.jobsactive4"))
    assert commands == {1: "tobekilled", 2: None}


async def test_kills_go_in_groups_of_a_hundred_the_highest_first(database, killing):
    for n in range(1, 206):
        await seed_job(database, n, jobstatus="activated")
    seen = []

    def still(job) -> bool:
        seen.append(job.panda_id)
        return True

    assert await killing.expire(range(1, 206), 2, still) == 205
    assert seen == [*range(201, 206), *range(101, 201), *range(1, 101)]


async def test_a_job_that_the_database_refuses_to_end_stops_no_other_and_is_told_of(database, killing):
    for n in (1, 2, 3):
        await seed_job(database, n, jobstatus="activated")
    await run(
        database,
        "INSERT INTO {panda}.jobsarchived4 (pandaid, jobstatus, creationtime, modificationtime, statechangetime)"
        " VALUES (2, 'closed', %(t)s, %(t)s, %(t)s) RETURNING 1",
        t=killing._clock.now(),
    )
    with pytest.raises(psycopg2.errors.UniqueViolation):
        await killing.expire([1, 2, 3], 2, lambda job: True)
    assert await run(database, "SELECT pandaid FROM {panda}.jobsactive4") == [(2,)]
