"""Fresh TLS connections with a client certificate: the server against ``openssl s_server`` on the same two cores."""

from __future__ import annotations

import socket
import ssl
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from bench import bodies
from bench.client import Ask, Loop, Script, Target, get
from bench.figures import Tally, summary
from bench.operations import wrong


@frozen(kw_only=True)
class Rival:
    """How s_server is started: with the host certificate and the authority that the measured server has."""

    host_cert: Path
    host_key: Path
    authority: Path
    port: int = 25999

    def command(self) -> list[str]:
        line = [
            "openssl",
            "s_server",
            "-accept",
            str(self.port),
            "-cert",
            str(self.host_cert),
            "-key",
            str(self.host_key),
        ]
        line += ["-CAfile", str(self.authority), "-Verify", "10", "-allow_proxy_certs"]
        return [*line, "-no_ticket", "-no_cache", "-www", "-quiet"]


@contextmanager
def running(rival: Rival) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        rival.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(1000):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(rival.command())} ended with {process.returncode}")
            try:
                socket.create_connection(("127.0.0.1", rival.port), 1).close()
                break
            except ConnectionRefusedError:
                continue
        yield process
    finally:
        process.kill()
        process.wait()


def compare(target: Target, rival: Rival, *, connections: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Rounds of ``seconds`` in turn, one after the other; the figure is the ratio of the medians."""
    fresh = evolve(target, keepalive=False)
    other = evolve(fresh, url=f"https://{fresh.address[0]}:{rival.port}")
    ours, theirs = [], []
    with running(rival):
        for _ in range(rounds):
            ours.append(_round(fresh, bodies.is_alive(fresh, "v1"), connections, seconds))
            theirs.append(_round(other, get(other.head("GET", "/")), connections, seconds))
    rates = {
        name: statistics.median(one["rate"] for one in all_) for name, all_ in (("ours", ours), ("s_server", theirs))
    }
    percent = round(100 * rates["ours"] / rates["s_server"], 1) if rates["s_server"] else 0.0
    return {
        "operation": "handshake", "tls": _protocol(fresh), "rounds": {"server": ours, "s_server": theirs},
        "connections_per_second": rates, "percent_of_s_server": percent,
    }  # fmt: skip


def _round(target: Target, request: bytes, connections: int, seconds: float) -> dict[str, Any]:
    tally = Tally()

    def script() -> Script:
        while True:
            answer = yield Ask("connection", request)
            if answer.status != 200:
                tally.error(wrong(answer))

    Loop(target, tally).run([script() for _ in range(connections)], seconds)
    return {**summary(tally.latencies["connection"], seconds), "errors": dict(tally.errors)}


def _protocol(target: Target) -> str:
    context = target.context()
    if context is None:
        return "none"
    with socket.create_connection(target.address, 10) as plain:
        with context.wrap_socket(plain, server_hostname=target.address[0]) as secure:
            return f"{secure.version()} {ssl.OPENSSL_VERSION}"
