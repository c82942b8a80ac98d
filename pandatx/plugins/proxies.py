"""What a proxy plugin is: as those of interface.py a class whose constructor takes nothing, values in and out.

It runs in a child of the process pool, one user at a time, and may be killed; a call may come twice. The class is
named by [pandatx] proxy_plugin as module:Class; MyProxy here is one.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Protocol, TypedDict

_LIMIT = 50.0
_LONGEST_TEXT = 500


class ProxySettings(TypedDict, total=False):
    """What a plugin may need to know. ``server``: [pandatx] myproxy_server. ``hours``: how long proxies should live."""

    server: str | None
    hours: int


class FetchedProxy(TypedDict):
    """A proxy with a role, or why there is none. ``pem``: certificate, key and chain as one text."""

    role: str | None
    pem: str | None
    error: str | None


class ProxySource(Protocol):
    """Fetches proxies of one user, one for each of ``roles``, in their order; None is a proxy without attributes.

    ``dn`` is in slash form, without the parts that proxies add. What it raises is the error of all of them.
    """

    def fetch(self, dn: str, roles: list[str | None], settings: ProxySettings) -> list[FetchedProxy]: ...


def fetch(target: str, dn: str, roles: list[str | None], settings: ProxySettings) -> list[FetchedProxy]:
    """Run the plugin "module:Class"; what the process pool calls."""
    module, _, name = target.partition(":")
    plugin: Any = getattr(importlib.import_module(module), name)()
    found: list[FetchedProxy] = plugin.fetch(dn, roles, settings)
    if [one["role"] for one in found] != roles:
        raise ValueError("the plugin did not answer for each role in order")
    return found


class MyProxy:
    """Proxies that users have stored on a MyProxy server, with VOMS attributes; by the usual programs."""

    credential = "panda"
    vomses = "/etc/vomses"

    def fetch(self, dn: str, roles: list[str | None], settings: ProxySettings) -> list[FetchedProxy]:
        """One log-on for all roles."""
        server = settings.get("server")
        if not server:
            raise ValueError("[pandatx] myproxy_server is not set")
        folder = Path(tempfile.mkdtemp())  # 0700
        try:
            plain = folder / "plain"
            logon = ["-s", server, "--no_passphrase", "--out", str(plain), "-l", dn, "-k", self.credential, "-t", "0"]
            error = _run(["myproxy-logon", *logon], plain)
            if error:
                return [{"role": role, "pem": None, "error": error} for role in roles]
            return [self._with_role(plain, role, settings.get("hours", 96)) for role in roles]
        finally:
            shutil.rmtree(folder)

    def _with_role(self, plain: Path, role: str | None, hours: int) -> FetchedProxy:
        if role is None:
            return {"role": None, "pem": plain.read_text(), "error": None}
        made = plain.with_name("voms")
        made.unlink(missing_ok=True)
        source = ["-cert", str(plain), "-key", str(plain), "-out", str(made)]
        how = ["-vomses", self.vomses, "-valid", f"{hours}:00", "-rfc", "-n", "-voms", role]
        error = _run(["voms-proxy-init", *source, *how], made)
        return {"role": role, "pem": None if error else made.read_text(), "error": error}


def _run(command: list[str], result: Path) -> str | None:
    """Why a command has not made its file; None if it has."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not end within {_LIMIT:g} s"
    if done.returncode == 0 and result.is_file():
        return None
    return f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-_LONGEST_TEXT:]}"
