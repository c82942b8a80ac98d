"""``pandatx db``: the schema of an external database, checked and brought up to date without the server (rule R43)."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import psycopg2
from twisted.internet import task
from twisted.internet.defer import Deferred

from pandatx.clock import Clock
from pandatx.config import Config, connections_of, load
from pandatx.errors import EXIT_CONFIGURATION, EXIT_DATABASE, EXIT_SCHEMA, Busy, StartFault
from pandatx.store import found_indexes, schema
from pandatx.store.database import Database, conninfo_of
from pandatx.store.found_indexes import Connections, Index
from pandatx.store.schema import State

T = TypeVar("T")

LONGEST_STATEMENT = 24 * 3600.0
"""Seconds: an index of a large table takes its time."""
PATIENCE = 10.0
"""Seconds for the first connection."""
PRICE = "a heartbeat costs 169 us of the database with it, 23 us without"
_config = click.option(
    "--config", "path", type=click.Path(path_type=Path), help="panda_server.cfg; else the usual places."
)


@click.group()
def db() -> None:
    """Check or update the schema of an external database. The embedded one is the server's own to update."""


@db.command()
@_config
@click.option("--indexes/--no-indexes", default=None, help="Add the indexes of a fast server, or remove them again.")
def upgrade(path: Path | None, indexes: bool | None) -> None:
    """Make the schema, or apply what it lacks."""

    async def work(database: Database) -> None:
        for name in await schema.upgrade(database):
            click.echo(f"applied {name}")
        if indexes is not None:
            change = found_indexes.add if indexes else found_indexes.remove
            for name in await change(database):
                click.echo(f"{'made' if indexes else 'removed'} {name}")
        (await schema.inspect(database)).judge()

    on_database(_external(path), work)


@db.command()
@_config
def check(path: Path | None) -> None:
    """Report what the database has and what it lacks; exit 7 where the server would not start on it."""
    config = _external(path)

    async def look(database: Database) -> tuple[State, tuple[Index, ...], Connections]:
        state = await schema.inspect(database)
        indexes = await found_indexes.there(database) if state.version is not None else ()
        return state, indexes, await found_indexes.connections(database)

    state, indexes, connections = on_database(config, look)
    for line in report(config, state, indexes, connections):
        click.echo(line)
    state.judge()


def report(config: Config, state: State, indexes: tuple[Index, ...], connections: Connections) -> list[str]:
    """What ``db check`` says."""
    needed = ".".join(map(str, schema.NEEDED))
    version = "none" if state.version is None else ".".join(map(str, state.version))
    lines = [
        f"schema version: {version} (needed: {needed})",
        f"migrations pending: {', '.join(state.pending) or 'none'}",
        f"columns missing: {', '.join(state.missing) or 'none'}",
    ]
    if state.version is not None:
        lines += _index_lines(indexes)
    ours = connections_of(config)
    verdict = "TOO MANY" if ours.too_many_for(connections.most) else "enough"
    lines.append(f"connections: {ours}; max_connections {connections.most}, {connections.taken} taken now: {verdict}")
    return lines


def _index_lines(indexes: tuple[Index, ...]) -> list[str]:
    whole = {index.name for index in indexes if index.valid}
    lacking = [name for name in found_indexes.WANTED if name not in whole]
    lines = [f"indexes for speed: {'all there' if not lacking else 'lacking ' + ', '.join(lacking)}"]
    if lacking:
        lines[0] += "; `pandatx db upgrade --indexes` adds them while others work"
    lines += [
        f"index {index.name}: {index.bytes >> 20} MiB, on a column that every heartbeat writes: {PRICE}"
        for index in indexes
        if index.dear
    ]
    return lines


def _external(path: Path | None) -> Config:
    config = load(path, os.environ)
    if config.database.host is None:
        raise StartFault(
            EXIT_CONFIGURATION, "dbhost is not set: the embedded database is brought up to date by the server itself"
        )
    return config


def on_database(config: Config, work: Callable[[Database], Awaitable[T]]) -> T:
    """The outcome of ``work`` on the configured database; the reactor runs for as long as that takes."""
    outcome: list[T] = []
    faults: list[Exception] = []

    async def whole(reactor: Any) -> None:
        database = _database(config, reactor)
        database.start()
        try:
            await database.statement("db.first", schema.SQL.alive, patience=PATIENCE)
            outcome.append(await work(database))
        except Busy:
            faults.append(StartFault(EXIT_DATABASE, database.why_down))
        except psycopg2.Error as fault:
            faults.append(StartFault(EXIT_SCHEMA, f"the database refuses: {str(fault).strip().splitlines()[0]}"))
        except StartFault as fault:
            faults.append(fault)
        finally:
            await database.stop()

    try:
        task.react(lambda reactor: Deferred.fromCoroutine(whole(reactor)))
    except SystemExit as end:
        if end.code:
            raise
    if faults:
        raise faults[0]
    return outcome[0]


def _database(config: Config, reactor: Any) -> Database:
    return Database(
        name="command",
        conninfo=conninfo_of(config.database),
        clock=Clock(reactor),
        schemas=config.database.schemas,
        size=1,
        statement_timeout=LONGEST_STATEMENT,
        longest=LONGEST_STATEMENT,
        application_name="pandatx-db",
    )
