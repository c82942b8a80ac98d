"""What the tests of asynchronous requests share: handlers in a package of their own, servers, rows."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from attrs import define
from twisted.internet import reactor
from twisted.internet.task import deferLater

from pandatx.clock import Clock
from pandatx.config import Config
from pandatx.domain.async_work import Kind, kind_of
from pandatx.domain.caller import Caller
from pandatx.foundations import Foundations
from pandatx.requesting import Requests, make_requests
from pandatx.services.facts import Facts
from pandatx.services.owners import Owners
from pandatx.services.permissions_of_users import UserPermissions
from pandatx.store.database import Database
from pandatx.store.queries import Query
from pandatx.workers.pool import PoolSettings, ProcessPool

ME = Caller(dn="/DC=x/CN=Me", name="Me", how="x509")
YOU = Caller(dn="/DC=x/CN=You", name="You", how="x509")
PRODUCTION = Caller(dn="/DC=x/CN=Prod", name="Prod", how="x509", production=True)

HANDLERS = '''
import os, signal, sys, time
from pathlib import Path

def _note(request, word="begun"):
    path = Path(os.environ["PYTHONPATH"]) / "notes"
    with path.open("a") as notes:
        notes.write(f"{word} {request['request_id']} {request['attempt']}\\n")

def well(request, settings):
    _note(request)
    return {"status": "done", "result": {"got": request["number"]}, "return_code": 3, "stderr": "hm"}

def dies(request, settings):
    _note(request)
    os.kill(os.getpid(), signal.SIGKILL)

def dies_once(request, settings):
    _note(request)
    if request["attempt"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "second time"

def raises(request, settings):
    raise RuntimeError("no such thing")

def leaves(request, settings):
    sys.exit(4)

def hangs(request, settings):
    _note(request)
    time.sleep(600)

def waits(request, settings):
    """Until the test says go."""
    _note(request)
    while not (Path(os.environ["PYTHONPATH"]) / "go").exists():
        time.sleep(0.01)
    return "went"

def later(request, settings):
    _note(request)
    return {"status": "later", "error": "the engine is away"}

def answers(request, settings):
    return {"ok": True, "data": request["command_name"]}

def prints(request, settings):
    print("printed")
    return settings["cache_dir"]
'''
KINDS = ("well", "dies", "dies_once", "raises", "leaves", "hangs", "waits", "later", "prints")


def make_handlers(folder: Path) -> dict[str, str]:
    """A package with handlers, in a folder that children find it by."""
    (folder / "acting.py").write_text(HANDLERS)
    return {kind: f"acting:{kind}" for kind in KINDS}


def make_pool(folder: Path, size: int = 2) -> ProcessPool:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return ProcessPool(reactor, PoolSettings(size=size, environment=environment, instance="test"))


@define
class Server:
    """The requests of one server. ``clock`` may be set ahead of the reactor's."""

    requests: Requests
    pool: ProcessPool
    clock: Clock

    async def turn(self) -> int:
        """As the daemon does it, with what it has begun."""
        await self.requests.work.beat()
        begun = await self.requests.work.run_once()
        await self.requests.work.idle()
        return begun

    async def submit(self, kind: str | Kind, caller: Caller = ME, **parameters: Any) -> str:
        return await self.requests.asking.submit(caller, kind_of(kind) if isinstance(kind, str) else kind, parameters)

    async def row(self, request_id: str, caller: Caller = ME) -> dict[str, Any]:
        """The only result."""
        (found,) = (await self.requests.asking.result(caller, request_id))["results"]
        return found


@asynccontextmanager
async def server(
    config: Config,
    database: Database,
    *,
    host: str = "here",
    instance: str = "here-1",
    handlers: Any = None,
    pool: ProcessPool | None = None,
) -> AsyncIterator[Server]:
    """A server with a pool of real children; stopped at once at the end."""
    clock = Clock(reactor)
    folder = config.process.state_dir
    known = make_handlers(folder) if handlers is None else handlers
    pool = pool or make_pool(folder)
    facts = Facts(database, clock)
    await facts.refresh()
    permissions = UserPermissions(facts)
    owners = Owners(database, clock)
    ground = Foundations(
        config=config,
        clock=clock,
        state=SimpleNamespace(instance=instance),
        database=database,
        background=database,
        plugins=pool,
        scripts=pool,
        requests=pool,
        host=host,
    )
    requests = make_requests(ground, known, permissions, owners)
    yield Server(requests, pool, clock)
    await requests.work.stop(0)


async def run(database: Database, text: str, **params: Any) -> list[dict[str, Any]]:
    result = await database.statement("test", Query(name=text, text=text), **params)
    return result.dicts() if result.columns else []


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    end = reactor.seconds() + seconds
    while not condition():
        assert reactor.seconds() < end, "it did not come to be"
        await deferLater(reactor, 0.01)


def notes(config: Config) -> list[str]:
    """What handlers have noted: a word, the request, the attempt."""
    path = config.process.state_dir / "notes"
    return path.read_text().splitlines() if path.exists() else []
