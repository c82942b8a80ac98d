"""Ending jobs by their final reports, on a real database."""

from datetime import timedelta
from typing import Any

import pytest
from endings import (
    GUID,
    DirectPool,
    Told,
    held,
    job,
    logged,
    make_adder,
    report_of,
    reports,
    run,
    seed_block,
    seed_file,
    seed_job,
    seed_report,
    seed_reported,
    statuses,
)
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred

from pandatx.clock import EPOCH, Clock
from pandatx.services.adder import Adder
from pandatx.services.closer import Closer
from pandatx.services.facts import Facts
from pandatx.services.instances import Instances
from pandatx.workers.calls import CallDied, CallTimedOut


@pytest.fixture
def pool() -> DirectPool:
    return DirectPool()


@pytest.fixture
def adder(database, pool) -> Adder:
    return make_adder(database, pool)


async def test_a_finished_report_archives_the_job_and_closes_its_block(database, adder):
    await seed_reported(database, 1)
    await seed_block(database)
    assert await adder.run_once() == 1
    row = await job(database, 1)
    assert (row["jobstatus"], row["noutputdatafiles"], row["outputfilebytes"]) == ("finished", 1, 7)
    assert row["endtime"] is not None and row["produsername"] == "alice"
    assert await job(database, 1, "jobsactive4") is None
    assert await statuses(database) == {"out1": "ready", "log1": "ready"}
    found = await run(database, "SELECT DISTINCT guid, fsize, checksum, modificationtime FROM {panda}.filestable4")
    assert found == [(GUID, 7, "ad:00000001", row["modificationtime"])]
    assert await run(database, "SELECT modificationtime FROM {panda}.jobparamstable") == [(row["modificationtime"],)]
    assert await logged(database) == [(1, "finished")]
    assert await reports(database) == []
    assert await run(database, "SELECT status FROM {panda}.datasets") == [("tobeclosed",)]


async def test_a_failed_report_fails_the_job_and_its_files_and_keeps_the_pilots_error(database, adder):
    await seed_job(database, 1, piloterrorcode=1008, piloterrordiag="broken", maxattempt=3)
    await seed_file(database, 1, "out1")
    await seed_file(database, 1, "log1", "log")
    await seed_report(database, 1, "failed", report_of("log1"))
    await adder.run_once()
    row = await job(database, 1)
    assert (row["jobstatus"], row["piloterrorcode"], row["piloterrordiag"]) == ("failed", 1008, "broken")
    assert await statuses(database) == {"out1": "failed", "log1": "failed"}
    rest = "SELECT count(*) FROM {panda}.jobsactive4 UNION ALL SELECT count(*) FROM {panda}.jobsdefined4"
    assert await run(database, rest) == [(0,), (0,)]


@pytest.mark.parametrize(
    ("label", "status", "noted"),
    [("managed", "failed", 1), ("test", "failed", 1), ("user", "failed", 0), ("managed", "finished", 0)],
)
async def test_the_dispatch_block_of_production_is_kept_for_longer_where_a_job_has_failed(
    database, adder, label, status, noted
):
    await seed_reported(database, 1, 2, status=status, prodsourcelabel=label)
    for panda_id in (1, 2):
        await seed_file(database, panda_id, "in", "input", dispatchdblock="mc.in_dis7", destinationdblock=None)
    await run(
        database,
        "INSERT INTO {panda}.datasets (vuid, name, type, status, creationdate, modificationdate, currentfiles)"
        " VALUES ('d', 'mc.in_dis7', 'dispatch', 'completed', '2026-01-01', '2026-01-01', 0) RETURNING 1",
    )
    assert await adder.run_once() == 2
    assert (await job(database, 2))["jobstatus"] == status
    assert await run(database, "SELECT currentfiles FROM {panda}.datasets") == [(noted,)], "once for all its jobs"


async def test_a_failed_report_of_a_job_that_was_to_be_killed_cancels_it(database, adder):
    await seed_reported(database, 1, status="failed", commandtopilot="tobekilled")
    await adder.run_once()
    assert (await job(database, 1))["jobstatus"] == "cancelled"


async def test_a_kill_that_comes_while_the_plugin_runs_counts(database, adder, pool):
    await seed_reported(database, 1, status="failed")

    async def kill():
        await run(database, "UPDATE {panda}.jobsactive4 SET commandtopilot = 'tobekilled' RETURNING 1")

    pool.before = kill
    await adder.run_once()
    assert (await job(database, 1))["jobstatus"] == "cancelled"


async def test_a_report_that_is_not_json_fails_the_job_without_asking_the_plugin(database, adder, pool):
    await seed_job(database, 1)
    await seed_file(database, 1, "out1")
    await seed_report(database, 1, data="<POOLFILECATALOG/>")
    await adder.run_once()
    row = await job(database, 1)
    assert (row["jobstatus"], row["ddmerrorcode"]) == ("failed", 200)
    assert "Could not get GUID" in row["ddmerrordiag"]
    assert pool.calls == []


async def test_many_reports_take_one_call_and_one_transaction(database, adder, pool):
    await seed_reported(database, *range(1, 21))
    assert await adder.run_once() == 20
    assert pool.calls == [list(range(1, 21))]
    found = "SELECT jobstatus, count(*), count(DISTINCT modificationtime) FROM {panda}.jobsarchived4 GROUP BY jobstatus"
    assert await run(database, found) == [("finished", 20, 1)]


async def test_reports_of_another_attempt_and_of_jobs_that_are_gone_are_deleted(database, adder, pool):
    await seed_job(database, 1, attemptnr=2)
    await seed_report(database, 1)
    await seed_report(database, 99)
    assert await adder.run_once() == 2
    assert await reports(database) == [] and pool.calls == []
    assert (await job(database, 1, "jobsactive4"))["jobstatus"] == "holding"


async def test_a_report_that_another_server_holds_is_left_until_its_lock_is_old(database, pool):
    await seed_reported(database, 1)
    await run(
        database,
        "UPDATE {panda}.job_output_report SET lockedby = 'there', lockedtime = '2026-01-01 00:00' RETURNING 1",
    )
    time = task.Clock()
    adder = make_adder(database, pool, clock=_moved(time))
    time.advance(599)
    assert await adder.run_once() == 0
    time.advance(2)
    assert await adder.run_once() == 1
    assert (await job(database, 1))["jobstatus"] == "finished"


def _moved(time: task.Clock) -> Clock:
    """The wall moves with ``time``; what waits is the reactor's."""
    manual = Clock.manual(time)
    return Clock(reactor, manual.now)


async def test_the_locks_of_reports_are_renewed_every_three_minutes_while_a_plugin_runs(database, pool):
    await seed_reported(database, 1)
    time, begun, end = task.Clock(), Deferred(), Deferred()
    adder = make_adder(database, pool, clock=Clock.manual(time, EPOCH))

    async def renewed(at):
        return await run(database, "SELECT lockedtime FROM {panda}.job_output_report") == [(at,)]

    async def takes_long():
        begun.callback(None)
        await end

    pool.before = takes_long
    running = Deferred.fromCoroutine(adder.run_once())
    await begun
    for minutes in (3, 6):
        time.advance(180)
        for _ in range(1000):
            if await renewed(EPOCH + timedelta(minutes=minutes)):
                break
        else:
            raise AssertionError(f"not renewed after {minutes} minutes")
    end.callback(None)
    await running
    assert ((await job(database, 1))["jobstatus"], time.getDelayedCalls()) == ("finished", [])


async def test_a_server_that_died_in_the_middle_goes_on_at_once_after_its_restart(database, pool):
    await seed_reported(database, 1)
    await run(database, "UPDATE {panda}.job_output_report SET lockedby = 'here', lockedtime = '2999-01-01' RETURNING 1")
    assert await make_adder(database, pool, owner="there").run_once() == 0
    assert await make_adder(database, pool, owner="here").run_once() == 1
    assert (await job(database, 1))["jobstatus"] == "finished"


async def test_what_a_dead_server_had_in_hand_is_taken_over_after_two_minutes_or_when_it_is_adopted(database, pool):
    await seed_reported(database, 1, 2)
    await run(
        database,
        "UPDATE {panda}.job_output_report SET lockedby = 'dead' || pandaid, lockedtime = '2026-01-01' RETURNING 1",
    )
    time = task.Clock()
    now = _moved(time)
    adder = make_adder(database, pool, clock=now)
    await Instances(database, now, "dead1", "host", lambda: 0).start()
    time.advance(119)
    assert await adder.run_once() == 0
    time.advance(2)
    assert await adder.run_once() == 1
    await adder.adopt(["dead2"])
    await adder.stop()
    await adder.run_once()
    assert [(await job(database, n))["jobstatus"] for n in (1, 2)] == ["finished", "finished"]


async def test_a_report_lost_to_another_server_is_not_concluded_twice(database, adder, pool):
    await seed_reported(database, 1)
    other = make_adder(database, DirectPool(), owner="there")

    async def taken_over():
        await run(database, "UPDATE {panda}.job_output_report SET lockedtime = '2000-01-01' RETURNING 1")
        assert await other.run_once() == 1

    pool.before = taken_over
    await adder.run_once()
    assert await logged(database) == [(1, "finished")]
    assert await run(database, "SELECT count(*) FROM {panda}.jobsarchived4") == [(1,)]


async def test_reports_in_hand_are_not_taken_again_by_the_next_batch(database, adder, pool):
    await seed_reported(database, 1)
    again: list[int] = []

    async def another_batch():
        pool.before = None
        again.append(await adder.run_once())

    pool.before = another_batch
    assert await adder.run_once() == 1
    assert again == [0]


async def test_a_report_whose_work_broke_off_is_taken_again_by_the_next_batch(database, adder, pool):
    await seed_reported(database, 1)

    async def broken():
        raise RuntimeError("a bug of ours")

    pool.before = broken
    with pytest.raises(RuntimeError):
        await adder.run_once()
    pool.before = None
    assert await adder.run_once() == 1
    assert (await job(database, 1))["jobstatus"] == "finished"


@pytest.mark.parametrize("fault", [CallTimedOut("over its time limit"), CallDied("killed by signal 11")])
async def test_of_a_batch_whose_plugin_was_killed_only_the_guilty_job_fails(database, adder, pool, fault):
    await seed_reported(database, 1, 2, 3)
    pool.faults = {2: fault}
    await adder.run_once()
    assert [(await job(database, n))["jobstatus"] for n in (1, 2, 3)] == ["finished", "failed", "finished"]
    guilty = await job(database, 2)
    assert (guilty["ddmerrorcode"], guilty["ddmerrordiag"]) == (200, f"AdderPlugin failure: {fault}")
    assert pool.calls == [[1, 2, 3], [1], [2], [3]]


class Temporary:
    """A plugin that wants to be asked again."""

    def add(self, items, settings):
        return [
            {"panda_id": i["job"]["panda_id"], "result": "temporary", "error": "storage is away",
             "transferring": [], "merging": []} for i in items
        ]  # fmt: skip


async def test_a_temporary_result_leaves_the_report_for_a_minute_and_for_a_day_at_the_most(database, pool):
    await seed_reported(database, 1)
    time = task.Clock()
    adder = make_adder(database, pool, clock=_moved(time))
    adder._target_of = lambda vo, group: f"{__name__}:Temporary"
    assert await adder.run_once() == 1
    assert (await job(database, 1, "jobsactive4"))["jobstatus"] == "holding"
    time.advance(59)
    assert await adder.run_once() == 0
    time.advance(2)
    assert await adder.run_once() == 1
    time.advance(24 * 3600)
    assert await adder.run_once() == 1
    assert (await job(database, 1))["ddmerrordiag"] == "storage is away"


class Transferring:
    """A plugin whose outputs are on their way."""

    def add(self, items, settings):
        return [
            {"panda_id": i["job"]["panda_id"], "result": "ok", "error": None,
             "transferring": [f["lfn"] for f in i["job"]["files"]], "merging": []} for i in items
        ]  # fmt: skip


async def test_a_job_whose_outputs_are_on_their_way_is_transferring(database, adder):
    adder._target_of = lambda vo, group: f"{__name__}:Transferring"
    await seed_reported(database, 1, jobsubstatus="x", jobdispatchererrordiag="y")
    await adder.run_once()
    row = await job(database, 1, "jobsactive4")
    assert (row["jobstatus"], row["jobsubstatus"], row["jobdispatchererrordiag"]) == ("transferring", None, None)
    assert await statuses(database) == {"out1": "transferring", "log1": "transferring"}
    assert await reports(database) == [] and await logged(database) == [(1, "transferring")]


async def test_outputs_that_nobody_had_announced_get_rows(database, adder):
    await seed_job(database, 1)
    await seed_file(database, 1, "out")
    await seed_report(database, 1, data=report_of("out._001", "out._002"))
    await adder.run_once()
    assert (await job(database, 1))["noutputdatafiles"] == 2
    assert await statuses(database) == {"out._001": "ready", "out._002": "ready"}


async def test_a_row_that_the_database_refuses_does_not_hold_up_the_others(database, adder, pool):
    await seed_reported(database, 1, 2)
    await run(database, "CREATE UNIQUE INDEX t ON {panda}.jobsarchived4 (produsername) WHERE pandaid IN (2, 99)")
    await seed_job(database, 99, "jobsarchived4", jobstatus="finished")
    await adder.run_once()
    assert (await job(database, 1))["jobstatus"] == "finished"
    assert (await job(database, 2, "jobsactive4"))["jobstatus"] == "holding"
    assert await reports(database) == [(2, None)]


async def test_a_job_whose_row_is_held_waits_without_holding_up_the_others(database, adder):
    await seed_reported(database, 1, 2)
    begun, end = Deferred(), Deferred()
    holding = Deferred.fromCoroutine(held(database, 1, begun, end))
    await begun
    await adder.run_once()
    end.callback(None)
    await holding
    assert (await job(database, 2))["jobstatus"] == "finished"
    assert await reports(database) == [(1, None)]


async def test_a_wake_works_at_once_and_a_stop_waits(database, adder, pool):
    await seed_reported(database, 1)
    done = Deferred()

    async def called():
        reactor.callLater(0, done.callback, None)

    pool.before = called
    adder.start()
    await done
    await adder.stop()
    assert (await job(database, 1))["jobstatus"] == "finished"


async def test_a_failed_build_takes_the_jobs_behind_it_along(database, adder):
    await seed_job(database, 1, prodsourcelabel="panda", jobdefinitionid=5)
    await seed_file(database, 1, "lib.tgz")
    await seed_report(database, 1, "failed", "{}")
    for n in (2, 3):
        await seed_job(database, n, "jobsdefined4", jobstatus="assigned", jobdefinitionid=5)
        await seed_file(database, n, "lib.tgz" if n == 2 else "other", "input", destinationdblock=None)
        await seed_file(database, n, f"out{n}")
    await adder.run_once()
    row = await job(database, 2)
    assert (row["jobstatus"], row["taskbuffererrorcode"]) == ("cancelled", 100)
    assert (await job(database, 3, "jobsdefined4"))["jobstatus"] == "assigned"


async def test_a_finished_build_tells_its_guid_and_starts_what_waited(database, pool):
    told = Told()
    adder = make_adder(database, pool, told=told)
    await seed_job(database, 1, prodsourcelabel="panda", jobdefinitionid=5)
    await seed_file(database, 1, "lib.tgz", destinationdblock="libs")
    await seed_block(database, "libs")
    await seed_report(database, 1, data=report_of("lib.tgz"))
    await seed_job(database, 2, "jobsdefined4", jobstatus="assigned", jobdefinitionid=5)
    await seed_file(database, 2, "lib.tgz", "input", destinationdblock=None)
    await adder.run_once()
    made = await run(database, "SELECT guid, fsize, checksum FROM {panda}.filestable4 WHERE pandaid = 2")
    assert made == [(GUID, 7, "ad:00000001")]
    assert told.names == ["libs"]


@pytest.mark.parametrize(("task", "theirs"), [(1000, True), (None, False)])
@pytest.mark.parametrize("status", ["finished", "failed"])
async def test_a_build_is_for_all_jobs_of_its_task_whenever_they_were_stored(database, adder, task, theirs, status):
    """JEDI stores the jobs of a task in several calls, each with a jobDefinitionID of its own."""
    await seed_job(database, 1, prodsourcelabel="panda", jobdefinitionid=5, jeditaskid=task)
    await seed_file(database, 1, "lib.tgz", destinationdblock="libs")
    await seed_report(database, 1, status, data=report_of("lib.tgz"))
    await seed_job(database, 2, "jobsdefined4", jobstatus="assigned", jobdefinitionid=6, jeditaskid=task)
    await seed_job(database, 3, "jobsdefined4", jobstatus="assigned", jobdefinitionid=5, jeditaskid=1001)
    for panda_id in (2, 3):
        await seed_file(database, panda_id, "lib.tgz", "input", destinationdblock=None)
    await adder.run_once()
    if status == "finished":
        known = await run(database, "SELECT guid IS NOT NULL FROM {panda}.filestable4 WHERE pandaid = 2")
        assert known == [(theirs,)]
    else:
        assert ((await job(database, 2)) is not None) == theirs
    if task is not None:
        assert await job(database, 3, "jobsdefined4"), "it is another task's"


def adder_with(database, pool, target: str) -> Adder:
    return Adder(
        database,
        Clock(reactor),
        Facts(database, Clock(reactor)),
        pool,
        lambda vo, group: target,
        {},
        Closer(database, Clock(reactor), Told().activate),
        "h",
    )


async def test_the_files_of_finished_jobs_are_registered_in_both_blocks_once(database, pool):
    """Rule R18: the local adder registers a file in its destination block and in the sub block."""
    for name in ("ds", "ds_sub0001"):
        await seed_block(database, name)
    for panda_id, status in ((1, "finished"), (2, "finished"), (3, "failed")):
        await seed_job(database, panda_id)
        for kind, lfn in (("output", f"out{panda_id}"), ("log", f"log{panda_id}")):
            await seed_file(database, panda_id, lfn, kind, dataset="ds", destinationdblock="ds_sub0001")
        await seed_report(database, panda_id, status)
    assert await adder_with(database, pool, "pandatx.plugins.local:Adder").run_once() == 3
    counts = await run(database, "SELECT name, currentfiles FROM {panda}.datasets ORDER BY name")
    assert counts == [("ds", 4), ("ds_sub0001", 4)]


ODD = [
    {"result": "ok", "registered": [{}]},
    {"result": "fatal", "error": {"code": 5, "text": "no\0room"}},
    {"result": "fatal", "error": ["a", 7]},
    {"result": "ok", "registered": [{"lfn": ["out1"], "blocks": [{}, 5]}], "merging": 7},
    {"result": 7, "transferring": [{}]},
    7,
]


class Careless:
    """An adder that does not follow the interface for job 1."""

    odd: Any = None

    def add(self, items, settings):
        odd = self.odd | {"panda_id": 1} if isinstance(self.odd, dict) else self.odd
        return [odd if i["job"]["panda_id"] == 1 else {"panda_id": i["job"]["panda_id"], "result": "ok"} for i in items]


@pytest.mark.parametrize("odd", ODD)
async def test_a_plugin_that_answers_nonsense_for_a_job_fails_that_one_and_leaves_no_report(
    database, pool, monkeypatch, odd
):
    monkeypatch.setattr(Careless, "odd", odd)
    await seed_reported(database, 1, 2)
    await adder_with(database, pool, "test_adder:Careless").run_once()
    row = await job(database, 1)
    assert (row["jobstatus"], row["ddmerrorcode"]) == ("failed", 200)
    assert (await job(database, 2))["jobstatus"] == "finished"
    assert await reports(database) == []
