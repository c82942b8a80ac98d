"""Where users' sandboxes are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

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


def _sandboxes(result: Result) -> list[Sandbox]:
    return [Sandbox(owner=owner, name=name, host=host, created=at) for owner, name, host, at in result.rows]


def _keys(sandboxes: Sequence[Sandbox]) -> dict[str, list[Any]]:
    return {
        "filenames": [each.name for each in sandboxes],
        "hostnames": [each.host for each in sandboxes],
        "created": [each.created for each in sandboxes],
    }
