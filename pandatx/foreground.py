"""One run of one daemon by hand, beside a server or without one (rule R41)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from attrs import define, evolve
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.logger import (
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from pandatx.config import Config, default_timeout, load
from pandatx.core import Plugins, make_core
from pandatx.daemons import LOCK, machine_lock
from pandatx.errors import EXIT_DATABASE, EXIT_USAGE, Busy, StartFault
from pandatx.foundations import Foundations, embedded_postgres, grants, lay_foundations
from pandatx.natives import make_natives
from pandatx.net.user import server_user
from pandatx.scheduler.catalogue import CATALOGUE
from pandatx.scheduler.context import Native
from pandatx.scheduler.daemon import Daemon
from pandatx.scheduler.daemons.archiver import DRY_RUN
from pandatx.scheduler.entries import plan
from pandatx.scheduler.locks import SyncLock
from pandatx.scheduler.run import Outcome, Run
from pandatx.scripting import script_operations
from pandatx.services.async_work import AsyncWork
from pandatx.services.locks import LocksByHand
from pandatx.store import schema
from pandatx.store.embedded import EmbeddedPostgres, home_directory
from pandatx.store.home import open_home
from pandatx.store.offset import measure_offset
from pandatx.workers.user import resolve_user

log = Logger()

FIRST_CONNECTION: Final = 30.0
"""Seconds for the first connection to the database."""
LAST_CALLS: Final = 2.0
"""Seconds for calls of plugins that are left at the end."""
BY_HAND: Final = 3600.0
"""Seconds: the period of a daemon that neither the operator nor this server gives one."""


@define(eq=False)
class Result:
    """How the run went: what it counted, or why it failed or did not begin."""

    counts: dict[str, int]
    seconds: float = 0.0
    error: str | None = None


def run_once(path: Path | None, environ: Mapping[str, str], name: str, arguments: tuple[str, ...]) -> Result:
    """Run the daemon ``name`` of the configuration at ``path`` once; the reactor runs for as long as that takes.

    ``arguments`` replace those of its entry, if there are any. Log lines go to stderr. Raises StartFault where the run
    could not even be prepared.
    """
    config = load(path, environ)
    level: Any = LogLevelFilterPredicate(LogLevel.lookupByName(config.ops.log_level))
    lines: Any = textFileLogObserver(sys.stderr)
    observer: Any = FilteringLogObserver(lines, [level])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    results: list[Result] = []
    faults: list[StartFault] = []

    async def whole(reactor: Any) -> None:
        try:
            results.append(await _Foreground.make(reactor, config, environ).run(name, arguments))
        except StartFault as fault:
            faults.append(fault)

    try:
        task.react(lambda reactor: Deferred.fromCoroutine(whole(reactor)))
    except SystemExit as end:
        if end.code:
            raise
    if faults:
        raise faults[0]
    return results[0]


@define(eq=False)
class _Foreground:
    """The parts of a server that a daemon needs: databases, pools, services. No port is opened."""

    _ground: Foundations
    _embedded: EmbeddedPostgres | None
    _natives: Mapping[str, Native]
    _refresh: Any
    _work: AsyncWork

    @classmethod
    def make(cls, reactor: Any, config: Config, environ: Mapping[str, str]) -> _Foreground:
        process = config.process
        user = server_user(process.user, process.group)
        child_user = resolve_user(config.daemon.uname, config.daemon.gname) if user is None else None
        ground = lay_foundations(reactor, config, environ, user, child_user)
        embedded = None
        if config.database.host is None:
            try:
                embedded = embedded_postgres(reactor, config, child_user)
            except StartFault:  # a server has it, and lets us in
                conninfo = open_home(home_directory(process.state_dir)).dsn()
                ground.database.conninfo = ground.background.conninfo = conninfo
        if user is not None:
            user.hand_over(process.state_dir)
            user.become(process.state_dir)
        core = make_core(ground, Plugins.of(config))
        ground.scripts.grants = grants(ground, script_operations(core))
        return cls(ground, embedded, make_natives(core, ground), core.facts.refresh, core.requests.work)

    async def run(self, name: str, arguments: tuple[str, ...]) -> Result:
        """The whole of it; raises StartFault for a database that cannot be used and a name that nobody knows."""
        daemon = self._find(name)
        if arguments:
            daemon = evolve(daemon, arguments=arguments)
        held = machine_lock(self._ground.state, daemon.name)
        if held is None:
            return Result({}, error="another process of this machine is running it")
        try:
            if self._embedded is not None:
                self._ground.database.conninfo = self._ground.background.conninfo = await self._embedded.start()
            return await self._on_database(daemon)
        finally:
            if self._embedded is not None:
                await self._embedded.stop()
            held.release()

    def _find(self, name: str) -> Daemon:
        planned = plan(evolve(self._ground.config.daemon, enable=True), self._natives, self._ground.scripts)
        for daemon in planned.daemons:
            if daemon.name == name:
                return evolve(daemon, loop=False)
        for fault in planned.faults:
            if fault.name == name:
                raise StartFault(EXIT_USAGE, str(fault))
        if name not in self._natives:
            known = sorted({daemon.name for daemon in planned.daemons} | set(self._natives))
            raise StartFault(EXIT_USAGE, f"no daemon {name}; there are {', '.join(known)}")
        row = CATALOGUE.get(name)
        period = row.period if row is not None else BY_HAND
        sync = row is not None and row.sync
        return Daemon(name=name, period=period, timeout=default_timeout(period), code=self._natives[name], sync=sync)

    async def _on_database(self, daemon: Daemon) -> Result:
        database, background = self._ground.database, self._ground.background
        database.start()
        background.start()
        try:
            await background.statement("database.first", schema.SQL.alive, patience=FIRST_CONNECTION)
            await measure_offset(background, self._ground.clock)
            (await schema.inspect(background)).judge()
            await self._refresh()
            return await self._with_pools(daemon)
        except Busy:
            raise StartFault(EXIT_DATABASE, background.why_down) from None
        finally:
            await background.stop()
            await database.stop()

    async def _with_pools(self, daemon: Daemon) -> Result:
        ground = self._ground
        pools = [ground.plugins, ground.scripts] if daemon.kill is not None else [ground.plugins]
        for pool in pools:
            await pool.start()
        try:
            return await self._locked(daemon)
        finally:
            await self._work.idle()  # what the daemon of asynchronous requests has begun
            await self._work.stop(LAST_CALLS)
            for pool in pools:
                await pool.stop(LAST_CALLS)

    async def _locked(self, daemon: Daemon) -> Result:
        clock, state = self._ground.clock, self._ground.state
        run = Run(daemon, clock)
        if not daemon.sync or DRY_RUN in daemon.arguments:  # what changes nothing leaves the period alone
            return _result(run, await run.go())
        period = timedelta(seconds=daemon.period)
        lock = SyncLock(
            LocksByHand(self._ground.background, state.holder(LOCK) or None),
            clock,
            daemon.name,
            state.instance,
            period,
        )
        due = await lock.take(clock.now())
        if due is not None:
            return Result({}, error=f"another server has its lock until {due:%Y-%m-%d %H:%M:%S}")
        lock.keep(lambda: run.stop("its lock was lost to another server"))
        outcome = await run.go()
        try:
            await lock.give_back()
        except Busy as fault:  # how the run went is known all the same
            log.warn("daemon {name}: its lock is not handed back: {why}", name=daemon.name, why=str(fault))
        return _result(run, outcome)


def _result(run: Run, outcome: Outcome) -> Result:
    error = outcome.error
    if error is not None and outcome.traceback:
        error = f"{error}\n{outcome.traceback}"
    return Result({word: count for word, count in run.context.counts.items() if count}, run.lasted, error)
