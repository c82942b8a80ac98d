"""Pools of real children for tests, and what is asked of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from textwrap import dedent, indent

from attrs import asdict
from twisted.internet import reactor
from twisted.internet.task import deferLater

from pandatx.clock import Clock
from pandatx.config import Schemas
from pandatx.store import sessions
from pandatx.workers.grants import Grants
from pandatx.workers.pool import PoolSettings, ProcessPool

RUN = "pandatx.workers.scripts:run_script"


class ScriptPools:
    """Makes pools whose children find the scripts written below ``directory``; they are stopped after the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._pools: list[ProcessPool] = []

    def write(self, name: str, text: str) -> str:
        (self.directory / f"{name}.py").write_text(text)
        return name

    async def start(self, *, operations=None, conninfo=None, database=None, dbconn=1, limit=60.0, **settings):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.directory), "PYTHONDONTWRITEBYTECODE": "1"}
        made = PoolSettings(**{"environment": environment, "instance": "test", **settings})

        async def on_kill(application):
            if database is not None:
                await sessions.end(database, Clock(reactor), application)

        pool = ProcessPool(reactor, made, on_kill)
        access = {"conninfo": conninfo, "schemas": asdict(Schemas()), "limit": limit}
        pool.grants = Grants(operations or {}, (lambda: access) if conninfo else None, dbconn)
        self._pools.append(pool)
        await pool.start()
        return pool

    async def stop(self) -> None:
        for pool in self._pools:
            await pool.stop(0.0)


async def run(pool, module, *arguments, timeout=30.0, daemon="probe"):
    """Run a script as the scheduler does."""
    return await pool.call(RUN, module, list(arguments), timeout=timeout, context=f"daemon {daemon}", script=daemon)


async def until(condition, seconds=10.0) -> None:
    for _ in range(int(seconds * 100)):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError(f"the condition did not come true within {seconds:g} s")


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def said(events, stream=None):
    """The lines that scripts have said."""
    return [
        line
        for event in events
        if stream is None or f".{stream}." in event.get("log_namespace", "")
        for line in event.get("log_lines", ())
    ]


_numbers = iter(range(10**6))


async def result_of(scripts, pool, body, **how):
    """What ``result`` is after ``body``, the text of a script's function that has argv and tbuf; as JSON."""
    number = next(_numbers)
    path = scripts.directory / f"result{number}"
    text = f"import json\ndef main(argv=(), tbuf=None, **kwargs):\n{indent(dedent(body), '    ')}\n"
    name = scripts.write(f"probe{number}", text + "    open(argv[1], 'w').write(json.dumps(result, default=str))\n")
    await run(pool, name, str(path), **how)
    return json.loads(path.read_text())
