"""A cluster for tests and tools: started and stopped at once, in plain blocking calls."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from time import monotonic

from attrs import define, field

from pandatx.errors import EXIT_DATABASE, StartFault
from pandatx.store.home import (
    DATABASE,
    ROLE,
    Home,
    accepts,
    clear,
    create_database,
    machine_settings,
    make,
    open_home,
)
from pandatx.store.installation import environment

LONGEST_WAIT = 30.0
"""Seconds for what is left of an earlier server to go, and for a new one to come up."""


@define(eq=False)
class Cluster:
    """A cluster in ``root``, or in a temporary directory of its own, with the binaries in ``bindir`` or the best ones.

    For tests: it blocks, and does without fsync unless ``durable``. As root, ``root`` must be open to other users up
    to "/", since PostgreSQL runs as one.
    """

    _root: Path | None = None
    _bindir: Path | None = None
    _durable: bool = field(default=False, kw_only=True)
    _settings: Mapping[str, str] = field(factory=dict, kw_only=True)
    _home: Home | None = None
    _process: subprocess.Popen[bytes] | None = None
    user: str = field(default=ROLE, init=False)

    def start(self) -> None:
        """Make the cluster if need be, and come back when it accepts connections."""
        if self._home is None:
            root = self._root if self._root is not None else Path(tempfile.mkdtemp(prefix="pandatx-pg-"))
            root.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                root.chmod(0o755)
            self._home = open_home(root, self._bindir)
        make(self._home, self._all_settings(self._home), frozenset(), self._durable)
        _wait("free data", lambda: clear(self.home))
        with (self._home.root / "postgresql.log").open("ab") as log:
            self._process = subprocess.Popen(self._home.command(), env=environment(), stdout=log, stderr=log)
        _wait("a connection", self._ready)
        create_database(self._home)

    def stop(self) -> None:
        """End it, and remove it if the directory was ours."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None
        if self._root is None and self._home is not None:
            shutil.rmtree(self._home.root)
            self._home = None

    def kill(self) -> None:
        """The fate of a machine: SIGKILL. ``start`` brings it back with its data."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def home(self) -> Home:
        if self._home is None:
            raise RuntimeError("the cluster was not started")
        return self._home

    @property
    def socket_dir(self) -> Path:
        return self.home.socket_dir

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def dsn(self, dbname: str = DATABASE, user: str = ROLE) -> str:
        """libpq's connection string; the other user is SUPERUSER."""
        return self.home.dsn(dbname, user)

    def _all_settings(self, home: Home) -> dict[str, str]:
        fast = {} if self._durable else {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        return {**machine_settings(home), "shared_buffers": "256MB", **fast, **self._settings}

    def _ready(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            log = (self.home.root / "postgresql.log").read_text(errors="replace").splitlines()
            raise StartFault(EXIT_DATABASE, f"PostgreSQL did not start: {log[-1] if log else 'no reason given'}")
        return accepts(self.home)


def _wait(what: str, condition: Callable[[], bool]) -> None:
    end = monotonic() + LONGEST_WAIT
    pause = Event()
    while not condition():
        if monotonic() > end:
            raise StartFault(EXIT_DATABASE, f"PostgreSQL: no {what} within {LONGEST_WAIT:.0f} s")
        pause.wait(0.02)
