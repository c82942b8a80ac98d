"""Reports that cannot be stored as they come: held jobs, a slow database, values that no column takes."""

import pytest
from attrs import evolve
from test_heartbeats import ALICE, BOB, PILOT, MemorySpool, beat, job, rows, seed
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, DeferredList

from pandatx.clock import Clock
from pandatx.errors import BadRequest, Busy
from pandatx.metrics import STATES_FOREIGN
from pandatx.services import heartbeats as module
from pandatx.services.facts import Facts
from pandatx.services.heartbeats import Heartbeats
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import Query


@pytest.fixture
def spool() -> MemorySpool:
    return MemorySpool()


@pytest.fixture
def heartbeats(database, spool) -> Heartbeats:
    clock = Clock(reactor)
    return Heartbeats(database, clock, Facts(database, clock), spool, lambda: None)


async def hold(database: Database, end: Deferred) -> Deferred:
    """Hold job 1 until ``end``."""
    begun: Deferred[None] = Deferred()

    async def work(tx: Transaction) -> None:
        await tx.run(Query(name="h", text="SELECT 1 FROM {panda}.jobsactive4 WHERE pandaid = 1 FOR UPDATE"))
        begun.callback(None)
        await end

    holding = Deferred.fromCoroutine(database.transaction("hold", work))
    await begun
    return holding


async def test_a_final_report_on_a_job_that_others_hold_for_long_is_spooled(database, heartbeats, spool, monkeypatch):
    monkeypatch.setattr(module, "LOCK_WAIT", 0.1)
    await seed(database, 1, status="running")
    end: Deferred[None] = Deferred()
    holding = await hold(database, end)
    with pytest.raises(Busy):
        await heartbeats.report(PILOT, beat())
    final = beat(job_status="finished", job_output_report="{}")
    assert (await heartbeats.report(PILOT, final)).command == ""
    assert spool.kept == [final]
    end.callback(None)
    await holding


async def test_a_final_report_that_the_database_is_slow_with_is_spooled_and_counts_once(
    database, heartbeats, spool, monkeypatch
):
    monkeypatch.setattr(module, "FINAL_LIMIT", 0.1)
    await seed(database, 1, status="running")
    end: Deferred[None] = Deferred()
    holding = await hold(database, end)
    final = beat(job_status="finished", job_output_report="{}")
    assert (await heartbeats.report(PILOT, final)).code == 0
    assert spool.kept == [final]
    end.callback(None)
    await holding
    while (await job(database))["jobstatus"] != "holding":
        pass
    assert (await heartbeats.play(PILOT, final)).command == "alreadydone"
    assert await rows(database, "SELECT count(*) FROM {panda}.job_output_report") == [(1,)]


async def test_a_final_report_for_which_there_is_no_place_in_the_line_is_spooled_and_leaves_no_timer(
    database, heartbeats, spool
):
    heartbeats._line.most_waiting = 0
    await rows(database, "SELECT 1")
    before = len(reactor.getDelayedCalls())
    assert (await heartbeats.report(PILOT, beat(job_status="finished", job_output_report="{}"))).code == 0
    assert (len(spool.kept), len(reactor.getDelayedCalls())) == (1, before)


BAD = {"node": "a\0b", "grid": "\ud800", "n_events": 2**70, "cpu_conversion_factor": 1e300}


@pytest.mark.parametrize("field", BAD)
async def test_a_report_with_a_value_that_no_column_takes_fails_alone(database, heartbeats, spool, field):
    await seed(database, 1, 2, 3, status="running")
    beats = [beat(1, n_events=5), evolve(beat(2), **{field: BAD[field]}), beat(3, n_events=5)]
    first = Deferred.fromCoroutine(heartbeats.report(PILOT, beat(1)))
    outcomes = await DeferredList(
        [first, *(Deferred.fromCoroutine(heartbeats.report(PILOT, one)) for one in beats)], consumeErrors=True
    )
    assert [success for success, _ in outcomes] == [True, True, False, True]
    assert isinstance(outcomes[2][1].value, BadRequest)
    told = await heartbeats.report_many(PILOT, beats)
    assert [type(answer).__name__ for answer in told] == ["Reply", "BadRequest", "Reply"]
    stored = await rows(database, "SELECT nevents FROM {panda}.jobsactive4 ORDER BY pandaid")
    assert [n for (n,) in stored if n] == [5, 5]
    final = evolve(beats[1], job_status="failed")
    assert (await heartbeats.report(PILOT, final)).code == 0
    assert spool.kept == [final]


async def test_one_call_with_thousands_of_reports_leaves_room_in_the_line(database, heartbeats, monkeypatch):
    """Whoever holds a certificate may send them, also all on one job that is not theirs."""
    await seed(database, 1, 2, status="running")
    monkeypatch.setattr(heartbeats._line, "most_waiting", 120)
    beats = [beat(1, n_events=n) for n in range(1, 151)] + [beat(n, n_events=7) for n in range(2, 300)]
    told = await heartbeats.report_many(PILOT, beats)
    assert [type(answer).__name__ for answer in told] == ["Reply"] * len(beats)
    assert [answer.command for answer in told] == [""] * 151 + ["tobekilled"] * 297
    assert await rows(database, "SELECT nevents FROM {panda}.jobsactive4 ORDER BY pandaid") == [(150,), (7,)]


async def test_the_owner_of_a_job_that_is_over_hears_so(database, heartbeats):
    assert (await heartbeats.report(ALICE, beat(77))).command == "tobekilled"
    assert (await heartbeats.report(BOB, beat(77, job_status="finished"))).command == "tobekilled"


async def test_a_state_of_other_servers_is_taken_as_found_and_counted(database, heartbeats):
    before = STATES_FOREIGN._value.get()
    await seed(database, 1, status="hibernating")
    await heartbeats.report(PILOT, beat())
    assert STATES_FOREIGN._value.get() == before + 1


async def test_minutes_in_which_nothing_could_be_stored_are_no_silence_of_pilots(database, monkeypatch):
    """The database is there all the time, but does nothing, for instance while somebody holds the table."""
    clock, over = Clock.manual(task.Clock()), []
    heartbeats = Heartbeats(
        database, clock, Facts(database, clock), MemorySpool(), lambda: None, 10.0, lambda: over.append(clock.seconds())
    )
    await seed(database, 1, status="running")

    async def slow(*_, **__):
        raise Busy("the database takes too long")

    for minutes, ends in ((1, 0), (20, 1)):
        with monkeypatch.context() as patch:
            patch.setattr(Database, "limited", slow)
            for _ in range(minutes):
                with pytest.raises(Busy):
                    await heartbeats.report(PILOT, beat())
                clock.reactor.advance(60)
        await heartbeats.report(PILOT, beat())
        assert len(over) == ends


async def test_a_heartbeat_does_not_wait_for_those_that_write_the_links_of_its_job_to_workers(
    database, heartbeats, monkeypatch
):
    """A Harvester's report writes links of many jobs that it does not hold, in an order of its own (rule R1)."""
    await seed(database, 1, 2, status="running")
    text = "INSERT INTO {panda}.harvester_rel_jobs_workers VALUES ('h', %(worker)s, %(job)s, '2026-01-01')"
    for worker, panda_id in ((1, 2), (2, 1)):
        await database.statement("t", Query(name="link", text=text), worker=worker, job=panda_id)
    begun: Deferred[None] = Deferred()
    end: Deferred[None] = Deferred()

    async def work(tx: Transaction) -> None:
        held = "UPDATE {panda}.harvester_rel_jobs_workers SET lastupdate = '2026-01-01' WHERE workerid = 2"
        await tx.run(Query(name="held", text=held))
        begun.callback(None)
        await end

    holding = Deferred.fromCoroutine(database.transaction("hold", work))
    await begun
    monkeypatch.setattr(heartbeats, "_hot_timeout", 1.0)
    try:
        replies = await heartbeats.report_many(PILOT, [beat(1, n_events=3), beat(2, n_events=3)])
    finally:
        end.callback(None)
        await holding
    assert [reply.code for reply in replies] == [0, 0]
    text = "SELECT workerid FROM {panda}.harvester_rel_jobs_workers WHERE lastupdate > '2026-01-02'"
    assert await rows(database, text) == [(1,)]
