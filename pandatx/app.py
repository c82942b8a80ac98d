"""The whole server on one page: what is made, who knows whom, and in which order it starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, LogLevel

from pandatx.clock import Clock
from pandatx.config import Config
from pandatx.errors import EXIT_DATABASE, Busy, PandaError, StartFault
from pandatx.net.listeners import Listeners
from pandatx.net.ports import Ports
from pandatx.net.tls import ServerTLS
from pandatx.net.user import give_up_root
from pandatx.ops.logs import Logs
from pandatx.parts import Part, Server
from pandatx.resources.pilot import PilotResource
from pandatx.resources.system import SystemResource
from pandatx.services.dispatch import Dispatch
from pandatx.services.facts import Facts
from pandatx.services.heartbeats import Heartbeats
from pandatx.services.spooling import Spooler
from pandatx.site import make_site
from pandatx.store import schema
from pandatx.store.database import Database, conninfo_of, measure_offset
from pandatx.store.embedded import EmbeddedPostgres
from pandatx.store.statedir import StateDirectory

log = Logger()

FACTS_EVERY, CLOCK_EVERY, SPOOL_EVERY = 20.0, 60.0, 2.0
FIRST_CONNECTION = 30.0
"""Seconds that a start waits for the database."""


@define(eq=False)
class App:
    """One server process: its parts, made by ``make`` before the reactor runs."""

    reactor: Any
    config: Config
    roles: frozenset[str]
    environ: Mapping[str, str]
    logs: Logs
    state: StateDirectory
    clock: Clock
    database: Database
    background: Database
    embedded: EmbeddedPostgres | None
    facts: Facts
    dispatch: Dispatch
    heartbeats: Heartbeats
    spooler: Spooler
    listeners: Listeners | None
    _loops: list[LoopingCall] = field(factory=list)

    @classmethod
    def make(cls, reactor: Any, config: Config, roles: frozenset[str], environ: Mapping[str, str]) -> App:
        """Check what can be checked now, take the ports while we may be root, and put the parts together.

        Raises StartFault.
        """
        state = StateDirectory(config.process.state_dir)
        state.make()
        logs = Logs(config.ops.log_dir, LogLevel.lookupByName(config.ops.log_level))
        logs.open()
        clock = Clock(reactor)
        database, background = _databases(config, clock)
        embedded = None if config.database.host else EmbeddedPostgres(reactor, config.process.state_dir)
        facts = Facts(background, clock)
        dispatch = Dispatch(database, clock, facts, config.database.hot_statement_timeout)
        spooler = Spooler(
            state.path / "spool",
            state.instance,
            lambda caller, beat: heartbeats.play(caller, beat),
            config.jobs.spool_report_limit,
            config.jobs.spool_total_limit,
        )
        heartbeats = Heartbeats(database, clock, facts, spooler, lambda: None, config.database.hot_statement_timeout)
        resources = (SystemResource(), PilotResource(dispatch, heartbeats, None, None, facts.queue))
        root, cache = make_site(config, clock, facts.document, resources, {})
        listeners = None
        if "http" in roles:
            listeners = Listeners(root, config.http, ServerTLS(config.http), Ports(state.path), reactor, cache)
            listeners.bind()
        if config.process.user:
            give_up_root(config.process.user, config.process.group)
        return cls(
            reactor=reactor,
            config=config,
            roles=roles,
            environ=environ,
            logs=logs,
            state=state,
            clock=clock,
            database=database,
            background=background,
            embedded=embedded,
            facts=facts,
            dispatch=dispatch,
            heartbeats=heartbeats,
            spooler=spooler,
            listeners=listeners,
        )

    def server(self, failed: Callable[[StartFault], None]) -> MultiService:
        """The parts in the order of design.md 1."""
        server = Server(self.reactor, failed)
        for warning in self.config.warnings:
            log.warn("{warning}", warning=warning)
        if self.embedded is not None:
            server.add(Part("embedded PostgreSQL", self._start_embedded, self.embedded.stop))
        server.add(Part("database", self._start_database, self._stop_database))
        server.add(Part("schema check", self._check_schema))
        server.add(Part("spool", self._start_spool, self._stop_spool))
        server.add(Part("facts", self._start_facts, self._stop_loops))
        if self.listeners is not None:
            server.add(Part("listeners", self._start_listeners, self._stop_listeners))
        return server

    def reload(self) -> None:
        """SIGHUP: certificates, logs and the [daemon] section again, without dropping a connection."""
        self.logs.reopen()
        if self.listeners is not None:
            self.listeners.reload()

    async def _start_embedded(self) -> None:
        assert self.embedded is not None
        conninfo = await self.embedded.start()
        self.database.conninfo = self.background.conninfo = conninfo

    async def _start_database(self) -> None:
        self.database.start()
        self.background.start()
        try:
            await self.background.statement("database.first", schema.SQL.alive, patience=FIRST_CONNECTION)
        except Busy:
            raise StartFault(EXIT_DATABASE, self.background.why_down) from None
        await measure_offset(self.background, self.clock)
        self._every(CLOCK_EVERY, lambda: measure_offset(self.background, self.clock))

    async def _stop_database(self) -> None:
        await self.background.stop()
        await self.database.stop()

    async def _check_schema(self) -> None:
        if self.embedded is not None:
            await schema.upgrade(self.background)
        (await schema.inspect(self.background)).judge()

    async def _start_spool(self) -> None:
        self.spooler.open()
        await self.spooler.play()
        self._every(SPOOL_EVERY, self._play_spool)

    async def _play_spool(self) -> None:
        if self.database.up:
            await self.spooler.play()

    async def _stop_spool(self) -> None:
        self.spooler.close()

    async def _start_facts(self) -> None:
        await self.facts.refresh()
        self._every(FACTS_EVERY, self.facts.refresh)

    async def _start_listeners(self) -> None:
        assert self.listeners is not None
        self.listeners.startService()

    async def _stop_listeners(self) -> None:
        assert self.listeners is not None
        await self.listeners.stopService()

    def _every(self, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        """Do ``work`` from now on; a run that fails is a log line, and the next one comes."""

        async def once() -> None:
            try:
                await work()
            except PandaError as error:
                log.warn("{error}", error=error)
            except Exception:  # the edge of a periodic loop
                log.failure("periodic work failed")

        loop = LoopingCall(lambda: Deferred.fromCoroutine(once()))
        loop.clock = self.reactor
        loop.start(seconds, now=False)
        self._loops.append(loop)

    async def _stop_loops(self) -> None:
        for loop in self._loops:
            loop.stop()


def _databases(config: Config, clock: Clock) -> tuple[Database, Database]:
    """The pool for requests and that for the scheduler, so that neither starves the other."""
    settings = config.database
    conninfo = conninfo_of(settings) if settings.host else ""

    def database(name: str, size: int, hot: bool) -> Database:
        return Database(
            name=name,
            conninfo=conninfo,
            clock=clock,
            schemas=settings.schemas,
            size=size,
            statement_timeout=settings.statement_timeout,
            hot=hot,
            application_name=f"pandatx-{name}",
        )

    return database("requests", settings.pool, True), database("scheduler", settings.pool_scheduler, False)
