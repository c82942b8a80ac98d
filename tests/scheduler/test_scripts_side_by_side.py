"""Scripts that misbehave in every way, and all other daemons on time: a real scheduler over a real pool."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from pandatx.clock import Clock
from pandatx.scheduler.daemon import Daemon
from pandatx.scheduler.loop import Scheduler
from pandatx.scheduler.scripts import Script
from pandatx.workers.pool import PoolSettings, ProcessPool

HEAD = "import os, signal, subprocess, sys, time\ndef main(argv=(), tbuf=None, **kwargs):\n    "
BAD = {
    "sleeps": HEAD + "subprocess.Popen(['sleep', '600'])\n    time.sleep(600)\n",
    "exits": HEAD + "sys.exit(3)\n",
    "raises": HEAD + "raise ValueError('on purpose')\n",
    "prints": HEAD + "print(('y' * 99 + '\\n') * 100_000)\n",
    "eats": HEAD + "held = []\n    while True: held.append(bytearray(8 << 20)); time.sleep(0.01)\n",
    "crashes": HEAD + "os.kill(os.getpid(), signal.SIGSEGV)\n",
    "vanishes": HEAD + "os._exit(0)\n",
    "absent-minded": "import nothing_of_that_name\n",
    "unreadable": "def main(:\n",
    "empty": "",
}
WELL = HEAD + "open(argv[1], 'a').write(f'{time.time()}\\n')\n"
PERIOD = 1.0
ENDS = {
    "sleeps": "took more than 2 s and was killed",
    "exits": "SystemExit: 3",
    "raises": "ValueError: on purpose",
    "prints": None,
    "eats": "more than its limit of 150 MB",
    "crashes": "killed by signal 11",
    "vanishes": "ended in the middle of the call",
    "absent-minded": "No module named 'nothing_of_that_name'",
    "unreadable": "SyntaxError",
    "empty": "has no attribute 'main'",
}


class Ticks:
    """A native daemon that notes when it runs."""

    def __init__(self):
        self.at = []

    async def run(self, context):
        self.at.append(reactor.seconds())
        return False


@pytest_twisted.async_yield_fixture
async def pool(tmp_path):
    package = tmp_path / "acts"
    package.mkdir()
    for name, text in {**BAD, "well": WELL}.items():
        (package / f"{name}.py").write_text(text)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    settings = PoolSettings(size=4, environment=environment, instance="test", memory_mark=100, memory_limit=150)
    made = ProcessPool(reactor, settings)
    await made.start()
    yield made
    await made.stop(0)


async def test_whatever_a_script_does_every_other_daemon_is_on_time(pool, tmp_path):
    def script(name, period, timeout, *arguments):
        code = Script(pool, f"acts.{name}", name, timeout)
        return Daemon(name=name, period=period, timeout=timeout, code=code, kill=code.kill, arguments=arguments)

    ticks, path = Ticks(), tmp_path / "well"
    # Only what sleeps for ever is to reach its limit, however slow the machine is.
    bad = [script(name, 3.0, 2.0 if name == "sleeps" else 60.0) for name in BAD]
    native = Daemon(name="ticks", period=PERIOD, timeout=1, code=ticks)
    scheduler = Scheduler(Clock(reactor), None, "here-1", (native, script("well", PERIOD, 10.0, str(path)), *bad))
    scheduler.start()
    ended = defaultdict(set)
    for _ in range(6000):
        for state in scheduler.states:
            if state.runs:
                ended[state.name].add(state.last_error)
        if all(state.runs >= (10 if state.name in ("well", "ticks") else 2) for state in scheduler.states):
            break
        await deferLater(reactor, 0.02)
    states = {state.name: state for state in scheduler.states}
    await scheduler.stop(0.5)
    for name, why in ENDS.items():
        assert states[name].runs >= 2
        assert all((why in (error or "")) if why else error is None for error in ended[name]), (name, ended[name])
    well = [float(line) for line in path.read_text().split()]
    for times in (ticks.at, well):
        assert len(times) >= 10
        late = [after - before for before, after in itertools.pairwise(times)]
        # On a machine that others load too a run or two may be late, but none waits for what goes on beside it.
        assert sorted(late)[len(late) // 2] < 1.5 * PERIOD and max(late) < 10 * PERIOD, late
    assert states["well"].last_error is None
