"""When daemons run; time is moved by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock as ManualTime
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from pandatx.clock import Clock
from pandatx.config import LeftOut
from pandatx.domain.daemons import DaemonCondition
from pandatx.errors import DatabaseAway
from pandatx.scheduler.context import Context
from pandatx.scheduler.daemon import Daemon
from pandatx.scheduler.loop import Scheduler

ZERO = datetime(2026, 1, 1, tzinfo=UTC)


class Code:
    """A daemon that notes when it starts and takes as long as it is told."""

    def __init__(self, time, lasting=0.0, result=False, step=None):
        self.time, self.lasting, self.result, self.step = time, lasting, result, step
        self.starts, self.contexts, self.raises = [], [], None

    async def run(self, context):
        self.starts.append(self.time.seconds())
        self.contexts.append(context)
        if self.raises is not None:
            raise self.raises
        if self.step:
            while True:
                await deferLater(self.time, self.step)
                await context.breathe()
        if self.lasting:
            await deferLater(self.time, self.lasting)
        return self.result


class OneTable:
    """Lock rows as the database keeps them, for the servers of one test. ``slow``: what answers wait for."""

    def __init__(self):
        self.rows, self.moves, self.away, self.slow = {}, [], False, None

    async def take(self, name, holder, start, period):
        if self.slow is not None:
            await self.slow
        if self.away:
            raise DatabaseAway()
        row = self.rows.get(name)
        if row and row[1] > start - period:
            return row[1] + period
        self.rows[name] = (holder, start)
        return None

    async def extend(self, name, holder, now):
        if self.away:
            raise DatabaseAway()
        if self.rows[name][0] != holder:
            return False
        self.moves.append((now - ZERO).total_seconds())
        self.rows[name] = (holder, now)
        return True

    async def give_back(self, name, holder, start):
        if self.rows[name][0] == holder:
            self.rows[name] = (holder, start)


class World:
    def __init__(self):
        self.time, self.table, self.log = ManualTime(), OneTable(), []
        self.clock = Clock.manual(self.time, ZERO)

    def code(self, **how):
        return Code(self.time, **how)

    def server(self, *daemons, holder="here-1", **how):
        scheduler = Scheduler(self.clock, self.table, holder, daemons, **how)
        scheduler.start()
        return scheduler

    def pass_seconds(self, seconds, step=1.0):
        self.time.advance(0)
        self.time.pump([step] * int(seconds / step))

    def locked_at(self, name):
        return (self.table.rows[name][1] - ZERO).total_seconds()


def daemon(code, name="d", period=60, timeout=1000, **how):
    return Daemon(name=name, period=period, timeout=timeout, code=code, **how)


def ended(deferred):
    results = []
    deferred.addBoth(results.append)
    assert results, "it is still under way"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


@pytest.fixture
def world():
    made = World()
    globalLogPublisher.addObserver(observer := lambda event: made.log.append(formatEvent(event)))
    yield made
    globalLogPublisher.removeObserver(observer)


def test_a_daemon_runs_at_once_and_then_every_period(world):
    code = world.code()
    world.server(daemon(code))
    world.pass_seconds(190)
    assert code.starts == [0, 60, 120, 180]


def test_a_run_longer_than_its_period_is_not_doubled_and_both_durations_are_logged(world):
    code = world.code(lasting=90)
    world.server(daemon(code))
    world.pass_seconds(210, step=30)
    assert code.starts == [0, 120]
    assert [line for line in world.log if "exceeding its period" in line] == [
        "daemon d: took 90 s, exceeding its period of 60 s"
    ] * 2


def test_first_starts_are_a_second_apart_and_jittered(world):
    codes = [world.code() for _ in range(3)]
    world.server(*(daemon(code, name=f"d{n}") for n, code in enumerate(codes)), jitter=lambda: 0.25)
    world.pass_seconds(10, step=0.25)
    assert [code.starts for code in codes] == [[0.25], [1.25], [2.25]]


def test_in_loop_mode_true_means_again_at_once_until_the_period_has_passed_without_a_warning(world):
    code = world.code(lasting=25, result=True)
    world.server(daemon(code, loop=True))
    world.pass_seconds(74)
    assert code.starts == [0, 25, 50]
    world.pass_seconds(2)
    assert code.starts == [0, 25, 50, 75], "the next period begins when the last run of this one is over"
    assert not world.log


def test_in_loop_mode_false_ends_the_loop_until_the_next_period(world):
    code = world.code(lasting=5)
    world.server(daemon(code, loop=True))
    world.pass_seconds(70)
    assert code.starts == [0, 60]


def test_a_loop_is_no_busy_loop_for_the_reactor(world):
    code = world.code(result=True)
    world.server(daemon(code, loop=True))
    world.pass_seconds(2, step=0.05)
    assert 2 < len(code.starts) < 25


def test_a_native_daemon_over_its_limit_ends_at_its_next_breath_and_runs_again_later(world):
    code = world.code(step=7)
    scheduler = world.server(daemon(code, timeout=20))
    world.pass_seconds(20)
    assert scheduler.states[0].condition is DaemonCondition.STOPPING
    world.pass_seconds(2)
    state = scheduler.states[0]
    assert (state.condition, state.last_duration) == (DaemonCondition.WAITING, 21)
    assert "more than its limit of 20 s" in state.last_error
    world.pass_seconds(40)
    assert code.starts == [0, 60]


def test_a_native_daemon_that_never_breathes_is_cancelled_a_batch_limit_later(world):
    code = world.code(lasting=10_000)
    scheduler = world.server(daemon(code, timeout=20))
    world.pass_seconds(79)
    assert scheduler.states[0].condition is DaemonCondition.STOPPING
    world.pass_seconds(2)
    assert scheduler.states[0].condition is DaemonCondition.WAITING


@pytest.mark.parametrize("fault", [ValueError("nonsense"), DatabaseAway(), SystemError("odd"), SystemExit("end")])
def test_a_fault_is_logged_once_and_stops_nothing_for_good(world, fault):
    code, other = world.code(), world.code()
    code.raises = fault
    scheduler = world.server(daemon(code), daemon(other, name="e"))
    world.pass_seconds(125)
    assert len(code.starts) == 3 and len(other.starts) == 3
    (told,) = [line for line in world.log if str(fault) in line]
    assert ("Traceback" in told) == (not isinstance(fault, DatabaseAway))  # nothing in the code is to be mended then
    assert str(fault) in scheduler.states[0].last_error
    assert scheduler.summary == "1 ok, 1 failed"
    code.raises = None
    world.pass_seconds(60)
    assert scheduler.states[0].last_error is None
    assert scheduler.summary == "2 ok"


def test_what_a_run_has_done_is_logged_only_if_it_did_something(world):
    class Worker:
        async def run(self, context):
            context.did(failed=2, looked=0)
            context.did(failed=1)
            return False

    world.server(daemon(Worker()), daemon(world.code(), name="idle"))
    world.pass_seconds(5)
    assert world.log == ["daemon d: failed 3 in 0.0 s"]


def test_arguments_and_time_reach_the_daemon(world):
    code = world.code()
    world.server(daemon(code, arguments=("--x", 3), timeout=50))
    world.pass_seconds(1)
    context = code.contexts[0]
    assert context.arguments == ("--x", 3)
    assert context.now() == ZERO + timedelta(seconds=1)
    assert context.seconds_left() == 49


def test_a_daemons_log_is_a_file_whatever_its_name(world):
    assert Context(world.clock, "a.b/../c").log.namespace == "pandatx.scheduler.daemons.a_b____c"


def test_a_paused_daemon_does_not_run_until_it_is_resumed(world):
    code = world.code()
    scheduler = world.server(daemon(code))
    world.pass_seconds(1)
    scheduler.pause(frozenset({"d"}))
    world.pass_seconds(120)
    assert code.starts == [0]
    assert (scheduler.states[0].condition, scheduler.states[0].next_start) == (DaemonCondition.PAUSED, None)
    assert scheduler.summary == "0 ok, 1 paused"
    scheduler.pause(frozenset())
    world.pass_seconds(60)
    assert len(code.starts) == 2


def test_the_state_tells_last_and_next_start(world):
    scheduler = world.server(daemon(world.code(lasting=5)))
    world.pass_seconds(10)
    state = scheduler.states[0]
    assert (state.last_start, state.next_start) == (ZERO, ZERO + timedelta(seconds=60))
    assert (state.last_duration, state.runs, state.late, state.ok) == (5, 1, False, True)


def test_a_run_over_its_period_is_late(world):
    scheduler = world.server(daemon(world.code(lasting=900)))
    world.pass_seconds(59)
    assert scheduler.summary == "1 ok"
    world.pass_seconds(2)
    assert scheduler.summary == "0 ok, 1 late"


def test_two_servers_run_a_sync_daemon_once_per_period(world):
    here, there = world.code(), world.code()
    world.server(daemon(here, sync=True), holder="here-1")
    world.pass_seconds(25)
    world.server(daemon(there, sync=True), holder="there-2")
    world.pass_seconds(215)
    assert sorted(here.starts + there.starts) == [0, 60, 120, 180, 240]


def test_when_one_server_dies_the_other_goes_on_a_period_after_the_last_start(world):
    here, there = world.code(), world.code()
    first = world.server(daemon(here, sync=True), holder="here-1")
    world.pass_seconds(25)
    world.server(daemon(there, sync=True), holder="there-2")
    world.pass_seconds(40)
    ensureDeferred(first.stop())
    world.pass_seconds(120)
    assert here.starts == [0, 60]
    assert there.starts == [120, 180]


def test_after_a_restart_a_sync_daemon_that_is_not_due_waits_for_its_time(world):
    world.table.rows["d"] = ("older-server-3", ZERO - timedelta(seconds=20))
    code, other = world.code(), world.code()
    scheduler = world.server(daemon(code, sync=True), daemon(other, name="e"))
    world.pass_seconds(2)
    assert (code.starts, other.starts) == ([], [1])
    assert scheduler.states[0].next_start == ZERO + timedelta(seconds=40)
    world.pass_seconds(40)
    assert code.starts == [40]


def test_a_short_run_leaves_the_lock_at_its_start(world):
    world.server(daemon(world.code(lasting=39), sync=True))
    world.pass_seconds(50)
    assert (world.locked_at("d"), world.table.moves) == (0, [])


def test_a_long_run_moves_its_lock_each_third_of_a_period_and_sets_it_back_at_the_end(world):
    here, there = world.code(lasting=130), world.code()
    world.server(daemon(here, sync=True), holder="here-1")
    world.server(daemon(there, sync=True), holder="there-2")
    world.pass_seconds(129)
    assert world.table.moves == [40, 60, 80, 100, 120]
    assert there.starts == []
    world.pass_seconds(1)
    assert world.locked_at("d") == 0


def test_a_run_whose_lock_is_lost_is_stopped_and_does_not_touch_the_new_lock(world):
    code = world.code(step=5)
    scheduler = world.server(daemon(code, sync=True))
    world.pass_seconds(10)
    world.table.rows["d"] = ("there-2", ZERO + timedelta(seconds=10))
    world.pass_seconds(35)
    assert code.contexts[0].why_stopping == "its lock was lost to another server"
    assert scheduler.states[0].condition is DaemonCondition.WAITING
    assert world.table.rows["d"] == ("there-2", ZERO + timedelta(seconds=10))


def test_a_lock_that_cannot_be_renewed_while_the_database_is_away_is_not_lost(world):
    code = world.code(lasting=130)
    scheduler = world.server(daemon(code, sync=True))
    world.pass_seconds(30)
    world.table.away = True
    world.pass_seconds(35)
    world.table.away = False
    world.pass_seconds(30)
    assert scheduler.states[0].condition is DaemonCondition.RUNNING
    assert world.table.moves == [80]


def test_without_a_database_a_sync_daemon_is_not_run_and_runs_when_it_is_back(world):
    code = world.code()
    world.table.away = True
    scheduler = world.server(daemon(code, sync=True))
    world.pass_seconds(65)
    assert code.starts == []
    assert "database is away" in scheduler.states[0].last_error
    world.table.away = False
    world.pass_seconds(60)
    assert code.starts == [120]
    assert scheduler.summary == "1 ok"


def test_stop_ends_a_native_run_between_its_batches_gives_its_lock_back_and_starts_nothing_more(world):
    code, other = world.code(step=4), world.code()
    scheduler = world.server(daemon(code, sync=True), daemon(other, name="e"))
    world.pass_seconds(50)
    stopping = ensureDeferred(scheduler.stop(20))
    assert not stopping.called
    world.pass_seconds(4)
    ended(stopping)
    assert world.locked_at("d") == 0
    world.pass_seconds(120)
    assert (code.starts, other.starts) == ([0], [1])
    assert world.time.getDelayedCalls() == []


def test_stop_gives_a_script_twenty_seconds_and_then_kills_it(world):
    killed = []

    class Script:
        def __init__(self):
            self.call = Deferred()

        async def run(self, context):
            return await self.call

        def kill(self, why):
            killed.append((world.time.seconds(), why))
            self.call.callback(False)

    script = Script()
    scheduler = world.server(daemon(script, kill=script.kill, sync=True))
    world.pass_seconds(10)
    stopping = ensureDeferred(scheduler.stop())
    world.pass_seconds(19)
    assert killed == []
    world.pass_seconds(1)
    assert killed == [(30, "the server is stopping")]
    ended(stopping)
    assert world.locked_at("d") == 0


def test_reload_keeps_what_is_alike_and_changes_the_rest(world):
    stays, changes, goes, comes = (world.code() for _ in range(4))
    scheduler = world.server(daemon(stays, name="stays"), daemon(changes, name="changes"), daemon(goes, name="goes"))
    world.pass_seconds(30)
    new = (daemon(comes, name="comes"), daemon(changes, name="changes", period=20), daemon(stays, name="stays"))
    ended(ensureDeferred(scheduler.reload(new, (LeftOut(name="x", why="it has no period"),))))
    world.pass_seconds(45)
    assert stays.starts == [0, 60]
    assert goes.starts == [2]
    assert comes.starts == [30]
    assert changes.starts == [1, 31, 51, 71]
    assert scheduler.summary == "3 ok, 1 failed"


def test_a_daemon_of_ours_whose_entry_is_left_out_runs_as_built_in_and_says_so(world):
    fault = LeftOut(name="d", why="it has no period")
    scheduler = world.server(daemon(world.code()), faults=(fault, fault, LeftOut(name="e", why="x")))
    world.pass_seconds(5)
    ours, other = scheduler.states
    assert (ours.name, ours.runs, ours.condition, ours.ok) == ("d", 1, DaemonCondition.WAITING, False)
    assert ours.last_error == "it runs as built in, its entry is left out: it has no period"
    assert (other.name, other.condition) == ("e", DaemonCondition.LEFT_OUT)


def test_two_reloads_one_in_the_other_leave_one_daemon_of_a_name(world):
    old, middle, new = (world.code(lasting=lasting) for lasting in (20, 0, 0))
    scheduler = world.server(daemon(old))
    world.pass_seconds(1)
    first = ensureDeferred(scheduler.reload((daemon(middle, period=10),)))
    second = ensureDeferred(scheduler.reload((daemon(new, period=20),)))
    world.pass_seconds(60)
    ended(first)
    ended(second)
    world.time.advance(0)
    seen = len(middle.starts)
    world.pass_seconds(60)
    assert len(middle.starts) == seen
    assert len(new.starts) >= 4
    ended(ensureDeferred(scheduler.stop()))
    assert world.time.getDelayedCalls() == []


def test_a_daemon_whose_lock_comes_after_the_stop_does_not_begin_and_is_due_at_once_elsewhere(world):
    code, other = world.code(), world.code()
    scheduler = world.server(daemon(code, sync=True))
    world.table.slow = Deferred()
    world.pass_seconds(1)
    stopping = ensureDeferred(scheduler.stop())
    slow, world.table.slow = world.table.slow, None
    slow.callback(None)
    world.pass_seconds(1)
    ended(stopping)
    assert code.starts == []
    world.server(daemon(other, sync=True), holder="there-1")
    world.pass_seconds(1)
    assert len(other.starts) == 1


def test_a_daemon_in_loop_mode_that_is_paused_ends_with_its_present_turn(world):
    code = world.code(lasting=5, result=True)
    scheduler = world.server(daemon(code, loop=True))
    world.pass_seconds(12)
    scheduler.pause(frozenset({"d"}))
    world.pass_seconds(100)
    assert len(code.starts) == 3
    assert scheduler.states[0].condition is DaemonCondition.PAUSED
