"""What operators see of one server: health, metrics, the manhole, and what systemd is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attrs import define, field

from pandatx import metrics
from pandatx.clock import Clock
from pandatx.config import OpsSettings
from pandatx.net.connections import Counters
from pandatx.ops.health import Finding, Health, Livez, Readyz
from pandatx.ops.lag import LagGauge
from pandatx.ops.manhole import Manhole
from pandatx.ops.metrics import OperatorsPort, operators_pages
from pandatx.ops.notifier import Notifier
from pandatx.ops.status import Figures, StatusLine
from pandatx.ops.vitals import DatabaseWatch
from pandatx.scheduler.loop import Scheduler
from pandatx.store import vitals
from pandatx.store.database import Database
from pandatx.store.statedir import Lock, StateDirectory


@define(eq=False)
class Operations:
    """The operators' side. ``counters`` are those of the listeners, ``capacity`` their limit of connections."""

    reactor: Any
    clock: Clock
    settings: OpsSettings
    state: StateDirectory
    environ: Mapping[str, str]
    database: Database
    background: Database
    scheduler: Callable[[], Scheduler | None]
    counters: Callable[[], Counters]
    capacity: int
    namespace: Mapping[str, object]
    schema_text: str = "not checked"
    lag: LagGauge = field(init=False)
    watch: DatabaseWatch = field(init=False)
    health: Health = field(init=False)
    notifier: Notifier = field(init=False)
    _line: StatusLine = field(factory=StatusLine)
    _first: Lock | None = None
    _port: OperatorsPort | None = None
    _manhole: Manhole | None = None

    def __attrs_post_init__(self) -> None:
        self.lag = LagGauge(self.clock)
        self.watch = DatabaseWatch(self.clock, lambda: vitals.look(self.database))
        self.health = Health(
            self.clock,
            {
                "database": self.watch.check,
                "daemons": self._daemons,
                "lag": self.lag.check,
                "schema": self._schema,
            },
        )
        self.notifier = Notifier(self.reactor, self.environ, self.status)
        for database in (self.database, self.background):
            metrics.POOL_SESSIONS.labels(database.name, "busy").set_function(partial(_busy, database))
            metrics.POOL_WAITING.labels(database.name).set_function(partial(_waiting, database))
        metrics.REQUESTS_BUSY.set_function(lambda: self.counters().busy)
        for direction in ("in", "out"):
            metrics.TRAFFIC_BYTES.labels(direction).set_function(partial(self._counted, f"bytes_{direction}"))
        for outcome, counter in (
            ("opened", "connections"),
            ("refused", "refused"),
            ("refused for their address", "refused_address"),
            ("timed out", "timed_out"),
        ):
            metrics.CONNECTIONS.labels(outcome).set_function(partial(self._counted, counter))

    def public_pages(self) -> dict[bytes, Any]:
        """What the public listeners say of health: no detail (rule R26)."""
        return {b"/livez": Livez(), b"/readyz": Readyz(self.health)}  # type: ignore[no-untyped-call]

    async def start(self) -> None:
        """The metrics port and the manhole; the first process of a state directory has the ports as configured."""
        self._first = self.state.lock("operators")
        first = self._first is not None
        self.lag.start()
        self.watch.start()
        self._port = OperatorsPort(self.reactor, self.settings.metrics_address, operators_pages(self.health), first)
        self._port.start()
        if self.settings.manhole_port is not None and self.settings.manhole_keys is not None:
            self._manhole = Manhole(
                self.reactor,
                self.settings.manhole_port,
                self.settings.manhole_keys,
                self.state.path,
                self.namespace,
                self.settings.manhole_as_root,
                first,
            )
            self._manhole.start()

    async def stop(self) -> None:
        """Close both."""
        self.lag.stop()
        self.watch.stop()
        if self._manhole is not None:
            await self._manhole.stop()
        if self._port is not None:
            await self._port.stop()
        if self._first is not None:
            self._first.release()

    async def announce(self) -> None:
        """READY=1: all the rest is up."""
        self.notifier.start()

    async def fall_silent(self) -> None:
        """The first thing of a stop."""
        self.notifier.stopping()

    def status(self) -> str:
        """The line that systemd shows."""
        scheduler, counters = self.scheduler(), self.counters()
        figures = Figures(
            requests=counters.requests,
            bytes=counters.bytes,
            busy=counters.busy,
            capacity=self.capacity,
            sessions_busy=self.database.pool.busy + self.background.pool.busy,
            sessions=self.database.size + self.background.size,
            daemons=scheduler.summary if scheduler is not None else "elsewhere",
            schema=self.schema_text,
        )
        return self._line.text(figures, self.clock.seconds())

    def _counted(self, name: str) -> float:
        value: int = getattr(self.counters(), name)
        return value

    async def _daemons(self) -> Finding:
        scheduler = self.scheduler()
        if scheduler is None:
            return Finding(name="daemons", ok=True, text="not run by this process", vital=False)
        states = scheduler.states
        troubled = [f"{state.name}: {_first_line(state.last_error)}" for state in states if state.last_error]
        troubled += [f"{state.name} is {state.condition}" for state in states if state.condition == "paused"]
        text = "; ".join([scheduler.summary, *troubled])
        ok = all(state.ok or state.late for state in states)
        return Finding(name="daemons", ok=ok, text=text, vital=False)

    async def _schema(self) -> Finding:
        return Finding(name="schema", ok=self.schema_text.endswith("passed"), text=self.schema_text)


def _first_line(text: str) -> str:
    return text.splitlines()[0][:200]


def _busy(database: Database) -> float:
    return database.pool.busy


def _waiting(database: Database) -> float:
    return database.pool.waiting
