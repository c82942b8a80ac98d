"""Which user the children are (rule R34)."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
from collections.abc import Callable

from attrs import frozen
from twisted.logger import Logger

TRIAL_LIMIT = 10.0

log = Logger()


@frozen
class ChildUser:
    """A user that children become, with this group first and all others that the user is in."""

    name: str
    uid: int
    gid: int
    home: str


def resolve_user(uname: str | None, gname: str | None, executable: str = sys.executable) -> ChildUser | None:
    """The user and group of the [daemon] section, or None for the server's own: always so if this is not root.

    A name that does not exist, or a user that this process cannot become or that cannot run this Python, is one warning
    and the server's own user. Runs a short process, so call it before the reactor runs.
    """
    if not uname or os.geteuid() != 0 or uname == _own_name():
        return None
    try:
        user = pwd.getpwnam(uname)
        gid = grp.getgrnam(gname).gr_gid if gname else user.pw_gid
    except KeyError as missing:
        _own_instead(uname, str(missing.args[0]))
        return None
    found = ChildUser(uname, user.pw_uid, gid, user.pw_dir)
    if why := _cannot_run(executable, found):
        _own_instead(uname, why)
        return None
    return found


def own_home() -> str:
    """The home of the user that this process is, whatever HOME says."""
    return _own(lambda user: user.pw_dir)


def _own_name() -> str:
    return _own(lambda user: user.pw_name)


def _own(part: Callable[[pwd.struct_passwd], str]) -> str:
    try:
        return part(pwd.getpwuid(os.geteuid()))
    except KeyError:
        return ""


def _own_instead(uname: str, why: str) -> None:
    log.warn("children stay the server's own user, not {uname}: {why}", uname=uname, why=why)


def _cannot_run(executable: str, child: ChildUser) -> str:
    """Why a child could not be that user: found by trying, since every directory on the way may forbid it."""
    try:
        trial = subprocess.run(
            [executable, "-P", "-c", "import pandatx.workers.child"],
            user=child.uid,
            group=child.gid,
            extra_groups=os.getgrouplist(child.name, child.gid),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRIAL_LIMIT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as fault:
        return f"{executable} cannot be run by that user: {fault}"
    if trial.returncode:
        last = trial.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return f"{executable} does not run as that user: {last}"
    return ""
