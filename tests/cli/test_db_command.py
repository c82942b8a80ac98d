"""``pandatx db`` on real databases, as a process of its own."""

import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest

PANDATX = Path(sys.executable).parent / "pandatx"


@pytest.fixture
def config(tmp_path, cluster):
    def write(name):
        path = tmp_path / "panda_server.cfg"
        path.write_text(
            f"[server]\nbackend = postgres\ndbhost = {cluster.socket_dir}\ndbname = {name}\npserverhost = localhost\n"
            f"logdir = {tmp_path}\n[pandatx]\nstate_dir = {tmp_path}/state\n"
        )
        return path

    return write


@pytest.fixture
def empty(cluster):
    """The name of a database with nothing in it."""
    connection = psycopg2.connect(cluster.dsn("postgres", "postgres"))
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("DROP DATABASE IF EXISTS test_empty")
    cursor.execute("CREATE DATABASE test_empty OWNER panda TEMPLATE template0")
    yield "test_empty"
    cursor.execute("DROP DATABASE test_empty WITH (FORCE)")
    connection.close()


def db(*words):
    return subprocess.run([PANDATX, "db", *map(str, words)], capture_output=True, text=True, check=False, timeout=60)


def execute(cluster, name, *statements):
    connection = psycopg2.connect(cluster.dsn(name))
    connection.autocommit = True
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    found = cursor.fetchall() if cursor.description else []
    connection.close()
    return found


def test_an_empty_database_is_reported_then_made_and_then_as_it_should_be(config, empty):
    file = config(empty)
    before = db("check", "--config", file)
    assert before.returncode == 7
    assert "schema version: none (needed: 0.1.6)" in before.stdout
    assert before.stderr == "pandatx: the database has no PanDA schema: run `pandatx db upgrade`\n"
    made = db("upgrade", "--config", file)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.splitlines()[0] == "applied 0001_panda"
    after = db("check", "--config", file)
    assert (after.returncode, after.stderr) == (0, ""), after.stderr
    for line in ("schema version: 0.1.6 (needed: 0.1.6)", "migrations pending: none", "columns missing: none"):
        assert line in after.stdout
    assert "indexes for speed: all there" in after.stdout
    assert db("upgrade", "--config", file).stdout == ""


def test_connections_are_held_against_what_the_database_gives(config, database_name):
    (line,) = [
        line for line in db("check", "--config", config(database_name)).stdout.splitlines() if "connections" in line
    ]
    assert (
        "10 for requests + 4 for the scheduler" in line and "max_connections 200" in line and line.endswith(": enough")
    )


def test_a_missing_column_is_named(config, cluster, database_name):
    execute(cluster, database_name, "ALTER TABLE doma_panda.jobsactive4 DROP COLUMN nucleus")
    done = db("check", "--config", config(database_name))
    assert done.returncode == 7
    assert "columns missing: doma_panda.jobsactive4.nucleus" in done.stdout


def test_the_index_that_makes_heartbeats_dear_is_named_with_its_price(config, cluster, database_name):
    execute(cluster, database_name, "CREATE INDEX jobsactive4_modtime_idx ON doma_panda.jobsactive4 (modificationtime)")
    done = db("check", "--config", config(database_name))
    assert done.returncode == 0
    assert "index jobsactive4_modtime_idx" in done.stdout and "169 us" in done.stdout and "23 us" in done.stdout


INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'jobsactive4' ORDER BY 1"


def test_indexes_are_added_and_taken_away_again(config, cluster, database_name):
    file = config(database_name)
    ours = execute(cluster, database_name, INDEXES)
    removed = db("upgrade", "--no-indexes", "--config", file)
    assert (
        removed.stdout.split()
        == "removed jobsactive4_claim removed jobsactive4_oldest removed jobsactive4_alive".split()
    )
    assert "lacking jobsactive4_claim, jobsactive4_oldest, jobsactive4_alive" in db("check", "--config", file).stdout
    made = db("upgrade", "--indexes", "--config", file)
    assert made.stdout.split() == "made jobsactive4_claim made jobsactive4_oldest made jobsactive4_alive".split(), (
        made.stderr
    )
    assert execute(cluster, database_name, INDEXES) == ours
    assert db("upgrade", "--indexes", "--config", file).stdout == ""


def test_no_database_is_exit_6_and_one_line(config, tmp_path):
    file = config("nowhere")
    done = db("check", "--config", file)
    assert done.returncode == 6
    assert len(done.stderr.splitlines()) == 1 and "nowhere" in done.stderr


def test_the_embedded_database_is_left_to_the_server(tmp_path):
    file = tmp_path / "panda_server.cfg"
    file.write_text(
        f"[server]\npserverhost = localhost\nlogdir = {tmp_path}\n[pandatx]\nstate_dir = {tmp_path}/state\n"
    )
    done = db("check", "--config", file)
    assert done.returncode == 3
    assert "by the server itself" in done.stderr
