"""A sandbox that is uploaded beside other requests: how long it takes, and how much memory the server takes for it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
from attrs import define, field

from bench.client import Target

MIB = 1 << 20
PATH = "/api/v1/file_server/upload_cache_file"
PATIENCE = 600.0


@define(eq=False)
class Uploading:
    """Sends a file of ``size`` MiB from a process of its own once ``tick`` says that the window has begun."""

    target: Target
    size: int
    server_pids: tuple[int, ...]
    begins: float
    _sender: subprocess.Popen[str] | None = field(default=None, init=False)
    _before: dict[int, int] = field(factory=dict, init=False)

    def tick(self, elapsed: float) -> None:
        if self._sender is not None or elapsed < self.begins:
            return
        self._before = {pid: _forget_peak(pid) for pid in self.server_pids}
        line = [sys.executable, "-m", "bench.upload", self.target.url, "--size", str(self.size)]
        line += ["--cert", self.target.certificate] if self.target.certificate else []
        line += ["--ca", self.target.authority] if self.target.authority else []
        self._sender = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)

    @property
    def under_way(self) -> bool:
        return self._sender is not None and self._sender.poll() is None

    def figures(self) -> dict[str, Any]:
        """What the sender says, and by how much the largest server process grew, in MiB."""
        if self._sender is None:
            return {"upload": {"error": "the run was over before it began"}}
        said, _ = self._sender.communicate(timeout=PATIENCE)
        grown = [(_memory(pid, "VmHWM") - before) / 1024 for pid, before in self._before.items()]
        told: dict[str, Any] = json.loads(said) if said.strip() else {"error": "the sender broke"}
        return {"upload": {**told, "size_mib": self.size, "rss_growth_mib": round(max(grown, default=0.0), 1)}}


def _memory(pid: int, which: str) -> int:
    """kB that a process has now, or has had at most."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{which}:"):
            return int(line.split()[1])
    return 0


def _forget_peak(pid: int) -> int:
    """Let the kernel count the peak from now on; what the process has now. Only its user and root may."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _memory(pid, "VmRSS")


def send(target: Target, size: int) -> dict[str, Any]:
    """Upload a sandbox of so many MiB as curl does; the seconds, and what the server said."""
    name = f"sources.{uuid4()}.tar.gz"
    head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    tail = b"\r\n--b--\r\n"
    length = len(head) + size * MIB + len(tail)
    lines = target.head("POST", PATH, kind="multipart/form-data; boundary=b", accept="application/json")
    block = os.urandom(MIB)
    began = time.perf_counter()
    with socket.create_connection(target.address, timeout=PATIENCE) as plain:
        context = target.context()
        sock = context.wrap_socket(plain, server_hostname=target.address[0]) if context else plain
        sock.sendall(lines + b"\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % length + head)
        for _ in range(size):
            sock.sendall(block)
        sock.sendall(tail)
        sent = time.perf_counter()
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    told = {"seconds": round(time.perf_counter() - began, 2), "answered_after_s": round(time.perf_counter() - sent, 2)}
    body = answer.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")
    ok = answer.startswith(b"HTTP/1.1 200 ") and '"success":true' in body.replace(" ", "")
    return told if ok else {**told, "error": body[:300] or answer[:100].decode("latin-1")}


@click.command()
@click.argument("url")
@click.option("--size", default=768, help="MiB.")
@click.option("--cert")
@click.option("--ca")
def main(url: str, size: int, cert: str | None, ca: str | None) -> None:
    """Upload one sandbox and say as JSON how that went."""
    click.echo(json.dumps(send(Target(url=url, certificate=cert, authority=ca), size)))


if __name__ == "__main__":
    main()
