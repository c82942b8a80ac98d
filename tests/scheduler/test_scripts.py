"""Blocking daemon scripts in real children, under the scheduler."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from pandatx.clock import Clock
from pandatx.scheduler.daemon import Daemon
from pandatx.scheduler.loop import Scheduler
from pandatx.scheduler.scripts import Script
from pandatx.workers.pool import PoolSettings, ProcessPool

SCRIPTS = {
    "well": "def main(argv=(), tbuf=None, **kwargs):\n"
    "    open(argv[1], 'a').write(repr((argv, type(tbuf).__name__, kwargs)))\n",
    "exits": "import sys\ndef main(argv=(), tbuf=None, **kwargs):\n    sys.exit(4)\n",
    "sleeps": "import time\ndef main(argv=(), tbuf=None, **kwargs):\n    time.sleep(600)\n",
    "broken": "import nothing_of_that_name\n",
}


@pytest_twisted.async_yield_fixture
async def pool(tmp_path) -> AsyncIterator[ProcessPool]:
    package = tmp_path / "acts"
    package.mkdir()
    for name, text in SCRIPTS.items():
        (package / f"{name}.py").write_text(text)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    made = ProcessPool(reactor, PoolSettings(size=1, environment=environment, instance="test"))
    await made.start()
    yield made
    await made.stop(0)


def script(pool, name, timeout=30.0, **how):
    code = Script(pool, f"acts.{name}", name, timeout)
    return Daemon(name=name, period=600, timeout=timeout, code=code, kill=code.kill, **how)


async def ran_once(*daemons):
    """A scheduler whose daemons have each run once; stopped."""
    scheduler = Scheduler(Clock(reactor), None, "here-1", daemons)
    scheduler.start()
    for _ in range(2000):
        if all(state.runs for state in scheduler.states):
            break
        await deferLater(reactor, 0.01)
    states = {state.name: state for state in scheduler.states}
    await scheduler.stop()
    return states


async def test_a_script_gets_its_file_its_arguments_as_they_are_and_a_task_buffer(pool, tmp_path):
    path = tmp_path / "out"
    states = await ran_once(script(pool, "well", arguments=(str(path), "--x", 3)))
    assert states["well"].last_error is None
    argv = (str(tmp_path / "acts" / "well.py"), str(path), "--x", 3)
    assert path.read_text() == repr((argv, "TaskBuffer", {"lock_pool": None}))


async def test_faults_of_scripts_are_told_and_stop_no_other(pool, tmp_path):
    well = script(pool, "well", arguments=(str(tmp_path / "out"),))
    states = await ran_once(script(pool, "exits"), script(pool, "broken"), script(pool, "sleeps", timeout=1.0), well)
    assert states["exits"].last_error == "SystemExit: 4"
    assert states["broken"].last_error == "ModuleNotFoundError: No module named 'nothing_of_that_name'"
    assert states["sleeps"].last_error == "daemon sleeps took more than 1 s and was killed"
    assert states["well"].last_error is None


async def test_a_script_still_running_when_the_server_stops_is_killed(pool):
    daemon = script(pool, "sleeps")
    scheduler = Scheduler(Clock(reactor), None, "here-1", (daemon,))
    scheduler.start()
    while not pool.calls:
        await deferLater(reactor, 0.01)
    await scheduler.stop(0.2)
    assert pool.calls == ()
