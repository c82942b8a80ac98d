"""The unmodified pilot against a whole server, from ``pandatx job submit`` to the final status."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from load import Connection
from pilot import Pilot, Place, lives, obtain, takes_base_urls, transformation
from server import SIGKILL, Home, Tables, until

from pandatx.store.cluster import Cluster

CACHE = Path(__file__).parents[2] / ".run" / "pilots"
SCRIPT = "runGen-00-00-02"


@pytest.fixture
def served(home_with: Callable[..., Home], cluster: Cluster, database_name: str) -> Iterator[Home]:
    home = home_with((cluster, database_name))
    with home.server():
        yield home


def place_of(home: Home) -> Place:
    return Place(home=home.path, server=home.url, web=home.web)


def submit(home: Home, source: Path, shell: str, *options: str) -> int:
    transform = transformation(source, place_of(home), SCRIPT)
    done = home.command("job", "submit", "--queue", "LOCAL", "--transformation", transform, *options, "--exec", shell)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def ends_as(tables: Tables, job: int, status: str, seconds: float = 30.0) -> None:
    until(lambda: tables.status(job) == status, lambda: f"job {job} {status}, not {tables.history(job)}", seconds)


def finished(home: Home, source: Path, directory: Path, *, whole: bool = False) -> None:
    tables = home.tables()
    job = submit(home, source, "echo hello > hello.txt", "--output", "hello.txt")
    until(lambda: tables.status(job) == "activated", "the job is activated")
    with Pilot(source, place_of(home), directory, heartbeat=5) as pilot:
        assert pilot.wait_for_jobs(1, 90) == {job: "finished"}, pilot.log
        ends_as(tables, job, "finished")
        if whole:
            pilot.wait(900)
    had = tables.history(job)
    assert had[-4:] == ["starting", "running", "holding", "finished"] and had[-5] == "sent", had
    shown = home.command("job", "show", job)
    assert "hello.txt" in shown.stdout and "ready" in shown.stdout, shown.stdout
    stored = [path for path in (home.path / "storage").rglob("*hello.txt") if path.is_file()]
    assert [path.read_text() for path in stored] == ["hello\n"]
    tables.close()


def failed(home: Home, source: Path, directory: Path) -> None:
    tables = home.tables()
    job = submit(home, source, "exit 7")
    with Pilot(source, place_of(home), directory, heartbeat=5) as pilot:
        assert pilot.wait_for_jobs(1, 300) == {job: "failed"}, pilot.log
        ends_as(tables, job, "failed")
    (row,) = tables.query("SELECT piloterrorcode, transexitcode FROM jobsarchived4 WHERE pandaid = %(id)s", id=job)
    assert row[0] == 1305 and row[1] == "7", row
    tables.close()


def killed(home: Home, source: Path, directory: Path) -> None:
    """With a heartbeat of 5 s ``pandatx job kill`` ends the payload."""
    tables = home.tables()
    marker = directory.parent / "payload.pid"
    job = submit(home, source, f"echo $$ > {marker}; sleep 600")
    with Pilot(source, place_of(home), directory, heartbeat=5) as pilot:
        until(lambda: tables.status(job) == "running" and marker.exists(), lambda: f"running\n{pilot.log[-3000:]}", 90)
        payload = int(marker.read_text())
        assert lives(payload)
        assert home.command("job", "kill", job).stdout == f"{job}\n"
        # A killed job gets no summary in the log: the pilot reports, and goes home.
        ends_as(tables, job, "cancelled", 60)
        if takes_base_urls(source):  # the older one ends the shell around the payload only
            assert not lives(payload)
        elif lives(payload):
            os.kill(payload, SIGKILL)
    codes = tables.query("SELECT piloterrorcode, taskbuffererrorcode FROM jobsarchived4 WHERE pandaid = %(id)s", id=job)
    assert codes[0][0] == 1144, codes
    tables.close()


def debugged(home: Home, source: Path, directory: Path) -> None:
    """In debug mode a pilot tells what the payload wrote last, or what a command such as ``ls -l`` printed."""
    tables = home.tables()
    production = Connection(home, "production.pem")
    job = submit(home, source, "echo so far; sleep 600")

    def told() -> str:
        return tables.scalar("SELECT max(stdout) FROM jobsdebug WHERE pandaid = %(id)s", id=job) or ""

    with Pilot(source, place_of(home), directory, heartbeat=5) as pilot:
        until(lambda: tables.status(job) == "running", lambda: f"running\n{pilot.log[-3000:]}", 90)
        assert production.v1("job/set_debug_mode", job_id=job, mode=True).json["data"] == "Succeeded"
        until(lambda: "so far" in told(), lambda: f"the payload's words\n{pilot.log[-3000:]}", 60)
        assert production.v1("job/set_command", job_id=job, command="ls -l").json["success"]
        until(lambda: "\ndrwx" in told(), lambda: f"a listing, not {told()!r}\n{pilot.log[-3000:]}", 60)
        assert home.command("job", "kill", job).stdout == f"{job}\n"
        ends_as(tables, job, "cancelled", 60)
    tables.close()


def test_the_pilot_of_pypi_takes_a_submitted_job_to_finished(served: Home, tmp_path: Path) -> None:
    finished(served, obtain(None, CACHE), tmp_path / "pilot")


@pytest.mark.long
def test_a_killed_job_ends_in_the_pilot_of_pypi(served: Home, tmp_path: Path) -> None:
    killed(served, obtain(None, CACHE), tmp_path / "pilot")


@pytest.mark.long
def test_a_failing_payload_fails_the_job_with_the_pilot_of_pypi(served: Home, tmp_path: Path) -> None:
    failed(served, obtain(None, CACHE), tmp_path / "pilot")


@pytest.mark.long
def test_the_pilot_of_pypi_at_full_length(served: Home, tmp_path: Path) -> None:
    finished(served, obtain(None, CACHE), tmp_path / "pilot", whole=True)


@pytest.mark.long
def test_the_pilot_of_a_checkout_at_full_length(served: Home, tmp_path: Path) -> None:
    finished(served, obtain(os.environ["PILOT"], CACHE), tmp_path / "pilot", whole=True)


@pytest.mark.long
def test_a_killed_job_ends_in_the_pilot_of_a_checkout(served: Home, tmp_path: Path) -> None:
    killed(served, obtain(os.environ["PILOT"], CACHE), tmp_path / "pilot")


@pytest.mark.long
def test_a_failing_payload_fails_the_job_with_the_pilot_of_a_checkout(served: Home, tmp_path: Path) -> None:
    failed(served, obtain(os.environ["PILOT"], CACHE), tmp_path / "pilot")


@pytest.mark.long
def test_the_pilot_of_pypi_is_debugged(served: Home, tmp_path: Path) -> None:
    debugged(served, obtain(None, CACHE), tmp_path / "pilot")


@pytest.mark.long
def test_the_pilot_of_a_checkout_is_debugged(served: Home, tmp_path: Path) -> None:
    debugged(served, obtain(os.environ["PILOT"], CACHE), tmp_path / "pilot")
