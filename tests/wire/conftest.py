"""The wire tests ask the same in-memory site as those of the resources, and the same servers as those of the whole."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg2
import pytest
import pytest_twisted
from twisted.internet import reactor

for room in ("resources", "whole"):
    sys.path.insert(0, str(Path(__file__).parent.parent / room))

from real import Real, real_site  # noqa: E402

from pandatx.clock import Clock  # noqa: E402
from pandatx.config import Schemas  # noqa: E402
from pandatx.store.cluster import Cluster  # noqa: E402
from pandatx.store.database import Database  # noqa: E402


@pytest.fixture(scope="module")
def shared_dsn(cluster: Cluster, template: str) -> Iterator[str]:
    """A database for the tests of one module, which leave it as they found it."""
    connection = psycopg2.connect(cluster.dsn("postgres", "postgres"))
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(f"CREATE DATABASE shared TEMPLATE {template} OWNER panda STRATEGY file_copy")
    yield cluster.dsn("shared")
    cursor.execute("DROP DATABASE shared WITH (FORCE)")
    connection.close()


@pytest_twisted.async_yield_fixture(scope="module")
async def shared_real(shared_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Real]:
    """The served tree over the real services."""
    database = Database(name="wire", conninfo=shared_dsn, clock=Clock(reactor), schemas=Schemas(), size=3, hot=True)
    database.start()
    async for site in real_site(tmp_path_factory.mktemp("real"), database):
        yield site
    await database.stop()


@pytest_twisted.async_yield_fixture
async def real(tmp_path: Path, database: Database) -> AsyncIterator[Real]:
    """The same over a database of the test's own."""
    async for site in real_site(tmp_path, database):
        yield site
