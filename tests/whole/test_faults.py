"""The promises of design.md 4 when a server or its database dies under load (rules R2-R5)."""

from __future__ import annotations

import threading
from pathlib import Path

from load import DONE, Connection, Handed, Load, NoAnswer, Pilot, Told, broken_promises
from server import Home, Tables, until

from pandatx.store.cluster import Cluster


def running_jobs(home: Home, number: int) -> tuple[list[Handed], Told]:
    """Jobs that pilots have fetched and run."""
    told = Told()
    pilot = Pilot(Connection(home), told)
    jobs = []
    for _ in range(number):
        job = pilot.get_job()
        assert job is not None
        assert pilot.report(job, "running") is not None
        jobs.append(job)
    return jobs, told


def finish_all(home: Home, jobs: list[Handed], told: Told) -> list[str | None]:
    """Report all as finished, each over a connection of its own, all at once; the answers."""
    answers: list[str | None] = []

    def finish(job: Handed) -> None:
        answers.append(Pilot(Connection(home), told).report(job, "finished"))

    threads = [threading.Thread(target=finish, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def reported(tables: Tables, jobs: list[Handed]) -> bool:
    places = tables.statuses()
    return all(places[job.panda_id][0][1] in DONE for job in jobs)


def spooled(home: Home) -> list[Path]:
    return [path for path in (home.path / "state" / "spool").rglob("*.reports") if path.stat().st_size]


def done(told: Told, number: int) -> None:
    until(lambda: len(told.finals) >= number, lambda: f"{number} jobs done, not {len(told.finals)}", 90)


def test_a_server_that_is_killed_under_load_keeps_what_it_has_promised(home: Home) -> None:
    tables = home.tables()
    tables.activate(400)
    server = home.server().start()
    load = Load(home).start(pilots=8, users=2)
    for number in (60, 120):
        done(load.told, number)
        server.kill()
        server = home.server().start()
    done(load.told, 180)
    told = load.stop()
    assert told.unanswered > 0
    assert broken_promises(told, tables) == []
    server.stop()
    assert broken_promises(told, tables) == []
    tables.close()


def test_a_database_that_is_killed_under_load_keeps_what_was_promised(frail: tuple[Home, Cluster]) -> None:
    home, cluster = frail
    tables = home.tables()
    tables.activate(400)
    server = home.server().start()
    load = Load(home).start(pilots=8, users=2)
    for number in (60, 120):
        done(load.told, number)
        cluster.kill()
        cluster.start()
    done(load.told, 180)
    told = load.stop()
    until(lambda: not spooled(home), "the spool is empty")
    assert broken_promises(told, tables) == []
    server.stop()
    tables.close()


def test_reports_that_come_while_the_database_is_away_are_all_there_afterwards(frail: tuple[Home, Cluster]) -> None:
    home, cluster = frail
    tables = home.tables()
    tables.activate(20)
    with home.server():
        jobs, told = running_jobs(home, 20)
        cluster.kill()
        answers = finish_all(home, jobs, told)
        assert answers == ["NULL"] * 20
        assert spooled(home)
        cluster.start()
        until(lambda: reported(tables, jobs), "every report is in the database")
        assert broken_promises(told, tables) == []
        assert not {"failed"} & {status for ((_, status),) in tables.statuses().values()}
    tables.close()


def test_reports_of_a_process_that_is_gone_for_good_arrive_through_another(frail: tuple[Home, Cluster]) -> None:
    home, cluster = frail
    tables = home.tables()
    tables.activate(40)
    first = home.server().start()
    with home.server():
        jobs, told = running_jobs(home, 40)
        cluster.kill()
        assert finish_all(home, jobs, told) == ["NULL"] * 40
        assert len({path.parent for path in spooled(home)}) == 2, "both processes have some"
        first.kill()
        cluster.start()
        until(lambda: reported(tables, jobs), "every report is in the database", 60)
        assert broken_promises(told, tables) == []
        until(lambda: not spooled(home), "the spools are empty")
    tables.close()


def test_a_report_that_was_spooled_survives_the_death_of_its_server(frail: tuple[Home, Cluster]) -> None:
    home, cluster = frail
    tables = home.tables()
    tables.activate(5)
    server = home.server().start()
    jobs, told = running_jobs(home, 5)
    cluster.kill()
    assert finish_all(home, jobs, told) == ["NULL"] * 5
    server.kill()
    cluster.start()
    with home.server():
        until(lambda: reported(tables, jobs), "every report is in the database")
        assert broken_promises(told, tables) == []
    tables.close()


def test_an_old_attempt_or_an_unknown_job_is_told_to_stop_and_changes_nothing(home: Home) -> None:
    tables = home.tables()
    tables.activate(1)
    with home.server():
        (job,), told = running_jobs(home, 1)
        for pilot in (Pilot(Connection(home), told), Pilot(Connection(home), told, v1=True)):
            assert "tobekilled" in str(pilot.report(Handed(job.panda_id, 7), "finished"))
            assert "tobekilled" in str(pilot.report(Handed(999_999, 0), "running"))
        assert tables.status(job.panda_id) == "running"
        assert tables.scalar("SELECT count(*) FROM job_output_report") == 0
    tables.close()


def test_a_final_report_counts_once_however_often_it_comes(home: Home) -> None:
    tables = home.tables()
    tables.activate(1)
    with home.server():
        (job,), told = running_jobs(home, 1)
        for _ in range(2):
            for pilot in (Pilot(Connection(home), told), Pilot(Connection(home), told, v1=True)):
                assert pilot.report(job, "finished") is not None
        until(lambda: reported(tables, [job]), "the report is in the database")
        assert broken_promises(told, tables) == []
    tables.close()


def test_an_unheard_answer_gives_the_job_back(home: Home) -> None:
    """Promise 7: a pilot that has hung up before its answer began."""
    tables, holder = home.tables(), home.tables()
    tables.activate(1)
    with home.server():
        holder.query("BEGIN; LOCK TABLE jobs_statuslog IN ACCESS EXCLUSIVE MODE")
        connection = Connection(home)
        pilot = Pilot(connection, Told())
        asking = threading.Thread(target=lambda: _ask(pilot))
        asking.start()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        until(lambda: tables.scalar(waiting), "the claim waits")
        connection.shut()
        asking.join(30)
        holder.query("COMMIT")
        until(lambda: tables.history(1) == ["sent", "activated"], lambda: f"given back, not {tables.history(1)}")
        assert Pilot(Connection(home), Told()).get_job() == Handed(1, 0, ("test.1.out", "test.1.log.tgz"))
    holder.close()
    tables.close()


def _ask(pilot: Pilot) -> None:
    try:
        pilot.get_job()
    except NoAnswer:
        return
