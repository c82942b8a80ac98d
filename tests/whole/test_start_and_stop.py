"""How a server starts, says why it cannot, and ends (rules R31, R33, R35, R36)."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from load import Connection, Pilot, Told
from server import Home, Process, until


def refused(process: Process, code: int) -> str:
    """What a server that cannot start says on stderr: one line."""
    assert process.launch().wait(60) == code, process.text
    (line,) = process.stderr.splitlines()
    assert line.startswith("twistd panda: ") and "Traceback" not in process.text, process.text
    return line


def test_init_and_start_is_all_that_it_takes(home_with: Callable[..., Home]) -> None:
    home = home_with()
    with home.server():
        assert Connection(home, "").ask("GET", "/server/panda/isAlive").body == b"alive=yes"
        assert Connection(home, "production.pem").get("system/is_alive").json["success"] is True
        told = home.command("job", "list")
        assert (told.returncode, told.stderr) == (0, "")


def test_an_option_that_is_none_is_exit_2(home: Home) -> None:
    refused(home.server("--nonsense"), 2)
    refused(home.server("--roles", "http,chef"), 2)


def test_all_faults_of_the_configuration_are_told_at_once_and_exit_3(home: Home) -> None:
    home.set("server", pserverport="many")
    home.set("pandatx", db_pool="none")
    process = home.server()
    assert process.launch().wait(60) == 3
    said = process.stderr.splitlines()
    assert any("pserverport" in line for line in said) and any("db_pool" in line for line in said), said
    assert all(line.startswith("twistd panda: ") and "panda_server.cfg" in line for line in said)


def test_a_certificate_that_cannot_be_read_is_exit_4(home: Home) -> None:
    (home.path / "hostcert.pem").write_text("nonsense")
    assert "hostcert.pem" in refused(home.server(), 4)


def test_a_port_that_another_program_has_is_exit_5(home: Home) -> None:
    with socket.socket() as other:
        other.bind(("", home.https_port))
        other.listen()
        assert str(home.https_port) in refused(home.server(), 5)


def test_a_database_that_is_not_there_is_exit_6(home: Home, tmp_path: Path) -> None:
    systemd = Systemd(tmp_path / "notify")
    home.set("server", dbhost=tmp_path)
    assert "the database cannot be reached" in refused(home.server(NOTIFY_SOCKET=str(systemd.path)), 6)
    assert not systemd.hears("READY=1")
    systemd.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE pandadb_version SET minor = 0 WHERE component = 'PanDA'", "older"),
        ("UPDATE pandadb_version SET minor = minor + 1 WHERE component = 'PanDA'", "newer"),
        ("UPDATE pandadb_version SET major = major + 1 WHERE component = 'PanDA'", "newer"),
        ("ALTER TABLE jobsactive4 DROP COLUMN nucleus", "jobsactive4.nucleus"),
    ],
)
def test_a_schema_that_does_not_fit_is_exit_7(home: Home, change: str, says: str) -> None:
    tables = home.tables()
    tables.query(change)
    tables.close()
    assert says in refused(home.server(), 7)


def test_sigterm_ends_the_server_cleanly(server: Process) -> None:
    assert server.stop() in (0, 143, -signal.SIGTERM)
    assert "Traceback" not in server.text


def test_a_client_that_idles_does_not_hold_up_the_stop(server: Process) -> None:
    connection = Connection(server.home, "production.pem")
    assert connection.get("system/is_alive").status == 200
    before = time.monotonic()
    server.stop()
    assert time.monotonic() - before < 10
    connection.close()


def test_sigterm_lets_a_slow_request_end(home: Home) -> None:
    """A report whose row somebody else holds is answered after the row is free, though the server is stopping."""
    tables, holder = home.tables(), home.tables()
    tables.activate(1)
    with home.server() as server:
        pilot = Pilot(Connection(home), Told())
        job = pilot.get_job()
        assert job is not None
        holder.query("BEGIN; SELECT 1 FROM jobsactive4 WHERE pandaid = 1 FOR UPDATE")
        answers: list[str | None] = []
        reporting = threading.Thread(target=lambda: answers.append(pilot.report(job, "running")))
        reporting.start()
        until(lambda: tables.scalar(_WAITING), "the report waits for the row")
        server.signal(signal.SIGTERM)
        until(lambda: _closed(home.https_port), "no new connection is taken")
        assert not answers
        holder.query("COMMIT")
        reporting.join(30)
        assert answers == ["NULL"]
        server.wait()
        assert tables.status(job.panda_id) == "running"
    holder.close()
    tables.close()


_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def _closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_sighup_keeps_connections_and_reads_certificates_again(server: Process) -> None:
    connection = Connection(server.home, "production.pem")
    assert connection.get("system/is_alive").status == 200
    before = connection.socket
    first = before.getpeercert(binary_form=True)
    for name in ("hostcert.pem", "hostkey.pem"):
        (server.home.path / name).unlink()
    assert server.home.command("init", server.home.path).returncode == 0
    server.signal(signal.SIGHUP)

    def renewed() -> bool:
        other = Connection(server.home, "production.pem")
        assert other.get("system/is_alive").status == 200
        return bool(other.socket.getpeercert(binary_form=True) != first)

    until(renewed, "new connections see the new certificate")
    assert connection.get("system/is_alive").status == 200
    assert connection.socket is before


def test_ports_are_shared_by_processes_of_one_state_directory_only(
    server: Process, home_with: Callable[..., Home], cluster: object, database_name: str
) -> None:
    with server.home.server() as second:
        assert second.pid != server.pid
    other = home_with((cluster, database_name))
    other.set("server", pserverport=server.home.https_port)
    assert str(server.home.https_port) in refused(other.server(), 5)


class Systemd:
    """Its side of the notify socket, with the time of each message."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.05)
        self.heard: list[tuple[float, str]] = []

    def hears(self, word: str) -> str | None:
        """The first message with ``word``, if it has come."""
        try:
            while True:
                self.heard.append((time.monotonic(), self._socket.recv(4096).decode()))
        except TimeoutError:
            pass
        return next((text for _, text in self.heard if word in text), None)

    def close(self) -> None:
        self._socket.close()


def test_systemd_hears_ready_only_after_serving_then_status_watchdog_and_stopping(home: Home, tmp_path: Path) -> None:
    systemd = Systemd(tmp_path / "notify")
    process = home.server(NOTIFY_SOCKET=str(systemd.path), WATCHDOG_USEC="1500000").launch()
    until(lambda: systemd.hears("READY=1"), lambda: f"READY\n{process.text[-3000:]}")
    answer = Connection(home, "production.pem", timeout=2).get("system/is_alive")
    assert answer.status == 200, "READY came before the server served"
    status = until(lambda: systemd.hears("STATUS="), "STATUS")
    assert "Total requests: " in status and "schema 0.1.6 passed" in status
    until(lambda: systemd.hears("WATCHDOG=1"), "WATCHDOG")
    process.signal(signal.SIGHUP)
    until(lambda: systemd.hears("RELOADING=1"), "RELOADING")
    until(lambda: sum("READY=1" in text for _, text in systemd.heard) + bool(systemd.hears("?")) > 1, "READY again")
    process.stop()
    assert systemd.hears("STOPPING=1")
    systemd.close()
