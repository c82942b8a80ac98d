"""The lock rows of sync daemons in the real table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from twisted.internet.defer import ensureDeferred, gatherResults

from pandatx.services.locks import DaemonLocks
from pandatx.store import queries

ZERO = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def at(seconds):
    return ZERO + timedelta(seconds=seconds)


def query(text):
    return queries.Query(name=f"test_{abs(hash(text))}", text=text)


@pytest.fixture
def locks(database):
    return DaemonLocks(database)


async def rows(database):
    text = "SELECT component, lockedby, lockedtime, vo, workqueue_id FROM {panda}.jedi_process_lock"
    return (await database.statement("test", query(text))).rows


async def test_a_lock_is_taken_once_per_period_and_the_others_learn_when_it_is_free(locks, database):
    assert await locks.take("d", "a", at(0), MINUTE) is None
    assert await locks.take("d", "b", at(59), MINUTE) == at(60)
    assert await locks.take("d", "b", at(60), MINUTE) is None
    assert await rows(database) == [("pandaD.d", "b", at(60), "default", 0)]


async def test_taking_a_lock_twice_for_one_run_is_taking_it_once(locks):
    assert await locks.take("d", "a", at(0), MINUTE) is None
    assert await locks.take("d", "a", at(0), MINUTE) is None
    assert await locks.take("d", "a", at(1), MINUTE) == at(60)


async def test_a_lock_that_is_lost_can_neither_be_extended_nor_set_back(locks, database):
    await locks.take("d", "a", at(0), MINUTE)
    assert await locks.extend("d", "a", at(40))
    assert await locks.take("d", "b", at(90), MINUTE) == at(100)
    assert await locks.take("d", "b", at(100), MINUTE) is None
    assert not await locks.extend("d", "a", at(101))
    await locks.give_back("d", "a", at(0))
    assert (await rows(database))[0][1:3] == ("b", at(100))


async def test_a_lock_given_back_says_when_its_run_started(locks, database):
    await locks.take("d", "a", at(0), MINUTE)
    await locks.extend("d", "a", at(40))
    await locks.give_back("d", "a", at(0))
    assert (await rows(database))[0][1:3] == ("a", at(0))


async def test_of_many_servers_that_ask_at_once_one_gets_the_lock(locks):
    for start in (0, 60):
        asked = [ensureDeferred(locks.take("d", f"s{n}", at(start), MINUTE)) for n in range(10)]
        answers = await gatherResults(asked)
        assert answers.count(None) == 1
        assert set(answers) - {None} == {at(start + 60)}
