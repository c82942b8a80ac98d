"""The embedded PostgreSQL: a child of the reactor that dies with it, and that is started again when it dies alone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from pandatx.errors import EXIT_DATABASE, StartFault
from pandatx.metrics import POSTGRES_RESTARTS
from pandatx.store.home import DATABASE, ROLE, Home, accepts, clear, create_database, machine_settings, make, open_home
from pandatx.store.installation import SHARED_HOME, environment
from pandatx.store.statedir import Lock, StateDirectory

log = Logger()

T = TypeVar("T")

LOCK = "postgresql"

POLL, LONGEST_POLL = 0.03, 1.0
"""Seconds between two looks whether PostgreSQL lets us in; more and more of them, since recovery may take minutes."""
PATIENCE = 30.0
"""Seconds for the processes of an earlier server to leave the data (reference/stack.md 2)."""
LONGEST_PAUSE = 5.0
"""Seconds between two attempts to start it again while we run."""
FAST, IMMEDIATE = 10.0, 5.0
"""Seconds that a fast shutdown may take, and then an immediate one."""

_PASSING = ("lock file", "still in use")
"""Words in the last line of a PostgreSQL that found another one still there."""


def home_directory(state_dir: Path, shared: Path = SHARED_HOME) -> Path:
    """Where the cluster of a server lies: with its state, or for root where another user can reach it (rule R34).

    One that is there stays where it is, so that a server which gives up being root, or begins to be, keeps its data.
    """
    inside = state_dir.resolve() / "postgresql"
    outside = shared / hashlib.sha256(os.fsencode(state_dir.resolve())).hexdigest()[:16]
    if (inside / "data").is_dir():
        return inside
    return outside if os.geteuid() == 0 or (outside / "data").is_dir() else inside


def _pass_over_cancelling(failure: Failure) -> None:
    if not isinstance(failure.value, CancelledError):
        failure.raiseException()


_TROUBLE = ("ERROR", "FATAL", "PANIC", "WARNING")
_EXPECTED = ("the database system is ", "terminating connection due to administrator command")
"""What those who come too early or too late are told, and those whom we end ourselves."""
_PREFIX = re.compile(r"\S*\[(\d+)\] ")


@define(eq=False)
class EmbeddedPostgres:
    """The cluster of the state directory ``state_dir``, one server's at a time by a lock there (rule R9).

    ``users`` are the users of this machine who may come in beside the server's own, such as daemon scripts' uname.
    """

    _reactor: Any
    _state_dir: Path
    _users: frozenset[str] = frozenset()
    _bindir: Path | None = field(default=None, kw_only=True)
    _shared: Path = field(default=SHARED_HOME, kw_only=True)
    _connections: int = field(default=200, kw_only=True)
    _home: Home | None = field(default=None, init=False)
    _postmaster: Postmaster | None = field(default=None, init=False)
    _lock: Lock | None = field(default=None, init=False)
    _work: Deferred[None] | None = field(default=None, init=False)
    restarts: int = field(default=0, init=False)

    def hold(self) -> None:
        """Have the cluster alone; StartFault (exit 6) names the server that has it. Before ``start``, or by it."""
        if self._lock is None:
            self._lock = self._hold()

    async def start(self) -> str:
        """Come back with the DSN when it accepts connections; StartFault (exit 6) when it cannot."""
        self.hold()
        self._work = ensureDeferred(self._start())
        await self._work
        self._work = ensureDeferred(self._keep_up())
        return self.dsn()

    async def stop(self) -> None:
        """A fast shutdown: sessions end, what is committed stays. In the middle of ``start`` that ends too."""
        if self._work is not None:
            self._work.addErrback(_pass_over_cancelling)
            self._work.cancel()
        if self._postmaster is not None:
            await self._end(self._postmaster)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @property
    def home(self) -> Home:
        if self._home is None:
            raise RuntimeError("the embedded PostgreSQL was not started")
        return self._home

    @property
    def running(self) -> bool:
        return self._postmaster is not None and self._postmaster.alive

    @property
    def pid(self) -> int | None:
        return self._postmaster.pid if self._postmaster is not None else None

    def dsn(self, dbname: str = DATABASE, user: str = ROLE) -> str:
        """What libpq connects with; it stays the same over restarts."""
        return self.home.dsn(dbname, user)

    def _hold(self) -> Lock:
        state = StateDirectory(self._state_dir)
        state.make()
        lock = state.lock(LOCK)
        if lock is None:
            raise StartFault(
                EXIT_DATABASE,
                f"the embedded PostgreSQL of {self._state_dir} belongs to another server ({state.holder(LOCK)}): "
                "stop that one, or set dbhost to run several",
            )
        return lock

    def _prepare(self) -> Home:
        try:
            home = open_home(home_directory(self._state_dir, self._shared), self._bindir)
            make(home, machine_settings(home, self._connections), self._users)
        except OSError as fault:
            raise StartFault(EXIT_DATABASE, f"the embedded PostgreSQL cannot be made: {fault}") from None
        return home

    async def _start(self) -> None:
        self._home = await self._in_thread(self._prepare)
        await self._bring_up(self._home)
        await self._in_thread(create_database, self._home)
        log.info("embedded PostgreSQL {version} as {user} in {root}", **self._words(self._home))

    async def _bring_up(self, home: Home) -> None:
        give_up, pause = self._reactor.seconds() + PATIENCE, 0.05
        while True:
            if await self._in_thread(clear, home):
                self._postmaster = Postmaster()
                command = home.command()
                # without a path: then Twisted spawns instead of forking, and a signal that comes early is not lost
                self._reactor.spawnProcess(self._postmaster, command[0], command, env=environment())
                if await self._comes_up(home, self._postmaster):
                    return
                why = self._postmaster.last_words
                passing = any(word in why for word in _PASSING)
            else:
                why, passing = f"processes of an earlier server are still in {home.data}", True
            if not passing or self._reactor.seconds() > give_up:
                raise StartFault(EXIT_DATABASE, f"the embedded PostgreSQL does not start: {why}")
            await self._sleep(pause)
            pause = min(2 * pause, 1.0)

    async def _comes_up(self, home: Home, postmaster: Postmaster) -> bool:
        """False when it ended; as long as it lives, it may be recovering."""
        pause = POLL
        while postmaster.alive:
            if await self._in_thread(accepts, home):
                return True
            await self._sleep(pause)
            pause = min(1.2 * pause, LONGEST_POLL)
        return False

    async def _keep_up(self) -> None:
        """Until ``stop``: each end is a new start, the more of them in a row the later."""
        pause = 0.0
        while self._postmaster is not None:
            began = self._reactor.seconds()
            await self._postmaster.ended()
            log.error("the embedded PostgreSQL has ended: {why}; it is started again", why=self._postmaster.last_words)
            pause = 0.0 if self._reactor.seconds() - began > 60 else min(2 * pause + 0.05, LONGEST_PAUSE)
            await self._sleep(pause)
            self.restarts += 1
            POSTGRES_RESTARTS.inc()
            try:
                await self._bring_up(self.home)
            except StartFault as fault:
                log.error("{fault}", fault=str(fault))
            else:
                log.info("the embedded PostgreSQL is back")

    async def _end(self, postmaster: Postmaster) -> None:
        for number, patience in ((signal.SIGINT, FAST), (signal.SIGQUIT, IMMEDIATE), (signal.SIGKILL, IMMEDIATE)):
            postmaster.send(number)
            timer = self._reactor.callLater(patience, postmaster.stop_waiting)
            await postmaster.ended()
            if timer.active():
                timer.cancel()
            if not postmaster.alive:
                return
            log.warn("PostgreSQL has not ended {s} s after {number}", s=patience, number=number.name)

    def _words(self, home: Home) -> dict[str, str]:
        return {"version": home.installation.version, "user": home.account.name, "root": str(home.root)}

    def _sleep(self, seconds: float) -> Deferred[None]:
        return deferLater(self._reactor, seconds)

    def _in_thread(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work, *args)


class Postmaster(ProcessProtocol):
    """One run of PostgreSQL: its words go to our log."""

    transport: Any  # an IProcessTransport, whose declaration knows no self

    def __init__(self) -> None:
        self.alive = True
        self.pid: int | None = None
        self.last_words = ""
        """Why it ended, as far as it said."""
        self._lines: deque[str] = deque(maxlen=3)
        self._waiting: list[Deferred[None]] = []
        self._rest = b""

    def connectionMade(self) -> None:
        self.pid = self.transport.pid
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self.errReceived(data)

    def errReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._say(line.decode(errors="replace").rstrip())

    def processEnded(self, reason: Failure) -> None:
        self.alive = False
        if not self.last_words:
            by_itself = isinstance(reason.value, ProcessTerminated) and reason.value.signal is None
            self.last_words = " ".join(self._lines) if by_itself and self._lines else reason.getErrorMessage()
        self.stop_waiting()

    def ended(self) -> Deferred[None]:
        """Fires when the process is gone."""
        done: Deferred[None] = Deferred()
        if self.alive:
            self._waiting.append(done)
        else:
            done.callback(None)
        return done

    def stop_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.callback(None)

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess(int(number))

    def _say(self, line: str) -> None:
        troubled = any(f" {word}: " in f" {line}" for word in _TROUBLE)
        if troubled and not any(text in line for text in _EXPECTED):
            log.warn("postgres: {line}", line=line)
        elif line:
            log.debug("postgres: {line}", line=line)
        if line and _is_of(self.pid, line):
            self._lines.append(line)
            if "FATAL: " in line or "PANIC: " in line:
                self.last_words = line


def _is_of(pid: int | None, line: str) -> bool:
    """Whether the server itself says it, not one of its backends."""
    prefix = _PREFIX.match(line)
    return prefix is None or prefix[1] == str(pid)
