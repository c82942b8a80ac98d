"""``pandatx daemon`` against real servers, and the operators' [daemon] section as it stands (rules R7, R33, R41)."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from server import Home, Process, until

EXAMPLE = Path(__file__).parents[1] / "config" / "daemon_example.cfg"
GUIDE = (
    "dummy_test add_main add_sub evpPD2P recover_lost_files_daemon process_workflow_files_daemon copyArchive "
    "datasetManager proxyCache pilot_streaming worker_synchronization configurator network_configurator "
    "schedconfig_json sw_tags metric_collector task_evaluator"
).split()
BEAT = """
import os
import time


def main(argv=(), tbuf=None, **kwargs):
    with open(argv[1], "a") as beats:
        beats.write(f"{time.time()}\\n")
    while len(argv) > 2 and not os.path.exists(argv[2]):
        time.sleep(0.1)
"""


def listed(home: Home) -> dict[str, dict[str, Any]]:
    """What ``pandatx daemon list --json`` says, by name; of one server."""
    done = home.command("daemon", "list", "--json")
    assert done.returncode == 0, done.stderr
    return {each["name"]: each for each in map(json.loads, done.stdout.splitlines())}


def scripts(home: Home, **daemons: dict[str, Any]) -> None:
    """Give a server daemons of a foreign package ``mine``; its module ``beat`` notes in a file when it begins."""
    package = home.path / "scripts" / "mine"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    (package / "beat.py").write_text(BEAT)
    paths = [str(package.parent), os.environ.get("PYTHONPATH")]
    home.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    section(home, f"[daemon]\nenable = True\npackage = mine\nn_proc = 2\nconfig = {json.dumps(daemons)}\n")


def section(home: Home, text: str) -> None:
    """Put another [daemon] section into panda_server.cfg."""
    whole = home.config.read_text()
    found = re.search(r"(?ms)^\[daemon\].*?(?=^\[|\Z)", whole)
    assert found is not None
    home.config.write_text(whole.replace(found[0], text + "\n"))


def beats(path: Path) -> list[float]:
    return [float(line) for line in path.read_text().split()] if path.exists() else []


def test_the_guides_section_starts_as_it_stands_with_no_error_line_and_all_seventeen_are_listed(home: Home) -> None:
    section(home, EXAMPLE.read_text())
    with home.server() as server:
        until(lambda: all(listed(home)[name]["runs"] for name in GUIDE), lambda: str(listed(home)), 60)
        found = listed(home)
        assert {name: found[name]["last_error"] for name in GUIDE} == dict.fromkeys(GUIDE)
        assert [name for name in GUIDE if found[name]["sync"]] == [
            "copyArchive", "datasetManager", "pilot_streaming", "worker_synchronization", "configurator",
            "network_configurator", "schedconfig_json", "sw_tags",
        ]  # fmt: skip
        assert re.findall(r".*#(?:error|critical).*|Traceback", server.text) == []
        table = home.command("daemon", "list").stdout
        assert table.startswith("NAME") and all(re.search(rf"(?m)^{name} ", table) for name in GUIDE)


def test_what_is_paused_begins_no_run_until_it_is_resumed_and_that_outlives_a_restart(home: Home) -> None:
    notes = home.path / "beats"
    scripts(home, beat={"period": 1, "arguments": [str(notes)]})
    with home.server() as server:
        until(lambda: beats(notes), "a first run")
        assert home.command("daemon", "pause", "beat").returncode == 0
        until(lambda: "daemon beat is paused by" in server.text, "a line in the log")
        until(lambda: _rests(server, notes), "no more runs")
        assert listed(home)["beat"]["condition"] == "paused"
    before = len(beats(notes))
    with home.server() as server:
        until(lambda: "beat" in listed(home) and listed(home)["queue_loader"]["runs"], "the others run")
        assert len(beats(notes)) == before
        assert home.command("daemon", "resume", "beat").returncode == 0
        until(lambda: len(beats(notes)) > before, "it runs again")
        refused = home.command("daemon", "pause", "nothing")
        assert (refused.returncode, refused.stderr) == (1, "pandatx: no server runs a daemon nothing\n")
        refused = home.command("daemon", "resume", "beat")
        assert (refused.returncode, refused.stderr) == (1, "pandatx: daemon beat is not paused\n")


def _rests(server: Process, notes: Path) -> bool:
    """Whether the daemon's paused mark has reached the scheduler: its metrics say so, and no run came since."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.home.metrics_port}/metrics", timeout=5) as answer:
        return 'pandatx_daemon_paused{daemon="beat"} 1.0' in answer.read().decode()


def test_a_daemon_runs_by_hand_with_other_arguments_beside_a_server_and_without_one(home: Home) -> None:
    notes, others = home.path / "beats", home.path / "others"
    scripts(home, beat={"period": 3600, "arguments": [str(notes)], "sync": True})
    with home.server():
        until(lambda: listed(home)["beat"]["runs"] == 1 and listed(home)["beat"]["condition"] == "waiting", "a run")
        early = _by_hand(home, "beat", others)
        assert early.returncode == 1 and "another server has its lock until" in early.stderr
        until(lambda: _by_hand(home, "beat", others).returncode == 0, "it is known to rest", every=1)
    assert (len(beats(notes)), len(beats(others))) == (1, 1)
    alone = home.command("daemon", "run", "--config", home.config, "copyArchive")
    assert alone.returncode == 0, alone.stderr


def _by_hand(home: Home, name: str, *arguments: object) -> Any:
    return home.command("daemon", "run", "--config", home.config, name, *arguments)


def test_a_dry_run_of_the_archiver_says_what_would_be_done_and_leaves_its_period_alone(home: Home) -> None:
    with home.server():
        until(lambda: listed(home)["archiver"]["runs"] == 1, "a run")
        for _ in range(2):
            dry = _by_hand(home, "archiver", "--dry-run")
            assert dry.returncode == 0, dry.stderr
            assert "0 rows of jobsarchived4 would be moved" in dry.stderr


def test_a_daemon_is_not_run_by_hand_while_it_runs_on_this_machine(home: Home) -> None:
    notes, over = home.path / "beats", home.path / "over"
    scripts(home, beat={"period": 60, "arguments": [str(notes), str(over)]})
    with home.server():
        until(lambda: beats(notes), "a run")
        refused = _by_hand(home, "beat", notes)
        assert refused.returncode == 1
        assert refused.stderr.endswith("pandatx: daemon beat: another process of this machine is running it\n")
        over.touch()


def test_a_daemon_that_nobody_knows_or_whose_entry_is_bad_is_refused_with_exit_2(home: Home) -> None:
    scripts(home, beat={"module": "beat"})
    unknown = _by_hand(home, "nothing")
    assert unknown.returncode == 2 and "pandatx: no daemon nothing; there are " in unknown.stderr
    bad = _by_hand(home, "beat")
    assert (bad.returncode, bad.stderr.splitlines()[-1]) == (2, "pandatx: daemon beat is left out: it has no period")


def test_by_hand_a_run_that_fails_is_exit_1_with_its_error(home: Home) -> None:
    scripts(home, beat={"period": 60})  # no argument: it raises
    failed = _by_hand(home, "beat")
    assert failed.returncode == 1
    assert "pandatx: daemon beat: IndexError: " in failed.stderr


CUTS = """
import psycopg2


def main(argv=(), tbuf=None, **kwargs):
    connection = psycopg2.connect(argv[1])
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{argv[2]}" ALLOW_CONNECTIONS false')
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (argv[2],))
"""


@pytest.mark.long
def test_by_hand_a_run_whose_database_goes_away_in_its_midst_ends_and_is_told_as_it_went(home: Home) -> None:
    name = re.findall(r"(?m)^dbname = (.*)$", home.config.read_text())[0]
    arguments = [str(home.dsn).replace(f"dbname={name}", "dbname=postgres"), name]
    scripts(home, cuts={"period": 60, "sync": True, "arguments": arguments})
    (home.path / "scripts" / "mine" / "cuts.py").write_text(CUTS)
    try:
        done = _by_hand(home, "cuts")
        assert done.returncode == 0, done.stderr
        assert "its lock is not handed back" in done.stderr
        assert done.stderr.splitlines()[-1].startswith("pandatx: daemon cuts: done in ")
        again = _by_hand(home, "cuts")
        assert again.returncode == 6 and "Traceback" not in again.stderr, again.stderr
    finally:  # others have the database after us
        with closing(psycopg2.connect(arguments[0])) as connection:
            connection.autocommit = True
            connection.cursor().execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def test_without_an_enabled_section_the_server_serves_and_says_that_only_its_own_daemons_run(home: Home) -> None:
    home.set("daemon", enable=False)
    with home.server() as server:
        assert "[daemon] enable is False: none of its daemons run, only those of our own" in server.text
        until(lambda: listed(home)["share_statistics"]["runs"], "one of ours runs")
        assert "copyArchive" not in listed(home)


def test_sighup_takes_a_changed_section_over_and_a_section_that_cannot_be_read_changes_nothing(home: Home) -> None:
    first, second = home.path / "first", home.path / "second"
    scripts(home, first={"module": "beat", "period": 1, "arguments": [str(first)]})
    with home.server() as server:
        until(lambda: len(beats(first)) > 1, "it runs")
        scripts(home, second={"module": "beat", "period": 1, "arguments": [str(second)]})
        server.signal(signal.SIGHUP)
        until(lambda: len(beats(second)) > 1, "the new one runs")
        until(lambda: "first" not in listed(home), "the old one is gone")
        known = len(beats(first))
        section(home, "[daemon]\nenable = True\npackage = mine\nconfig = {\n")
        server.signal(signal.SIGHUP)
        until(lambda: "the [daemon] section stays as it was" in server.text, "a line in the log")
        going_on = len(beats(second))
        until(lambda: len(beats(second)) > going_on + 1, "the new one still runs")
        assert len(beats(first)) == known


SET_BACK = """
import os
import time

told = time.time
time.time = lambda: told() - (3600.0 if os.path.exists({flag!r}) else 0.0)
"""
"""A ``sitecustomize``: the clock of whoever imports it is an hour back once there is a file."""


def test_daemons_and_requests_go_on_when_somebody_sets_the_machines_clock_back(home: Home) -> None:
    flag, notes = home.path / "back", home.path / "beats"
    scripts(home, beat={"period": 2, "arguments": [str(notes)]})
    (home.path / "scripts" / "sitecustomize.py").write_text(SET_BACK.format(flag=str(flag)))
    with home.server():
        until(lambda: beats(notes) and time.time() - beats(notes)[-1] > 0.5, "it waits for its next run")
        flag.touch()
        before = len(beats(notes))
        until(lambda: len(beats(notes)) > before + 2, "it goes on", 20)
        assert max(beats(notes)) - min(beats(notes)) > 1800, "the clock was not set back"
        until(lambda: listed(home)["beat"]["runs"] > before + 2, "the board learns of it")


@pytest.mark.long
def test_two_servers_run_sync_daemons_once_per_period_in_all_and_others_on_each_whoever_dies(
    home_with: Callable[..., Home], home: Home
) -> None:
    """A minute of two servers with state directories of their own over one database, then SIGKILL of one."""
    other = home_with()
    other.dsn = home.dsn
    database = dict(re.findall(r"(?m)^(dbhost|dbname) = (.*)$", home.config.read_text()))
    other.set("server", **database)
    shared, mine = home.path / "shared", {one.path: one.path / "mine" for one in (home, other)}
    for one in (home, other):
        scripts(
            one,
            together={"module": "beat", "period": 4, "sync": True, "arguments": [str(shared)]},
            apart={"module": "beat", "period": 3, "arguments": [str(mine[one.path])]},
        )
    with home.server() as first, other.server() as second:
        begun = beats_from = until(lambda: beats(mine[home.path]) and beats(mine[other.path]), "both run")[0]
        until(lambda: beats(mine[home.path])[-1] >= begun + 60, "a minute", 90)
        together = [moment for moment in beats(shared) if moment >= beats_from]
        assert 14 <= len([moment for moment in together if moment < begun + 60]) <= 16
        assert min(b - a for a, b in pairwise(together)) > 3.5
        for path in mine.values():
            alone = [moment for moment in beats(path) if begun <= moment < begun + 60]
            assert 18 <= len(alone) <= 21
            assert min(b - a for a, b in pairwise(alone)) > 2.5
        holder = first if _holds(first, home) else second
        rest = other if holder is first else home
        holder.kill()
        died, before = beats(shared)[-1], len(beats(shared))
        until(lambda: len(beats(shared)) > before + 1, "the other goes on", 20)
        assert beats(shared)[before] - died < 2 * 4 + 1  # within a period of when it was due
        until(lambda: beats(mine[rest.path])[-1] > died + 3, "its own daemons go on", 20)


def _holds(server: Process, home: Home) -> bool:
    """Whether the lock of ``together`` is this server's."""
    holder = home.tables().scalar("SELECT lockedby FROM jedi_process_lock WHERE component = 'pandaD.together'")
    return str(holder).endswith(f"-{server.pid}")
