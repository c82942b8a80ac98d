"""``tbuf``: the database connection of a script."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import pytest_twisted
from children import result_of, run, said, until
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater

from pandatx.store.queries import Query
from pandatx.workers.pool import CallDied, CallFailed, CallTimedOut

BACKENDS = Query(
    name="backends",
    text="SELECT pid, application_name FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name LIKE 'pandatx-child-%%' ORDER BY pid",
)
END = Query(
    name="end",
    text="SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pandatx-child-%%'",
)
PID = "result = tbuf.querySQL('SELECT pg_backend_pid()')[0][0]"


@pytest.fixture
def dsn(cluster, database_name):
    return cluster.dsn(database_name)


@pytest_twisted.async_yield_fixture
async def pool(scripts, database, dsn):
    yield await scripts.start(database=database, conninfo=dsn)


async def backends(database):
    return (await database.statement("backends", BACKENDS)).rows


async def until_gone(database):
    """At its end a child leaves; its backend hears of it a moment later."""
    while await backends(database):
        continue


async def test_one_statement_is_one_transaction_and_gives_rows_or_their_number(scripts, pool):
    answers = await result_of(
        scripts,
        pool,
        """
        result = [tbuf.querySQLS("INSERT INTO config (app, component, key, vo, type, value, descr) VALUES "
                                 "('t', 't', %(key)s, 'v', 'str', 'one', '')", {"key": "k"})]
        tbuf.rollback()
        result.append(tbuf.querySQLS("SELECT key, value FROM config WHERE app = %s", ("t",)))
        result.append(tbuf.querySQL("SELECT value FROM config WHERE app = :app AND 'a:b' LIKE '%:b'", {":app": "t"}))
        result.append(tbuf.executemanySQL("UPDATE config SET value = :v WHERE key = :k", [{":v": "x", ":k": "k"}] * 2))
        result.append(tbuf.querySQL("SELECT 1.0::numeric, 7::numeric, '2026-01-01 10:00'::timestamp"))
        """,
    )
    assert answers == [[True, 1], [True, [["k", "one"]]], [["one"]], 2, [[1.0, 7, "2026-01-01 10:00:00"]]]


async def test_a_statement_that_fails_is_a_value_and_an_error_in_the_log(scripts, pool, events):
    body = "result = [tbuf.querySQLS('SELECT nothing'), tbuf.querySQL('SELECT nothing'), tbuf.querySQL('SELECT 1')]"
    assert await result_of(scripts, pool, body) == [[-1, None], None, [[1]]]
    [line] = [line for line in said(events, "record") if "the statement was: SELECT nothing" in line][:1]
    assert "UndefinedColumn" in line


async def test_a_transaction_may_hold_several_statements_and_an_exception_undoes_them(scripts, pool):
    body = """
    insert = "INSERT INTO config (app, component, key, vo, type, value, descr) VALUES ('t','t',%s,'v','str','','')"
    with tbuf.connection() as connection, connection.cursor() as cursor:
        cursor.execute(insert, ("kept",))
        tbuf.querySQLS(insert, ("kept too",))
    try:
        with tbuf.connection() as connection, connection.cursor() as cursor:
            cursor.execute(insert, ("undone",))
            tbuf.querySQLS(insert, ("undone too",))
            raise ValueError
    except ValueError:
        pass
    tbuf.cursor().execute(insert, ("committed",))
    tbuf.commit()
    tbuf.cursor().execute(insert, ("rolled back",))
    tbuf.rollback()
    result = [row[0] for row in tbuf.querySQL("SELECT key FROM config WHERE app = 't' ORDER BY key")]
    """
    assert await result_of(scripts, pool, body) == ["committed", "kept", "kept too"]


async def test_what_a_script_leaves_open_is_rolled_back_and_its_locks_are_free(scripts, pool, database):
    body = """
    tbuf.cursor().execute("UPDATE pandadb_version SET major = 99")
    result = tbuf.querySQL("SELECT major FROM pandadb_version")[0][0]
    """
    assert await result_of(scripts, pool, body) == 99
    look = Query(name="look", text="SELECT major FROM {panda}.pandadb_version FOR UPDATE NOWAIT")
    assert (await database.statement("look", look)).scalar() != 99


async def test_a_child_keeps_its_connection_over_calls_until_its_lifetime_ends(scripts, database, dsn):
    pool = await scripts.start(database=database, conninfo=dsn, lifetime=3.0)
    first = await result_of(scripts, pool, PID)
    assert await result_of(scripts, pool, PID) == first
    assert len(await backends(database)) == 1
    await until_gone(database)
    assert await result_of(scripts, pool, PID) != first


async def test_the_session_carries_the_name_of_its_call(scripts, pool, database):
    body = "result = tbuf.querySQL(\"SELECT current_setting('application_name')\")[0][0]"
    names = [await result_of(scripts, pool, body) for _ in range(2)]
    child, _, number = names[0].rpartition("-")
    assert child.startswith("pandatx-child-") and child.endswith("-test")
    assert names[1] == f"{child}-{int(number) + 1}"


async def test_a_connection_that_was_ended_is_replaced(scripts, pool, database):
    first = await result_of(scripts, pool, PID)
    await database.statement("end", END)
    await until_gone(database)
    assert await result_of(scripts, pool, PID) != first


async def test_a_connection_that_breaks_in_a_call_fails_that_statement_only(scripts, pool):
    body = """
    result = [tbuf.querySQL("SELECT pg_terminate_backend(pg_backend_pid())"), tbuf.querySQL("SELECT 1")]
    """
    assert await result_of(scripts, pool, body) == [None, [[1]]]


@pytest.mark.parametrize("dbconn", [1, 3])
async def test_threads_of_a_script_share_as_many_connections_as_are_allowed(scripts, database, dsn, dbconn):
    pool = await scripts.start(database=database, conninfo=dsn, dbconn=dbconn)
    body = """
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda _: tbuf.querySQL("SELECT pg_backend_pid(), pg_sleep(0.1)")[0][0], range(12)))
    result = [len(found), len(set(found))]
    """
    calls, connections = await result_of(scripts, pool, body)
    assert calls == 12
    assert 1 <= connections <= dbconn
    assert len(await backends(database)) == connections


async def test_without_connections_a_script_is_told_why(scripts, database, dsn):
    pool = await scripts.start(database=database, conninfo=dsn, dbconn=0)
    with pytest.raises(CallFailed, match="n_dbconn is 0"):
        await result_of(scripts, pool, "tbuf.cursor()")


async def test_a_statement_ends_at_dbtimeout(scripts, database, dsn, events):
    pool = await scripts.start(database=database, conninfo=dsn, limit=0.3)
    assert await result_of(scripts, pool, "result = tbuf.querySQL('SELECT pg_sleep(600)')") is None
    assert any("statement timeout" in line for line in said(events, "record"))


async def test_the_session_finds_tables_without_their_schema_and_its_time_is_utc(scripts, pool):
    body = """
    result = [tbuf.querySQL("SHOW " + name)[0][0] for name in
              ("search_path", "timezone", "client_connection_check_interval", "idle_in_transaction_session_timeout")]
    result.append(tbuf.schemas["panda"])
    """
    path, zone, interval, idle, panda = await result_of(scripts, pool, body)
    assert path == "doma_panda,doma_pandaarch,doma_pandameta,doma_deft,pandatx,public"
    assert (zone, interval, idle, panda) == ("UTC", "500ms", "1min", "doma_panda")


async def test_the_password_is_in_no_environment_and_no_command_line(scripts, database, dsn):
    pool = await scripts.start(database=database, conninfo=f"{dsn} password=hunter-two")
    await result_of(scripts, pool, PID)
    [(pid, _, _)] = await ready(pool)
    for name in ("environ", "cmdline"):
        assert b"hunter-two" not in Path(f"/proc/{pid}/{name}").read_bytes()


async def ready(pool):
    """The children of a pool, as (pid, None, None)."""
    return [(child.pid, None, None) for child in pool._children]


async def test_a_script_that_hangs_in_a_lock_is_killed_and_leaves_no_backend(scripts, pool, database, tmp_path):
    holder = await scripts.start(database=database, conninfo=database.conninfo)
    sql = "SELECT major FROM pandadb_version FOR UPDATE"
    hold = f"import time\ndef main(argv=(), tbuf=None, **kw):\n    tbuf.cursor().execute({sql!r})\n"
    hold += "    open(argv[1], 'w').close()\n    time.sleep(600)\n"
    wait = f"def main(argv=(), tbuf=None, **kw):\n    tbuf.querySQLS({sql!r})\n"
    held = tmp_path / "held"
    holding = ensureDeferred(run(holder, scripts.write("holds", hold), str(held), timeout=3.0))
    await until(held.exists)
    with pytest.raises(CallTimedOut, match="took more than 1 s"):
        await run(pool, scripts.write("waits", wait), timeout=1.0, daemon="waits")
    assert len(await backends(database)) == 1, "only the one that holds the row"
    with pytest.raises(CallTimedOut):
        await holding
    assert await backends(database) == []
    assert await result_of(scripts, pool, f"result = tbuf.querySQL({sql!r}) is not None")


async def test_a_process_that_a_script_forks_off_cannot_harm_the_call_or_its_connection(scripts, pool, events):
    body = """
    import logging, os
    tbuf.cursor().execute("CREATE TEMP TABLE mine (a int)")
    pid = os.fork()
    if not pid:
        logging.error("said in the fork")
        for ask in (lambda: tbuf.call("any"), lambda: tbuf.querySQL("SELECT 1")):
            try:
                assert ask() is None
            except Exception as fault:
                logging.error(type(fault).__name__)
        raise SystemExit(7)
    result = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
    result.append(tbuf.querySQL("SELECT count(*) FROM mine"))
    """
    assert await result_of(scripts, pool, body) == [7, [[0]]]
    assert any("said in the fork" in line for line in said(events, "stderr"))


async def test_a_child_killed_from_outside_in_a_statement_leaves_no_backend(scripts, pool, database):
    text = "def main(argv=(), tbuf=None, **kw):\n    tbuf.querySQL('SELECT pg_sleep(600)')\n"
    call = ensureDeferred(run(pool, scripts.write("asleep", text)))
    while not await backends(database):
        await deferLater(reactor, 0.01)
    os.kill(pool.calls[0][0], signal.SIGKILL)
    with pytest.raises(CallDied, match="signal 9"):
        await call
    assert await backends(database) == []
