"""The order in which the parts of a server start and stop, and how long they get."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from pandatx.errors import EXIT_PORT, StartFault
from pandatx.parts import LEAST, Part, Server


class Log(list):
    """What happened, in order."""

    def part(self, name, *, waits=False, by=30.0, eager=False):
        async def start():
            self.append(f"{name} starts")

        async def stop():
            self.append(f"{name} ends")
            if waits:
                await Deferred(lambda _: self.append(f"{name} is left"))
            self.append(f"{name} ended")

        return Part(name, start, stop, by=by, eager=eager)


def running(clock, *parts, failed=lambda fault: None):
    server = Server(clock, failed)
    for part in parts:
        server.add(part)
    server.startService()
    return server


def test_parts_stop_the_other_way_round():
    log = Log()
    server = running(Clock(), log.part("a"), log.part("b"))
    server.stopService()
    assert log == ["a starts", "b starts", "b ends", "b ended", "a ends", "a ended"]


def test_an_eager_part_ends_while_later_ones_are_still_ending():
    log, clock = Log(), Clock()
    server = running(clock, log.part("daemons", eager=True), log.part("listeners", waits=True, by=20))
    stopped = server.stopService()
    assert log[2:] == ["daemons ends", "daemons ended", "listeners ends"]
    clock.advance(20)
    assert log[-1] == "listeners is left" and stopped.called


def test_parts_that_hang_are_left_and_the_stop_takes_30_s_in_all():
    log, clock = Log(), Clock()
    server = running(clock, log.part("database", waits=True), log.part("jobs", waits=True, by=23), log.part("a", by=2))
    stopped = server.stopService()
    clock.pump([22, 1])
    assert log[-2:] == ["jobs is left", "database ends"]
    clock.advance(7)
    assert log[-1] == "database is left" and stopped.called


def test_every_part_gets_a_moment_to_end_however_late_it_is():
    log, clock = Log(), Clock()
    server = running(clock, log.part("database", waits=True, by=30), log.part("jobs", waits=True, by=30))
    stopped = server.stopService()
    clock.advance(30)
    assert log[-1] == "database ends" and not stopped.called
    clock.advance(LEAST)
    assert stopped.called


def test_a_part_that_cannot_start_ends_the_start_and_what_had_begun_is_stopped():
    log, faults = Log(), []

    async def start():
        raise StartFault(EXIT_PORT, "port 1 is taken")

    server = running(Clock(), log.part("a"), Part("b", start), log.part("c"), failed=faults.append)
    assert [(fault.exit_code, str(fault)) for fault in faults] == [(EXIT_PORT, "port 1 is taken")]
    server.stopService()
    assert log == ["a starts", "a ends", "a ended"]


def test_a_bug_in_the_end_of_a_part_does_not_keep_the_others_from_ending():
    log = Log()

    async def nothing():
        pass

    async def stop():
        raise KeyError("bug")

    server = running(Clock(), log.part("a"), Part("b", nothing, stop))
    assert server.stopService().called
    assert log[-1] == "a ended"
