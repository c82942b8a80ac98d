"""What the tests of datasetManager share: the services put together, plugins that answer as told, rows."""

import importlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import define, field
from endings import run
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from pandatx.clock import Clock
from pandatx.domain.job import Job
from pandatx.scheduler.context import Context
from pandatx.scheduler.daemons.dataset_manager import ManageDatasets
from pandatx.services.activator import Activator
from pandatx.services.arrivals import Arrivals
from pandatx.services.builds import Builds
from pandatx.services.closer import Closer
from pandatx.services.dataset_manager import DatasetManager
from pandatx.services.finisher import Finisher
from pandatx.services.left_open import LeftOpen
from pandatx.services.storages import Storages
from pandatx.services.transfers import Transfers
from pandatx.store.database import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@define
class Answers:
    """A process pool whose plugins do what they are told; ``there``: LFNs, ``refused``: names or PandaIDs."""

    there: set[str] = field(factory=set)
    refused: set[Any] = field(factory=set)
    lacks: set[str] = field(factory=set)
    asked: list[tuple[str, str, list[Any]]] = field(factory=list)
    how: list[str] = field(factory=list)
    fault: Exception | None = None

    async def call(self, name: str, *args: Any, timeout: float, context: str = "") -> Any:
        assert name == "pandatx.plugins.questions:ask"
        target, method, items, _ = json.loads(json.dumps(args, default=str))
        whom = [item["name"] if "name" in item else item["job"]["panda_id"] for item in items]
        self.asked.append((target, method, whom))
        if self.fault is not None:
            raise self.fault
        if method in self.lacks:
            return {"lacks": method}
        return {"answers": [self._answer(item) for item in items]}

    def _answer(self, item: dict[str, Any]) -> dict[str, Any]:
        if "name" in item:
            refused = item["name"] in self.refused
            return {"name": item["name"], "done": not refused, "error": "no" if refused else None}
        self.how.append(item["how"])
        if item["job"]["panda_id"] in self.refused:
            return {"panda_id": item["job"]["panda_id"], "there": None, "error": "no"}
        files = item["job"]["files"]
        there = [each["row_id"] for each in files if each["lfn"] in self.there and each["row_id"] in item["files"]]
        return {"panda_id": item["job"]["panda_id"], "there": there, "error": None}

    def questions(self, method: str) -> list[Any]:
        return [one for _, asked, whom in self.asked if asked == method for one in whom]


@define
class RealPlugins:
    """A process pool that calls the function here and now."""

    async def call(self, name: str, *args: Any, timeout: float, context: str = "") -> Any:
        module, _, function = name.partition(":")
        return getattr(importlib.import_module(module), function)(*json.loads(json.dumps(args, default=str)))


@define(eq=False)
class Manager:
    """datasetManager with its services; ``clock`` stands at NOW."""

    database: Database
    pool: Any = field(factory=Answers)
    settings: dict[str, Any] = field(factory=dict)
    plugin: str = "the"
    clock: Clock = field(factory=lambda: Clock.manual(task.Clock(), NOW))
    activated: list[int] = field(factory=list)
    reports: list[bool] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        database, clock = self.database, self.clock
        self.activator = Activator(database, clock, self._activated)
        self.finisher = Finisher(database, clock, lambda: self.reports.append(True))
        self.closer = Closer(database, clock, self.activator.release)
        target = self.plugin
        storages = Storages(
            self.pool,
            clock,
            lambda vo: f"{target}:Setupper",
            lambda vo, cloud: f"{target}:Adder",
            self.settings,
        )
        self.datasets = DatasetManager(database, clock, storages, self.closer)
        self.left_open = LeftOpen(database, clock, self.closer, Builds(database, clock))
        self.transfers = Transfers(database, clock, storages, self.finisher, self.closer)
        self.arrivals = Arrivals(database, clock, storages, self.activator)
        self.daemon = ManageDatasets(self.datasets, self.left_open, self.transfers, self.arrivals)

    activator: Any = field(init=False)
    finisher: Any = field(init=False)
    closer: Any = field(init=False)
    datasets: Any = field(init=False)
    left_open: Any = field(init=False)
    transfers: Any = field(init=False)
    arrivals: Any = field(init=False)
    daemon: Any = field(init=False)

    def _activated(self, jobs: list[Job]) -> None:
        self.activated += [job.panda_id for job in jobs]

    async def run(self) -> dict[str, int]:
        """A whole run; what it did."""
        context = Context(self.clock, "datasetManager")
        running = Deferred.fromCoroutine(self.daemon.run(context))
        while not running.called:
            await deferLater(reactor, 0)
            self.clock.reactor.advance(0)
        await running
        return {name: n for name, n in context.counts.items() if n}


async def pause() -> None:
    """Between two batches."""


def ago(**time: float) -> datetime:
    return NOW - timedelta(**time)


async def seed_dataset(
    database: Database, name: str, status: str, changed: datetime, kind: str = "output", **columns: Any
) -> None:
    row = {
        "vuid": name,
        "name": name,
        "type": kind,
        "status": status,
        "creationdate": changed,
        "modificationdate": changed,
        "currentfiles": 0,
        **columns,
    }
    names, values = ", ".join(row), ", ".join(f"%(of_{column})s" for column in row)
    given = {f"of_{column}": value for column, value in row.items()}
    await run(database, f"INSERT INTO {{panda}}.datasets ({names}) VALUES ({values}) RETURNING 1", **given)


async def seed_sub(database: Database, name: str, status: str, changed: datetime, **columns: Any) -> None:
    await seed_dataset(database, name, status, changed, subtype="sub", **columns)


async def datasets(database: Database) -> dict[str, str]:
    return dict(await run(database, "SELECT name, status FROM {panda}.datasets"))


async def locks(database: Database) -> dict[str, tuple[datetime, int]]:
    rows = await run(database, "SELECT name, modificationdate, transferstatus FROM {panda}.datasets")
    return {name: (changed, counter) for name, changed, counter in rows}
