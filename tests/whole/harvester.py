"""The communicator of a Harvester checkout as a child process: one call at a time, answered as it answers Harvester.

Nothing of Harvester is kept in this repository; HARVESTER names the checkout.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server import Home

CALLS = Path(__file__).with_name("harvester_calls.py")


class HarvesterFault(Exception):
    """The checkout is none, or a call raised in it."""


def checkout(directory: str) -> Path:
    """The directory of a checkout of HSF/harvester."""
    found = Path(directory).expanduser().resolve()
    if not (found / "pandaharvester/harvestercommunicator/panda_communicator.py").is_file():
        raise HarvesterFault(f"{found}: no pandaharvester here; HARVESTER must name a checkout of HSF/harvester")
    return found


def spec(kind: str, job: Any = None, **values: Any) -> dict[str, Any]:
    """A record of Harvester, made in the child; ``job``: of a job as the server has described it."""
    made: dict[str, Any] = {"spec": kind, "values": values}
    return made if job is None else {**made, "job": job}


def moment(text: str) -> dict[str, str]:
    return {"time": text}


class Communicator:
    """Harvester ``hv1`` of a server, with its production certificate; ``pandacon`` are settings of that section."""

    def __init__(self, source: Path, home: Home, **pandacon: Any) -> None:
        command = [sys.executable, str(CALLS)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._ask({"source": str(source), "settings": settings(home, pandacon)})

    def call(self, method: str, *args: Any) -> Any:
        """What a method of PandaCommunicator returns."""
        return self._ask({"call": method, "args": args})["value"]

    def has(self, method: str) -> bool:
        """Whether this release makes the call."""
        return bool(self._ask({"has": method})["value"])

    def __enter__(self) -> Communicator:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def _ask(self, what: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise HarvesterFault(f"the communicator ended with {self._process.wait(20)}")
        told: dict[str, Any] = json.loads(line)
        if "fault" in told:
            raise HarvesterFault(told["fault"])
        return told


def settings(home: Home, pandacon: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """As in panda_harvester.cfg, for releases of both dialects."""
    certificate = str(home.path / "production.pem")
    return {
        "master": {"harvester_id": "hv1"},
        "pandacon": {
            "auth_type": "x509",
            "ca_cert": str(home.path / "ca.pem"),
            "cert_file": certificate,
            "key_file": certificate,
            "timeout": 60,
            "server_api_url_ssl": f"{home.url}/api/v1",
            "cache_api_url_ssl": f"{home.url}/api/v1",
            "pandaURL": f"{home.web}/server/panda",
            "pandaURLSSL": f"{home.url}/server/panda",
            "pandaCacheURL_R": f"{home.web}/cache",
            "pandaCacheURL_W": f"{home.url}/server/panda",
            **pandacon,
        },
    }
