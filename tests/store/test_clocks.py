"""The database's time and this machine's, whose clock somebody may set at any moment (rules R8, R44)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from twisted.internet.task import Clock as ManualTime
from twisted.logger import formatEvent, globalLogPublisher

from pandatx.clock import Clock, free_running
from pandatx.metrics import DATABASE_OFFSET_SECONDS
from pandatx.store.offset import measure_offset

ZERO = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Machine:
    """A machine and a database: both clocks, and how long an answer of the database is on its way."""

    def __init__(self, ahead=timedelta(0), answers_in=0.0):
        self.time, self.set_by, self.ahead, self.answers_in = ManualTime(), timedelta(0), ahead, answers_in
        self.meanwhile = None
        self.clock = Clock(self.time, free_running(self.says, self.time.seconds))

    def says(self):
        return ZERO + timedelta(seconds=self.time.seconds()) + self.set_by

    @property
    def truth(self):
        return ZERO + timedelta(seconds=self.time.seconds()) + self.ahead

    async def statement(self, name, query):
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        self.time.advance(self.answers_in / 2)
        there = self.truth
        self.time.advance(self.answers_in / 2)
        return Answer(there)

    async def measure(self):
        await measure_offset(self, self.clock, self.says)


class Answer:
    def __init__(self, there):
        self.there = there

    def scalar(self):
        return self.there


@pytest.fixture
def warnings():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield lambda: [formatEvent(event) for event in events if event["log_level"].name == "warn"]
    globalLogPublisher.removeObserver(events.append)


async def test_now_is_the_databases_time_whatever_this_machine_says():
    machine = Machine(ahead=HOUR, answers_in=4)
    await machine.measure()
    machine.time.advance(30)
    assert machine.clock.now() == machine.truth


@pytest.mark.parametrize("step", [3 * HOUR, -3 * HOUR])
async def test_setting_the_machines_clock_moves_now_neither_before_nor_after_the_next_measurement(step):
    machine = Machine(ahead=HOUR)
    await machine.measure()
    machine.time.advance(10)
    machine.set_by = step
    assert machine.clock.now() == machine.truth
    machine.time.advance(50)
    await machine.measure()
    assert machine.clock.now() == machine.truth


async def test_two_measurements_at_a_time_are_as_good_as_one():
    machine = Machine(ahead=HOUR)
    machine.meanwhile = machine.measure
    await machine.measure()
    assert (machine.clock.now(), machine.clock.offset) == (machine.truth, HOUR)


async def test_a_machine_that_stood_still_is_known_by_the_leap_of_its_clock():
    machine = Machine(ahead=HOUR)
    await machine.measure()
    machine.time.advance(50)
    assert not machine.clock.was_set(machine.says)
    machine.set_by, machine.ahead = 3 * HOUR, 4 * HOUR  # the world went on, and its clock was set by that
    assert machine.clock.was_set(machine.says)
    await machine.measure()
    assert (machine.clock.now(), machine.clock.was_set(machine.says)) == (machine.truth, False)


async def test_a_machine_more_than_five_seconds_off_is_warned_of_once_until_it_is_right_again(warnings):
    machine = Machine()
    for seconds in (5, 6, 7, 5, 6):
        machine.set_by = timedelta(seconds=seconds)
        await machine.measure()
    told = "the clock of the database differs from this machine's by -1 day, 23:59:54"
    assert warnings() == [told, told]
    assert DATABASE_OFFSET_SECONDS._value.get() == -6


async def test_what_an_answer_is_on_its_way_is_no_difference(warnings):
    machine = Machine(answers_in=12)
    await machine.measure()
    assert (machine.clock.difference, machine.clock.now(), warnings()) == (timedelta(0), machine.truth, [])
