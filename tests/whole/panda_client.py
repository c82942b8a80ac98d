"""The unmodified panda-client of PyPI in an environment of its own: its commands, and the functions of its Client.

Nothing of the client is kept in this repository. A ``Release`` makes its environment once, below .run/; the tests that
need it are long ones. What the client reads of its surroundings: reference/clients.md 1.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen
from pilot import hashed_authorities
from server import Home

CACHE = Path(__file__).parents[2] / ".run" / "panda-client"
LIMIT = 120.0
"""Seconds for a command."""

# Calls one function and writes what it returned as JSON; what it prints goes elsewhere.
_CALL = """
import contextlib, datetime, importlib, json, sys

def plain(value):
    if isinstance(value, datetime.datetime):
        return {"__datetime__": value.isoformat()}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, bytes):
        return value.decode()
    names = getattr(value, "_attributes", None) or vars(value)
    found = {name: getattr(value, name) for name in names}
    return {**found, "Files": value.Files} if hasattr(value, "Files") else found

asked = json.load(sys.stdin)
with contextlib.redirect_stdout(sys.stderr):
    module = importlib.import_module("pandaclient." + asked["module"])
    found = getattr(module, asked["name"])(*asked["args"], **asked["kwargs"])
json.dump(found, sys.stdout, default=plain)
"""

# The command that the client asks who the holder of a proxy is; grid sites have it, and it is asked nothing else.
_VOMS_PROXY_INFO = """#!/bin/sh
echo 'subject   : {subject}'
echo 'attribute : nickname = {nickname} (local)'
"""


class ClientFault(Exception):
    """The client could not be installed, or broke; the text ends with what it said."""


@frozen(kw_only=True)
class Release:
    """A release of panda-client, and the way in which it speaks HTTP."""

    version: str
    environ: Mapping[str, str] = field(factory=dict)

    def installed(self, cache: Path = CACHE) -> Path:
        """The environment with this release; the first caller makes it, others wait for that."""
        cache.mkdir(parents=True, exist_ok=True)
        place = cache / f"venv-{self.version}"
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (place / ".installed").exists():
                self._command(sys.executable, "-m", "venv", "--clear", place)
                # Up to 2.0.2 what the commands need is put there while the wheel is built: one that pip keeps lacks it.
                pip = (place / "bin" / "python", "-m", "pip", "install", "-q", "--no-cache-dir")
                self._command(*pip, f"panda-client=={self.version}")
                (place / ".installed").touch()
        return place

    def _command(self, *line: object) -> None:
        environ = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        done = subprocess.run(list(map(str, line)), capture_output=True, text=True, check=False, env=environ)
        if done.returncode:
            raise ClientFault(f"panda-client {self.version} could not be installed\n{done.stdout}{done.stderr}")


RELEASES = {
    "httpx": Release(version="2.2.0"),
    "curl": Release(version="2.0.1"),
    "native": Release(version="2.0.1", environ={"PANDA_USE_NATIVE_HTTPLIB": "1"}),
}
"""Up to 2.0.2 the client ran curl, or Python's own HTTP client where it was told to."""


@frozen(kw_only=True)
class PandaClient:
    """A user at a terminal. ``directory`` is where the commands run; it must not be the user's home directory."""

    venv: Path
    home: Home
    directory: Path
    environ: Mapping[str, str] = field(factory=dict)

    @classmethod
    def without_grid(
        cls, release: Release, home: Home, directory: Path, *, certificate: str = "user.pem", nickname: str = "user"
    ) -> PandaClient:
        """A user with a certificate: ``certificate`` is a file of the server's folder. pbook cannot work like this."""
        environ = {"PANDA_AUTH": "x509_no_grid", "PANDA_NICKNAME": nickname}
        return cls._made(release, home, directory, {**environ, "X509_USER_PROXY": str(home.path / certificate)})

    @classmethod
    def on_grid(
        cls,
        release: Release,
        home: Home,
        directory: Path,
        *,
        certificate: str = "user.pem",
        subject: str = "/DC=local/DC=pandatx/CN=user",
        nickname: str = "user",
    ) -> PandaClient:
        """A user with a certificate and the tools of the grid, of which a stand-in tells ``subject`` and nickname."""
        tools = directory.parent / f"{directory.name}-tools"
        tools.mkdir(parents=True, exist_ok=True)
        tool = tools / "voms-proxy-info"
        tool.write_text(_VOMS_PROXY_INFO.format(subject=subject, nickname=nickname))
        tool.chmod(0o755)
        # The client puts this text between "source" and a redirection, after it has reset PATH.
        setup = f"/dev/null > /dev/null 2>&1; export PATH={tools}:$PATH; :"
        environ = {"PATHENA_GRID_SETUP_SH": setup, "X509_USER_PROXY": str(home.path / certificate)}
        return cls._made(release, home, directory, environ)

    @classmethod
    def with_token(
        cls, release: Release, home: Home, directory: Path, token: str | None, vo: str = "wlcg"
    ) -> PandaClient:
        """A user with a token, or one who is to get it by the device flow where it is None."""
        environ = {"PANDA_AUTH": "oidc", "PANDA_AUTH_VO": vo}
        return cls._made(
            release, home, directory, environ if token is None else {**environ, "PANDA_AUTH_ID_TOKEN": token}
        )

    @classmethod
    def _made(cls, release: Release, home: Home, directory: Path, environ: Mapping[str, str]) -> PandaClient:
        directory.mkdir(parents=True, exist_ok=True)
        return cls(venv=release.installed(), home=home, directory=directory, environ={**release.environ, **environ})

    def run(self, *line: object, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """A command with its arguments, such as ``run("pbook", "show")``. pbook's exit code says nothing."""
        return subprocess.run(
            [str(self.venv / "bin" / str(line[0])), *map(str, line[1:])],
            cwd=self.directory,
            env=self._environment() | environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    def call(self, name: str, *args: Any, module: str = "Client", **kwargs: Any) -> Any:
        """What a function of the client returned, as JSON has it: a tuple is a list, a time is a marker, a JobSpec is
        a mapping. Arguments go as JSON too."""
        asked = {"module": module, "name": name, "args": args, "kwargs": kwargs}
        done = self.run("python", "-u", "-W", "ignore", "-c", _CALL, stdin=json.dumps(asked))
        if done.returncode:
            raise ClientFault(f"{name} ended with {done.returncode}\n{done.stderr[-4000:]}")
        return json.loads(done.stdout)

    def _environment(self) -> dict[str, str]:
        """Nothing of the tests' own environment but where programs are."""
        url = f"{self.home.url}/server/panda"
        packages = next((self.venv / "lib").glob("python*/site-packages"))
        state = self.directory.parent / f"{self.directory.name}-state"
        state.mkdir(exist_ok=True)
        return {
            "PATH": f"{self.venv / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "LANG": "C.UTF-8",
            "COLUMNS": "250",
            "HOME": str(state),
            "VIRTUAL_ENV": str(self.venv),
            "PANDA_SYS": str(self.venv),
            "PANDA_PYTHONPATH": str(packages),
            "PANDA_CONFIG_ROOT": str(state),
            "PANDA_URL": f"{self.home.web}/server/panda",
            "PANDA_URL_SSL": url,
            "PANDACACHE_URL": url,
            "PANDA_BEHIND_REAL_LB": "1",
            "X509_CERT_DIR": str(hashed_authorities(self.home.path)),
            **self.environ,
        }
