"""The whole served tree over the real services and a database, asked in memory: only TLS and plugins are left out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import psycopg2
from attrs import define, evolve
from sites import ANYBODY, Got
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from pandatx.clock import Clock
from pandatx.config import Config
from pandatx.core import Core, Plugins, make_core
from pandatx.domain.caller import Caller
from pandatx.foundations import Foundations
from pandatx.ops.health import Livez
from pandatx.serving import Serving
from pandatx.site import make_site
from pandatx.store.database import Database
from pandatx.store.statedir import StateDirectory

TABLES = "SELECT schemaname, relname FROM pg_stat_user_tables ORDER BY 1, 2"
DIGEST = "SELECT '{1}', md5(coalesce(string_agg(t::text, ' ' ORDER BY t::text), '')) FROM {0}.{1} t"


class NoPool:
    """A pool without processes: nothing here gets as far as a plugin."""

    async def call(self, name: str, *args: Any, **how: Any) -> Any:
        raise AssertionError(f"{name} is called")


@define
class Real:
    """Asks the served tree as some caller."""

    root: Any
    core: Core
    dsn: str
    cache: Any
    caller: Caller = ANYBODY

    async def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Got:
        """A request; header names with underscores."""
        stub = StubTreq(self.root)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        asking = stub.request(method, f"https://panda.example:25443{path}", headers=named, data=body)
        response = await _settled(asking, stub)
        return Got(response.code, response.headers, await _settled(response.content(), stub))

    def contents(self) -> Mapping[str, str]:
        """A digest of each table's rows."""
        connection = psycopg2.connect(self.dsn)
        with connection, connection.cursor() as cursor:
            cursor.execute(TABLES)
            cursor.execute(" UNION ALL ".join(DIGEST.format(*table) for table in cursor.fetchall()))
            found = dict(cursor.fetchall())
        connection.close()
        return found

    def run(self, statement: str, *values: Any) -> None:
        connection = psycopg2.connect(self.dsn, options="-c search_path=doma_panda,doma_pandameta")
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
        connection.close()


async def _settled(wanted: Any, stub: StubTreq) -> Any:
    found: list[Any] = []
    wanted.addBoth(found.append)
    end = reactor.seconds() + 20
    while reactor.seconds() < end:
        stub.flush()
        if found:
            if isinstance(found[0], Failure):
                found[0].raiseException()
            return found[0]
        await deferLater(reactor, 0.001)
    raise AssertionError("no answer within 20 s")


async def real_site(folder: Path, database: Database) -> AsyncIterator[Real]:
    """The tree, with nothing started but its reading of the facts."""
    config, clock = Config.for_tests(folder), Clock(reactor)
    ground = Foundations(
        config=config,
        clock=clock,
        state=StateDirectory(folder / "state"),
        database=database,
        background=database,
        plugins=NoPool(),
        scripts=NoPool(),
        requests=NoPool(),
    )
    core = make_core(ground, Plugins.of(config))
    await core.facts.refresh()
    root, cache = make_site(Serving(config=config, clock=clock, core=core, database=database), {b"/livez": Livez()})
    real = Real(root, core, database.conninfo, cache)
    judged = root._edge._callers

    def caller_of(request: Any) -> Caller:
        judged(request)
        return evolve(real.caller, address="192.0.2.1")

    root._edge._callers = caller_of
    yield real
