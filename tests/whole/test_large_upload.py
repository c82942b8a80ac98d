"""The largest sandbox there is, through a whole server: its memory does not grow by it (issue 5, last line)."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server import Home, Process

pytestmark = pytest.mark.long
MIB = 1 << 20
LARGEST = 768
BLOCK = os.urandom(MIB)
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="sources.1.tar.gz"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"


def connect(home: Home) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(home.path / "ca.pem"))
    context.load_cert_chain(home.path / "user.pem")
    return http.client.HTTPSConnection("localhost", home.https_port, timeout=300, context=context)


def send(home: Home, size: int) -> Any:
    """Upload so many MiB; what the server says."""

    def body() -> Iterator[bytes]:
        yield HEAD
        for _ in range(size):
            yield BLOCK
        yield TAIL

    connection = connect(home)
    length = len(HEAD) + size * MIB + len(TAIL)
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": str(length)}
    connection.request("POST", "/api/v1/file_server/upload_cache_file", body(), headers)
    told = json.load(connection.getresponse())
    connection.close()
    return told


def memory(process: Process, which: str) -> int:
    """kB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:"))


def sandboxes(home: Home) -> list[Path]:
    return [path for path in (home.path).rglob("*") if path.is_file() and path.stat().st_size >= MIB and _came(path)]


def _came(path: Path) -> bool:
    return path.name.startswith("sources.") or path.parent.name == ".incoming"


def test_the_largest_sandbox_costs_the_server_no_memory(home: Home, server: Process) -> None:
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # the peak counts from now on
    before = memory(server, "VmRSS")
    assert send(home, LARGEST) == {"success": True, "message": "", "data": None}
    assert memory(server, "VmHWM") - before < 50 * 1024
    connection = connect(home)
    connection.request("GET", "/cache/sources.1.tar.gz")
    answer, came = connection.getresponse(), hashlib.sha256()
    while piece := answer.read(MIB):
        came.update(piece)
    connection.close()
    sent = hashlib.sha256()
    for _ in range(LARGEST):
        sent.update(BLOCK)
    assert came.digest() == sent.digest()
    assert memory(server, "VmHWM") - before < 50 * 1024


def test_a_sandbox_that_is_a_megabyte_too_large_is_refused(home: Home, server: Process) -> None:
    told = send(home, LARGEST + 1)
    assert told["message"].startswith("ERROR: upload failure. Exceeded size limit 769 MB > 768 MB. Please remove")
    assert sandboxes(home) == []
