"""Sockets to listen on, and which processes may share them: those of one state directory, nobody else (rule R33)."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from attrs import define, field

from pandatx.errors import EXIT_CONFIGURATION, EXIT_PORT, StartFault

BACKLOG = 1024
_LOCK_NAME = "ports.lock"


@define
class Ports:
    """The listening sockets of this process. ``share`` says whether other processes of the state directory may join.

    The processes of a state directory hold ``ports.lock`` in it together. The first one takes a port only if it is
    free for it alone; one that comes later joins a port only if a live process of the same directory has noted it in
    the lock file, and tries any other port as the first one does.
    """

    state_dir: Path
    share: bool = True
    _lock: IO[str] | None = field(default=None, init=False)

    def bind(self, port: int, interface: str = "") -> socket.socket:
        """A bound socket that does not listen yet. StartFault (exit 5) says who has the port."""
        joins = self.share and port != 0 and str(port) in self._noted()
        try:
            if not joins:
                _probe(port, interface)
            made = _socket(port, interface, shared=self.share)
        except OSError as fault:
            raise StartFault(EXIT_PORT, _why(port, fault)) from None
        if self.share:
            self.note(made.getsockname()[1])
        return made

    def lock(self) -> None:
        """Join the processes of this state directory; alone in it, what dead ones noted is forgotten."""
        if self._lock is not None or not self.share:
            return
        try:
            self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self.state_dir / _LOCK_NAME).open("a+")
        except OSError as fault:
            line = f"[pandatx] state_dir {self.state_dir} cannot be used: {fault.strerror}"
            raise StartFault(EXIT_CONFIGURATION, line) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.truncate(0)
        except BlockingIOError:
            pass
        fcntl.flock(lock, fcntl.LOCK_SH)
        self._lock = lock

    def upload_dir(self) -> Path | None:
        """Where large bodies are kept while they come in: not /tmp, which may be memory."""
        return self.state_dir if os.access(self.state_dir, os.W_OK | os.X_OK) else None

    def release(self) -> None:
        """Leave the processes of this state directory."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _noted(self) -> set[str]:
        if self._lock is None:
            return set()
        self._lock.seek(0)
        notes = (note.split() for note in self._lock)
        return {note[0] for note in notes if len(note) == 2 and _lives(int(note[1]))}

    def note(self, port: int) -> None:
        """Say that this process has the port; once more by one that twistd has forked since."""
        if self._lock is not None:
            self._lock.write(f"{port} {os.getpid()}\n")
            self._lock.flush()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _socket(port: int, interface: str, shared: bool) -> socket.socket:
    """Both families on one socket where there is IPv6 and no interface is named."""
    family = socket.AF_INET6 if ":" in interface or (not interface and _has_ipv6()) else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6 and not interface:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((interface or ("::" if family == socket.AF_INET6 else ""), port))
    except OSError:
        made.close()
        raise
    return made


def _probe(port: int, interface: str) -> None:
    """Listening alone must be possible; binding alone shows nothing, since both sides may have SO_REUSEADDR."""
    if port == 0:
        return
    with _socket(port, interface, shared=False) as alone:
        alone.listen(1)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return False
    return True


def _why(port: int, fault: OSError) -> str:
    if fault.errno == errno.EADDRINUSE:
        return f"port {port} is taken by {holder(port)}"
    if fault.errno == errno.EACCES:
        return f"port {port} cannot be bound: ports below 1024 need root"
    return f"port {port} cannot be bound: {fault.strerror}"


def holder(port: int) -> str:
    """Which process listens on a port, as far as this user may see."""
    inodes = _listening_inodes(port)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(_points_to(link, inodes) for link in (process / "fd").iterdir()):
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
        except OSError:
            continue
    return "another process"


def _points_to(link: Path, inodes: set[str]) -> bool:
    try:
        return str(link.readlink()) in inodes
    except OSError:
        return False


def _listening_inodes(port: int) -> set[str]:
    """The names by which /proc/PID/fd knows the sockets that listen on a port."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{columns[9]}]")
    return found
