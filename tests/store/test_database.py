"""Transactions against a real PostgreSQL."""

import psycopg2
import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from pandatx.clock import Clock
from pandatx.config import Schemas
from pandatx.errors import Busy, DatabaseAway
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import Query


def sql(text: str, name: str = "q", parameters: tuple[tuple[str, str], ...] = ()) -> Query:
    return Query(name=name, text=text, parameters=parameters)


INSERT = sql("INSERT INTO {panda}.jobsdebug (pandaid, stdout) VALUES (%(id)s, %(text)s)", "ins")
COUNT = sql("SELECT count(*) FROM {panda}.jobsdebug", "cnt")


async def test_a_transaction_commits_what_its_work_did(database: Database):
    async def work(tx: Transaction, text: str) -> int:
        await tx.run(INSERT, id=1, text=text)
        return 7

    assert await database.transaction("test", work, "x") == 7
    assert (await database.statement("count", COUNT)).scalar() == 1


async def test_a_fault_in_the_work_leaves_nothing(database: Database):
    async def work(tx: Transaction) -> None:
        await tx.run(INSERT, id=1, text="x")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.transaction("test", work)
    assert (await database.statement("count", COUNT)).scalar() == 0


async def test_a_refused_statement_keeps_its_error_and_the_session_is_clean(database: Database):
    async def work(tx: Transaction) -> None:
        await tx.run(INSERT, id=1, text="x")
        await tx.run(INSERT, id=1, text="again")

    with pytest.raises(psycopg2.errors.UniqueViolation):
        await database.transaction("test", work)
    assert (await database.statement("count", COUNT)).scalar() == 0


async def test_the_time_limit_ends_a_statement(database: Database):
    async def work(tx: Transaction) -> None:
        await tx.run(sql("SELECT pg_sleep(30)"))

    with pytest.raises(Busy) as told:
        await database.limited("test", 0.2, 5.0, work)
    assert isinstance(told.value.__cause__, psycopg2.errors.QueryCanceled)
    assert (await database.statement("count", COUNT)).scalar() == 0


async def test_cancelling_the_caller_does_not_undo_the_work(database: Database):
    held: Deferred[None] = Deferred()

    async def work(tx: Transaction) -> None:
        await tx.run(INSERT, id=5, text="x")
        await held

    asked = Deferred.fromCoroutine(database.transaction("test", work))
    asked.addErrback(lambda failure: failure.trap(CancelledError))
    asked.cancel()
    held.callback(None)
    while not (await database.statement("count", COUNT)).scalar():
        pass
    assert (await database.statement("count", COUNT)).scalar() == 1


async def test_a_transaction_inside_another_is_refused(database: Database):
    async def inner(tx: Transaction) -> None:
        await tx.run(COUNT)

    async def outer(tx: Transaction) -> None:
        await tx.run(COUNT)
        await database.transaction("inner", inner)

    with pytest.raises(RuntimeError, match="inner inside outer"):
        await database.transaction("outer", outer)


async def test_a_prepared_query_runs_again_and_again(database: Database):
    query = sql("SELECT %(a)s + %(b)s", "plus", (("a", "int"), ("b", "int")))
    for n in range(5):
        assert (await database.statement("plus", query, a=n, b=1)).scalar() == n + 1


async def test_a_dead_session_is_not_handed_out(database: Database):
    assert (await database.statement("count", COUNT)).scalar() == 0
    kill = sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await database.statement("kill", kill)
    for _ in range(6):
        assert (await database.statement("count", COUNT)).scalar() == 0


async def test_a_session_lost_in_a_transaction_is_tried_again(database: Database):
    tries: list[int] = []

    async def work(tx: Transaction) -> None:
        await tx.run(INSERT, id=len(tries), text="x")
        tries.append(1)
        if len(tries) == 1:
            await tx.run(sql("SELECT pg_terminate_backend(pg_backend_pid())"))

    await database.transaction("test", work)
    assert len(tries) == 2
    assert (await database.statement("count", COUNT)).scalar() == 1


async def test_a_deadlock_is_tried_again(database: Database):
    async def seed(tx: Transaction) -> None:
        await tx.run(INSERT, id=1, text="x")
        await tx.run(INSERT, id=2, text="x")

    await database.transaction("seed", seed)
    lock = sql("SELECT 1 FROM {panda}.jobsdebug WHERE pandaid = %(id)s FOR UPDATE", "lock")
    both: list[Deferred[None]] = [Deferred(), Deferred()]

    async def work(tx: Transaction, first: int, second: int) -> None:
        await tx.run(lock, id=first)
        if not both[first - 1].called:
            both[first - 1].callback(None)
        await tx.run(sql("SELECT pg_sleep(0.05)"))
        await tx.run(lock, id=second)

    running = [Deferred.fromCoroutine(database.transaction("t", work, *pair)) for pair in ((1, 2), (2, 1))]
    for deferred in running:
        await deferred


async def test_without_a_database_the_answer_is_clear():
    database = Database(
        name="away", conninfo="host=/nonexistent dbname=x", clock=Clock(reactor), schemas=Schemas(), size=1
    )
    database.start()
    with pytest.raises(DatabaseAway):
        await database.statement("count", COUNT, patience=0.3)
    await database.stop()


async def test_times_come_back_aware(database: Database):
    row = await database.statement("time", sql("SELECT '2026-01-02 03:04:05'::timestamp AS t"))
    assert row.scalar().isoformat() == "2026-01-02T03:04:05+00:00"
