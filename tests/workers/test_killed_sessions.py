"""What a killed call leaves in the database is gone before anybody hears of its death (rule R38)."""

from __future__ import annotations

import os

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred

from pandatx.clock import Clock
from pandatx.store import sessions
from pandatx.store.database import Transaction
from pandatx.store.queries import Query
from pandatx.workers.pool import CallTimedOut, PoolSettings, ProcessPool

SCRIPT = """
import psycopg2

def hold(dsn, path):
    session = psycopg2.connect(dsn)
    with session.cursor() as cursor:
        cursor.execute("SELECT 1 FROM doma_panda.pandadb_version FOR UPDATE")
        open(path, "w").close()
        cursor.execute("SELECT pg_sleep(600)")
"""

BACKENDS = Query(
    name="backends",
    text="SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name LIKE 'pandatx-child-%%'",
)
LOCKED = Query(name="locked", text="SELECT component FROM {panda}.pandadb_version FOR UPDATE NOWAIT")


@pytest_twisted.async_yield_fixture
async def pool(database, tmp_path):
    (tmp_path / "holder.py").write_text(SCRIPT)

    async def on_kill(application: str) -> None:
        await sessions.end(database, Clock(reactor), application)

    environment = {"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"]}
    pool = ProcessPool(reactor, PoolSettings(environment=environment, instance="test"), on_kill)
    await ensureDeferred(pool.start())
    yield pool
    await ensureDeferred(pool.stop(1.0))


async def test_a_script_that_holds_a_row_is_dead_only_when_its_backend_is_gone(
    pool, database, cluster, database_name, tmp_path
):
    with pytest.raises(CallTimedOut):
        await pool.call("holder:hold", cluster.dsn(database_name), str(tmp_path / "held"), timeout=1.0)
    assert (tmp_path / "held").exists(), "the script never had the row"
    assert (await database.statement("backends", BACKENDS)).scalar() == 0

    async def take(tx: Transaction) -> int:
        return (await tx.run(LOCKED)).count

    assert await database.transaction("take", take) > 0
