"""What pilots asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from pandatx.domain.asks import Asked, document_of, want_of
from pandatx.domain.fit import Want
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def add(tx: Transaction, instance: str, since: datetime, counts: Mapping[tuple[str, Want | None], Asked]) -> None:
    """Add what was counted by queue and want in the ten minutes from ``since`` on."""
    found = sorted(
        (queue, json.dumps(document_of(want), sort_keys=True), asked) for (queue, want), asked in counts.items()
    )
    await tx.run(
        SQL.add,
        instance=instance,
        since=since,
        queues=[queue for queue, _, _ in found],
        wants=[want for _, want, _ in found],
        asked=[each.asked for _, _, each in found],
        served=[each.served for _, _, each in found],
        refused=[each.refused for _, _, each in found],
        last=[each.last for _, _, each in found],
    )
    await tx.identify()


async def of_queue(database: Database, queue: str, after: datetime, most: int) -> list[Asked]:
    """The ``most`` commonest wants at a queue, and the others together, in the stretches that began at ``after`` or
    later."""
    rows = (await database.statement("asks.of_queue", SQL.of_queue, queue=queue, after=after, most=most)).rows
    return [
        Asked(want=want_of(json.loads(want)), asked=asked, served=served, refused=refused, last=last)
        for want, asked, served, refused, last in rows
    ]


async def forget(tx: Transaction, before: datetime) -> None:
    """Delete what is older."""
    await tx.run(SQL.forget, before=before)
