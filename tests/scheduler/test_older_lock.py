"""An older server's view of the lock row next to ours (reference/lifecycle.md 4.3, rule R7), in the real table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pandatx.store import locks
from pandatx.store.queries import load

ZERO = datetime(2026, 1, 1)
NAME = "copyArchive"
PERIOD = timedelta(minutes=40)
COMPONENT = f"pandaD.{NAME}"
KEY = (
    "vo = 'default' AND prodsourcelabel = 'default' AND cloud = 'default' AND workqueue_id = 0 "
    "AND resource_type = 'default' AND component = %s"
)
TABLE = "doma_panda.jedi_process_lock"


class Older:
    """What an older server does when its daemon is due, statement by statement: check, then lock, and no release."""

    def __init__(self, connection, holder):
        self.connection, self.holder = connection, holder

    def starts(self, now):
        limit = now - PERIOD
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT lockedby FROM {TABLE} WHERE {KEY} AND lockedtime > %s", (COMPONENT, limit))
            found = cursor.fetchone()
            if found is not None and found[0] != self.holder:
                return False
            cursor.execute(f"SELECT 1 FROM {TABLE} WHERE {KEY} AND lockedtime > %s FOR UPDATE", (COMPONENT, limit))
            if cursor.fetchone() is not None:
                return False
            cursor.execute(f"DELETE FROM {TABLE} WHERE {KEY}", (COMPONENT,))
            cursor.execute(
                f"INSERT INTO {TABLE} "
                "(vo, prodsourcelabel, cloud, workqueue_id, resource_type, component, lockedby, lockedtime) "
                "VALUES ('default', 'default', 'default', 0, 'default', %s, %s, %s)",
                (COMPONENT, self.holder, now),
            )
        return True


class Ours:
    """The statements of this server: taken when due, moved each third of a long run's period, set back."""

    def __init__(self, connection, holder):
        self.connection, self.holder, self.queries = connection, holder, load(locks.__file__)

    def run(self, query, **values):
        text = query.text.replace("{panda}", "doma_panda")
        with self.connection.cursor() as cursor:
            cursor.execute(text, {"component": COMPONENT, "holder": self.holder, **values})
            return cursor.fetchall() if cursor.description else cursor.rowcount

    def starts(self, now):
        ((ours, _),) = self.run(self.queries.take, start=now, free_before=now - PERIOD)
        return ours

    def renews(self, now):
        return self.run(self.queries.move, locked_time=now) > 0

    def ends(self, start):
        self.run(self.queries.move, locked_time=start)


@pytest.fixture
def servers(cluster, database_name):
    """Two of the older kind and two of ours on one table."""
    connections = [psycopg2.connect(cluster.dsn(database_name)) for _ in range(4)]
    for connection in connections:
        connection.autocommit = True
    kinds = (Older, Ours, Older, Ours)
    yield [
        kind(connection, f"{kind.__name__.lower()}-{n}")
        for n, (kind, connection) in enumerate(zip(kinds, connections, strict=True))
    ]
    for connection in connections:
        connection.close()


def clear(server):
    with server.connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {TABLE}")


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2700), st.sampled_from([5, 600, 2399, 2401, 6000])),
    min_size=2,
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_neither_kind_starts_within_the_others_period_or_during_a_run_of_ours(servers, steps):
    """Servers of both kinds ask at any times, with runs of any length; ours renews every third of a period."""
    clear(servers[0])
    now, starts, running = ZERO, [], []
    for which, wait, lasting in steps:
        until = now + timedelta(seconds=wait)
        _pass_time(running, now, until)
        now = until
        server = servers[which]
        due = not starts or now - starts[-1][0] >= PERIOD
        held = any(run[0] is not server and run[1] < now < run[2] for run in running)
        if (now, server.holder) in starts:
            continue  # the same run's statement once more, which is no start
        if server.starts(now):
            assert due, f"{server.holder} starts {now - starts[-1][0]} after {starts[-1][1]}"
            assert not held, f"{server.holder} starts in the midst of a run of {running[-1][0].holder}"
            starts.append((now, server.holder))
            if isinstance(server, Ours):
                running.append((server, now, now + timedelta(seconds=lasting)))
        else:
            assert not due or any(run[1] <= now <= run[2] for run in running), f"{server.holder} could start at {now}"


def _pass_time(running, before, now):
    """The renewals of our runs that fall between two moments, and the ends of those that end."""
    third = PERIOD / 3
    for run in list(running):
        server, start, end = run
        moment = start + 2 * third
        while moment <= min(now, end):
            if moment > before:
                assert server.renews(moment), f"{server.holder} has lost its lock during its run"
            moment += third
        if end <= now:
            server.ends(start)
            running.remove(run)


def test_the_row_is_where_an_older_server_looks_for_it_and_in_its_form(servers):
    older, ours = servers[:2]
    assert ours.starts(ZERO)
    with older.connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {TABLE}")
        names = [column.name for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    assert rows == [
        {
            "vo": "default",
            "prodsourcelabel": "default",
            "workqueue_id": 0,
            "cloud": "default",
            "lockedby": "ours-1",
            "lockedtime": ZERO,
            "resource_type": "default",
            "component": "pandaD.copyArchive",
        }
    ]
    assert not older.starts(ZERO + PERIOD - timedelta(seconds=1))
    assert older.starts(ZERO + PERIOD)
    assert not ours.starts(ZERO + 2 * PERIOD - timedelta(seconds=1))
    assert ours.starts(ZERO + 2 * PERIOD)


def test_at_one_moment_one_of_them_starts(servers):
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC).replace(tzinfo=None)
    assert [server.starts(moment) for server in servers] == [True, False, False, False]
