"""One scheduler for a state directory, and the pool of its scripts (rule R33)."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as ManualClock
from twisted.logger import globalLogPublisher

from pandatx.clock import Clock
from pandatx.config import DaemonEntry, DaemonSettings
from pandatx.daemons import LOCK_EVERY, Daemons
from pandatx.store.statedir import StateDirectory


class Pool:
    """Counts starts and stops."""

    def __init__(self):
        self.did = []

    async def start(self):
        self.did.append("start")

    async def stop(self, seconds):
        self.did.append("stop")


class Beat:
    """A native daemon that counts its runs."""

    def __init__(self):
        self.runs = 0

    async def run(self, context):
        self.runs += 1
        return False


def entry(name, period=10):
    return DaemonEntry(name=name, module=name, period=period, timeout=5)


NATIVE = DaemonSettings(enable=True, entries=(entry("add_main"),))
SCRIPT = DaemonSettings(enable=True, package="mine.scripts", entries=(entry("sweep"),))


class Server:
    """The daemons of one process."""

    def __init__(self, reactor, path, settings=NATIVE):
        self.pool, self.beat = Pool(), Beat()
        state = StateDirectory(path)
        self.daemons = Daemons(Clock(reactor), settings, {"add_main": self.beat}, self.pool, None, state)
        now(self.daemons.start())

    @property
    def names(self):
        return [state.name for state in self.daemons.scheduler.states]


def now(coroutine):
    done = Deferred.fromCoroutine(coroutine)
    assert done.called
    return done


@pytest.fixture
def reactor():
    return ManualClock()


def test_the_daemons_of_a_state_directory_run_in_one_process_and_another_takes_over(reactor, tmp_path):
    first, second = Server(reactor, tmp_path), Server(reactor, tmp_path)
    reactor.pump([1.0] * 25)
    assert (first.beat.runs, second.beat.runs) == (3, 0)
    now(first.daemons.stop())
    reactor.advance(LOCK_EVERY)
    reactor.advance(1)
    assert (first.beat.runs, second.beat.runs) == (3, 1)


def test_children_for_scripts_are_started_only_when_there_is_a_script(reactor, tmp_path):
    server = Server(reactor, tmp_path)
    assert server.pool.did == []
    now(server.daemons.reload(SCRIPT))
    now(server.daemons.reload(SCRIPT))
    assert server.pool.did == ["start"]
    now(server.daemons.stop())
    assert server.pool.did == ["start", "stop"]


def test_a_process_that_waits_takes_over_with_the_newest_section(reactor, tmp_path):
    first, second = Server(reactor, tmp_path), Server(reactor, tmp_path)
    now(second.daemons.reload(SCRIPT))
    assert second.daemons.scheduler is None
    now(first.daemons.stop())
    reactor.advance(LOCK_EVERY)
    assert second.names == ["sweep"]


def test_daemons_of_the_guide_that_are_absent_are_one_warning_also_after_a_reload(reactor, tmp_path):
    events = []
    globalLogPublisher.addObserver(events.append)
    server = Server(reactor, tmp_path)
    absent = DaemonSettings(enable=True, entries=(entry("task_evaluator"), entry("datasetManager"), entry("add_main")))
    now(server.daemons.reload(absent))
    globalLogPublisher.removeObserver(events.append)
    said = [event["names"] for event in events if "names" in event]
    assert said == ["task_evaluator, datasetManager"]
    assert server.names == ["add_main"]
