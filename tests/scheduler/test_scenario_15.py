"""Scenario 15 of reference/lifecycle.md section 10: the edge cases of 4.5, row by row, with the improvements of 9.3.

Time is moved by hand. What children themselves do (SIGKILL, lifetime, memory) is in tests/workers; entries and their
faults are read by the configuration as operators write them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock as ManualTime
from twisted.logger import formatEvent, globalLogPublisher

from pandatx.clock import Clock
from pandatx.config import ConfigurationFaults, load
from pandatx.domain.daemons import DaemonCondition
from pandatx.errors import DatabaseAway
from pandatx.scheduler.entries import plan
from pandatx.scheduler.loop import Scheduler
from pandatx.workers.calls import CallDied, CallFailed, CallTimedOut

ZERO = datetime(2026, 1, 1, tzinfo=UTC)


class Pool:
    """A process pool whose calls end as the test says, by module; a call that is not told of lasts for ever."""

    def __init__(self, time):
        self.time, self.ends, self.calls, self.killed = time, {}, [], []
        self.under_way = {}

    async def call(self, name, module, arguments, *, timeout, context, script):
        self.calls.append((module, self.time.seconds(), arguments))
        end = self.ends.get(module)
        if isinstance(end, Exception):
            raise end
        if end is None:
            call = self.under_way[context] = Deferred()
            self.time.callLater(timeout, self._over, context, CallTimedOut(f"killed after {timeout:g} s"))
            return await call
        return end

    def kill(self, context, why):
        self.killed.append((context, why))
        self._over(context, CallDied(why))

    def _over(self, context, fault):
        call = self.under_way.pop(context, None)
        if call is not None:
            call.errback(fault)


class Rows:
    """The lock rows of one database."""

    def __init__(self):
        self.rows, self.away = {}, False

    async def take(self, name, holder, start, period):
        if self.away:
            raise DatabaseAway()
        if name in self.rows and self.rows[name] > start - period:
            return self.rows[name] + period
        self.rows[name] = start
        return None

    async def extend(self, name, holder, now):
        self.rows[name] = now
        return True

    async def give_back(self, name, holder, start):
        self.rows[name] = start


class World:
    def __init__(self, folder):
        self.folder, self.time, self.rows, self.log = folder, ManualTime(), Rows(), []
        self.clock, self.pool = Clock.manual(self.time, ZERO), Pool(self.time)

    def settings(self, config, more="enable = True"):
        file = self.folder / "panda_server.cfg"
        file.write_text(f"[daemon]\n{more}\npackage = mine\nconfig = {config}\n")
        return load(file, {}).daemon

    def server(self, config, holder="here-1", **how):
        planned = plan(self.settings(config, **how), {}, self.pool)
        scheduler = Scheduler(self.clock, self.rows, holder, planned.daemons, planned.faults)
        scheduler.start()
        return scheduler

    def pass_seconds(self, seconds):
        self.time.advance(0)
        self.time.pump([1.0] * seconds)

    def starts(self, name):
        return [second for module, second, _ in self.pool.calls if module == f"mine.{name}"]

    def lines(self, *words):
        return [line for line in self.log if all(word in line for word in words)]


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    globalLogPublisher.addObserver(observer := lambda event: made.log.append(formatEvent(event)))
    yield made
    globalLogPublisher.removeObserver(observer)


def states(scheduler):
    return {state.name: state for state in scheduler.states}


def test_period_a_run_at_once_and_then_every_period(world):
    world.pool.ends["a"] = world.pool.ends["mine.a"] = False
    world.server('{"a": {"period": 10}}')
    world.pass_seconds(35)
    assert world.starts("a") == [0, 10, 20, 30]


def test_sync_over_two_masters_once_per_period_and_the_others_on_each(world):
    world.pool.ends |= {"mine.a": False, "mine.b": False}
    config = '{"a": {"period": 60, "sync": true}, "b": {"period": 60}}'
    world.server(config, "here-1")
    world.pass_seconds(20)
    world.server(config, "there-2")
    world.pass_seconds(220)
    assert [round(second / 60) for second in world.starts("a")] == [0, 1, 2, 3, 4]
    assert len(world.starts("b")) == 8


def test_loop_again_at_once_while_true_until_the_period_has_passed(world):
    world.pool.ends["mine.a"] = True
    world.server('{"a": {"period": 30, "loop": true}}')
    world.pass_seconds(10)
    looping = len(world.starts("a"))
    assert looping > 9
    world.pool.ends["mine.a"] = False
    world.pass_seconds(15)
    assert len(world.starts("a")) - looping <= 1
    assert world.lines("exceeding its period") == []


def test_without_loop_what_main_returns_is_ignored(world):
    world.pool.ends["mine.a"] = True
    world.server('{"a": {"period": 30}}')
    world.pass_seconds(29)
    assert world.starts("a") == [0]


def test_timeout_the_run_is_killed_and_the_daemon_runs_again(world):
    scheduler = world.server('{"a": {"period": 60, "timeout": 90}}')
    world.pass_seconds(89)
    assert states(scheduler)["a"].condition is DaemonCondition.RUNNING
    world.pass_seconds(2)
    assert states(scheduler)["a"].condition is DaemonCondition.WAITING
    assert world.lines("daemon a: killed after 90 s")
    world.pass_seconds(60)
    assert world.starts("a") == [0, 120]


@pytest.mark.parametrize(("period", "timeout"), [(10, 30), (1800, 5400), (2400, 6000)])
def test_timeout_where_none_is_given_is_the_guides(world, period, timeout):
    (entry,) = world.settings(f'{{"a": {{"period": {period}}}}}').entries
    assert entry.timeout == timeout


def test_overrun_is_never_doubled_and_warned_of_with_both_durations(world):
    world.server('{"a": {"period": 20, "timeout": 50}}')
    world.pass_seconds(51)
    assert world.starts("a") == [0]
    assert world.lines("daemon a: took 50 s, exceeding its period of 20 s")
    world.pass_seconds(10)
    assert world.starts("a") == [0, 60]


@pytest.mark.parametrize(
    "fault",
    [
        CallFailed("ValueError: no", "Traceback"),
        CallFailed("SystemExit: 3", "Traceback"),
        CallFailed("ModuleNotFoundError: No module named 'mine.a'", "Traceback"),
        CallFailed("AttributeError: module 'mine.a' has no attribute 'main'", "Traceback"),
        CallDied("killed by signal 9"),
    ],
    ids=["raising", "SystemExit", "missing module", "no main", "killed from outside"],
)
def test_a_fault_delays_only_its_daemon_and_never_leaves_it_stuck(world, fault):
    world.pool.ends |= {"mine.a": fault, "mine.b": False}
    scheduler = world.server('{"a": {"period": 10}, "b": {"period": 10}}')
    world.pass_seconds(25)
    assert (world.starts("a"), world.starts("b")) == ([0, 10, 20], [1, 11, 21])
    assert str(fault) in states(scheduler)["a"].last_error and states(scheduler)["b"].ok
    assert len(world.lines("daemon a:", str(fault))) == 1  # once, not every period
    world.pool.ends["mine.a"] = False
    world.pass_seconds(10)
    assert states(scheduler)["a"].ok and world.lines("daemon a: well again")


def test_disabled_only_by_the_literal_false_and_then_it_is_gone(world):
    world.pool.ends |= {"mine.b": False}
    scheduler = world.server('{"a": {"period": 10, "enable": false}, "b": {"period": 10, "enable": true}}')
    assert "a" not in states(scheduler) and "b" in states(scheduler)


def test_a_section_that_is_not_enabled_starts_nothing_of_it(world):
    assert world.server('{"a": {"period": 10}}', more="enable = False").states == ()


def test_bad_json_stops_the_start_and_a_reload_keeps_what_was(world):
    with pytest.raises(ConfigurationFaults, match=r"panda_server\.cfg:\d+: \[daemon\] config"):
        world.settings('{"a": {"period": 10,}}')


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ('{"timeout": 5}', "it has no period"),
        ("{}", "it has no period"),
        ('{"period": "10"}', "period is not a whole number of seconds above 0"),
        ('{"period": 0}', "period is not a whole number of seconds above 0"),
        ('{"period": 10, "module": 3}', "module is not a text"),
        ('{"period": 10, "arguments": "x"}', "arguments is not a list"),
        ("17", "its entry is not a JSON object"),
    ],
)
def test_an_entry_at_fault_stops_only_itself_whatever_stands_before_and_after(world, entry, why):
    world.pool.ends |= {"mine.a": False, "mine.z": True}
    scheduler = world.server(f'{{"a": {{"period": 10}}, "bad": {entry}, "z": {{"period": 10, "loop": true}}}}')
    world.pass_seconds(5)
    found = states(scheduler)
    assert (found["bad"].condition, found["bad"].last_error) == (DaemonCondition.LEFT_OUT, why)
    assert (found["a"].runs, found["z"].condition, found["z"].loop) == (1, DaemonCondition.RUNNING, True)


def test_arguments_arrive_as_they_are_numbers_too_and_a_module_name_may_have_a_dash(world):
    world.pool.ends["mine.panda-dump"] = False
    world.server('{"a": {"period": 10, "module": "panda-dump", "arguments": ["dump", "-n", 100]}}')
    world.pass_seconds(1)
    assert world.pool.calls[0] == ("mine.panda-dump", 0, ["dump", "-n", 100])


def test_without_a_database_sync_daemons_wait_and_the_others_run(world):
    world.pool.ends |= {"mine.a": False, "mine.b": False}
    world.rows.away = True
    world.server('{"a": {"period": 10, "sync": true}, "b": {"period": 10}}')
    world.pass_seconds(25)
    assert (world.starts("a"), len(world.starts("b"))) == ([], 3)
    assert len(world.lines("daemon a:", "database is away")) == 1
    world.rows.away = False
    world.pass_seconds(10)
    assert len(world.starts("a")) == 1


def test_a_jump_of_the_databases_clock_moves_no_period(world):
    world.pool.ends["mine.a"] = False
    world.server('{"a": {"period": 10}}')
    world.pass_seconds(5)
    world.clock.offset = timedelta(days=-3)
    world.pass_seconds(20)
    assert world.starts("a") == [0, 10, 20]
