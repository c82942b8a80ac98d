"""The home of a PostgreSQL cluster of our own: how it is laid out, made, started, and found free."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psycopg2
from attrs import frozen
from psycopg2.extensions import make_dsn

from pandatx.errors import EXIT_DATABASE, StartFault
from pandatx.store import queries
from pandatx.store.installation import (
    Account,
    Installation,
    account_of,
    choose,
    environment,
    installation_at,
    launch,
    own_account,
    readable_for,
    service_account,
)

ROLE, DATABASE, SUPERUSER = "panda", "panda_db", "postgres"
LONGEST_SOCKET_DIRECTORY = 90
"""Bytes; the kernel's limit is 107 for the whole name."""

_SQL = queries.load(__file__)
_MIB = 1024 * 1024


@frozen(kw_only=True)
class Home:
    """Where a cluster lies and whose it is. ``root`` is ours; what is in ``data`` is PostgreSQL's alone."""

    root: Path
    account: Account
    installation: Installation

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def socket_dir(self) -> Path:
        """In ``root``, or where that is too long a name, under /tmp."""
        inside = self.root / "run"
        if len(os.fsencode(inside)) <= LONGEST_SOCKET_DIRECTORY:
            return inside
        status = self.root.stat()
        return Path(tempfile.gettempdir()) / f"pandatx-{self.account.uid}-{status.st_dev:x}-{status.st_ino:x}"

    def dsn(self, dbname: str = DATABASE, user: str = ROLE) -> str:
        """What libpq connects with."""
        return make_dsn(host=str(self.socket_dir), port=5432, user=user, dbname=dbname)

    def command(self) -> list[str]:
        """PostgreSQL in the foreground, as its user; it ends when the thread that starts it does."""
        postgres = [str(self.installation.bindir / "postgres"), "-D", str(self.data)]
        for name in ("config_file", "hba_file", "ident_file"):
            postgres += ["-c", f"{name}={self.root / FILES[name]}"]
        return launch(self.account, postgres, at_death=signal.SIGINT)


FILES = {"config_file": "postgresql.conf", "hba_file": "pg_hba.conf", "ident_file": "pg_ident.conf"}


def open_home(root: Path, bindir: Path | None = None) -> Home:
    """The cluster at ``root``, which need not be there yet: its own user and version if it is, else the best ones."""
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    root = root.resolve()
    data = root / "data"
    exists = data.is_dir()
    account = account_of(data) if exists else service_account()
    if os.geteuid() not in (0, account.uid):
        raise StartFault(
            EXIT_DATABASE,
            f"the database in {data} belongs to {account.name}, and the server runs as {own_account().name}: "
            f"give it to {own_account().name} (chown -R {own_account().name} {root}), or set dbhost",
        )
    major = int((data / "PG_VERSION").read_text()) if exists else None
    installation = readable_for(account, choose(major) if bindir is None else installation_at(bindir))
    return Home(root=root, account=account, installation=installation)


def make(home: Home, settings: Mapping[str, str], users: frozenset[str] = frozenset(), durable: bool = True) -> None:
    """Write the files of ``home``, and its data if there are none yet. Blocks: up to two seconds.

    ``users`` are those of this machine, beside ourselves and the cluster's own, who may come in (rule R34).
    """
    _make_socket_dir(home)
    owners = frozenset((own_account().name, home.account.name))
    where = {"unix_socket_directories": str(home.socket_dir)}
    _write(home.root / FILES["ident_file"], ident_text(owners, users))
    _write(home.root / FILES["hba_file"], "local all all peer map=pandatx\n")
    _write(home.root / FILES["config_file"], settings_text({**where, **settings}))
    if not home.data.is_dir():
        _make_data(home, durable)


def settings(memory: int, disk: int, connections: int = 200) -> dict[str, str]:
    """PostgreSQL's settings for a machine with ``memory`` bytes, and ``disk`` bytes free (reference/database.md 7)."""
    wal = max(1024, min(disk // 4, 8192 * _MIB) // _MIB)
    return {
        "listen_addresses": "",
        "unix_socket_permissions": "0777",
        "max_connections": str(connections),
        "shared_buffers": f"{max(64, min(memory // 8, 4096 * _MIB) // _MIB)}MB",
        "effective_cache_size": f"{max(128, memory // 2 // _MIB)}MB",
        "max_wal_size": f"{wal}MB",
        "min_wal_size": f"{wal // 4}MB",  # segments to use again: a new one is a pause (see _make_data)
        "checkpoint_timeout": "15min",
        "wal_compression": "off",
        "autovacuum_naptime": "10s",
        "autovacuum_vacuum_cost_limit": "2000",
        "autovacuum_vacuum_cost_delay": "2ms",
        "jit": "off",
        "client_connection_check_interval": "1s",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%a[%p] ",
        "log_checkpoints": "off",
        "log_min_error_statement": "panic",
        "logging_collector": "off",
    }


def machine_settings(home: Home, connections: int = 200) -> dict[str, str]:
    """The settings for this machine."""
    return settings(memory_limit(), shutil.disk_usage(home.root).free, connections)


def memory_limit() -> int:
    """Bytes of memory that we may use: the machine's, or the container's where that is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return memory
    return min(memory, int(limit)) if limit.isdigit() else memory


def settings_text(values: Mapping[str, str]) -> str:
    """postgresql.conf."""
    return "".join(f"{name} = {_quoted(value)}\n" for name, value in values.items())


def ident_text(owners: frozenset[str], users: frozenset[str]) -> str:
    """pg_ident.conf: who may be the superuser, and who the server's role; the kernel vouches for the user."""
    pairs = [(user, SUPERUSER) for user in sorted(owners)] + [(user, ROLE) for user in sorted(owners | users)]
    return "".join(f'pandatx "{user}" {role}\n' for user, role in pairs)


def create_database(home: Home) -> None:
    """Make the server's role and database where they are not there yet. Blocks."""
    session = psycopg2.connect(home.dsn("postgres", SUPERUSER))
    try:
        session.autocommit = True
        with session.cursor() as cursor:
            for question, statement in ((_SQL.has_role, _SQL.create_role), (_SQL.has_database, _SQL.create_database)):
                cursor.execute(question.text)
                if cursor.fetchone() == (0,):
                    cursor.execute(statement.text)
    finally:
        session.close()


def accepts(home: Home) -> bool:
    """Whether the cluster lets us in now. Blocks for as long as a connection takes."""
    try:
        psycopg2.connect(home.dsn("postgres", SUPERUSER), connect_timeout=5).close()
    except psycopg2.OperationalError:
        return False
    return True


def occupants(data: Path) -> list[int]:
    """The processes that live in a data directory: a server of it, or what is left of one. They stand in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                place = (entry / "cwd").readlink()
            except OSError:  # gone, a zombie, or somebody else's
                continue
            if place == data:
                found.append(int(entry.name))
    return found


def clear(home: Home) -> bool:
    """Make the data free for a new start; False while processes of an earlier one are still in it. They are told to go.

    To a server SIGINT is a fast shutdown, to a backend that has lost its server the end of its query, upon which it
    notices. PostgreSQL takes the number in a stale postmaster.pid for a live server when a zombie has it (PID 1 of a
    container reaps late) or a stranger does, and refuses. With nobody in the directory the file means nothing.
    The caller holds the state directory's lock, or owns the cluster in another way.
    """
    left = occupants(home.data)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
    if left:
        return False
    (home.data / "postmaster.pid").unlink(missing_ok=True)
    (home.socket_dir / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
    return True


def _make_data(home: Home, durable: bool) -> None:
    """initdb beside the final place, then a rename: data that are there are whole.

    Nobody commits while a new segment of the write-ahead log is filled with zeros and synced, so segments are small:
    16 MB took 55 ms, and the archiver's rows need one a second.
    """
    for unfinished in home.root.glob("data.*"):
        shutil.rmtree(unfinished)
    unfinished = home.root / f"data.{os.getpid()}"
    unfinished.mkdir(mode=0o700)
    os.chown(unfinished, home.account.uid, home.account.gid)
    command = [str(home.installation.bindir / "initdb"), "-D", str(unfinished), "-U", SUPERUSER, "-A", "peer"]
    command += ["--wal-segsize=4", "--encoding=UTF8", "--no-instructions", *locale_options(home.installation.major)]
    done = subprocess.run(
        launch(home.account, command if durable else [*command, "--no-sync"]),
        env=environment(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise StartFault(EXIT_DATABASE, f"initdb as {home.account.name} in {home.root} failed: {why}")
    unfinished.rename(home.data)


def locale_options(major: int) -> list[str]:
    """UTF-8 by code point; from 17 on without the C library's, which differs from machine to machine."""
    if major >= 17:
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    return ["--locale=C.UTF-8"]


def _make_socket_dir(home: Home) -> None:
    directory = home.socket_dir
    directory.mkdir(mode=0o755, exist_ok=True)
    status = directory.lstat()
    if directory.is_symlink() or status.st_uid not in (os.geteuid(), home.account.uid):
        raise StartFault(EXIT_DATABASE, f"{directory} is somebody else's; the database's socket cannot lie there")
    os.chown(directory, home.account.uid, home.account.gid)
    directory.chmod(0o755)


def _write(path: Path, text: str) -> None:
    """A new file in place of the old one, whoever that belonged to and wherever it pointed."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(text)
    new.rename(path)


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
