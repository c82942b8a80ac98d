"""A killed call takes with it all that it has started; a script that eats memory is ended while it runs."""

from __future__ import annotations

import os
import signal

import pytest
from children import result_of, run, running, until
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred

from pandatx.workers import family
from pandatx.workers.calls import CallOutgrew
from pandatx.workers.pool import CallTimedOut

KINDS = {
    "a program": "subprocess.Popen(['sleep', '600'])",
    "a session of its own": "subprocess.Popen(['sleep', '600'], start_new_session=True)",
    "a daemon of its own": "subprocess.run(['sh', '-c', 'setsid sleep 600 >/dev/null 2>&1 & exit 0'])",
    "a worker": "multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,)).start()",
}
STARTS = """
import multiprocessing, subprocess, time
def main(argv=(), tbuf=None, **kwargs):
    {start}
    open(argv[1], "w").close()
    time.sleep(600)
"""


@pytest.mark.parametrize("kind", KINDS)
async def test_a_script_at_its_timeout_is_killed_within_a_second_with_whatever_it_started(scripts, tmp_path, kind):
    pool = await scripts.start()
    began = tmp_path / "began"
    module = scripts.write("starts", STARTS.format(start=KINDS[kind]))
    call = ensureDeferred(run(pool, module, str(began), timeout=3.0))
    started = reactor.seconds()
    await until(began.exists)
    [(child, _, _)] = pool.calls
    await until(lambda: family.descendants(child))
    young = family.descendants(child)
    with pytest.raises(CallTimedOut):
        await call
    assert reactor.seconds() - started < 4.0
    await until(lambda: not any(map(running, [child, *young])))


async def test_what_a_script_leaves_behind_when_it_ends_well_lives_on(scripts):
    pool = await scripts.start()
    body = """
    import subprocess
    result = subprocess.Popen(["sleep", "600"], start_new_session=True).pid
    """
    left = await result_of(scripts, pool, body)
    assert running(left)
    os.kill(left, signal.SIGKILL)


EATS = """
import os, time
def main(argv=(), tbuf=None, **kwargs):
    if {fork} and os.fork():
        time.sleep(600)
    held = []
    for _ in range(40):
        held.append(bytearray(os.urandom(1 << 20) * 8))
        time.sleep(0.02)
    time.sleep(600)
"""


@pytest.mark.parametrize("fork", [False, True])
async def test_a_script_that_eats_memory_is_killed_while_it_runs_and_replaced(scripts, fork):
    pool = await scripts.start(memory_mark=60.0, memory_limit=120.0)
    module = scripts.write("eats", EATS.format(fork=fork))
    with pytest.raises(CallOutgrew, match=r"daemon probe held \d+ MB, more than its limit of 120 MB, and was killed"):
        await run(pool, module, timeout=60.0)
    assert await result_of(scripts, pool, "result = 1") == 1


async def test_memory_that_forked_processes_share_counts_once(scripts):
    pool = await scripts.start(memory_mark=200.0, memory_limit=200.0)
    body = """
    import os, time
    held = bytearray(100 << 20)
    held[::4096] = b"x" * (len(held) // 4096)
    young = [os.fork() for _ in range(4) if os.getpid() == int(os.environ.setdefault("ME", str(os.getpid())))]
    if 0 in young:
        time.sleep(600)
    time.sleep(5)
    for pid in young:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    result = len(held)
    """
    assert await result_of(scripts, pool, body) == 100 << 20


async def test_the_kernel_takes_a_script_before_the_server_when_memory_is_short(scripts):
    pool = await scripts.start()
    assert await result_of(scripts, pool, "result = int(open('/proc/self/oom_score_adj').read())") == 500


async def test_a_child_that_reads_nothing_while_its_pipe_is_full_is_killed_at_the_timeout(scripts):
    pool = await scripts.start()
    os.kill(pool._children[0].pid, signal.SIGSTOP)
    with pytest.raises(CallTimedOut):
        await run(pool, "nothing", "x" * 5_000_000, timeout=0.5)
    assert await result_of(scripts, pool, "result = 1") == 1
