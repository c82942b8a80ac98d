"""A whole server for tests: a folder made by ``pandatx init``, ``twistd panda`` as a process in it, and its end.

Nothing here sleeps for a fixed time: it waits for a condition, with a limit.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from attrs import define, field

from pandatx.store.cluster import Cluster
from pandatx.store.embedded import home_directory
from pandatx.store.home import open_home

BIN = Path(sys.executable).parent
START, STOP = 60.0, 45.0
"""Seconds for a server to come up, and to end after SIGTERM (30 s by rule R35)."""


def until(condition: Callable[[], Any], what: str, seconds: float = 30.0, every: float = 0.05) -> Any:
    """The first true value of ``condition``; AssertionError when there is none within ``seconds``."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what() if callable(what) else what}")
        pause.wait(every)
    return found


def free_ports(number: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has now, all different."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@define(eq=False)
class Home:
    """A server's folder. ``environ`` is what its processes see beside PATH."""

    path: Path
    http_port: int
    https_port: int
    metrics_port: int
    environ: dict[str, str] = field(factory=dict)
    dsn: str | None = None
    """The external database, if it has one."""
    processes: list[Process] = field(factory=list)

    @classmethod
    def make(
        cls,
        path: Path,
        database: tuple[Cluster, str] | None = None,
        *,
        server: Mapping[str, object] = {},
        pandatx: Mapping[str, object] = {},
        daemon: Mapping[str, object] = {},
    ) -> Home:
        """``database``: a cluster and the name of a database on it; without, the embedded one. The rest: keys to set in
        these sections of panda_server.cfg."""
        http_port, https_port, metrics_port = free_ports(3)
        ports = ["--http-port", str(http_port), "--https-port", str(https_port)]
        done = subprocess.run([BIN / "pandatx", "init", path, *ports], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        home = cls(path, http_port, https_port, metrics_port)
        home.set("pandatx", metrics_address=f"127.0.0.1:{metrics_port}", **pandatx)
        if database is not None:
            cluster, name = database
            home.dsn = cluster.dsn(name)
            home.set("server", dbhost=cluster.socket_dir, dbname=name)
        home.set("server", **server)
        home.set("daemon", **daemon)
        return home

    @property
    def config(self) -> Path:
        return self.path / "panda_server.cfg"

    @property
    def url(self) -> str:
        return f"https://localhost:{self.https_port}"

    @property
    def web(self) -> str:
        return f"http://localhost:{self.http_port}"

    def set(self, section: str, **values: object) -> None:
        """Set keys of panda_server.cfg."""
        text = self.config.read_text()
        for name, value in values.items():
            text = re.sub(rf"(?m)^{re.escape(name)} *=.*\n", "", text)
            text = text.replace(f"[{section}]\n", f"[{section}]\n{name} = {value}\n", 1)
        self.config.write_text(text)

    def command(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """``pandatx`` with this folder as its home."""
        line = [BIN / "pandatx", "--home", self.path, *arguments]
        environ = {**os.environ, **self.environ}
        return subprocess.run(
            list(map(str, line)), capture_output=True, text=True, check=False, timeout=120, env=environ
        )

    def server(self, *options: str, **environ: str) -> Process:
        """One more process on this folder; not started."""
        process = Process(self, self.path / f"server{len(self.processes)}.out", options, environ)
        self.processes.append(process)
        return process

    def tables(self) -> Tables:
        """The external database, or the embedded one once it runs."""
        return Tables(self.dsn or self.embedded_dsn())

    @property
    def embedded(self) -> Path:
        """Where the embedded database lies, which is elsewhere when the server runs as root."""
        return home_directory(self.path / "state")

    def embedded_dsn(self) -> str:
        return open_home(self.embedded).dsn()

    def end(self) -> None:
        """End what still runs, and take away what lies elsewhere."""
        for process in self.processes:
            process.kill()
        if self.dsn is None:
            shutil.rmtree(self.embedded, ignore_errors=True)


@define(eq=False)
class Process:
    """``twistd -n panda`` on a folder."""

    home: Home
    output: Path
    options: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    def launch(self) -> Process:
        """Start it, and do not wait."""
        line = [str(BIN / "twistd"), "-n", "--pidfile=", "panda", "--config", str(self.home.config), *self.options]
        kept = {
            name: os.environ[name]
            for name in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH")
            if name in os.environ
        }
        environ = {**kept, "PYTHONFAULTHANDLER": "1", **self.home.environ, **self.environ}
        with self.output.open("ab") as output, self.output.with_suffix(".err").open("ab") as errors:
            self._process = subprocess.Popen(
                line, cwd=self.home.path, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
            )
        return self

    def start(self, seconds: float = START) -> Process:
        """Start it and wait until it says alive=yes."""
        self.launch()
        until(self.alive, lambda: f"alive=yes\n{self.text[-3000:]}", seconds)
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def text(self) -> str:
        """All that it wrote to stdout and stderr."""
        return self.output.read_text(errors="replace") + self.stderr

    @property
    def stderr(self) -> str:
        """What it told whoever started it."""
        return self.output.with_suffix(".err").read_text(errors="replace")

    def logged(self, file: str = "panda-server.log") -> str:
        path = self.home.path / "log" / file
        return path.read_text(errors="replace") if path.exists() else ""

    def alive(self) -> bool:
        """Whether this process is up; AssertionError if it has ended."""
        assert self._process is not None
        assert self._process.poll() is None, f"the server ended with {self._process.returncode}:\n{self.text[-3000:]}"
        return "[pandatx.parts#info] up" in self.text and serves(self.home.web)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = STOP) -> int:
        """Its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> int:
        """SIGTERM, and its exit code; SIGKILL when it does not end in time."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.terminate()
            try:
                return self._process.wait(STOP)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the server did not end within {STOP:g} s\n{self.text[-2000:]}") from None
        return self._process.returncode

    def kill(self) -> None:
        """SIGKILL: the fate of a machine."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Process:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()


def serves(base: str) -> bool:
    """Whether somebody says alive=yes at a URL."""
    try:
        with urllib.request.urlopen(f"{base}/server/panda/isAlive", timeout=5) as answer:
            return b"alive=yes" in answer.read()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@define(eq=False)
class Tables:
    """The database of a server, asked one statement at a time over a connection that is made anew when it broke."""

    dsn: str
    _connection: Any = None

    def query(self, text: str, **values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._query(text, values)
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            self._connection = None
            return self._query(text, values)

    def _query(self, text: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = psycopg2.connect(self.dsn, application_name="tests", options="-c search_path=doma_panda")
            self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            cursor.execute(text, values)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All queries within see the tables as they are now."""
        self.query("BEGIN ISOLATION LEVEL REPEATABLE READ")
        try:
            yield
        finally:
            self.query("COMMIT")

    def scalar(self, text: str, **values: Any) -> Any:
        return self.query(text, **values)[0][0]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def status(self, panda_id: int) -> str | None:
        """The status of a job, wherever it is."""
        found = self.query(_ANYWHERE + " WHERE pandaid = %(id)s", id=panda_id)
        return found[0][1] if found else None

    def statuses(self) -> dict[int, list[tuple[str, str]]]:
        """PandaID -> (table, status), more than one if something is very wrong."""
        found: dict[int, list[tuple[str, str]]] = {}
        for panda_id, status, table in self.query(_ANYWHERE):
            found.setdefault(panda_id, []).append((table, status))
        return found

    def history(self, panda_id: int) -> list[str]:
        """The statuses that a job has had, by its log, in the order in which they were written."""
        text = "SELECT jobstatus FROM jobs_statuslog WHERE pandaid = %(id)s"
        return [
            status for (status,) in self.query(f"{text} ORDER BY xmin::text::bigint, modiftime_extended", id=panda_id)
        ]

    def activate(self, number: int, *, queue: str = "LOCAL", first: int = 1, memory: int = 0) -> range:
        """Put ``number`` activated jobs of label user into the tables, each with an output and a log."""
        ids = {"first": first, "last": first + number - 1, "queue": queue, "memory": memory}
        for statement in _ACTIVATE:
            self.query(statement, **ids)
        return range(first, first + number)


_ANYWHERE = " UNION ALL ".join(
    f"SELECT pandaid, jobstatus, '{table}' AS place FROM {table}"
    for table in ("jobsdefined4", "jobsactive4", "jobsarchived4")
)
_ANYWHERE = f"SELECT * FROM ({_ANYWHERE}) j"
_NOW = "(clock_timestamp() AT TIME ZONE 'UTC')"
_ACTIVATE = (
    f"""INSERT INTO jobsactive4 (pandaid, modificationtime, creationtime, statechangetime, proddbupdatetime, jobstatus,
            computingsite, prodsourcelabel, produsername, produserid, gshare, resource_type, minramcount, maxdiskcount,
            maxcpucount, currentpriority, assignedpriority, attemptnr, maxattempt, transformation, corecount, jobname,
            vo, cloud, destinationdblock, destinationse, taskid, jobsetid, jobdefinitionid, relocationflag, job_label)
        SELECT n, {_NOW}, {_NOW}, {_NOW}, {_NOW}, 'activated', %(queue)s, 'user', 'user',
               '/DC=local/DC=pandatx/CN=user', 'Undefined', 'SCORE', %(memory)s, 0, 0, 1000, 1000, 0, 1,
               'https://localhost/trf/user/runGen-00-00-02', 1,
               'test.' || n, 'local', 'LOCAL', 'user.test', %(queue)s, 1, 1, 1, 1, 'user'
          FROM generate_series(%(first)s, %(last)s) n""",
    f"""INSERT INTO filestable4 (row_id, pandaid, modificationtime, guid, lfn, type, dataset, status, destinationdblock,
            destinationse, scope, fsize, attemptnr)
        SELECT nextval('filestable4_row_id_seq'), n, {_NOW}, '3d1f1a4e-0000-4000-8000-' || lpad(n::text, 12, '0'),
               'test.' || n || kind.ending, kind.name, 'user.test', 'unknown', 'user.test', %(queue)s, 'user.test', 0, 0
          FROM generate_series(%(first)s, %(last)s) n
         CROSS JOIN (VALUES ('output', '.out'), ('log', '.log.tgz')) AS kind(name, ending)""",
    f"""INSERT INTO jobparamstable (pandaid, modificationtime, jobparameters)
        SELECT n, {_NOW}, '--exec true' FROM generate_series(%(first)s, %(last)s) n""",
    "SELECT setval('jobsdefined4_pandaid_seq', greatest(%(last)s, (SELECT last_value FROM jobsdefined4_pandaid_seq)))",
)


SIGHUP, SIGKILL, SIGTERM = signal.SIGHUP, signal.SIGKILL, signal.SIGTERM
