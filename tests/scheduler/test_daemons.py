"""One scheduler for a state directory, and the pool of its scripts (rule R33)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as ManualClock

from pandatx.clock import Clock
from pandatx.config import DaemonEntry, DaemonSettings, LeftOut
from pandatx.daemons import LOCK_EVERY, Daemons, machine_lock
from pandatx.domain.daemons import DaemonCondition
from pandatx.errors import DatabaseAway
from pandatx.store.statedir import StateDirectory


class Pool:
    """Counts starts and stops."""

    def __init__(self):
        self.did = []

    async def start(self):
        self.did.append("start")

    async def stop(self, seconds):
        self.did.append("stop")

    def reload(self, size, lifetime, connections):
        self.reloaded = (size, lifetime, connections)


class Board:
    """What the servers of one test tell, and what is paused."""

    def __init__(self):
        self.told, self.pauses, self.forgotten, self.away = [], frozenset(), [], False

    async def tell(self, states):
        if self.away:
            raise DatabaseAway()
        self.told.append(states)

    async def paused(self):
        if self.away:
            raise DatabaseAway()
        return self.pauses

    async def forget(self):
        self.forgotten.append(len(self.told))


class Beat:
    """A native daemon that counts its runs."""

    def __init__(self):
        self.runs = 0

    async def run(self, context):
        self.runs += 1
        return False


def entry(name, period=10):
    return DaemonEntry(name=name, module=name, period=period, timeout=5)


ZERO = datetime(2026, 1, 1, tzinfo=UTC)
NATIVE = DaemonSettings(enable=True, entries=(entry("add_main"),))
SCRIPT = DaemonSettings(enable=True, package="mine.scripts", entries=(entry("sweep"),))


class Server:
    """The daemons of one process."""

    def __init__(self, reactor, path, settings=NATIVE, paused=(), start=True):
        self.pool, self.beat, self.board = Pool(), Beat(), Board()
        self.board.pauses = frozenset(paused)
        state = StateDirectory(path)
        self.daemons = Daemons(
            Clock.manual(reactor, ZERO), settings, {"add_main": self.beat}, self.pool, None, state, self.board
        )
        if start:
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


def test_an_entry_of_a_daemon_that_there_is_none_stands_on_the_board_also_after_a_reload(reactor, tmp_path):
    server = Server(reactor, tmp_path)
    now(server.daemons.reload(DaemonSettings(enable=True, entries=(entry("add_mian"), entry("add_main")))))
    found = {state.name: state for state in server.daemons.scheduler.states}
    assert set(found) == {"add_main", "add_mian"}
    assert found["add_mian"].condition is DaemonCondition.LEFT_OUT
    assert found["add_mian"].last_error == "this server has no daemon add_mian"


def test_of_two_reloads_one_in_the_other_the_newer_section_holds(reactor, tmp_path):
    server = Server(reactor, tmp_path)
    waits = Deferred()

    async def start():
        await waits

    server.pool.start = start  # the first script's children take a while
    first = Deferred.fromCoroutine(server.daemons.reload(SCRIPT))
    now(server.daemons.reload(NATIVE))
    waits.callback(None)
    assert first.called and server.names == ["add_main"]


def test_a_section_that_comes_while_the_first_children_start_is_the_one_that_holds(reactor, tmp_path):
    server, waits = Server(reactor, tmp_path, start=False), Deferred()

    async def start():
        await waits

    server.pool.start = start
    server.daemons._settings = SCRIPT
    starting = Deferred.fromCoroutine(server.daemons.start())
    now(server.daemons.reload(NATIVE))
    waits.callback(None)
    assert starting.called and server.names == ["add_main"]


def test_a_daemon_that_is_paused_does_not_run_even_once_after_a_restart(reactor, tmp_path):
    server = Server(reactor, tmp_path, paused={"add_main"})
    reactor.pump([1.0] * 30)
    assert server.beat.runs == 0
    assert server.board.told[0][0].condition is DaemonCondition.PAUSED
    server.board.pauses = frozenset()
    reactor.pump([1.0] * 15)
    assert server.beat.runs == 1


def test_the_board_learns_of_a_change_within_two_seconds_and_of_no_change_nothing(reactor, tmp_path):
    server = Server(reactor, tmp_path)
    reactor.pump([0.25] * 16)
    told = len(server.board.told)
    assert server.board.told[-1][0].runs == 1
    reactor.pump([0.25] * 16)
    assert len(server.board.told) == told


def test_without_a_database_the_daemons_go_on_and_the_board_is_told_later(reactor, tmp_path):
    server = Server(reactor, tmp_path)
    server.board.away = True
    reactor.pump([1.0] * 25)
    assert server.beat.runs == 3
    before = len(server.board.told)
    server.board.away = False
    reactor.pump([1.0] * 3)
    assert server.board.told[before][0].runs == 3


def test_an_entry_that_was_left_out_stands_on_the_board_with_its_reason(reactor, tmp_path):
    settings = DaemonSettings(
        enable=True, entries=(entry("add_main"),), faults=(LeftOut(name="bad", why="it has no period"),)
    )
    server = Server(reactor, tmp_path, settings)
    bad = server.board.told[0][1]
    assert (bad.name, bad.condition, bad.last_error, bad.ok) == ("bad", "left out", "it has no period", False)


def test_a_daemon_that_another_process_of_the_machine_runs_is_passed_over(reactor, tmp_path):
    state = StateDirectory(tmp_path)
    held = machine_lock(state, "add_main")
    server = Server(reactor, tmp_path)
    reactor.pump([1.0] * 5)
    assert server.beat.runs == 0
    held.release()
    reactor.pump([1.0] * 10)
    assert server.beat.runs == 1


def test_a_daemons_machine_lock_stays_in_the_state_directory_whatever_its_name(tmp_path):
    state = StateDirectory(tmp_path)
    machine_lock(state, "../../etc/passwd").release()
    assert [path.parent for path in tmp_path.iterdir()] == [tmp_path]


def test_the_board_forgets_servers_that_died_when_one_begins_and_each_that_stops(reactor, tmp_path):
    server = Server(reactor, tmp_path)
    reactor.pump([1.0] * 3)
    assert server.board.forgotten == [0]
    now(server.daemons.stop())
    assert server.board.forgotten == [0, len(server.board.told)]


def test_a_process_that_is_stopped_while_it_takes_over_begins_nothing(reactor, tmp_path):
    first, second = Server(reactor, tmp_path), Server(reactor, tmp_path)
    waits = Deferred()

    async def paused():
        await waits
        return frozenset()

    second.board.paused = paused
    now(first.daemons.stop())
    reactor.advance(LOCK_EVERY)
    now(second.daemons.stop())
    waits.callback(None)
    reactor.advance(30)
    assert second.beat.runs == 0
