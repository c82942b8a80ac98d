"""The server's operations, asked for by scripts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import pytest_twisted
from children import result_of, run, until
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from pandatx.errors import NotFound
from pandatx.workers.pool import CallDied, CallTimedOut


class Desk:
    """Operations that remember what they were asked."""

    def __init__(self):
        self.asked = []
        self.dropped = []

    @property
    def operations(self):
        return {
            "jobs.statuses": self.statuses,
            "killJobs": self.kill,
            "never": self.never,
            "fails": self.fails,
            "untold": self.untold,
        }

    async def statuses(self, ids):
        return [(number, "running", 1) for number in ids]

    async def kill(self, ids, code=None):
        self.asked.append((ids, code))
        raise NotFound("no such job")

    async def never(self):
        self.asked.append("never")
        try:
            await Deferred()
        except CancelledError:
            self.dropped.append("never")
            raise

    async def fails(self):
        raise KeyError("a bug of ours")

    async def untold(self):
        return object()


@pytest.fixture
def desk():
    return Desk()


@pytest_twisted.async_yield_fixture
async def pool(scripts, desk):
    yield await scripts.start(operations=desk.operations)


async def test_an_operation_is_called_by_its_name_and_its_values_are_json(scripts, pool):
    body = "result = [tbuf.call('jobs.statuses', [1, 2]), tbuf.call('jobs.statuses', ids=(3,)), tbuf.operations]"
    one, other, names = await result_of(scripts, pool, body)
    assert one == [[1, "running", 1], [2, "running", 1]]
    assert other == [[3, "running", 1]]
    assert names == ["fails", "jobs.statuses", "killJobs", "never", "untold"]


async def test_a_name_of_the_older_server_is_called_like_a_method_and_a_refusal_is_an_exception(scripts, pool, desk):
    body = """
    try:
        tbuf.killJobs([12], code=9)
    except Exception as fault:
        result = [type(fault).__name__, fault.kind, str(fault)]
    """
    assert await result_of(scripts, pool, body) == ["OperationFailed", "NotFound", "killJobs: no such job"]
    assert desk.asked == [([12], 9)]


@pytest.mark.parametrize("ask", ["tbuf.insertJobs([])", "tbuf.call('insertJobs', [])"])
async def test_what_this_server_does_not_have_is_told_with_what_it_has(scripts, pool, ask):
    body = f"""
    try:
        {ask}
    except AttributeError as fault:
        result = str(fault)
    """
    told = await result_of(scripts, pool, body)
    assert "insertJobs" in told and "fails, jobs.statuses, killJobs, never, untold" in told


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("jobs.statuses", "()", "missing 1 required positional argument"),
        ("fails", "()", "internal fault, KeyError"),
        ("untold", "()", "cannot be told"),
    ],
)
async def test_whatever_goes_wrong_in_the_server_reaches_the_script_as_text(scripts, pool, name, arguments, told):
    body = f"""
    try:
        tbuf.call({name!r}, *{arguments})
    except Exception as fault:
        result = str(fault)
    """
    assert told in await result_of(scripts, pool, body)


async def test_threads_of_a_script_may_ask_together(scripts, pool):
    body = """
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(8) as threads:
        result = list(threads.map(lambda number: tbuf.call("jobs.statuses", [number])[0][0], range(200)))
    """
    assert await result_of(scripts, pool, body) == list(range(200))


async def test_what_a_killed_script_waits_for_is_dropped_and_the_next_one_is_served(scripts, pool, desk):
    waits = scripts.write("waits", "def main(argv=(), tbuf=None, **kw):\n    tbuf.never()\n")
    with pytest.raises(CallTimedOut):
        await run(pool, waits, timeout=1.0)
    assert (desk.asked, desk.dropped) == (["never"], ["never"])
    assert await result_of(scripts, pool, "result = tbuf.call('jobs.statuses', [1])[0][0]") == 1


async def test_a_thread_that_outlives_its_script_is_served_no_more(scripts, pool):
    body = """
    import threading, time
    def later():
        time.sleep(0.3)
        try:
            tbuf.call("jobs.statuses", [1])
        except AttributeError:
            open(argv[1] + ".refused", "w").close()
    threading.Thread(target=later).start()
    result = argv[1] + ".refused"
    """
    path = await result_of(scripts, pool, body)
    await until(Path(path).exists)


async def test_a_child_killed_from_outside_drops_what_it_asked_and_its_caller_is_told(scripts, pool, desk):
    waits = scripts.write("waits", "def main(argv=(), tbuf=None, **kw):\n    tbuf.never()\n")
    call = ensureDeferred(run(pool, waits, timeout=60.0))
    await until(lambda: desk.asked)
    os.kill(pool.calls[0][0], signal.SIGKILL)
    with pytest.raises(CallDied, match="killed by signal 9"):
        await call
    assert desk.dropped == ["never"]


async def test_a_thread_that_waits_beyond_its_script_neither_takes_nor_holds_up_the_next_call(scripts, pool, desk):
    body = """
    import threading
    def asks():
        try:
            tbuf.never()
        except RuntimeError as fault:
            open(argv[1] + ".told", "w").write(str(fault))
    threading.Thread(target=asks, daemon=True).start()
    import time
    time.sleep(0.3)
    result = argv[1] + ".told"
    """
    told = Path(await result_of(scripts, pool, body))
    assert desk.asked == ["never"]
    [before] = {child.pid for child in pool._children}
    for number in range(3):
        asked = f"result = [tbuf.call('jobs.statuses', [{number}])[0][0], __import__('os').getpid()]"
        assert await result_of(scripts, pool, asked) == [number, before]
    await until(lambda: told.exists() and "the script" in told.read_text())
