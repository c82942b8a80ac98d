"""The schema of a database: what it has, whether that is enough, and bringing one of our own up to date (rule R43)."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen

from pandatx.errors import EXIT_DATABASE, EXIT_SCHEMA, StartFault
from pandatx.store import poolers
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import Query, load

SQL = load(__file__)
MIGRATIONS = Path(__file__).parent / "migrations"
NEEDED = (0, 1, 6)
"""The version of the PanDA schema that this code was written for."""
PANDA_TABLES = ("0001_panda", "0004_tasks")
OURS_ONLY = frozenset(
    (
        *PANDA_TABLES,
        *("0003_hot_tables", "0007_sweeps", "0008_blocks", "0009_archive", "0011_benchmarks", "0012_task_requests"),
        "0014_harvester",
        "0015_events",
    )
)
"""Migrations that make the PanDA tables themselves; a database that has them already gets only the others."""
_TABLE = re.compile(r"CREATE TABLE \{(\w+)\}\.(\w+) \((.*?)\n\);", re.S)
_LIKE = re.compile(r"^    LIKE \{(\w+)\}\.(\w+)", re.M)
_COLUMN = re.compile(r"^    (\w+) ", re.M)


@frozen(kw_only=True)
class State:
    """What a database holds: the PanDA schema's version (None: no PanDA schema), the migrations that were applied,
    the columns that are missing, and whether a pooler gives each transaction another backend.
    """

    version: tuple[int, int, int] | None
    applied: frozenset[str]
    missing: tuple[str, ...]
    pooled: bool = False

    @property
    def pending(self) -> tuple[str, ...]:
        """Migrations that this database lacks, in their order."""
        found = self.version is not None and "0001_panda" not in self.applied
        return tuple(name for name in migrations() if name not in self.applied and not (found and name in OURS_ONLY))

    def judge(self) -> None:
        """Raise StartFault where the server must not start on this database."""
        if self.pooled:
            raise StartFault(
                EXIT_DATABASE,
                "a pooler in transaction mode (PgBouncer?) is before the database: connect to PostgreSQL itself",
            )
        if self.version is None:
            raise StartFault(EXIT_SCHEMA, "the database has no PanDA schema: run `pandatx db upgrade`")
        text = ".".join(map(str, self.version))
        needed = ".".join(map(str, NEEDED))
        if self.version < NEEDED:
            raise StartFault(EXIT_SCHEMA, f"the schema is {text}, older than {needed}, which this server needs")
        if self.version[:2] > NEEDED[:2]:
            raise StartFault(EXIT_SCHEMA, f"the schema is {text}, newer than {needed}, which this server knows")
        if self.pending:
            raise StartFault(EXIT_SCHEMA, f"the database lacks {', '.join(self.pending)}: run `pandatx db upgrade`")
        if self.missing:
            raise StartFault(EXIT_SCHEMA, f"the database lacks columns: {', '.join(self.missing)}")


def migrations() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in MIGRATIONS.glob("0*.sql")))


def needed_columns() -> frozenset[tuple[str, str, str]]:
    """(schema key, table, column) of every PanDA column that the code may use."""
    text = "\n".join((MIGRATIONS / f"{name}.sql").read_text(encoding="utf-8") for name in PANDA_TABLES)
    bodies = {(schema, table): body for schema, table, body in _TABLE.findall(text)}
    return frozenset(
        (schema, table, column)
        for (schema, table), body in bodies.items()
        for part in (body, *(bodies[like] for like in _LIKE.findall(body)))
        for column in _COLUMN.findall(part)
        if column.islower()
    )


async def inspect(database: Database) -> State:
    """Look at a database without changing it."""

    async def look(tx: Transaction) -> State:
        there = {tuple(row) for row in (await tx.run(SQL.columns, schemas=_schema_names(database))).rows}
        names = database.schemas
        missing = sorted(
            f"{getattr(names, schema)}.{table}.{column}"
            for schema, table, column in needed_columns()
            if (getattr(names, schema), table, column) not in there
        )
        version: tuple[int, int, int] | None = None
        if (names.panda, "pandadb_version", "major") in there and (row := (await tx.run(SQL.version)).rows):
            version = (row[0][0], row[0][1], row[0][2])
        applied: frozenset[str] = frozenset()
        if (names.own, "migrations", "name") in there:
            applied = frozenset((await tx.run(SQL.applied)).column("name"))
        return State(version=version, applied=applied, missing=tuple(missing), pooled=pooled)

    pooled = await poolers.by_transaction(database)
    return await database.transaction("schema.inspect", look)


async def upgrade(database: Database) -> tuple[str, ...]:
    """Apply what is pending, each migration in a transaction of its own; the names of those applied."""
    state = await inspect(database)
    for name in state.pending:
        await database.transaction("schema.upgrade", _apply, name)
    return state.pending


async def _apply(tx: Transaction, name: str) -> None:
    await tx.run(SQL.hold_migrations)
    await tx.run(SQL.migration_table)
    if name in (await tx.run(SQL.applied)).column("name"):
        return
    text = (MIGRATIONS / f"{name}.sql").read_text(encoding="utf-8")
    await tx.run(Query(name=f"migration_{name}", text=text.replace("%", "%%")))
    await tx.run(SQL.note_migration, name=name)


def _schema_names(database: Database) -> list[str]:
    names = database.schemas
    return [names.panda, names.arch, names.meta, names.deft, names.own]
