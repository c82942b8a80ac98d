"""Handing out jobs while the database is away, dies in the middle, or is asked for the impossible."""

import pytest
from attrs import evolve
from test_dispatch import PILOT, STATUS, NeverSloppy, ids, seed
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, DeferredList

from pandatx.clock import Clock
from pandatx.config import Schemas
from pandatx.domain.job import Job
from pandatx.domain.requests import JobRequest
from pandatx.errors import BadRequest, Busy, DatabaseAway
from pandatx.services.dispatch import Acquired, Dispatch
from pandatx.services.facts import Facts
from pandatx.store.database import Database, OutcomeUnknown, Transaction
from pandatx.store.queries import Query

QUEUE = JobRequest(site_name="Q")


@pytest.fixture
def dispatch(database: Database) -> Dispatch:
    clock = Clock(reactor)
    return Dispatch(database, clock, Facts(database, clock), random=NeverSloppy())


async def statuses(database: Database) -> list[tuple[int, str]]:
    return (await database.statement("status", STATUS)).rows


@pytest.fixture
def lost(monkeypatch) -> list[BaseException]:
    """The next commits end with these, though they happen."""
    faults: list[BaseException] = []
    commit = Database._commit

    async def commit_and_forget(self, session, tx, patience):
        await commit(self, session, tx, patience)
        if faults and tx.name == "dispatch.claim":
            raise faults.pop()

    monkeypatch.setattr(Database, "_commit", commit_and_forget)
    return faults


def test_without_a_database_a_pilot_waits_twenty_seconds_in_all_and_is_told_so():
    time = task.Clock()
    clock = Clock.manual(time)
    away = Database(name="away", conninfo="host=/nonexistent dbname=x", clock=clock, schemas=Schemas(), size=1)
    away.start()
    dispatch = Dispatch(away, clock, Facts(away, clock), random=NeverSloppy())
    first = Deferred.fromCoroutine(dispatch.acquire(PILOT, QUEUE))
    time.advance(5)
    second = Deferred.fromCoroutine(dispatch.acquire(PILOT, QUEUE))
    time.pump([1] * 14)
    assert not first.called
    time.pump([1] * 2)
    faults = [first.result.value]
    time.pump([1] * 6)
    faults.append(second.result.value)
    assert [type(fault) for fault in faults] == [DatabaseAway, DatabaseAway]
    for told in (first, second):
        told.addErrback(lambda _: None)


def test_what_is_to_be_given_back_makes_nobody_wait_longer():
    time = task.Clock()
    clock = Clock.manual(time)
    away = Database(name="away", conninfo="host=/nonexistent dbname=x", clock=clock, schemas=Schemas(), size=1)
    away.start()
    dispatch = Dispatch(away, clock, Facts(away, clock), random=NeverSloppy())
    unheard = Acquired(jobs=(Job(panda_id=1, job_status="sent"),), claimed_at=clock.now())
    asking = [Deferred.fromCoroutine(dispatch.give_back(unheard))]
    time.pump([1] * 22)
    for _ in range(2):
        asking.append(Deferred.fromCoroutine(dispatch.acquire(PILOT, QUEUE)))
        time.pump([1] * 15)
    assert [asked.called for asked in asking] == [True, True, False]
    time.pump([1] * 7)  # the second has waited for 22 s
    assert [type(asked.result.value) for asked in asking] == [DatabaseAway] * 3
    for asked in asking:
        asked.addErrback(lambda _: None)


async def test_a_claim_of_which_nobody_knows_the_end_is_given_back(database, dispatch, lost):
    await seed(database, 1, 2)
    lost.append(OutcomeUnknown())
    with pytest.raises(DatabaseAway):
        await dispatch.acquire(PILOT, QUEUE)
    assert await statuses(database) == [(1, "sent"), (2, "activated")]
    await dispatch.settle()
    assert await statuses(database) == [(1, "activated"), (2, "activated")]
    assert ids(await dispatch.acquire(PILOT, evolve(QUEUE, n_jobs=5))) == [1, 2]


async def test_giving_back_waits_for_a_claim_that_is_still_being_committed(database, dispatch):
    await seed(database, 1, 1)
    begun: Deferred[None] = Deferred()
    end: Deferred[None] = Deferred()
    acquired = await dispatch.acquire(PILOT, QUEUE)
    activate = "UPDATE {panda}.jobsactive4 SET jobstatus = %(status)s"
    await database.statement("reset", Query(name="reset", text=activate), status="activated")

    async def claim(tx: Transaction) -> None:  # as the server sees it whose client has gone
        await tx.run(Query(name="set", text=activate), status="sent")
        begun.callback(None)
        await end

    claiming = Deferred.fromCoroutine(database.transaction("claim", claim))
    await begun
    returning = Deferred.fromCoroutine(dispatch.give_back(acquired))
    reactor.callLater(0.2, end.callback, None)
    await claiming
    await returning
    assert await statuses(database) == [(1, "activated")]


async def test_an_answer_that_cannot_be_given_back_now_is_given_back_later(database, dispatch, monkeypatch):
    await seed(database, 1, 1)
    acquired = await dispatch.acquire(PILOT, QUEUE)

    async def away(*_, **__):
        raise DatabaseAway()

    with monkeypatch.context() as patch:
        patch.setattr(Database, "limited", away)
        with pytest.raises(Busy):
            await dispatch.give_back(acquired)
        with pytest.raises(Busy):
            await dispatch.settle()
    assert await statuses(database) == [(1, "sent")]
    await dispatch.settle()
    assert await statuses(database) == [(1, "activated")]


@pytest.mark.parametrize(
    "request_values",
    [{"site_name": "Q\0"}, {"harvester_id": "h", "worker_id": 2**70}, {"task_id": 2**70}, {"node": "a\0b"}],
)
async def test_a_request_with_a_value_that_no_column_takes_fails_alone(database, dispatch, request_values):
    await seed(database, 1, 9)
    asked = [QUEUE, evolve(QUEUE, **request_values), evolve(QUEUE, memory=4000)]
    block = Deferred.fromCoroutine(dispatch.acquire(PILOT, QUEUE))  # the others wait for it, together
    (_, *outcomes) = await DeferredList(
        [block, *(Deferred.fromCoroutine(dispatch.acquire(PILOT, one)) for one in asked)], consumeErrors=True
    )
    assert [success for success, _ in outcomes] == [True, False, True]
    assert isinstance(outcomes[1][1].value, BadRequest)
    given = [panda_id for success, got in outcomes if success for panda_id in ids(got)]
    assert len(given) == 2
    assert [status for _, status in await statuses(database)].count("sent") == 3


async def test_a_background_pilot_leaves_the_jobs_mark_and_others_take_it_away(database, dispatch):
    await seed(database, 1, 2)
    mark = "UPDATE {panda}.jobsactive4 SET jobexecutionid = 1"
    await database.statement("mark", Query(name="mark", text=mark))
    assert ids(await dispatch.acquire(PILOT, evolve(QUEUE, background=True))) == [1]
    assert ids(await dispatch.acquire(PILOT, QUEUE)) == [2]
    read = "SELECT pandaid, jobexecutionid FROM {panda}.jobsactive4 ORDER BY 1"
    assert (await database.statement("read", Query(name="read", text=read))).rows == [(1, 1), (2, 0)]


HARVESTER = Query(name="h", text="INSERT INTO {panda}.harvester_instances (harvester_id) VALUES ('h')")
WORKERS = Query(
    name="w",
    text="INSERT INTO {panda}.harvester_workers (harvesterid, workerid, lastupdate, status, njobs) "
    "SELECT 'h', n, '2026-01-01', 'submitted', 1 FROM generate_series(1, 2) n",
)
HELD = Query(name="held", text="SELECT 1 FROM {panda}.harvester_workers WHERE workerid = 1 FOR UPDATE")
STATES = Query(name="states", text="SELECT workerid, status FROM {panda}.harvester_workers ORDER BY workerid")


async def test_no_pilot_waits_for_the_harvester_that_reports_on_a_worker_just_then(database, dispatch):
    await seed(database, 1, 2)
    for query in (HARVESTER, WORKERS):
        await database.statement(query.name, query)
    begun, end = Deferred(), Deferred()

    async def report(tx: Transaction) -> None:
        await tx.run(HELD)
        begun.callback(None)
        await end

    reporting = Deferred.fromCoroutine(database.transaction("report", report))
    await begun
    asking = [evolve(QUEUE, harvester_id="h", worker_id=number) for number in (1, 2)]
    found = await DeferredList([Deferred.fromCoroutine(dispatch.acquire(PILOT, each)) for each in asking])
    end.callback(None)
    await reporting
    assert sorted(job for _, acquired in found for job in ids(acquired)) == [1, 2]
    assert (await database.statement("states", STATES)).rows == [(1, "submitted"), (2, "running")]
