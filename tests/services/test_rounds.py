"""Batches that begin when there is something to do."""

import pytest
from twisted.internet import task
from twisted.internet.defer import Deferred

from pandatx.clock import Clock
from pandatx.errors import DatabaseAway
from pandatx.services.rounds import LOOK, MOST, SLOW, Rounds


class Work:
    """Batches that the test ends."""

    def __init__(self) -> None:
        self.begun: list[Deferred[int]] = []

    def __call__(self) -> Deferred[int]:
        self.begun.append(Deferred())
        return self.begun[-1]


@pytest.fixture
def time() -> task.Clock:
    return task.Clock()


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def rounds(time, work) -> Rounds:
    return Rounds(Clock(time), work, 3)


def test_a_wake_begins_a_batch_and_those_during_it_one_more(rounds, work):
    rounds.wake()
    rounds.wake()
    rounds.wake()
    assert len(work.begun) == 1
    work.begun[0].callback(1)
    assert len(work.begun) == 2
    work.begun[1].callback(0)
    assert len(work.begun) == 2


def test_a_full_batch_is_followed_by_another(rounds, work):
    rounds.wake()
    work.begun[0].callback(3)
    assert len(work.begun) == 2


def test_a_slow_batch_does_not_keep_others_waiting_but_not_too_many(rounds, work, time):
    for _ in range(MOST + 3):
        rounds.wake()
        time.advance(SLOW)
    assert len(work.begun) == MOST
    work.begun[0].callback(0)
    assert len(work.begun) == MOST + 1


def test_what_others_left_is_looked_for_every_ten_seconds(rounds, work, time):
    rounds.start()
    work.begun[0].callback(0)
    time.advance(LOOK)
    assert len(work.begun) == 2


def test_a_fault_does_not_end_it(rounds, work, time):
    rounds.start()
    work.begun[0].errback(DatabaseAway())
    time.advance(LOOK)
    assert len(work.begun) == 2


def test_a_stop_waits_for_what_runs_and_begins_nothing(rounds, work, time):
    rounds.start()
    rounds.wake()
    stopped = Deferred.fromCoroutine(rounds.stop())
    assert not stopped.called
    work.begun[0].callback(3)
    assert stopped.called
    rounds.wake()
    time.advance(LOOK)
    assert len(work.begun) == 1
    assert time.getDelayedCalls() == []
