"""What tests share: a private PostgreSQL for the run, a fresh copy of the schema for each test, a manual clock."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg2
import pytest
import pytest_twisted
from databases import Supply, make_database
from twisted.internet import reactor, task

from pandatx.clock import Clock
from pandatx.config import Config
from pandatx.store import schema
from pandatx.store.cluster import Cluster
from pandatx.store.database import Database


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """PostgreSQL for this run: the binaries of the wheel, or of PG=BINDIR."""
    bindir = os.environ.get("PG")
    private = Cluster(None, Path(bindir) if bindir else None)
    private.start()
    yield private
    private.stop()


def _administer(cluster: Cluster, *statements: str) -> None:
    connection = psycopg2.connect(cluster.dsn("postgres", "postgres"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


@pytest.fixture(scope="session")
def template(cluster: Cluster) -> str:
    """The name of a database with the whole schema, to be copied."""
    _administer(cluster, "CREATE DATABASE template_panda OWNER panda")
    database = make_database(cluster, "template_panda", Clock(reactor), size=1)
    database.start()
    pytest_twisted.blockon(_ensure(schema.upgrade(database)))
    pytest_twisted.blockon(_ensure(database.stop()))
    return "template_panda"


def _ensure(coroutine):
    from twisted.internet.defer import Deferred

    return Deferred.fromCoroutine(coroutine)


@pytest.fixture(scope="session")
def supply(cluster: Cluster, template: str) -> Iterator[Supply]:
    """Makes the databases of this run."""
    supply = Supply(lambda name: cluster.dsn(name, "postgres"), template)
    yield supply
    supply.stop()


@pytest.fixture
def database_name(supply: Supply) -> Iterator[str]:
    """A database as fresh as a copy of the template."""
    yield from supply.databases()


@pytest_twisted.async_yield_fixture
async def database(cluster: Cluster, database_name: str) -> AsyncIterator[Database]:
    """A started Database on a fresh copy of the schema; its timers are the real reactor's."""
    database = make_database(cluster, database_name, Clock(reactor))
    database.start()
    yield database
    await database.stop()


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves: ``clock.reactor.advance(60)``."""
    return Clock.manual(task.Clock())


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Settings with everything below the test's own directory."""
    return Config.for_tests(tmp_path)
