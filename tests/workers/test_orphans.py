"""Children end with their server, however it ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

SERVER = """
import sys
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from pandatx.workers.pool import PoolSettings, ProcessPool

pool = ProcessPool(reactor, PoolSettings(size=2))

async def main():
    await pool.start()
    ensureDeferred(pool.call("time:sleep", 600, timeout=700))
    for child in pool._children:
        print(child.pid, flush=True)

reactor.callWhenRunning(lambda: ensureDeferred(main()))
reactor.run()
"""


def test_a_server_that_is_killed_leaves_no_child():
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        pids = [int(server.stdout.readline()) for _ in range(2)]
        waits = [os.pidfd_open(pid) for pid in pids]
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
    for wait in waits:
        assert select.select([wait], [], [], 10.0)[0]
        os.close(wait)
    assert not [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists() and _alive(pid)]


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
