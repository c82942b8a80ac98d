"""Giving up root, for good (rule R34)."""

from __future__ import annotations

import grp
import os
import pwd

from pandatx.errors import EXIT_CONFIGURATION, StartFault


def give_up_root(user: str, group: str | None = None) -> None:
    """Become ``user`` with its groups, or with ``group`` as the first, after ports are bound and keys are read.

    Nothing happens when the process is that user already. StartFault (exit 3) when there is no such user or group, or
    when the process may not become it.
    """
    try:
        account = pwd.getpwnam(user)
        gid = account.pw_gid if group is None else grp.getgrnam(group).gr_gid
    except KeyError:
        missing = f"user {user}" if _no_user(user) else f"group {group}"
        raise StartFault(EXIT_CONFIGURATION, f"[pandatx] user: there is no {missing} on this machine") from None
    if os.geteuid() == account.pw_uid and os.getuid() == account.pw_uid:
        return
    if os.geteuid() != 0:
        raise StartFault(EXIT_CONFIGURATION, f"[pandatx] user: only root can become {user}")
    os.initgroups(account.pw_name, gid)
    os.setresgid(gid, gid, gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)


def _no_user(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return True
    return False
