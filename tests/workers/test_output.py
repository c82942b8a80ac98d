"""What scripts say: under their daemon's name, with its level, in its files, and never more than a log can bear."""

from __future__ import annotations

import resource

import pytest
from children import result_of, run, said
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import LogLevel, globalLogPublisher

from pandatx.ops.logs import Logs, files_of
from pandatx.workers.calls import CallTimedOut
from pandatx.workers.output import BURST, RATE, Budget, Output


@pytest.fixture
def logs(tmp_path):
    made = Logs(tmp_path / "log", LogLevel.info)
    made.open()
    globalLogPublisher.addObserver(made)
    yield tmp_path / "log"
    globalLogPublisher.removeObserver(made)


SPEAKS = """
import logging, sys, warnings
def main(argv=(), tbuf=None, **kwargs):
    print("printed")
    print("complained", file=sys.stderr)
    logging.getLogger("site.sweep").info("informed %s", 7)
    logging.getLogger("site.sweep").debug("whispered")
    logging.warning("warned\\nin two lines")
    try:
        1 / 0
    except ZeroDivisionError:
        logging.exception("failed")
"""


async def test_each_stream_of_a_script_arrives_with_the_daemons_name_in_its_files(scripts, logs):
    pool = await scripts.start()
    await run(pool, scripts.write("speaks", SPEAKS), daemon="sweep-up")
    texts = {path.name: path.read_text() for path in logs.iterdir()}
    for name in ("panda-daemons.log", "panda-sweep-up.log"):
        for word in ("printed", "complained", "site.sweep: informed 7", "warned", "in two lines"):
            [line] = [line for line in texts[name].splitlines() if word in line]
            assert "daemon sweep-up pid=" in line
        assert "ZeroDivisionError" in texts[name]
        assert "whispered" not in texts[name]
    assert "printed" in texts["panda_daemon_stdout.log"] and "complained" not in texts["panda_daemon_stdout.log"]
    assert "complained" in texts["panda_daemon_stderr.log"] and "printed" not in texts["panda_daemon_stderr.log"]
    levels = {word: line.split()[3] for line in texts["panda-sweep-up.log"].splitlines() for word in line.split()[-1:]}
    assert (levels["7"], levels["failed"], levels["lines"]) == ("INFO", "ERROR", "WARN")
    assert "failed" in texts["panda_server_error_log"] and "informed" not in texts["panda_server_error_log"]


async def test_debug_records_come_where_the_server_logs_them(scripts, events):
    pool = await scripts.start(log_level="debug")
    await run(pool, scripts.write("speaks", SPEAKS))
    assert any("whispered" in line for line in said(events, "record"))


async def test_secrets_in_what_a_script_prints_are_not_written(scripts, logs):
    pool = await scripts.start()
    await result_of(scripts, pool, "print('token=abcdef', 'well'); result = 1", daemon="sweep")
    for name in ("panda-daemons.log", "panda_daemon_stdout.log"):
        text = (logs / name).read_text()
        assert "abcdef" not in text and "well" in text


def test_a_daemons_name_cannot_lead_out_of_the_folder(scripts, events):
    output = Output(lambda _: Budget(lambda: 0.0))
    output.begin("daemon", "call", "../../etc/passwd")
    output.stream("stdout")(["x"])
    for name in files_of(events[-1]["log_namespace"]):
        assert "/" not in name


async def test_ten_megabytes_neither_block_nor_fill_memory_and_what_is_cut_is_told(scripts, logs):
    pool = await scripts.start()
    gaps, last = [], [reactor.seconds()]

    def tick():
        now = reactor.seconds()
        gaps.append(now - last[0])
        last[0] = now

    ticking = LoopingCall(tick)
    ticking.start(0.01)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    body = """
    for number in range(100_000):
        print(f"{number:>7}" + "x" * 93)
    result = "done"
    """
    assert await result_of(scripts, pool, body, daemon="loud") == "done"
    ticking.stop()
    assert max(gaps) < 1.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 << 10
    told = (logs / "panda-loud.log").read_text()
    [line] = [line for line in told.splitlines() if "were cut here" in line]
    number = int(line.split(" lines of ")[0].split()[-1])
    whole = told.count("xxxxx" * 10)
    assert number + whole == 100_000
    assert whole > BURST / 400


def test_after_a_cut_nothing_is_written_until_a_quarter_of_the_room_is_free_again(events):
    now = [0.0]
    budget = Budget(lambda: now[0])
    output = Output(lambda _: budget)
    output.begin("daemon x", "call", "x")
    output.stream("stdout")(["y" * (BURST - 1000)])
    for _ in range(10):
        output.stream("stdout")(["z" * 900])
    assert [len(line) for line in said(events)] == [BURST - 1000]
    now[0] += 1.0
    output.stream("stdout")(["too early"])
    now[0] += BURST / 4 / RATE
    output.stream("stdout")(["in time"])
    assert said(events)[1:] == ["11 lines of 9009 bytes in all were cut here: it says more than 64 KiB/s", "in time"]


def test_what_was_cut_at_the_end_of_a_call_is_told_under_its_name(events):
    output = Output(lambda _: Budget(lambda: 0.0))
    output.begin("daemon x", "call", "x")
    output.stream("stdout")(["y" * (BURST + 1)])
    output.end()
    [event] = [event for event in events if "log_lines" in event]
    assert (event["label"], event["log_level"]) == ("daemon x", LogLevel.warn)
    assert event["log_namespace"] == "pandatx.workers.record.x"


async def test_a_script_that_floods_is_held_up_and_the_reactor_keeps_its_time(scripts, logs):
    pool = await scripts.start(size=2)
    floods = "import sys\ndef main(argv=(), tbuf=None, **kw):\n    while True: sys.stdout.write('y\\n' * 10000)\n"
    records = "import logging\ndef main(argv=(), tbuf=None, **kw):\n    while True: logging.info('again')\n"
    busy = resource.getrusage(resource.RUSAGE_SELF)
    calls = [
        ensureDeferred(run(pool, scripts.write(name, text), timeout=3.0, daemon=name))
        for name, text in (("floods", floods), ("records", records))
    ]
    for call in calls:
        with pytest.raises(CallTimedOut):
            await call
    now = resource.getrusage(resource.RUSAGE_SELF)
    spent = (now.ru_utime + now.ru_stime) - (busy.ru_utime + busy.ru_stime)
    assert spent < 1.5
    for name in ("floods", "records"):
        text = (logs / f"panda-{name}.log").read_text()
        assert len(text) < 2 * BURST and "were cut here" in text
