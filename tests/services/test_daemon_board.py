"""What servers tell of their daemons, pausing, and locks that are taken by hand; in the real tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from twisted.internet.task import Clock as ManualTime

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.daemons import DaemonCondition, DaemonState
from pandatx.errors import NotFound
from pandatx.services.daemons import DaemonBoard
from pandatx.services.instances import LIVE
from pandatx.services.locks import DaemonLocks, LocksByHand
from pandatx.store import instances

ZERO = datetime(2026, 1, 1, tzinfo=UTC)
PERIOD = timedelta(minutes=40)
ADMIN = Caller(name="admin", production=True, dn="/CN=admin", how="x509")


def at(seconds: float) -> datetime:
    return ZERO + timedelta(seconds=seconds)


def told(name="copyArchive", **how):
    return DaemonState(**{"name": name, "condition": DaemonCondition.WAITING, "period": 2400, "sync": True, **how})


@pytest.fixture
def time():
    return ManualTime()


@pytest.fixture
def boards(database, time):
    """The boards of two servers on one database."""
    clock = Clock.manual(time, ZERO)
    return [DaemonBoard(database, clock, name) for name in ("here-1", "there-2")]


async def enter(database, *names, seconds=0.0):
    for name in names:
        await instances.beat(database, name, "host", 0, None, at(seconds))


async def test_what_living_servers_tell_is_seen_by_all_with_the_lock(database, boards):
    await enter(database, "here-1", "there-2")
    here, there = boards
    state = told(
        last_start=at(-5), last_duration=1.5, next_start=at(2395), runs=3, failures=1, last_error="x", late=True
    )
    await here.tell([state, told("add_main", sync=False)])
    await there.tell([told()])
    await DaemonLocks(database).take("copyArchive", "here-1", at(-5), PERIOD)
    seen = await there.seen()
    assert [(each.server, each.state.name) for each in seen] == [
        ("here-1", "add_main"),
        ("here-1", "copyArchive"),
        ("there-2", "copyArchive"),
    ]
    assert seen[1].state == state
    assert [(each.lock_holder, each.locked_until) for each in seen] == [
        (None, None),
        ("here-1", at(2395)),
        ("here-1", at(2395)),
    ]


@pytest.mark.parametrize("fault", ["before\0after", "before\udc80after"])
async def test_an_error_that_no_column_holds_keeps_no_other_from_being_told(database, boards, fault):
    await enter(database, "here-1")
    await boards[0].tell([told(last_error=fault), told("add_main")])
    seen = {each.state.name: each.state.last_error for each in await boards[0].seen()}
    assert seen["add_main"] is None
    assert seen["copyArchive"].startswith("before") and seen["copyArchive"].endswith("after")


async def test_a_server_that_is_not_seen_any_more_is_not_listed(database, boards, time):
    await enter(database, "here-1")
    await boards[0].tell([told()])
    time.advance(LIVE.total_seconds() + 1)
    assert await boards[1].seen() == []


async def test_a_daemon_that_is_told_no_more_is_forgotten(database, boards):
    await enter(database, "here-1")
    await boards[0].tell([told(), told("gone")])
    await boards[0].tell([told()])
    assert [each.state.name for each in await boards[0].seen()] == ["copyArchive"]
    await boards[0].forget()
    assert await boards[0].seen() == []


async def test_a_pause_holds_on_all_servers_until_it_is_taken_back(database, boards):
    await enter(database, "here-1", "there-2")
    here, there = boards
    await here.tell([told()])
    await there.pause(ADMIN, "copyArchive")
    await there.pause(ADMIN, "copyArchive")
    assert await here.paused() == {"copyArchive"}
    assert (await here.seen())[0].state.condition is DaemonCondition.PAUSED
    await here.resume(ADMIN, "copyArchive")
    assert await there.paused() == frozenset()


async def test_a_run_under_way_is_shown_as_running_though_paused(database, boards):
    await enter(database, "here-1")
    await boards[0].tell([told(condition=DaemonCondition.RUNNING)])
    await boards[0].pause(ADMIN, "copyArchive")
    assert (await boards[0].seen())[0].state.condition is DaemonCondition.RUNNING


async def test_a_daemon_that_nobody_has_cannot_be_paused_nor_one_resumed_that_is_not(database, boards):
    await enter(database, "here-1")
    with pytest.raises(NotFound, match="no server runs a daemon nothing"):
        await boards[0].pause(ADMIN, "nothing")
    with pytest.raises(NotFound, match="nothing is not paused"):
        await boards[0].resume(ADMIN, "nothing")
    assert await boards[0].paused() == frozenset()


# Locks by hand.


async def take(database, seconds, holder="hand-9"):
    locks = LocksByHand(database)
    return locks, await locks.take("copyArchive", holder, at(seconds), PERIOD)


async def test_by_hand_a_lock_nobody_has_had_is_taken(database):
    assert (await take(database, 0))[1] is None


async def test_by_hand_a_lock_is_taken_before_its_time_where_its_holder_is_known_to_rest(database, boards):
    await enter(database, "here-1")
    await boards[0].tell([told()])
    await DaemonLocks(database).take("copyArchive", "here-1", at(0), PERIOD)
    locks, due = await take(database, 60)
    assert due is None
    await locks.give_back("copyArchive", "hand-9", at(60))
    # The server that had it goes on, a period after the run by hand; another run by hand may come before.
    assert await DaemonLocks(database).take("copyArchive", "here-1", at(100), PERIOD) == at(60) + PERIOD
    assert (await take(database, 120))[1] is None


@pytest.mark.parametrize("condition", [DaemonCondition.RUNNING, DaemonCondition.STOPPING])
async def test_by_hand_no_lock_is_taken_from_a_run_under_way(database, boards, condition):
    await enter(database, "here-1")
    await boards[0].tell([told(condition=condition)])
    await DaemonLocks(database).take("copyArchive", "here-1", at(0), PERIOD)
    assert (await take(database, 60))[1] == at(0) + PERIOD
    assert (await take(database, 2400))[1] is None


async def test_by_hand_no_lock_is_taken_from_a_run_that_may_just_have_begun(database, boards):
    await enter(database, "here-1")
    await boards[0].tell([told()])
    await DaemonLocks(database).take("copyArchive", "here-1", at(0), PERIOD)
    assert (await take(database, 9))[1] == at(0) + PERIOD
    assert (await take(database, 10))[1] is None


async def test_by_hand_an_older_servers_lock_is_left_alone_for_its_period(database):
    await DaemonLocks(database).take("copyArchive", "older-1-2", at(0), PERIOD)
    assert (await take(database, 60))[1] == at(0) + PERIOD
