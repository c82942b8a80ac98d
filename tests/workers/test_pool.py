"""The process pool with real children."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList, ensureDeferred
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher

from pandatx.workers.pool import CallDied, CallFailed, CallTimedOut, PoolSettings, PoolStatus, ProcessPool

FUNCTIONS = """
import os, signal, subprocess, sys, time

def echo(value): return value
def pid(): return os.getpid()
def application(): return os.environ["PGAPPNAME"]
def modules(): return sorted(sys.modules)
def fail(text): raise ValueError(text)
def lament(size): raise ValueError("z" * size)
def leave(code): sys.exit(code)
def interrupt(): raise KeyboardInterrupt
def crash(): os.kill(os.getpid(), signal.SIGSEGV)
def vanish(code): os._exit(code)
def big(size): return "x" * size
def unspeakable(): return object()
def surrogate(): raise ValueError("\\udc80")
def shout(size): print("y" * size); return size
def speak(text): print(text); print("err " + text, file=sys.stderr)
def sleep(seconds): time.sleep(seconds)
def grow(): echo.held = bytearray(80 << 20)
def stubborn(): signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)
def terminate(): os.kill(os.getpid(), signal.SIGTERM); return "still here"
def babble(): os.write(4, b"x" * 64); time.sleep(600)
def descriptors(): return sorted(int(fd) for fd in os.listdir("/proc/self/fd"))

def family(path):
    young = subprocess.Popen(["sleep", "600"])
    with open(path + ".new", "w") as out:
        out.write(f"{os.getpid()} {young.pid}")
    os.rename(path + ".new", path)
    time.sleep(600)

def behind(path):
    young = subprocess.Popen(["sleep", "600"])
    with open(path, "w") as out:
        out.write(f"{young.pid}")
    os._exit(3)

def escape(path):
    young = subprocess.Popen(["sleep", "600"], start_new_session=True)
    with open(path + ".new", "w") as out:
        out.write(f"{young.pid}")
    os.rename(path + ".new", path)
    os._exit(3)
"""


class Pools:
    """Makes pools that are stopped at the end of the test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pools: list[ProcessPool] = []

    async def start(self, on_kill=None, **settings) -> ProcessPool:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(self._directory)}
        made = PoolSettings(**{"environment": environment, "instance": "test", **settings})
        pool = ProcessPool(reactor, made, on_kill) if on_kill else ProcessPool(reactor, made)
        self._pools.append(pool)
        await pool.start()
        return pool

    async def stop(self) -> None:
        for pool in self._pools:
            await pool.stop(0.0)


@pytest_twisted.async_yield_fixture
async def pools(tmp_path: Path) -> AsyncIterator[Pools]:
    (tmp_path / "acts.py").write_text(FUNCTIONS)
    made = Pools(tmp_path)
    yield made
    await made.stop()


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


async def until(condition) -> None:
    for _ in range(1000):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("the condition did not come true within 10 s")


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def lines(events, call):
    return [line for event in events if event.get("call") == call for line in event.get("log_lines", ())]


async def test_values_come_back_as_they_went(pools):
    pool = await pools.start()
    value = {"a": [1, None, "ü", 2.5], "b": {"c": True}}
    assert await pool.call("acts:echo", value, timeout=10) == value


async def test_a_child_does_not_load_twisted(pools):
    pool = await pools.start()
    assert not [name for name in await pool.call("acts:modules", timeout=10) if name.startswith("twisted")]


async def test_a_result_of_five_megabytes_comes_whole(pools):
    pool = await pools.start()
    assert len(await pool.call("acts:big", 5_000_000, timeout=30)) == 5_000_000


async def test_arguments_of_five_megabytes_go_whole(pools):
    pool = await pools.start()
    assert len(await pool.call("acts:echo", "z" * 5_000_000, timeout=30)) == 5_000_000


@pytest.mark.parametrize(
    ("name", "args", "text"),
    [
        ("acts:fail", ["no such thing"], "ValueError: no such thing"),
        ("acts:leave", [3], "SystemExit: 3"),
        ("acts:interrupt", [], "KeyboardInterrupt"),
        ("acts:absent", [], "has no attribute 'absent'"),
        ("nowhere.at.all:f", [], "No module named 'nowhere'"),
        ("acts:unspeakable", [], "not JSON serializable"),
        ("acts:surrogate", [], "udc80"),
        ("acts:echo", [], "missing 1 required positional argument"),
    ],
)
async def test_whatever_a_function_raises_comes_back_as_text_and_the_child_lives_on(pools, name, args, text):
    pool = await pools.start()
    before = await pool.call("acts:pid", timeout=10)
    with pytest.raises(CallFailed) as failed:
        await pool.call(name, *args, timeout=10)
    assert text in str(failed.value)
    assert "Traceback" in failed.value.traceback
    assert await pool.call("acts:pid", timeout=10) == before


async def test_nothing_is_kept_of_children_that_died(pools):
    pool = await pools.start(lifetime=90_000.0)
    for _ in range(3):
        with pytest.raises(CallDied):
            await pool.call("acts:vanish", 1, timeout=10)
    await until(lambda: pool.status.size == 1)
    far = [call for call in reactor.getDelayedCalls() if call.getTime() - reactor.seconds() > 80_000]
    assert len(far) == 1, "the lifetime of the child that lives"


async def test_an_exception_of_ten_million_characters_is_cut_before_logs_and_tables_get_it(pools):
    pool = await pools.start()
    with pytest.raises(CallFailed) as failed:
        await pool.call("acts:lament", 10_000_000, timeout=10)
    assert str(failed.value).startswith("ValueError: zzz") and str(failed.value).endswith("... (10000012 characters)")
    assert (len(str(failed.value)) < 5_000, len(failed.value.traceback) < 70_000) == (True, True)
    assert "in lament" in failed.value.traceback


async def test_arguments_that_json_cannot_say_are_the_callers_fault(pools):
    pool = await pools.start()
    with pytest.raises(TypeError):
        await pool.call("acts:echo", object(), timeout=10)
    assert pool.status == PoolStatus(1, 0, 0)


async def test_a_call_over_its_limit_is_killed_with_all_it_started(pools, tmp_path):
    pool = await pools.start()
    path = tmp_path / "family"
    with pytest.raises(CallTimedOut, match=r"acts:family took more than 3 s"):
        await pool.call("acts:family", str(path), timeout=3)
    pids = [int(word) for word in path.read_text().split()]
    await until(lambda: not any(running(pid) for pid in pids))
    assert await pool.call("acts:echo", 1, timeout=10) == 1


async def test_what_a_crashed_call_started_is_killed_too(pools, tmp_path):
    pool = await pools.start()
    path = tmp_path / "behind"
    with pytest.raises(CallDied, match="exit code 3"):
        await pool.call("acts:behind", str(path), timeout=10)
    await until(lambda: not running(int(path.read_text())))


async def test_a_call_that_ignores_every_signal_it_can_is_killed(pools):
    pool = await pools.start()
    with pytest.raises(CallTimedOut):
        await pool.call("acts:stubborn", timeout=0.3)


async def test_a_crash_is_told_with_its_signal_and_harms_no_other_call(pools):
    pool = await pools.start(size=2)
    other = ensureDeferred(pool.call("acts:sleep", 0.5, timeout=10))
    with pytest.raises(CallDied, match="signal 11"):
        await pool.call("acts:crash", timeout=10)
    assert await pool.call("acts:echo", "back", timeout=10) == "back"
    assert await other is None


async def test_a_silent_exit_is_told(pools):
    pool = await pools.start()
    with pytest.raises(CallDied, match="in the middle of the call"):
        await pool.call("acts:vanish", 0, timeout=10)


async def test_a_child_that_babbles_on_the_pipe_of_answers_is_replaced(pools):
    pool = await pools.start()
    with pytest.raises(CallDied, match="no answer"):
        await pool.call("acts:babble", timeout=30)
    assert await pool.call("acts:echo", 1, timeout=10) == 1


async def test_a_killed_call_is_reported_dead_only_when_what_it_left_is_cleared(pools):
    cleared: Deferred[None] = Deferred()
    asked = []

    async def on_kill(application):
        asked.append(application)
        await cleared

    pool = await pools.start(on_kill)
    call = ensureDeferred(pool.call("acts:sleep", 600, timeout=0.2))
    await until(lambda: asked)
    assert asked[0].startswith("pandatx-child-") and asked[0].endswith("-test")
    assert not call.called
    assert await pool.call("acts:echo", 1, timeout=10) == 1
    cleared.callback(None)
    with pytest.raises(CallTimedOut):
        await call


async def test_a_clearing_that_fails_does_not_keep_the_caller(pools):
    async def on_kill(application):
        raise OSError("the database is away")

    pool = await pools.start(on_kill)
    with pytest.raises(CallTimedOut):
        await pool.call("acts:sleep", 600, timeout=0.2)


async def test_a_clearing_that_hangs_keeps_the_caller_for_five_seconds(pools):
    async def on_kill(application):
        await Deferred()

    pool = await pools.start(on_kill)
    begun = reactor.seconds()
    with pytest.raises(CallTimedOut):
        await pool.call("acts:sleep", 600, timeout=0.2)
    assert 5 < reactor.seconds() - begun < 7


async def test_each_call_carries_a_name_of_its_own_for_its_database_sessions(pools):
    pool = await pools.start()
    pid = await pool.call("acts:pid", timeout=10)
    names = [await pool.call("acts:application", timeout=10) for _ in range(2)]
    assert names == [f"pandatx-child-{pid}-test-2", f"pandatx-child-{pid}-test-3"]


async def test_calls_wait_in_the_order_they_came(pools):
    pool = await pools.start()
    order: list[int] = []
    calls = [ensureDeferred(pool.call("acts:echo", number, timeout=10)) for number in range(20)]
    for call in calls:
        call.addCallback(order.append)
    assert pool.status == PoolStatus(1, 1, 19)
    await DeferredList(calls)
    assert order == list(range(20))
    assert pool.status == PoolStatus(1, 0, 0)


async def test_a_cancelled_call_that_waits_is_never_begun_and_a_running_one_is_killed(pools):
    pool = await pools.start()
    first = await pool.call("acts:pid", timeout=10)
    sleeping = ensureDeferred(pool.call("acts:sleep", 600, timeout=700))
    waiting = ensureDeferred(pool.call("acts:sleep", 600, timeout=700))
    for call in (waiting, sleeping):
        call.cancel()
        with pytest.raises(CancelledError):
            await call
    assert await pool.call("acts:pid", timeout=10) != first


async def test_the_calls_of_a_context_can_be_killed_and_the_reason_is_told_once_they_are_dead(pools):
    asked = []

    async def on_kill(application):
        asked.append(application)

    pool = await pools.start(on_kill)
    calls = [ensureDeferred(pool.call("acts:sleep", 600, timeout=700, context="daemon x")) for _ in range(2)]
    other = ensureDeferred(pool.call("acts:echo", 1, timeout=10, context="daemon y"))
    pool.kill("daemon x", "its lock was lost")
    for call in calls:
        with pytest.raises(CallDied, match="its lock was lost"):
            await call
    assert len(asked) == 1
    assert await other == 1


async def test_printed_lines_go_to_the_log_under_the_name_of_their_call(pools, logged):
    pool = await pools.start()
    await pool.call("acts:speak", "one", timeout=10, context="run 7")
    await pool.call("acts:shout", 3, timeout=10)
    assert lines(logged, "acts:speak") == ["one", "err one"] or lines(logged, "acts:speak") == ["err one", "one"]
    assert lines(logged, "acts:shout") == ["yyy"]
    assert {event["label"] for event in logged if "one" in event.get("log_lines", ())} == {"run 7"}


async def test_a_print_of_a_megabyte_is_logged_in_pieces_and_blocks_nothing(pools, logged):
    pool = await pools.start()
    assert await pool.call("acts:shout", 1 << 20, timeout=30) == 1 << 20
    printed = lines(logged, "acts:shout")
    assert sum(map(len, printed)) == 1 << 20
    assert max(map(len, printed)) <= 8192


async def test_sigterm_from_outside_does_not_end_a_child(pools):
    pool = await pools.start()
    assert await pool.call("acts:terminate", timeout=10) == "still here"


async def test_programs_that_scripts_start_hold_no_pipe_of_the_pool(pools):
    pool = await pools.start()
    assert set(await pool.call("acts:descriptors", timeout=10)) >= {1, 2, 3, 4}


async def test_a_child_past_its_lifetime_is_replaced(pools):
    pool = await pools.start(lifetime=0.3)
    first = await pool.call("acts:pid", timeout=10)
    await until(lambda: not running(first))
    assert await pool.call("acts:pid", timeout=10) != first


async def test_a_call_that_outlives_the_lifetime_of_its_child_is_finished(pools):
    pool = await pools.start(lifetime=0.2)
    first = await pool.call("acts:pid", timeout=10)
    await pool.call("acts:sleep", 0.5, timeout=10)
    assert await pool.call("acts:pid", timeout=10) != first


async def test_a_child_over_the_memory_mark_is_replaced_after_its_call(pools):
    pool = await pools.start(memory_mark=60.0)
    first = await pool.call("acts:pid", timeout=10)
    await pool.call("acts:grow", timeout=10)
    assert await pool.call("acts:pid", timeout=10) != first


async def test_stop_lets_a_running_call_finish_and_refuses_the_waiting(pools):
    pool = await pools.start()
    begun = ensureDeferred(pool.call("acts:sleep", 0.3, timeout=10))
    waiting = ensureDeferred(pool.call("acts:echo", 1, timeout=10))
    pids = [pid for pid, _, _ in pool.calls]
    stopping = ensureDeferred(pool.stop(10))
    with pytest.raises(CallDied, match="not begun"):
        await waiting
    assert await begun is None
    await stopping
    assert not any(running(pid) for pid in pids)
    with pytest.raises(CallDied):
        await pool.call("acts:echo", 1, timeout=10)


async def test_stop_kills_what_is_not_done_in_time(pools):
    pool = await pools.start()
    begun = ensureDeferred(pool.call("acts:sleep", 600, timeout=700))
    await pool.stop(0.2)
    with pytest.raises(CallDied, match="stopping"):
        await begun


async def test_a_child_that_cannot_start_is_tried_again_and_start_does_not_hang(pools):
    pool = await pools.start(environment={"PYTHONHOME": "/nonexistent"})
    waiting = ensureDeferred(pool.call("acts:echo", 1, timeout=10))
    assert pool.status == PoolStatus(0, 0, 1)
    await pool.stop(1)
    with pytest.raises(CallDied):
        await waiting


async def test_a_reload_gives_new_children_of_another_number_and_lets_running_calls_end(pools):
    pool = await pools.start(size=2)
    first = await pool.call("acts:pid", timeout=10)
    begun = ensureDeferred(pool.call("acts:sleep", 0.5, timeout=10))
    pool.reload(3, 600.0, 1)
    assert await begun is None
    await until(lambda: pool.status.size == 3 and not running(first))
    assert first not in {await pool.call("acts:pid", timeout=10) for _ in range(3)}
    pool.reload(1, 600.0, 1)
    await until(lambda: pool.status.size == 1 and len(pool._children) == 1)
    assert await pool.call("acts:echo", 1, timeout=10) == 1


async def test_a_call_whose_child_has_ended_is_over_also_when_it_is_killed_and_others_hold_its_pipes(pools, tmp_path):
    pool = await pools.start()
    path = tmp_path / "young"
    begun = ensureDeferred(pool.call("acts:escape", str(path), timeout=600, context="it"))
    await until(path.exists)
    [child] = pool._children
    await until(lambda: child.transport.pid is None)
    pool.kill("it", "no more")
    begun.addTimeout(5, reactor)
    try:
        with pytest.raises(CallDied):
            await begun
    finally:
        os.kill(int(path.read_text()), signal.SIGKILL)
