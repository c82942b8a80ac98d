"""Many kills, and minutes without a database; run by ``make test-long``."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from load import DONE, Connection, Handed, Load, Pilot, Told, broken_promises
from server import Home, Tables, until
from test_faults import finish_all, running_jobs, spooled

from pandatx.store.cluster import Cluster

KILLS = 50
OUTAGE = 300.0
FROZEN = 60.0

pytestmark = pytest.mark.long


def all_ended(told: Told, tables: Tables) -> bool:
    places = tables.statuses()
    return all(places[panda_id][0][1] in ("finished", "failed") for panda_id in told.finals)


def test_fifty_kills_of_server_and_database_at_random_moments_break_no_promise(frail: tuple[Home, Cluster]) -> None:
    home, cluster = frail
    tables = home.tables()
    server = home.server().start()
    chance, pause = random.Random(), threading.Event()
    load = Load(home, patience=120).start(pilots=8, users=2)
    for _ in range(KILLS):
        pause.wait(chance.uniform(0.2, 2.0))
        victim = chance.choice(("server", "database", "both"))
        if victim != "database":
            server.kill()
        if victim != "server":
            cluster.kill()
            pause.wait(chance.choice((0.0, 0.0, chance.uniform(0.0, 6.0))))
            cluster.start()
        if victim != "database":
            server = home.server().start()
    told = load.stop()
    assert len(told.finals) > KILLS and told.unanswered
    until(lambda: not spooled(home), "the spool is empty", 60)
    until(lambda: all_ended(told, tables), "every reported job has come to its end", 120)
    server.stop()
    assert broken_promises(told, tables) == []
    tables.close()


def test_a_database_that_is_frozen_for_a_minute_holds_up_nothing_but_what_needs_it(frail: tuple[Home, Cluster]) -> None:
    """As when the machine of the database is suspended: connections stay, and nobody answers on them."""
    home, cluster = frail
    tables = home.tables()
    tables.activate(24)
    with home.server() as server:
        jobs, told = running_jobs(home, 20)
        frozen = _family(cluster)
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        began, waited = time.monotonic(), list[float]()

        def ask() -> None:
            assert Pilot(Connection(home), told).get_job() is None
            waited.append(time.monotonic() - began)

        asking = [threading.Thread(target=ask) for _ in range(3)]
        try:
            for each in asking:
                each.start()
            assert finish_all(home, jobs, told) == ["NULL"] * 20
            assert time.monotonic() - began < 15.0
            assert spooled(home)
            until(lambda: _says_that_it_lives(home) and time.monotonic() - began > FROZEN, "it lives", FROZEN + 5, 0.5)
            assert server.alive()
            assert len(waited) == 3 and max(waited) < 30.0, "pilots are told that there is no job for now (rule R15)"
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        until(lambda: not spooled(home), "the spool is empty", 60)
        until(lambda: all_ended(told, tables), "every reported job has come to its end", 60)
    assert broken_promises(told, tables) == []
    tables.close()


def _family(cluster: Cluster) -> list[int]:
    """The database's processes, the one that starts the others first."""
    first = cluster.pid
    assert first is not None
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    return [first, *map(int, children)]


def _says_that_it_lives(home: Home) -> bool:
    """Within a second: else it does not."""
    assert Connection(home, "", timeout=1.0).ask("GET", "/livez").status == 200
    return True


def test_five_minutes_without_a_database_lose_no_report_and_fail_no_job(frail: tuple[Home, Cluster]) -> None:
    """Jobs that end during the outage are reported, those that go on are alive afterwards."""
    home, cluster = frail
    tables = home.tables()
    tables.activate(60)
    with home.server() as server:
        jobs, told = running_jobs(home, 60)
        ending, lasting = jobs[:40], jobs[40:]
        cluster.kill()
        began = time.monotonic()
        threads = [
            threading.Thread(target=_report_at, args=(home, told, job, began + OUTAGE * (number + 0.5) / len(ending)))
            for number, job in enumerate(ending)
        ]
        threads += [threading.Thread(target=_ask_until, args=(home, told, began + OUTAGE))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(OUTAGE + 120)
        assert len(told.finals) == len(ending)
        cluster.start()
        until(lambda: _statuses(tables, ending) <= DONE, lambda: _statuses(tables, ending), 120)
        assert _statuses(tables, lasting) == {"running"}
        pilot = Pilot(Connection(home), told)
        assert {pilot.report(job, "running") for job in lasting} == {"NULL"}
        assert "failed" not in {status for ((_, status),) in tables.statuses().values()}
        assert broken_promises(told, tables) == []
        assert "Traceback" not in server.text
    tables.close()


def _report_at(home: Home, told: Told, job: Handed, moment: float) -> None:
    threading.Event().wait(max(0.0, moment - time.monotonic()))
    Pilot(Connection(home, timeout=115), told).report(job, "finished")


def _ask_until(home: Home, told: Told, moment: float) -> None:
    """A pilot without a job gets none, and no HTTP error, all the while (rule R15)."""
    pilot = Pilot(Connection(home), told)
    while time.monotonic() < moment:
        assert pilot.get_job() is None


def _statuses(tables: Tables, jobs: list[Handed]) -> set[str]:
    places = tables.statuses()
    return {places[job.panda_id][0][1] for job in jobs}
