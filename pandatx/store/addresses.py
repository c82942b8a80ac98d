"""The addresses of the database's hosts, looked up in a thread.

libpq looks names up where it is called, also for a connection that is not to block: while the name service does not
answer, nothing else would be done in the reactor's thread.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Final

from attrs import define, field
from psycopg2.extensions import make_dsn, parse_dsn
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as Overdue
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

PATIENCE: Final = 10.0
"""Seconds for a look-up; one that takes longer goes on, and who asks next waits for the same."""
Place = tuple[str, str, str]
"""Host, its address, port; empty where nothing is said."""


class NoAddress(Exception):
    """No host of the database has an address, and why."""


@define(eq=False)
class Addresses:
    """Looks up the hosts of one connection string, once for all who ask at the same time."""

    _reactor: Any
    _waiting: list[Deferred[list[Place]]] = field(factory=list, init=False)

    async def put_into(self, conninfo: str) -> str:
        """The connection string with an address for each host that is a name. Raises NoAddress, psycopg2.Error."""
        said: dict[str, str] = parse_dsn(conninfo)
        hosts = said.get("host", "").split(",")
        if "hostaddr" in said or not any(map(_is_name, hosts)):
            return conninfo
        ports = said.get("port", "").split(",")
        places = await self._look_up(list(zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=False)))
        whole = {"host": [host for host, _, _ in places], "hostaddr": [address for _, address, _ in places]}
        if any(ports):
            whole["port"] = [port for _, _, port in places]
        return str(make_dsn(conninfo, **{name: ",".join(values) for name, values in whole.items()}))

    async def _look_up(self, wanted: Sequence[tuple[str, str]]) -> list[Place]:
        waiting: Deferred[list[Place]] = Deferred()
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            deferToThread(_places, wanted).addBoth(self._found)
        waiting.addTimeout(PATIENCE, self._reactor)
        try:
            return await waiting
        except Overdue:
            raise NoAddress(f"the name service does not answer within {PATIENCE:g} s") from None

    def _found(self, outcome: list[Place] | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:
                each.callback(outcome)


def _places(wanted: Sequence[tuple[str, str]]) -> list[Place]:
    """All addresses of all hosts, in their order. Blocks; raises NoAddress where there is none at all."""
    found: list[Place] = []
    faults: list[str] = []
    for host, port in wanted:
        if not _is_name(host):
            found.append((host, "", port))
            continue
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as fault:
            faults.append(f"{host}: {fault}")
        else:
            found += dict.fromkeys((host, str(info[4][0]), port) for info in infos)
    if not found:
        raise NoAddress("; ".join(faults))
    return found


def _is_name(host: str) -> bool:
    """Whether it must be looked up: no folder with a socket, and no address."""
    if not host or host.startswith(("/", "@")):
        return False
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return False
