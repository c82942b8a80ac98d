"""What Harvesters are told: rows that they fetch and acknowledge."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import orjson

from pandatx.domain.pilot_streaming import Command
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def replace(tx: Transaction, commands: Sequence[Command], now: datetime) -> None:
    """Leave commands for Harvesters; older ones of the same name and Harvester are gone, whatever became of them."""
    await tx.run(
        SQL.replace,
        harvesters=[each.harvester for each in commands],
        commands=[each.name for each in commands],
        params=[orjson.dumps(each.params).decode() for each in commands],
        now=now,
    )
