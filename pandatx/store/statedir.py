"""The state directory: what a server is (rule R33), with the locks that say which process does what."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from pathlib import Path

from attrs import define, field, frozen

from pandatx.errors import EXIT_CONFIGURATION, StartFault


@define(eq=False)
class Lock:
    """A lock that ends with its holder, SIGKILL included; forks of the holder share it."""

    name: str
    _descriptor: int

    def release(self) -> None:
        """Let others have it; twice does no harm."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _token() -> str:
    return secrets.token_hex(4)


@frozen
class StateDirectory:
    """The directory at ``path``; ``instance`` tells this process from all others, in other containers too."""

    path: Path
    _token: str = field(factory=_token, kw_only=True)
    # Of when it was made: a server that twistd sends to the background stays the one it was.
    _pid: int = field(factory=os.getpid, kw_only=True)

    @property
    def instance(self) -> str:
        """host-instance-pid, at most 40 characters: what stands in lockedBy (rule R7)."""
        return f"{socket.gethostname().split('.')[0][:20]}-{self._token}-{self._pid}"

    def make(self) -> None:
        """Make it, or shut an existing one to others (rule R30). Raises StartFault if that cannot be."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.path.stat()
            if os.geteuid() not in (0, status.st_uid):
                raise StartFault(EXIT_CONFIGURATION, f"[pandatx] state_dir {self.path} belongs to another user")
            if status.st_mode & 0o077:
                self.path.chmod(0o700)
        except OSError as fault:
            raise StartFault(
                EXIT_CONFIGURATION, f"[pandatx] state_dir {self.path} cannot be used: {fault.strerror}"
            ) from None

    def lock(self, name: str) -> Lock | None:
        """The lock ``name`` of this directory, or None while another process (or another Lock) holds it.

        ``postgresql`` is the embedded database's, ``daemon`` the scheduler's.
        """
        descriptor = os.open(self._lock_file(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{self.instance}\n".encode())
        return Lock(name, descriptor)

    def holder(self, name: str) -> str:
        """The instance that took the lock last, for messages; empty if nobody ever did."""
        try:
            return self._lock_file(name).read_text().strip()
        except FileNotFoundError:
            return ""

    def _lock_file(self, name: str) -> Path:
        return self.path / f"{name}.lock"
