"""What a start thinks of the database that it finds (rules R9, R11, R43; scenario 28)."""

import importlib
import pkgutil
import re

import psycopg2
import pytest
from attrs import define, evolve, field

import pandatx.store
from pandatx.errors import EXIT_DATABASE, EXIT_SCHEMA, StartFault
from pandatx.store import poolers, schema
from pandatx.store.database import Database
from pandatx.store.queries import Queries, Query
from pandatx.store.results import Result


def sql(text: str) -> Query:
    return Query(name=text, text=text)


async def change(database: Database, text: str) -> None:
    await database.statement("change", sql(text))


async def test_a_database_of_ours_is_fit(database):
    state = await schema.inspect(database)
    state.judge()
    assert state.version == schema.NEEDED
    assert (state.pending, state.missing, state.pooled) == ((), (), False)


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ((0, 1, 5), "older than 0.1.6"),
        ((0, 0, 99), "older than 0.1.6"),
        ((0, 2, 0), "newer than 0.1.6"),
        ((1, 0, 0), "newer than 0.1.6"),
    ],
)
async def test_another_version_of_the_schema_is_refused(database, version, says):
    major, minor, patch = version
    await change(database, f"UPDATE {{panda}}.pandadb_version SET major = {major}, minor = {minor}, patch = {patch}")
    with pytest.raises(StartFault, match=says) as refusal:
        (await schema.inspect(database)).judge()
    assert refusal.value.exit_code == EXIT_SCHEMA


async def test_a_later_patch_of_the_schema_is_fine(database):
    await change(database, "UPDATE {panda}.pandadb_version SET patch = 99")
    (await schema.inspect(database)).judge()


@pytest.mark.parametrize("table", ["jobsactive4", "jobsdefined4"])
async def test_a_database_with_jobs_of_jedi_is_fit(database, table):
    await change(
        database,
        f"INSERT INTO {{panda}}.{table} (pandaid, jobstatus, lockedby, creationtime, modificationtime)"
        " VALUES (1, 'defined', 'jedi', '2026-01-01', '2026-01-01')",
    )
    (await schema.inspect(database)).judge()


async def test_a_missing_column_is_named(database):
    await change(database, "ALTER TABLE {panda}.jobsarchived4 DROP COLUMN nucleus")
    with pytest.raises(StartFault, match=r"jobsarchived4\.nucleus"):
        (await schema.inspect(database)).judge()


@define
class Pooled:
    """A session of a pooler; ``given`` are the backends of its next transactions."""

    given: list[int]
    backend: int = 100
    announced: int = 7
    closed: bool = False

    async def execute(self, text: str) -> Result:
        return Result([(self.given.pop(0) if len(self.given) > 1 else self.given[0],)], ("pid",), 1)

    def close(self) -> None:
        self.closed = True


@define
class Pooler:
    sessions: list[Pooled]
    opened: list[Pooled] = field(factory=list)

    async def connect(self) -> Pooled:
        self.opened.append(self.sessions.pop(0))
        return self.opened[-1]


@pytest.mark.parametrize(
    ("backends", "refused"),
    [
        (([100], [100]), True),
        (([100, 101], [101, 100]), True),
        (([100, 100, 102], [101]), True),
        (([100], [101]), False),
    ],
)
async def test_a_pooler_that_gives_each_transaction_another_backend_is_found_out(backends, refused):
    pooler = Pooler([Pooled(list(given)) for given in backends])
    assert await poolers.by_transaction(pooler) is refused
    assert [session.closed for session in pooler.opened] == [True, True]


async def test_behind_such_a_pooler_the_server_does_not_start(database):
    with pytest.raises(StartFault, match="transaction mode") as refusal:
        evolve(await schema.inspect(database), pooled=True).judge()
    assert refusal.value.exit_code == EXIT_DATABASE


def _queries() -> list[Query]:
    found = []
    for info in pkgutil.iter_modules(pandatx.store.__path__):
        module = importlib.import_module(f"pandatx.store.{info.name}")
        if info.name != "home":  # its statements make databases and roles
            found += [query for value in vars(module).values() if isinstance(value, Queries) for query in value]
    return found


_PARAMETER = re.compile(r"%\(\w+\)s")
PREPARABLE = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES")


async def test_every_query_suits_the_schema(database):
    """Prepared where PostgreSQL prepares it; parameters that the file gives no type stand as NULL."""
    faults = {}
    queries = _queries()
    for query in queries:
        if query.parameters:
            text = query.prepare(database.schemas)
        else:
            text = _PARAMETER.sub("NULL", query.in_schemas(database.schemas)).replace("%%", "%")
            if text.split(None, 1)[0].upper() not in PREPARABLE:
                assert text.split(None, 1)[0].upper() in ("CREATE", "DROP", "LOCK"), text
                continue
            text = f"PREPARE {query.name} AS {text}"
        try:
            await database.statement("prepare", sql(text.replace("%", "%%")))
        except psycopg2.Error as error:
            faults[query.name] = str(error)
    assert faults == {}
    assert len(queries) > 80
