"""The indexes that speed needs on a database that was found (reference/database.md 8.3): added and taken away while
others work on it, each without a lock that would stop them."""

from __future__ import annotations

from attrs import frozen

from pandatx.store.database import Database
from pandatx.store.queries import load

SQL = load(__file__)
WANTED = ("jobsactive4_claim", "jobsactive4_oldest", "jobsactive4_alive")


@frozen(kw_only=True)
class Index:
    """An index of jobsactive4. ``dear``: a heartbeat writes a column of it. ``valid``: it is whole."""

    name: str
    valid: bool
    dear: bool
    bytes: int


@frozen(kw_only=True)
class Connections:
    """What the database gives at most, and what is taken now."""

    most: int
    taken: int


async def there(database: Database) -> tuple[Index, ...]:
    """The indexes of jobsactive4 by name."""
    found = await database.statement("found.indexes", SQL.there, schema=database.schemas.panda)
    return tuple(Index(**row) for row in found.dicts())


async def add(database: Database) -> tuple[str, ...]:
    """Make those that are missing; one that an earlier attempt left unfinished is made anew. The names of those made.

    Each takes as long as reading the table; ``database`` must have a statement timeout that allows for it.
    """
    whole = {index.name: index.valid for index in await there(database)}
    made = []
    for name in WANTED:
        if whole.get(name):
            continue
        short = name.removeprefix("jobsactive4_")
        if name in whole:
            await database.statement("found.drop_index", getattr(SQL, f"drop_{short}"))
        await database.statement("found.add_index", getattr(SQL, short))
        made.append(name)
    return tuple(made)


async def remove(database: Database) -> tuple[str, ...]:
    """Take ours away again; the names of those that were there."""
    names = {index.name for index in await there(database)}
    gone = [name for name in WANTED if name in names]
    for name in gone:
        await database.statement("found.drop_index", getattr(SQL, f"drop_{name.removeprefix('jobsactive4_')}"))
    return tuple(gone)


async def connections(database: Database) -> Connections:
    row = (await database.statement("found.connections", SQL.connections)).one()
    assert row is not None
    return Connections(**row)
