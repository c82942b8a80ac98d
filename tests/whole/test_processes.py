"""Several processes on one state directory, and whose they are (rules R9, R33, R34, R36)."""

from __future__ import annotations

import os
import pwd
import re
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from load import Connection, Pilot, Told
from server import Home, Process, until


def metrics_port(process: Process) -> int:
    """Where this process says that its metrics are."""
    found = until(lambda: re.search(r"metrics on http://127.0.0.1:(\d+)/", process.text), "a line about metrics")
    return int(found[1])


def came_up(process: Process) -> str:
    """Whether it is up, or has ended; nothing while it is neither."""
    try:
        return "up" if process.alive() else ""
    except AssertionError:
        return "ended"


def page(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


def test_one_of_two_processes_runs_the_daemons_and_the_other_takes_over(server: Process) -> None:
    with server.home.server() as second:
        first_port, second_port = metrics_port(server), metrics_port(second)
        assert (first_port, second_port != first_port) == (server.home.metrics_port, True)
        assert "not run by this process" not in page(first_port, "/readyz")
        assert "not run by this process" in page(second_port, "/readyz")
        server.signal(signal.SIGKILL)
        until(lambda: "not run by this process" not in page(second_port, "/readyz"), "the daemons run in the second")


def test_a_role_of_its_own_opens_no_port_of_the_other(home: Home) -> None:
    with home.server("--roles", "http") as front:
        back = home.server("--roles", "daemon").launch()
        port = metrics_port(back)
        until(lambda: "[pandatx.parts#info] up" in back.text, "the daemons' process is up")
        assert "serving" not in back.text and "ok" in page(port, "/readyz")
        assert back.stop() in (0, 143, -signal.SIGTERM)
        assert front.alive()


def test_a_second_process_on_the_embedded_database_is_refused_with_one_line(home_with: Callable[..., Home]) -> None:
    home = home_with()
    with home.server() as first:
        for options in ((), ("--roles", "daemon")):
            second = home.server(*options)
            assert second.launch().wait(60) == 6, second.text
            (line,) = second.stderr.splitlines()
            assert "belongs to another server" in line and str(first.pid) in line
        assert line.removeprefix("twistd panda: ") in second.logged()


def test_health_is_told_without_detail_in_public_and_with_it_to_operators(server: Process) -> None:
    for path in ("/livez", "/readyz"):
        assert page(server.home.http_port, path) == "ok\n"
    assert '"checks"' in page(server.home.metrics_port, "/readyz")
    assert "pandatx_requests_total" in page(server.home.metrics_port, "/metrics")


def test_a_server_with_a_user_gives_root_up_or_says_why_it_cannot(home: Home) -> None:
    """Where tests run, the folder and this Python are often closed to others; then one line says so."""
    home.set("pandatx", user="nobody")
    process = home.server().launch()
    if until(lambda: came_up(process), "up, or ended") == "ended":
        (line,) = process.stderr.splitlines()
        assert process.wait() == 3
        assert re.search(r"\[pandatx\] user: (nobody cannot (write in|reach) /|only root can become nobody)", line)
        return
    status = Path(f"/proc/{process.pid}/status").read_text()
    nobody = pwd.getpwnam("nobody").pw_uid
    assert re.search(rf"Uid:\s+{nobody}\s+{nobody}\s+{nobody}", status) and os.geteuid() == 0


def test_requests_are_counted_by_queue_and_the_counts_survive_the_stop(home: Home) -> None:
    tables = home.tables()
    tables.activate(1)
    with home.server() as server:
        pilot = Pilot(Connection(home), Told())
        job = pilot.get_job()
        assert job is not None and pilot.get_job() is None
        pilot.report(job, "running")
        server.stop()
    (counted,) = tables.query("SELECT sum(get_job), sum(no_job), sum(update_job) FROM pandatx.request_counts")
    assert counted == (2, 1, 1)
    tables.close()


def test_sighup_takes_over_the_daemon_section_and_a_fault_in_it_stops_nothing(home: Home) -> None:
    """A uname that does not exist is a warning in the log of a server that runs as root, and does no harm."""
    home.set("daemon", uname="no-such-user")
    with home.server() as server:
        assert ("no-such-user" in server.logged("panda_server_error_log")) is (os.geteuid() == 0)
        assert "failed" not in page(home.metrics_port, "/readyz")
        text = home.config.read_text()
        home.config.write_text(text.replace('"period": 240, ', "", 1))
        server.signal(signal.SIGHUP)
        until(lambda: "1 failed" in page(home.metrics_port, "/readyz"), "the fault is shown")
        assert "daemon add_main is left out: it has no period" in server.logged("panda_server_error_log")
        home.config.write_text(text.replace('"period": 240, ', '"period": ', 1))
        server.signal(signal.SIGHUP)
        until(lambda: "stays as it was" in server.logged("panda_server_error_log"), "what is no JSON is refused")
        home.config.write_text(text)
        server.signal(signal.SIGHUP)
        until(lambda: "failed" not in page(home.metrics_port, "/readyz"), "all is well again")


def test_sighup_gives_plugins_their_children_anew_too_and_tells_of_what_is_not_known(home: Home) -> None:
    idle = 'pandatx_children{pool="plugins",state="idle"} '
    with home.server() as server:
        until(lambda: f"{idle}2.0" in page(home.metrics_port, "/metrics"), "two children for plugins")
        home.set("daemon", n_proc=3)
        home.config.write_text(home.config.read_text().replace('"period": 240, ', '"period": 240, "lop": true, ', 1))
        server.signal(signal.SIGHUP)
        until(lambda: f"{idle}3.0" in page(home.metrics_port, "/metrics"), "three")
        assert "daemon add_main: lop is not known; nothing reads it" in server.logged("panda_server_error_log")


SLOW_NAME = """
import os
import socket
import time

told = socket.getfqdn


def getfqdn(name=""):
    if os.path.exists({flag!r}):
        time.sleep(4)
        os.remove({flag!r})
    return told(name)


socket.getfqdn = getfqdn
"""


def test_a_name_server_that_is_slow_at_a_sighup_holds_up_no_request(home: Home) -> None:
    flag, packages = home.path / "slow", home.path / "packages"
    packages.mkdir()
    (packages / "sitecustomize.py").write_text(SLOW_NAME.format(flag=str(flag)))
    paths = [str(packages), os.environ.get("PYTHONPATH")]
    home.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    home.config.write_text("".join(line for line in lines(home) if not line.startswith("pserverhost")))
    with home.server() as server:
        flag.touch()
        server.signal(signal.SIGHUP)
        slowest = 0.0
        while flag.exists():
            begun = time.monotonic()
            page(home.metrics_port, "/livez")
            slowest = max(slowest, time.monotonic() - begun)
        assert slowest < 3


def lines(home: Home) -> list[str]:
    return home.config.read_text().splitlines(keepends=True)


def test_children_of_a_server_without_an_enabled_section_have_its_user_too(home: Home) -> None:
    """Plugins run in them; and a section that is enabled later does not find them as root (rule R34)."""
    home.set("daemon", enable=False, uname="no-such-user")
    with home.server() as server:
        assert ("no-such-user" in server.logged("panda_server_error_log")) is (os.geteuid() == 0)
        home.set("daemon", enable=True, uname="another-user")
        server.signal(signal.SIGHUP)
        until(lambda: "with a restart only" in server.logged("panda_server_error_log"), "a warning")
