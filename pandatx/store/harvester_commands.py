"""What Harvesters are told: rows that they fetch and acknowledge."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from attrs import frozen

from pandatx.domain.pilot_streaming import Command
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


@frozen(kw_only=True)
class Fetched:
    """A command on its way to its Harvester; ``params`` is None for none."""

    command_id: int
    command: str
    params: Any
    ack_requested: int
    created: datetime


async def replace(tx: Transaction, commands: Sequence[Command], now: datetime) -> None:
    """Leave commands for Harvesters; older ones of the same name and Harvester are gone, whatever became of them."""
    await tx.run(
        SQL.replace,
        harvesters=[each.harvester for each in commands],
        commands=[each.name for each in commands],
        params=[_text(each) for each in commands],
        now=now,
    )


async def add(tx: Transaction, command: Command, now: datetime) -> None:
    """Leave a command for a Harvester beside those of the same name that say something else and wait yet."""
    await tx.run(SQL.add, harvester=command.harvester, command=command.name, params=_text(command), now=now)


async def take(tx: Transaction, harvester: str, n: int, now: datetime, unheard: Sequence[datetime]) -> list[Fetched]:
    """Up to ``n`` commands that wait for a Harvester, the oldest first; they are then retrieved.

    Those that were taken at the times in ``unheard``, if any were, wait again.
    """
    if unheard:
        await tx.run(SQL.give_back_all, harvester=harvester, times=list(unheard))
    rows = (await tx.run(SQL.take, harvester=harvester, n=n, now=now)).rows
    tx.xid = rows[0][-1] if rows else None
    return [
        Fetched(command_id=number, command=command, params=_value(params), ack_requested=ack or 0, created=created)
        for number, command, params, ack, created, _ in rows
    ]


async def give_back(tx: Transaction, ids: Sequence[int], taken: datetime) -> None:
    """Have commands fetched again that were taken at ``taken``."""
    await tx.run(SQL.give_back, ids=list(ids), taken=taken)


async def acknowledge(tx: Transaction, ids: Sequence[int], now: datetime) -> None:
    """Note that commands were dealt with."""
    await tx.run(SQL.acknowledge, ids=list(ids), now=now)


def _text(command: Command) -> str:
    return orjson.dumps(command.params).decode()


def _value(params: str | None) -> Any:
    """What a command says; a text that is no JSON is given as it stands."""
    try:
        return None if params is None else orjson.loads(params)
    except ValueError:
        return params
