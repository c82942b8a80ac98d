"""Where users' sandboxes are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pandatx.domain.file_requests import Placed
from pandatx.domain.sweep_files import Sandbox
from pandatx.store.archive import guard
from pandatx.store.database import Transaction
from pandatx.store.queries import load
from pandatx.store.results import Result

SQL = load(__file__)


async def untouched(tx: Transaction, since: datetime, after: tuple[datetime, str], n: int) -> list[Sandbox]:
    """The next ``n`` sandboxes that came since a time and that nobody has touched."""
    await guard(tx)
    return _sandboxes(await tx.run(SQL.untouched, since=since, after=after[0], last=after[1], n=n))


async def touch(tx: Transaction, sandboxes: Sequence[Sandbox], now: datetime) -> None:
    """Note that sandboxes were touched."""
    await tx.run(SQL.touch, **_keys(sandboxes), now=now)


async def take(tx: Transaction, before: datetime, n: int, now: datetime) -> list[Sandbox]:
    """At most ``n`` sandboxes that nobody has looked at since a time, for the caller to look at."""
    await guard(tx)
    return _sandboxes(await tx.run(SQL.take, before=before, n=n, now=now))


async def forget(tx: Transaction, sandboxes: Sequence[Sandbox]) -> None:
    """Delete the rows of sandboxes that are gone."""
    await tx.run(SQL.forget, **_keys(sandboxes))


async def record(tx: Transaction, placed: Placed) -> None:
    """Note a file that has come in, unless a newer one of its name on its host is known; older ones are forgotten."""
    await tx.run(SQL.hold, filename=placed.name, hostname=placed.host)
    await tx.run(SQL.remove, filename=placed.name, hostname=placed.host, created=placed.created)
    if not any(known.host == placed.host for known in await places(tx, placed.name)):
        await _insert(tx, placed)


async def register(tx: Transaction, placed: Placed) -> bool:
    """Note a file unless there is one of its name on its host."""
    await tx.run(SQL.hold, filename=placed.name, hostname=placed.host)
    if any(known.host == placed.host for known in await places(tx, placed.name)):
        return False
    await _insert(tx, placed)
    return True


async def places(tx: Transaction, name: str) -> list[Placed]:
    """Where a file is known to be; the newest first."""
    return _placed(await tx.run(SQL.places, filename=name))


async def same(tx: Transaction, owner: str, size: int, checksum: str, since: datetime, nowhere: str) -> list[Placed]:
    """Files of an owner that have a size and a checksum and came since a time; the newest first."""
    return _placed(
        await tx.run(SQL.same, username=owner, filesize=size, checksum=checksum, since=since, nowhere=nowhere)
    )


async def _insert(tx: Transaction, placed: Placed) -> None:
    await tx.run(
        SQL.insert,
        username=placed.owner,
        filename=placed.name,
        hostname=placed.host,
        filesize=placed.size,
        checksum=placed.checksum,
        created=placed.created,
    )


def _placed(result: Result) -> list[Placed]:
    return [
        Placed(owner=owner, name=name, host=host, size=size, checksum=checksum, created=created)
        for owner, name, host, size, checksum, created in result.rows
    ]


def _sandboxes(result: Result) -> list[Sandbox]:
    return [Sandbox(owner=owner, name=name, host=host, created=at) for owner, name, host, at in result.rows]


def _keys(sandboxes: Sequence[Sandbox]) -> dict[str, list[Any]]:
    return {
        "filenames": [each.name for each in sandboxes],
        "hostnames": [each.host for each in sandboxes],
        "created": [each.created for each in sandboxes],
    }
