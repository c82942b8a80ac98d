"""A run of several steps: each has its turn, and what failed is named."""

import pytest
from twisted.internet import reactor
from twisted.logger import LogLevel, globalLogPublisher

from pandatx.clock import Clock
from pandatx.errors import DatabaseAway, NotFound
from pandatx.scheduler.context import Context, RunStopped
from pandatx.scheduler.daemon import Daemon
from pandatx.scheduler.daemons.copy_archive import CopyArchive
from pandatx.scheduler.run import Run
from pandatx.services.sweeper import Step


class Idle:
    """A Watcher with nothing to do."""

    async def run_once(self, pause) -> int:
        await pause()
        return 2


def step(name, outcome, done):
    async def work(pause) -> int:
        done.append(name)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return Step(name, work)


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def faults(events):
    return [event for event in events if event["log_level"] >= LogLevel.error]


async def test_a_step_that_fails_is_told_and_the_others_have_their_turn(logged):
    done = []
    daemon = CopyArchive(
        Idle(),
        (step("one", 3, done), step("two", ZeroDivisionError("bug"), done)),
        (step("three", NotFound("no such thing"), done), step("four", 0, done)),
    )
    run = Run(Daemon(name="copyArchive", period=60, timeout=60, code=daemon), Clock(reactor))
    outcome = await run.go()
    assert done == ["one", "two", "three", "four"]
    assert outcome.error == "2 of its steps failed, as the log has it: two, three"
    assert run.context.counts == {"one": 3, "failed": 2, "four": 0}
    bug, refusal = faults(logged)
    assert (bug["step"], bug["log_failure"].type) == ("two", ZeroDivisionError)
    assert (refusal["step"], "log_failure" in refusal) == ("three", False)


@pytest.mark.parametrize("end", [RunStopped("the server is stopping"), DatabaseAway()])
async def test_a_run_that_is_to_end_or_has_no_database_ends_at_once(end):
    done = []
    daemon = CopyArchive(Idle(), (step("one", end, done), step("two", 1, done)))
    with pytest.raises(type(end)):
        await daemon.run(Context(Clock(reactor), "copyArchive"))
    assert done == ["one"]
