"""What the services stand on, as the configuration wants it: databases, the embedded PostgreSQL, the process pools."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import attrs
from attrs import Factory, frozen

from pandatx.clock import Clock
from pandatx.config import Config
from pandatx.net.user import ServerUser
from pandatx.services.async_work import MOST
from pandatx.store import sessions
from pandatx.store.database import Database, conninfo_of
from pandatx.store.embedded import EmbeddedPostgres
from pandatx.store.statedir import StateDirectory
from pandatx.workers.grants import Grants, Operation
from pandatx.workers.pool import PoolSettings, ProcessPool
from pandatx.workers.user import ChildUser, own_home

CHILD_ENVIRONMENT = ("PATH", "HOME", "LANG", "TZ", "PYTHONPATH", "X509_USER_PROXY", "X509_CERT_DIR")
"""What children get of our environment, beside RUCIO_*."""


@frozen(kw_only=True)
class Foundations:
    """What the services of one process stand on; nothing of it runs yet.

    ``database`` serves requests, ``background`` all that nobody waits for. Plugins run in the pool ``plugins``, daemon
    scripts in ``scripts``, asynchronous requests in ``requests``. ``host`` is this machine's full name.
    """

    config: Config
    clock: Clock
    state: StateDirectory
    database: Database
    background: Database
    plugins: ProcessPool
    scripts: ProcessPool
    requests: ProcessPool
    host: str = Factory(socket.getfqdn)


def lay_foundations(
    reactor: Any, config: Config, environ: Mapping[str, str], user: ServerUser | None, child_user: ChildUser | None
) -> Foundations:
    """The server is, or will be, ``user``; children are ``child_user``, or whom the server is or becomes.

    Raises StartFault for a state directory that cannot be used.
    """
    state = StateDirectory(config.process.state_dir)
    state.make()
    clock = Clock(reactor)
    database, background = _databases(config, clock)
    settings = pool_settings(config, child_user, user, state, environ)
    return Foundations(
        config=config,
        clock=clock,
        state=state,
        database=database,
        background=background,
        plugins=_pool("plugins", reactor, settings, background, clock),
        # Scripts may take hours (docs/decisions/two-process-pools.md).
        scripts=_pool("scripts", reactor, settings, background, clock),
        requests=request_pool(reactor, settings, background, clock),
    )


def request_pool(reactor: Any, settings: PoolSettings, background: Database, clock: Clock) -> ProcessPool:
    """The pool of asynchronous requests; it is started by the first of them (docs/decisions/requests-are-rows.md).

    One child more than these take at once, so that commands for other systems, whose callers wait, find one free.
    """
    return _pool("requests", reactor, attrs.evolve(settings, size=MOST + 1), background, clock)


def _pool(name: str, reactor: Any, settings: PoolSettings, background: Database, clock: Clock) -> ProcessPool:
    async def on_kill(application: str) -> None:
        await sessions.end(background, clock, application)

    return ProcessPool(reactor, settings, on_kill, name)


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


def embedded_postgres(reactor: Any, config: Config, user: ChildUser | None) -> EmbeddedPostgres | None:
    """The cluster of the state directory, already ours alone; None where the configuration names a database."""
    if config.database.host:
        return None
    users = frozenset((user.name,)) if user is not None else frozenset[str]()
    embedded = EmbeddedPostgres(reactor, config.process.state_dir, users)
    embedded.hold()
    return embedded


def pool_settings(
    config: Config,
    user: ChildUser | None,
    server: ServerUser | None,
    state: StateDirectory,
    environ: Mapping[str, str],
) -> PoolSettings:
    """Children are ``user``, or whom the server is or becomes; ``dbtimeout`` bounds their statements (rule R31).

    Their HOME is the service's where an operator has set it, for Rucio; root's own is none for another user.
    """
    given = {name: value for name, value in environ.items() if name in CHILD_ENVIRONMENT or name.startswith("RUCIO_")}
    becomes = user or server
    if becomes is not None and given.get("HOME", "") in ("", own_home()):
        given["HOME"] = becomes.home
    limit = round(config.database.dbtimeout * 1000)
    options = f"-c client_connection_check_interval=500 -c statement_timeout={limit}"
    return PoolSettings(
        size=config.daemon.n_proc,
        lifetime=float(config.daemon.proc_lifetime),
        memory_mark=config.process.child_memory_limit / 2,
        memory_limit=float(config.process.child_memory_limit),
        user=user,
        environment={**given, "PGOPTIONS": options},
        instance=state.instance,
        log_level=config.ops.log_level,
    )


def grants(ground: Foundations, operations: Mapping[str, Operation]) -> Grants:
    """What scripts get: connections to the server's database as its own role, and these operations."""
    background, config = ground.background, ground.config

    def access() -> dict[str, Any]:
        return {
            "conninfo": background.conninfo,
            "schemas": attrs.asdict(background.schemas),
            "limit": config.database.dbtimeout,
        }

    return Grants(operations, access, config.daemon.n_dbconn)
