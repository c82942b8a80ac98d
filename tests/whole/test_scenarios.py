"""Acceptance scenarios of reference/lifecycle.md 10 over HTTP, as users and pilots see them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from load import Connection, Handed, Pilot, Told, broken_promises, definition, output_report
from server import Home, Process, Tables, until


class World:
    """A server, a user, two pilots and the tables."""

    files_each = 2

    def __init__(self, server: Process) -> None:
        self.home = server.home
        self.tables: Tables = server.home.tables()
        self.user = Connection(self.home, "user.pem")
        self.told = Told()
        self.pilots = [Pilot(Connection(self.home), self.told, v1) for v1 in (False, True)]

    def submit(self, *jobs: dict[str, Any]) -> list[int]:
        answer = self.user.v1("job/submit", jobs=list(jobs)).json
        assert answer["success"], answer
        return [receipt[0] for receipt in answer["data"]]

    def activated(self, **fields: Any) -> int:
        (job,) = self.submit(definition("one", **fields))
        self.becomes(job, "activated")
        return job

    def becomes(self, job: int, status: str) -> None:
        until(lambda: self.tables.status(job) == status, lambda: f"{status}, not {self.tables.history(job)}")

    def running(self, pilot: Pilot, **fields: Any) -> Handed:
        self.activated(**fields)
        job = pilot.get_job()
        assert job is not None and pilot.report(job, "running") == "NULL"
        return job

    def column(self, job: int, name: str) -> Any:
        for table in ("jobsdefined4", "jobsactive4", "jobsarchived4"):
            if rows := self.tables.query(f"SELECT {name} FROM {table} WHERE pandaid = %(id)s", id=job):
                return rows[0][0]
        raise AssertionError(f"no job {job}")

    def files(self, job: int) -> dict[str, str]:
        text = "SELECT type, status FROM filestable4 WHERE pandaid = %(id)s"
        return dict(self.tables.query(text, id=job))


@pytest.fixture
def world(home: Home) -> Iterator[World]:
    with home.server() as server:
        world = World(server)
        yield world
        for connection in (world.user, *(pilot.connection for pilot in world.pilots)):
            connection.close()
        assert broken_promises(world.told, world.tables, world.files_each) == []
        world.tables.close()


def test_1_a_submitted_job_is_activated_with_its_files_and_its_log(world: World) -> None:
    job = world.activated()
    assert world.tables.statuses() == {job: [("jobsactive4", "activated")]}
    assert world.files(job) == {"output": "unknown", "log": "unknown"}
    assert world.tables.history(job) == ["defined", "activated"]


def test_2_a_pilot_that_fits_gets_the_job_and_the_next_one_nothing(world: World) -> None:
    job = world.activated()
    first, second = world.pilots
    first.node = "node1"
    handed = first.get_job()
    assert handed is not None and handed.panda_id == job
    assert second.get_job() is None
    assert world.tables.status(job) == "sent"
    assert world.column(job, "starttime") is not None and world.column(job, "modificationhost") == "node1"


def test_3_a_pilot_with_too_little_memory_gets_nothing(world: World) -> None:
    world.activated(minRamCount=4000)
    for pilot in world.pilots:
        pilot.memory = 3999
        assert pilot.get_job() is None
    world.pilots[0].memory = 4000
    assert world.pilots[0].get_job() is not None


@pytest.mark.parametrize("dialect", [0, 1])
def test_5_a_finished_job_is_archived_with_its_files_ready(world: World, dialect: int) -> None:
    pilot = world.pilots[dialect]
    job = world.running(pilot)
    assert pilot.report(job, "finished", xml=output_report(job.panda_id, list(job.files))) is not None
    world.becomes(job.panda_id, "finished")
    assert world.tables.statuses() == {job.panda_id: [("jobsarchived4", "finished")]}
    assert world.files(job.panda_id) == {"output": "ready", "log": "ready"}
    had = world.tables.history(job.panda_id)
    assert had == ["defined", "activated", "sent", "running", "holding", "finished"]


@pytest.mark.parametrize("dialect", [0, 1])
def test_6_and_14_a_failed_job_is_failed_with_its_code_and_nobody_tries_it_again(world: World, dialect: int) -> None:
    pilot = world.pilots[dialect]
    job = world.running(pilot, maxAttempt=3)
    code = "pilot_error_code" if pilot.v1 else "pilotErrorCode"
    assert pilot.report(job, "failed", **{code: 1305}) is not None
    world.becomes(job.panda_id, "failed")
    assert world.column(job.panda_id, "piloterrorcode") == 1305
    assert world.tables.scalar("SELECT count(*) FROM jobsactive4") == 0
    assert world.tables.scalar("SELECT count(*) FROM jobsdefined4") == 0


def test_7_reports_on_unknown_jobs_and_old_attempts_are_told_to_stop(world: World) -> None:
    job = world.running(world.pilots[0])
    for pilot in world.pilots:
        assert "tobekilled" in str(pilot.report(Handed(job.panda_id + 1, 0), "running"))
        assert "tobekilled" in str(pilot.report(Handed(job.panda_id, 9), "failed"))
    assert world.tables.status(job.panda_id) == "running"
    world.told.reports.clear()


def test_8_a_second_final_report_changes_nothing(world: World) -> None:
    job = world.running(world.pilots[0])
    for pilot in (*world.pilots, *world.pilots):
        assert pilot.report(job, "finished") is not None
    world.becomes(job.panda_id, "finished")
    for pilot in world.pilots:
        assert pilot.report(job, "failed") is not None
    assert world.tables.status(job.panda_id) == "finished"
    assert world.tables.history(job.panda_id).count("holding") == 1


def test_9_a_job_killed_before_dispatch_is_cancelled(world: World) -> None:
    job = world.activated()
    assert world.user.v1("job/kill", job_ids=[job]).json["data"] == [True]
    world.becomes(job, "cancelled")
    assert world.tables.statuses() == {job: [("jobsarchived4", "cancelled")]}
    assert world.column(job, "taskbuffererrorcode") == 100
    assert world.pilots[0].get_job() is None


@pytest.mark.parametrize("dialect", [0, 1])
def test_10_a_job_killed_while_it_runs_is_cancelled_once_its_pilot_has_obeyed(world: World, dialect: int) -> None:
    pilot = world.pilots[dialect]
    job = world.running(pilot)
    assert world.user.v1("job/kill", job_ids=[job.panda_id]).json["data"] == [True]
    assert world.tables.status(job.panda_id) == "running"
    assert "tobekilled" in str(pilot.report(job, "running"))
    assert pilot.report(job, "failed") is not None
    world.becomes(job.panda_id, "cancelled")


def test_somebody_elses_job_cannot_be_killed_by_a_user_without_a_role(world: World) -> None:
    production = Connection(world.home, "production.pem")
    (receipt,) = production.v1("job/submit", jobs=[definition("theirs")]).json["data"]
    world.becomes(receipt[0], "activated")
    assert world.user.v1("job/kill", job_ids=[receipt[0]]).json["data"] == [False]
    assert world.tables.status(receipt[0]) == "activated"


def test_an_answered_report_becomes_the_final_status_without_waiting_for_a_round(world: World) -> None:
    seconds = []
    for _ in range(5):
        job = world.running(world.pilots[0])
        assert world.pilots[0].report(job, "finished") is not None
        began = time.monotonic()
        world.becomes(job.panda_id, "finished")
        seconds.append(time.monotonic() - began)
    assert sorted(seconds)[2] < 5.0, seconds  # a round is 10 s


def test_a_job_waits_for_its_inputs_until_their_dataset_is_said_to_be_complete(world: World) -> None:
    world.files_each = 3
    wanted = definition("needy")
    wanted["Files"].append(
        {"lfn": "in.root", "type": "input", "dataset": "user.test.in", "scope": "user.test", "fsize": 5, "GUID": "g"}
    )
    (job,) = world.submit(wanted)
    world.becomes(job, "assigned")
    assert world.pilots[0].get_job() is None
    block = world.column(job, "dispatchdblock")
    done = world.home.command("dataset", "complete", block)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    world.becomes(job, "activated")
    assert world.pilots[1].get_job() is not None


def test_jobs_are_listed_and_shown_on_the_command_line(world: World) -> None:
    job = world.activated()
    listed = world.home.command("job", "list", "--status", "activated", "--queue", "LOCAL", "--json")
    assert [json.loads(line)["PandaID"] for line in listed.stdout.splitlines()] == [job]
    assert world.home.command("job", "list", "--status", "running").stdout.count("\n") == 1
    shown = world.home.command("job", "show", job, job + 1)
    assert shown.returncode == 1 and shown.stderr == f"pandatx: no job {job + 1}\n"
    assert "activated" in shown.stdout and "one.log.tgz" in shown.stdout
    refused = world.home.command("job", "submit", "--queue", "NIX", "--exec", "true")
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1 and "NIX" in refused.stderr
