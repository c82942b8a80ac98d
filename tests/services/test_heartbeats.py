"""Storing what pilots report, on a real database."""

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed

from pandatx.clock import Clock
from pandatx.config import Schemas
from pandatx.domain.caller import ANONYMOUS, Caller
from pandatx.domain.requests import Heartbeat
from pandatx.errors import RoleRequired
from pandatx.services.facts import Facts
from pandatx.services.heartbeats import Heartbeats
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import Query

PILOT = Caller(dn="/CN=pilot", name="pilot", how="x509", pilot=True)
ALICE = Caller(dn="/CN=alice", name="alice", how="x509")
BOB = Caller(dn="/CN=bob", name="bob", how="x509")


class MemorySpool:
    def __init__(self) -> None:
        self.kept: list[Heartbeat] = []

    def add(self, caller, beat):
        self.kept.append(beat)
        return succeed(None)


@pytest.fixture
def spool() -> MemorySpool:
    return MemorySpool()


@pytest.fixture
def woken() -> list[bool]:
    return []


@pytest.fixture
def heartbeats(database, spool, woken) -> Heartbeats:
    clock = Clock(reactor)
    return Heartbeats(database, clock, Facts(database, clock), spool, lambda: woken.append(True))


async def seed(database: Database, *ids: int, status: str = "sent", **columns) -> None:
    row = dict(attemptnr=1, prodsourcelabel="user", produsername="alice", computingsite="Q", gshare="User")
    row.update(columns)
    names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    query = Query(
        name="seed",
        text=f"INSERT INTO {{panda}}.jobsactive4 (pandaid, jobstatus, {names}) VALUES (%(id)s, %(status)s, {values})",
    )

    async def work(tx: Transaction) -> None:
        for panda_id in ids:
            await tx.run(query, id=panda_id, status=status, **row)

    await database.transaction("seed", work)


async def job(database: Database, panda_id: int = 1) -> dict:
    query = Query(name="job", text="SELECT * FROM {panda}.jobsactive4 WHERE pandaid = %(id)s")
    return (await database.statement("job", query, id=panda_id)).one()


async def rows(database: Database, what: str) -> list[tuple]:
    return (await database.statement("rows", Query(name=f"rows {what}", text=what))).rows


LOG = "SELECT pandaid, jobstatus FROM {panda}.jobs_statuslog ORDER BY modificationtime, pandaid"
REPORTS = "SELECT pandaid, jobstatus, attemptnr, data FROM {panda}.job_output_report ORDER BY pandaid"


def beat(job_id: int = 1, job_status: str = "running", **values) -> Heartbeat:
    return Heartbeat(job_id=job_id, job_status=job_status, **{"attempt_nr": 1, **values})


async def test_a_running_heartbeat_is_stored_and_logged(database, heartbeats):
    await seed(database, 1)
    reply = await heartbeats.report(PILOT, beat(node="slot1@host", max_rss=2048, batch_id="b.1"))
    assert (reply.code, reply.command) == (0, "")
    row = await job(database)
    assert (row["jobstatus"], row["modificationhost"], row["maxrss"]) == ("running", "slot1@host", 2048)
    assert row["starttime"] is not None
    assert await rows(database, LOG) == [(1, "running")]


async def test_a_second_running_heartbeat_changes_no_status(database, heartbeats):
    await seed(database, 1, status="running", maxrss=5)
    await heartbeats.report(PILOT, beat(n_events=3))
    row = await job(database)
    assert (row["nevents"], row["maxrss"], row["jobstatus"]) == (3, 5, "running")
    assert await rows(database, LOG) == []


async def test_a_final_report_makes_the_job_holding_and_wakes_the_adder(database, heartbeats, woken):
    await seed(database, 1, status="running", jobdispatchererrordiag="old")
    await heartbeats.report(PILOT, beat(job_status="finished", job_output_report='{"a": 1}', meta_data='{"m": 1}'))
    row = await job(database)
    assert (row["jobstatus"], row["jobdispatchererrordiag"]) == ("holding", None)
    assert row["endtime"] is not None
    assert await rows(database, REPORTS) == [(1, "finished", 1, '{"a": 1}')]
    assert await rows(database, "SELECT pandaid, metadata FROM {panda}.metatable") == [(1, '{"m": 1}')]
    assert woken


async def test_a_final_report_sent_twice_counts_once(database, heartbeats):
    await seed(database, 1, status="running")
    await heartbeats.report(PILOT, beat(job_status="finished", job_output_report="first"))
    reply = await heartbeats.report(PILOT, beat(job_status="finished", job_output_report="second"))
    assert reply.command == "alreadydone"
    assert await rows(database, REPORTS) == [(1, "finished", 1, "first")]
    assert await rows(database, LOG) == [(1, "holding")]


async def test_an_unknown_job_and_an_old_attempt_hear_tobekilled_and_change_nothing(database, heartbeats):
    await seed(database, 1, status="running", attemptnr=2)
    before = await job(database)
    assert (await heartbeats.report(PILOT, beat(99))).command == "tobekilled"
    assert (await heartbeats.report(PILOT, beat(1, attempt_nr=1, max_rss=9))).command == "tobekilled"
    assert await job(database) == before


async def test_many_at_once_are_all_answered_and_stored(database, heartbeats):
    await seed(database, *range(1, 101), status="running")
    beats = [Deferred.fromCoroutine(heartbeats.report(PILOT, beat(n, n_events=n))) for n in range(1, 101)]
    replies = await gatherResults(beats)
    assert all(reply.code == 0 for reply in replies)
    found = await rows(database, "SELECT pandaid FROM {panda}.jobsactive4 WHERE nevents = pandaid")
    assert len(found) == 100


async def test_two_reports_on_one_job_are_taken_in_order(database, heartbeats):
    await seed(database, 1, 2)
    beats = [beat(2), beat(1, "starting"), beat(1, "running"), beat(1, "finished", job_output_report="{}")]
    await gatherResults([Deferred.fromCoroutine(heartbeats.report(PILOT, one)) for one in beats])
    assert [status for panda_id, status in await rows(database, LOG) if panda_id == 1] == [
        "starting",
        "running",
        "holding",
    ]


async def test_a_row_that_somebody_holds_does_not_keep_the_others_waiting(database, heartbeats):
    await seed(database, 1, 2, status="running")
    held: Deferred[None] = Deferred()

    async def hold(tx: Transaction) -> None:
        await tx.run(Query(name="h", text="SELECT 1 FROM {panda}.jobsactive4 WHERE pandaid = 1 FOR UPDATE"))
        begun.callback(None)
        await held

    begun: Deferred[None] = Deferred()
    holding = Deferred.fromCoroutine(database.transaction("hold", hold))
    await begun
    slow, quick = (Deferred.fromCoroutine(heartbeats.report(PILOT, beat(n, n_events=5))) for n in (1, 2))
    replies = [await quick]
    assert not slow.called
    replies.append((await heartbeats.report_many(PILOT, [beat(2, n_events=5)]))[0])
    held.callback(None)
    replies.append(await slow)
    await holding
    assert [reply.code for reply in replies] == [0, 0, 0]
    assert [row[0] for row in await rows(database, "SELECT nevents FROM {panda}.jobsactive4")] == [5, 5]


async def test_a_report_is_taken_from_the_owner_and_not_from_a_stranger(database, heartbeats):
    await seed(database, 1, status="running")
    assert (await heartbeats.report(ALICE, beat(n_events=1))).code == 0
    for stranger in (BOB, ANONYMOUS):
        with pytest.raises(RoleRequired):
            await heartbeats.report(stranger, beat(n_events=2))
    assert (await job(database))["nevents"] == 1


async def test_a_command_waits_for_the_next_heartbeat(database, heartbeats):
    await seed(database, 1, status="running", commandtopilot="tobekilled", specialhandling="dm")
    await seed(database, 2, status="running", commandtopilot="ls -l", specialhandling="dm")
    assert (await heartbeats.report(PILOT, beat(1))).command == "tobekilled"
    assert (await heartbeats.report(PILOT, beat(2))).command == "debug,ls -l"


async def test_an_unknown_state_changes_nothing(database, heartbeats):
    await seed(database, 1, status="running")
    assert (await heartbeats.report(PILOT, beat(job_status="dancing", n_events=9))).code == 50
    assert (await job(database))["nevents"] == 0


async def test_debug_output_and_pilot_log_are_kept(database, heartbeats):
    await seed(database, 1, status="running")
    await heartbeats.report(PILOT, beat(stdout="x" * 3000, pilot_log="died of old age"))
    assert await rows(database, "SELECT length(stdout) FROM {panda}.jobsdebug") == [(2048,)]
    assert await rows(database, "SELECT pid, message FROM {panda}.pandalog") == [(1, "died of old age")]


async def test_a_final_report_without_a_database_is_spooled_and_a_heartbeat_is_refused(spool):
    from pandatx.errors import DatabaseAway

    clock = Clock(reactor)
    away = Database(name="away", conninfo="host=/nonexistent dbname=x", clock=clock, schemas=Schemas(), size=1)
    away.start()
    heartbeats = Heartbeats(away, clock, Facts(away, clock), spool, lambda: None)
    with pytest.raises(DatabaseAway):
        await heartbeats.report(PILOT, beat())
    final = beat(job_status="failed")
    assert (await heartbeats.report(PILOT, final)).code == 0
    assert spool.kept == [final]
    await away.stop()


async def test_the_batch_ids_of_another_batch_job_end_the_pilot(database, heartbeats):
    await seed(database, 1, status="running", batchid="cluster.a")
    assert (await heartbeats.report(PILOT, beat(batch_id="cluster.b"))).command == "tobekilled"
    assert (await job(database))["superrorcode"] == 1


async def test_the_worker_that_runs_the_job_names_its_computing_element(database, heartbeats):
    await seed(database, 1, computingelement="old")
    await seed(database, 2, computingelement="kept")

    async def link(tx: Transaction) -> None:
        await tx.run(
            Query(
                name="w",
                text="INSERT INTO {panda}.harvester_workers"
                " (harvesterid, workerid, lastupdate, status, computingelement)"
                " VALUES ('h', 1, '2026-01-01', 'running', 'ce9')",
            )
        )
        await tx.run(
            Query(name="r", text="INSERT INTO {panda}.harvester_rel_jobs_workers VALUES ('h', 1, 1, '2026-01-01')")
        )

    await database.transaction("link", link)
    await heartbeats.report(PILOT, beat(1))
    await heartbeats.report(PILOT, beat(2))
    assert (await job(database, 1))["computingelement"] == "ce9"
    assert (await job(database, 2))["computingelement"] == "kept"
