"""Giving up root, for good (rule R34)."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys
from pathlib import Path

from attrs import frozen

import pandatx
from pandatx.errors import EXIT_CONFIGURATION, StartFault


@frozen(kw_only=True)
class ServerUser:
    """The user that the server becomes once its ports are bound and its keys are read."""

    name: str
    uid: int
    gid: int
    home: str

    def hand_over(self, *folders: Path) -> None:
        """Make what root has in these folders the user's; what belongs to others, or is linked elsewhere, stays."""
        for folder in folders:
            for _, names, files, inside in os.fwalk(folder.resolve()):
                self._take(".", inside)
                for name in (*names, *files):
                    self._take(name, inside)

    def become(self, *folders: Path) -> None:
        """Become it with its groups, for good. StartFault (exit 3) where it cannot work, or write in ``folders``."""
        os.initgroups(self.name, self.gid)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)
        os.environ.update(HOME=self.home, USER=self.name, LOGNAME=self.name)
        for folder in folders:
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                raise _fault(f"{self.name} cannot write in {folder}, or cannot get there")
        for file, right in ((sys.executable, os.X_OK), (pandatx.__file__ or "", os.R_OK)):
            if not os.access(file, right):
                raise _fault(f"{self.name} cannot reach {file}")

    def _take(self, name: str, inside: int) -> None:
        found = os.stat(name, dir_fd=inside, follow_symlinks=False)
        ours = stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)
        if found.st_uid == 0 and ours:
            os.chown(name, self.uid, self.gid, dir_fd=inside, follow_symlinks=False)


def server_user(name: str | None, group: str | None) -> ServerUser | None:
    """The user to become, with ``group`` as its first; None without one, or when the process is that user already.

    StartFault (exit 3) when there is no such user or group, or when the process may not become it.
    """
    if name is None:
        return None
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise _fault(f"there is no user {name} on this machine") from None
    try:
        gid = account.pw_gid if group is None else grp.getgrnam(group).gr_gid
    except KeyError:
        raise _fault(f"there is no group {group} on this machine") from None
    if os.geteuid() == account.pw_uid and os.getuid() == account.pw_uid:
        return None
    if os.geteuid() != 0:
        raise _fault(f"only root can become {name}")
    return ServerUser(name=name, uid=account.pw_uid, gid=gid, home=account.pw_dir)


def _fault(why: str) -> StartFault:
    return StartFault(EXIT_CONFIGURATION, f"[pandatx] user: {why}")
