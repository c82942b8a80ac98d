"""What transactions make of a server that hangs, dies, forgets or refuses, against a real PostgreSQL."""

import os
import signal
import socket

import psycopg2
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from pandatx.clock import Clock
from pandatx.config import Schemas
from pandatx.errors import Busy, DatabaseAway
from pandatx.store import database as module
from pandatx.store.database import Database, OutcomeUnknown, Session, Transaction
from pandatx.store.queries import Query


def sql(text: str, name: str = "", parameters: tuple[tuple[str, str], ...] = ()) -> Query:
    return Query(name=name or text, text=text, parameters=parameters)


INSERT = sql("INSERT INTO {panda}.jobsdebug (pandaid, stdout) VALUES (%(id)s, 'x')")
COUNT = sql("SELECT count(*) FROM {panda}.jobsdebug")
XID = sql("SELECT pg_current_xact_id()::text::bigint")
PID = sql("SELECT pg_backend_pid()")


async def count(database: Database) -> int:
    return (await database.statement("count", COUNT)).scalar()


def raising(code: str) -> Query:
    return sql(f"DO $$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '{code}'; END $$")


async def test_a_server_that_hangs_costs_its_session_and_nothing_else(database: Database, monkeypatch):
    monkeypatch.setattr(module, "CANCEL_GRACE", 0.2)
    pids: list[int] = []

    async def work(tx: Transaction) -> None:
        pids.append((await tx.run(PID)).scalar())
        os.kill(pids[-1], signal.SIGSTOP)
        await tx.run(COUNT)

    try:
        with pytest.raises(Busy):
            await database.limited("test", 0.3, 5.0, work)
        assert len(pids) == 1
        for _ in range(4):
            assert await count(database) == 0
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_a_frozen_database_server_holds_up_neither_us_nor_our_threads(database, cluster, monkeypatch):
    """Statements are cancelled all the same, and reports that cannot be stored are written to the disk in threads."""
    monkeypatch.setattr(module, "CANCEL_GRACE", 0.2)
    backends: list[int] = []

    async def work(tx: Transaction) -> None:
        backends.append((await tx.run(PID)).scalar())
        while len(backends) < 3:
            await deferLater(reactor, 0.01)
        for pid in (cluster.pid, *backends):
            os.kill(pid, signal.SIGSTOP)
        await tx.run(COUNT)

    reactor.suggestThreadPoolSize(2)
    try:
        working = [Deferred.fromCoroutine(database.limited("test", 0.3, 5.0, work)) for _ in range(3)]
        for success, fault in await DeferredList(working, consumeErrors=True):
            assert not success and isinstance(fault.value, Busy)
        assert await deferToThread(lambda: "done").addTimeout(2, reactor) == "done"
    finally:
        for pid in (cluster.pid, *backends):
            os.kill(pid, signal.SIGCONT)
        reactor.suggestThreadPoolSize(10)


async def test_after_one_session_that_obeys_nobody_the_idle_ones_are_not_tried_one_after_the_other(
    database: Database, cluster, monkeypatch
):
    monkeypatch.setattr(module, "CANCEL_GRACE", 0.2)
    while len(database.pool.sessions) < database.size:
        await deferLater(reactor, 0.01)
    frozen = [cluster.pid, *(session.backend for session in database.pool.sessions)]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(Busy, match="takes too long"):
            await database.statement("count", COUNT, timeout=0.3)
        began = reactor.seconds()
        with pytest.raises(DatabaseAway):
            await database.statement("count", COUNT, patience=0.3)
        assert reactor.seconds() - began < 1.0
        assert not database.up
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    assert (await database.statement("count", COUNT, patience=20.0)).scalar() == 0


async def test_a_statement_over_its_limit_is_cancelled_in_the_server_too(database: Database, monkeypatch):
    monkeypatch.setattr(module, "CANCEL_GRACE", 1.0)

    async def work(tx: Transaction) -> None:
        await tx.run(sql("SET LOCAL statement_timeout = 0"))
        await tx.run(sql("SELECT pg_sleep(60)"))

    began = reactor.seconds()
    with pytest.raises(Busy):
        await database.limited("test", 0.3, 5.0, work)
    assert reactor.seconds() - began < 2.2, "the session was not ended: the statement was"
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"
    assert (await database.statement("sleeping", sql(sleeping))).scalar() == 0


async def test_a_server_that_takes_the_connection_and_says_nothing_is_no_database(monkeypatch):
    monkeypatch.setattr(module, "CONNECT_LIMIT", 0.2)
    port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
    database = Database(
        name="silent",
        conninfo=f"host=127.0.0.1 port={port.getHost().port} dbname=x sslmode=disable",
        clock=Clock(reactor),
        schemas=Schemas(),
        size=1,
    )
    database.start()
    with pytest.raises(DatabaseAway):
        await database.statement("count", COUNT, patience=0.6)
    assert "no answer" in database.why_down
    await database.stop()
    await port.stopListening()


@pytest.fixture
def cut(monkeypatch):
    """Break the connection of the next COMMIT, "before" it is sent or "after"."""
    original, when = Session.execute, []

    async def execute(self, text, params=None):
        if text != "COMMIT" or not when:
            return await original(self, text, params)
        wire = socket.socket(fileno=os.dup(self._connection.pollable().fileno()))
        try:
            if when.pop() == "before":
                wire.shutdown(socket.SHUT_RDWR)
                return await original(self, text, params)
            wire.shutdown(socket.SHUT_RD)
            return await original(self, text, params)
        finally:
            wire.close()

    monkeypatch.setattr(Session, "execute", execute)
    return when


async def _insert(tx: Transaction, tries: list[int], known: bool) -> str:
    await tx.run(INSERT, id=len(tries))
    tries.append(1)
    if known:
        tx.xid = (await tx.run(XID)).scalar()
    return "done"


async def test_a_commit_whose_answer_is_lost_is_looked_up_and_counts(database: Database, cut):
    cut.append("after")
    tries: list[int] = []
    assert await database.transaction("test", _insert, tries, True) == "done"
    assert (len(tries), await count(database)) == (1, 1)


async def test_a_commit_that_never_arrived_is_looked_up_and_done_again(database: Database, cut):
    cut.append("before")
    tries: list[int] = []
    assert await database.transaction("test", _insert, tries, True) == "done"
    assert (len(tries), await count(database)) == (2, 1)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_commit_that_nobody_can_be_asked_about_is_said_to_be_unknown(database: Database, cut, when):
    cut.append(when)
    with pytest.raises(OutcomeUnknown):
        await database.transaction("test", _insert, [], False)


async def test_how_a_commit_ended_is_asked_for_no_longer_than_the_transaction_waits_for_a_session(
    database: Database, cut, monkeypatch
):
    """Those in line behind it, pilots perhaps, have a time too (rule R15)."""

    async def away() -> Session:
        raise DatabaseAway

    async def work(tx: Transaction) -> str:
        monkeypatch.setattr(database.pool, "_connect", away)
        return await _insert(tx, [], True)

    while len(database.pool.sessions) < database.size:
        await deferLater(reactor, 0.01)
    cut.append("after")
    began = reactor.seconds()
    with pytest.raises(OutcomeUnknown):
        await database.limited("test", 10.0, 1.5, work)
    assert 1.0 <= reactor.seconds() - began < 4.0


async def test_after_a_crash_of_the_server_the_number_of_a_transaction_proves_nothing(database: Database, cut):
    async def work(tx: Transaction) -> None:
        await _insert(tx, [], True)
        tx._session.epoch = "of an earlier run"

    cut.append("after")
    with pytest.raises(OutcomeUnknown):
        await database.transaction("test", work)


async def test_a_crash_of_the_server_is_told_by_its_sessions(database: Database):
    before = next(iter(database.pool.sessions)).epoch if await count(database) == 0 else None
    pid = (await database.statement("pid", PID)).scalar()
    os.kill(pid, signal.SIGKILL)
    for _ in range(200):  # the other sessions answer until the postmaster has ended them
        assert (await database.statement("count", COUNT, patience=20.0)).scalar() == 0
        if {session.epoch for session in database.pool.sessions if not session.closed} != {before}:
            break
        await deferLater(reactor, 0.05)
    else:
        pytest.fail("the new sessions tell of no crash")


async def test_deadlocks_without_end_are_told_as_busy(database: Database):
    tries: list[int] = []

    async def work(tx: Transaction) -> None:
        tries.append(1)
        await tx.run(raising("40P01"))

    with pytest.raises(Busy):
        await database.transaction("test", work)
    assert len(tries) == 4  # the first one, and three more (rule R1)


@pytest.mark.parametrize("code", ["53100", "53200", "58030", "25006"])
async def test_a_server_without_room_or_on_standby_is_no_database(database: Database, code):
    async def work(tx: Transaction) -> None:
        await tx.run(raising(code))

    with pytest.raises(DatabaseAway):
        await database.transaction("test", work)
    assert await count(database) == 0


async def test_a_session_that_forgot_its_statements_is_replaced(database: Database):
    plus = sql("SELECT %(a)s + 1", "plus", (("a", "int"),))
    assert (await database.statement("plus", plus, a=1)).scalar() == 2
    for session in database.pool.sessions:
        await session.execute("DEALLOCATE ALL")
    for n in range(4):
        assert (await database.statement("plus", plus, a=n)).scalar() == n + 1


async def test_a_first_execution_that_fails_leaves_no_session_in_doubt(database: Database):
    divide = sql("SELECT 1 / %(a)s", "divide", (("a", "int"),))
    for _ in range(4):
        with pytest.raises(psycopg2.errors.DivisionByZero):
            await database.statement("divide", divide, a=0)
    assert (await database.statement("divide", divide, a=1)).scalar() == 1


async def test_no_transaction_may_take_more_than_a_minute(database: Database):
    async def work(tx: Transaction) -> str:
        return (await tx.run(sql("SHOW statement_timeout"))).scalar()

    assert await database.limited("test", 600.0, 5.0, work) == "56s"
    idle = await database.statement("idle", sql("SHOW idle_in_transaction_session_timeout"))
    assert idle.scalar() == "1min"
