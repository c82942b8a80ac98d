"""What is counted together is added once, also when the answer to the commit is lost on its way."""

import os
import socket

import pytest
from endings import run
from twisted.internet import reactor

from pandatx.clock import Clock
from pandatx.domain.fit import Want
from pandatx.domain.labels import accepted
from pandatx.errors import DatabaseAway
from pandatx.services.asks import Asks
from pandatx.services.counters import MOST_QUEUES, OTHERS, Counters
from pandatx.store.database import Database, Session


@pytest.fixture
def lost_answer(monkeypatch):
    """The connection breaks behind the next COMMIT."""
    original, left = Session.execute, ["COMMIT"]

    async def execute(self, text, params=None):
        if text not in left:
            return await original(self, text, params)
        left.remove(text)
        wire = socket.socket(fileno=os.dup(self._connection.pollable().fileno()))
        wire.shutdown(socket.SHUT_RD)
        wire.close()
        return await original(self, text, params)

    monkeypatch.setattr(Session, "execute", execute)


async def test_requests_by_queue_are_added_once(database, lost_answer):
    counters = Counters(database, Clock(reactor), "one")
    counters.count("Q", "get_job")
    for _ in range(2):
        await counters.flush()
    assert await run(database, "SELECT queue, sum(get_job)::int FROM {own}.request_counts GROUP BY 1") == [("Q", 1)]


async def test_what_pilots_asked_for_is_added_once(database, lost_answer):
    asks = Asks(database, Clock(reactor), "one")
    asks.note("Q", Want(labels=accepted("managed", None, None, None)), served=True)
    for _ in range(2):
        await asks.flush()
    assert await run(database, "SELECT queue, sum(asked)::int FROM {own}.asks GROUP BY 1") == [("Q", 1)]


async def test_an_outage_makes_no_more_of_names_that_pilots_make_up(database, monkeypatch):
    async def away(*_, **__):
        raise DatabaseAway

    counters = Counters(database, Clock(reactor), "one")
    with monkeypatch.context() as patch:
        patch.setattr(Database, "transaction", away)
        for minute in range(3):
            for n in range(MOST_QUEUES):
                counters.count(f"{minute} {n}", "get_job")
            await counters.flush()
    await counters.flush()
    found = await run(database, "SELECT count(*)::int, sum(get_job)::int FROM {own}.request_counts")
    assert found == [(MOST_QUEUES + 1, 3 * MOST_QUEUES)]
    others = "SELECT get_job::int FROM {own}.request_counts WHERE queue = %(queue)s"
    assert await run(database, others, queue=OTHERS) == [(2 * MOST_QUEUES,)]
