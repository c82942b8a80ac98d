"""The whole server on one page: what is made, and in which order it starts."""

from __future__ import annotations

import gc
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from pandatx.config import Config, load
from pandatx.core import Core, Plugins, make_core
from pandatx.daemons import Daemons
from pandatx.errors import EXIT_DATABASE, Busy, PandaError, StartFault
from pandatx.foundations import Foundations, embedded_postgres, grants, lay_foundations
from pandatx.identity.roles import loose_entries
from pandatx.identity.voms_reader import VomsReader
from pandatx.messaging import Messaging, make_messaging
from pandatx.metrics import SPOOL_BYTES, SPOOL_REPORTS
from pandatx.natives import make_natives
from pandatx.net.connections import Counters
from pandatx.net.listeners import Listeners
from pandatx.net.ports import Ports
from pandatx.net.site import Watchers
from pandatx.net.tls import ServerTLS
from pandatx.net.user import server_user
from pandatx.operations import Operations
from pandatx.ops.health import Finding
from pandatx.ops.logs import Logs
from pandatx.parts import Part, Server, nothing
from pandatx.scripting import script_operations
from pandatx.services.locks import DaemonLocks
from pandatx.serving import Serving
from pandatx.site import make_site
from pandatx.store import schema
from pandatx.store.embedded import EmbeddedPostgres
from pandatx.store.offset import measure_offset
from pandatx.workers.user import resolve_user

log = Logger()

FACTS_EVERY, CLOCK_EVERY, SPOOL_EVERY, COUNTERS_EVERY, INSTANCE_EVERY = 20.0, 60.0, 2.0, 60.0, 30.0
TOKENS_EVERY, LEAPS_EVERY = 30.0, 1.0
TIDY_EVERY = 3600.0
LEFT = timedelta(seconds=10)
"""A job that is ``defined`` for so long when a server starts was left by one that ended."""
COLLECTOR = (20_000, 20, 50)
"""Thresholds of the garbage collector: a bulk submission makes many objects that reference counts free."""
FIRST_CONNECTION = 30.0
"""Seconds that a start waits for the database."""
LAST_CALLS = 2.0
"""Seconds for calls of plugins that are left when nobody waits for them any more."""


@define(eq=False)
class App:
    """One server process; ``make`` checks and takes what must come before the reactor runs."""

    reactor: Any
    config_file: Path | None
    roles: frozenset[str]
    environ: Mapping[str, str]
    logs: Logs
    ground: Foundations
    embedded: EmbeddedPostgres | None
    core: Core
    daemons: Daemons
    operations: Operations = field(init=False)
    messaging: Messaging = field(init=False)
    listeners: Listeners | None = None
    _loops: list[LoopingCall] = field(factory=list)
    _reloading: DeferredLock = field(factory=DeferredLock)

    @classmethod
    def make(
        cls,
        reactor: Any,
        config: Config,
        config_file: Path | None,
        roles: frozenset[str],
        environ: Mapping[str, str],
        logs: Logs,
    ) -> App:
        """Take the ports while we may be root, give root up, and put the parts together. Raises StartFault."""
        process = config.process
        user = server_user(process.user, process.group)
        child_user = resolve_user(config.daemon.uname, config.daemon.gname) if user is None else None
        ground = lay_foundations(reactor, config, environ, user, child_user)
        embedded = embedded_postgres(reactor, config, child_user)
        core = make_core(ground, Plugins.of(config))
        ground.scripts.grants = grants(ground, script_operations(core))
        app = cls(
            reactor=reactor,
            config_file=config_file,
            roles=roles,
            environ=environ,
            logs=logs,
            ground=ground,
            embedded=embedded,
            core=core,
            daemons=Daemons(
                ground.clock,
                config.daemon,
                make_natives(core, ground),
                ground.scripts,
                DaemonLocks(ground.background),
                ground.state,
                core.board,
            ),
        )
        app._make_operations()
        if "http" in roles:
            app._bind()
        if user is not None:
            folders = (process.state_dir, config.ops.log_dir)
            user.hand_over(*folders)
            user.become(*folders)
        return app

    def server(self, failed: Callable[[StartFault], None]) -> MultiService:
        """The parts in the order of design.md 1."""
        server = Server(self.reactor, failed)
        server.add(Part("warnings", self._warn))
        if self.embedded is not None:
            server.add(Part("embedded PostgreSQL", self._start_embedded, self.embedded.stop))
        server.add(Part("database", self._start_database, self._stop_database, by=28))
        server.add(Part("schema check", self._check_schema))
        plugins = self.ground.plugins
        server.add(Part("process pool", plugins.start, lambda: plugins.stop(LAST_CALLS), by=26))
        server.add(Part("facts", self._start_facts, self._stop_loops, by=27))
        server.add(Part("instance", self.core.instances.start, self.core.instances.stop, by=26))
        server.add(Part("spool", self._start_spool, self._stop_spool))
        server.add(Part("jobs in hand", self._start_jobs, self._stop_jobs, by=23))
        server.add(Part("requests in hand", nothing, self._stop_requests, by=24))
        if "daemon" in self.roles:
            server.add(Part("scheduler", self.daemons.start, self.daemons.stop, by=23, eager=True))
            server.add(Part("messages", self.messaging.start, self.messaging.stop, by=22))
        if self.listeners is not None:
            server.add(Part("listeners", self._start_listeners, self._stop_listeners, by=22))
        server.add(Part("operators' ports", self.operations.start, self.operations.stop, by=2))
        server.add(Part("notifier", self._announce, self.operations.fall_silent))
        return server

    def reload(self) -> None:
        """SIGHUP: certificates, logs and the [daemon] section again, without dropping a connection."""
        self.operations.notifier.reloading()
        self.logs.reopen()
        Deferred.fromCoroutine(self.core.tokens.refresh()).addErrback(lambda f: log.failure("tokens", f))
        self._reloading.run(self._reload).addErrback(lambda f: log.failure("reload", f)).addBoth(
            lambda _: self.operations.notifier.ready()
        )

    # What is made.

    def _make_operations(self) -> None:
        ground = self.ground
        self.operations = Operations(
            reactor=self.reactor,
            clock=ground.clock,
            settings=ground.config.ops,
            state=ground.state,
            environ=self.environ,
            database=ground.database,
            background=ground.background,
            scheduler=lambda: self.daemons.scheduler,
            counters=lambda: self.listeners.counters if self.listeners is not None else Counters(),
            capacity=ground.config.http.max_connections,
            namespace={"server": self, "db": ground.database, "daemons": self.daemons, "pool": ground.plugins},
        )

        here = "daemon" in self.roles
        self.messaging = make_messaging(self.core, ground, lambda: here and self.daemons.scheduler is not None)
        self.operations.health.add("messages", self._messages)
        self.operations.health.add("tokens", self._tokens)

    async def _messages(self) -> Finding:
        ok, text = self.messaging.state
        return Finding(name="messages", ok=ok, text=text, vital=False)

    async def _tokens(self) -> Finding:
        ok, text = self.core.tokens.state
        return Finding(name="tokens", ok=ok, text=text, vital=False)

    def _bind(self) -> None:
        pages = self.operations.public_pages()
        ground, http = self.ground, self.ground.config.http
        voms = VomsReader(http.vomsdir, ground.config.identity.voms_sha1, deferToThread)
        serving = Serving(config=ground.config, clock=ground.clock, core=self.core, database=ground.database, voms=voms)
        root, cache = make_site(serving, pages)
        self.listeners = Listeners(
            root,
            http,
            ServerTLS(http, voms),
            Ports(ground.state.path, share=self.embedded is None),
            self.reactor,
            cache,
            Watchers(access_log=self.logs.access),
            body_limit=root.body_limit,
        )
        self.listeners.bind()

    async def _warn(self) -> None:
        """What the operator should know, said once the logs are open."""
        for warning in self.ground.config.warnings:
            log.warn("{warning}", warning=warning)
        if os.geteuid() == 0:
            log.warn("the server runs as root; set [pandatx] user")
        lists = self.ground.config.identity
        for entry in loose_entries((*lists.production_dns, *lists.pilot_owners)):
            log.warn("production_dns or pilot_owners: {entry!r} matches only by the older, looser reading", entry=entry)

    # How the parts start and end.

    async def _start_embedded(self) -> None:
        assert self.embedded is not None
        self.ground.database.conninfo = self.ground.background.conninfo = await self.embedded.start()

    async def _start_database(self) -> None:
        background = self.ground.background
        self.ground.database.start()
        background.start()
        try:
            await background.statement("database.first", schema.SQL.alive, patience=FIRST_CONNECTION)
        except Busy:
            raise StartFault(EXIT_DATABASE, background.why_down) from None
        await self._measure_clock()
        self._every(CLOCK_EVERY, self._measure_clock)
        self._every(LEAPS_EVERY, self._heed_leaps)

    async def _measure_clock(self) -> None:
        await measure_offset(self.ground.background, self.ground.clock)

    async def _heed_leaps(self) -> None:
        """A machine that stood still would write old times until its clock is measured again."""
        if self.ground.clock.was_set() and self.ground.background.up:
            await self._measure_clock()

    async def _stop_database(self) -> None:
        await self.ground.background.stop()
        await self.ground.database.stop()

    async def _check_schema(self) -> None:
        if self.embedded is not None:
            await schema.upgrade(self.ground.background)
        state = await schema.inspect(self.ground.background)
        state.judge()
        self.operations.schema_text = f"{'.'.join(map(str, state.version or ()))} passed"

    async def _start_facts(self) -> None:
        await self.core.facts.refresh()
        await self.core.queues.start()
        await self.core.tokens.start()
        self._every(FACTS_EVERY, self.core.facts.refresh)
        self._every(TOKENS_EVERY, self.core.tokens.refresh)
        self._every(COUNTERS_EVERY, self.core.counters.flush)
        self._every(COUNTERS_EVERY, self.core.asks.flush)
        self._every(INSTANCE_EVERY, self.core.instances.beat)

    async def _stop_loops(self) -> None:
        for loop in self._loops:
            loop.stop()
        await self.core.counters.flush()
        await self.core.asks.flush()

    async def _start_spool(self) -> None:
        self.core.spooler.open()
        SPOOL_REPORTS.set_function(lambda: self.core.spooler.pending)
        SPOOL_BYTES.set_function(lambda: self.core.spooler.size)
        await self.core.spooler.play()
        await self.core.files.uploads.tidy()
        self._every(SPOOL_EVERY, self._play_spool)
        self._every(SPOOL_EVERY, self.core.files.book.play)
        self._every(TIDY_EVERY, self.core.files.uploads.tidy)
        self._every(SPOOL_EVERY, self.core.dispatch.settle)

    async def _play_spool(self) -> None:
        if self.ground.database.up:
            await self.core.spooler.play()

    async def _stop_spool(self) -> None:
        self.core.spooler.close()

    async def _start_jobs(self) -> None:
        """Go on with what was in hand when a server ended: reports, and jobs whose setup never came."""
        self.core.adder.start()
        for delay in (0.0, 2 * LEFT.total_seconds()):
            self.reactor.callLater(delay, self._rescue)

    def _rescue(self) -> None:
        """Not at once what is younger: another server on this database may be at it."""
        rescue: Deferred[int] = Deferred.fromCoroutine(self.core.setup.rescue(LEFT))
        rescue.addErrback(lambda failure: log.warn("rescue: {f}", f=failure.getErrorMessage()))

    async def _stop_jobs(self) -> None:
        await self.core.setup.idle()
        await self.core.adder.stop()

    async def _stop_requests(self) -> None:
        await self.core.requests.work.stop(LAST_CALLS)

    async def _reload(self) -> None:
        if self.listeners is not None:  # hundreds of files, perhaps
            await deferToThread(self.listeners.reload).addErrback(lambda f: log.failure("certificates", f))
        await self._reload_daemons()

    async def _reload_daemons(self) -> None:
        try:
            config = await deferToThread(load, self.config_file, self.environ)  # it may ask the DNS who we are
        except StartFault as fault:
            log.error("the [daemon] section stays as it was: {fault}", fault=fault)
            return
        for warning in config.warnings:
            if warning not in self.ground.config.warnings:
                log.warn("{warning}", warning=warning)
        settings, given = config.daemon, self.ground.config.daemon
        if (settings.uname, settings.gname) != (given.uname, given.gname):
            log.warn("[daemon] uname and gname of children change with a restart only")
        self.ground.plugins.reload(settings.n_proc, settings.proc_lifetime, settings.n_dbconn)
        await self.daemons.reload(settings)

    async def _announce(self) -> None:
        """All is up. What was made until now stays: the collector need not look at it again."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECTOR)
        await self.operations.announce()

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

        loop = self.ground.clock.looping(lambda: Deferred.fromCoroutine(once()))
        loop.start(seconds, now=False)
        self._loops.append(loop)
