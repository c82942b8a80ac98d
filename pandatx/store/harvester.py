"""What Harvesters say of themselves, and the slots that queues are to fill."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from pandatx.domain.harvester_requests import CommandWish, Dialog, HarvesterFacts, ServiceMetric
from pandatx.store.columns import json_rows
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)

FREE_SINCE: Final = timedelta(days=1)
"""The age of a new command lock: older servers take one that is old enough."""


async def owner(tx: Transaction, harvester: str) -> str | None:
    """Whose Harvester it is; None where it has never been heard of."""
    found: str | None = (await tx.run(SQL.owner, harvester=harvester)).scalar()
    return found


async def heartbeat(
    tx: Transaction, harvester: str, owner: str, host: str, trusted: bool, facts: HarvesterFacts, now: datetime
) -> bool:
    """Note that a Harvester lives; False where it is another's and the caller is not ``trusted``."""
    result = await tx.run(
        SQL.heartbeat,
        harvester=harvester,
        owner=owner[:100],
        host=host[:100],
        trusted=trusted,
        started=facts.start_time,
        version=facts.sw_version,
        stamp=facts.commit_stamp,
        now=now,
    )
    return bool(result.rows)


async def wish(tx: Transaction, harvester: str, wishes: Sequence[CommandWish], now: datetime) -> None:
    """Make a free lock for each command that the Harvester takes and that has none."""
    await tx.run(
        SQL.wish,
        harvester=harvester,
        queues=[each.computing_site for each in wishes],
        kinds=[each.resource_type for each in wishes],
        commands=[each.command for each in wishes],
        free=now - FREE_SINCE,
    )


async def add_dialogs(tx: Transaction, harvester: str, dialogs: Iterable[Dialog]) -> None:
    """Store messages, the last of each number."""
    rows = {
        each.diag_id: {
            "diagid": each.diag_id,
            "modulename": each.module_name,
            "identifier": each.identifier,
            "creationtime": each.creation_time,
            "messagelevel": each.message_level,
            "diagmessage": each.diag_message,
        }
        for each in dialogs
    }
    await tx.run(SQL.dialogs, harvester=harvester, ids=list(rows), rows=json_rows(rows.values()))


async def add_metrics(tx: Transaction, harvester: str, metrics: Iterable[ServiceMetric]) -> None:
    """Store figures of machines."""
    rows = [
        {"creation_time": each.creation_time, "host": each.host, "metrics": each.metrics}
        for each in {(each.creation_time, each.host): each for each in metrics}.values()
    ]
    await tx.run(SQL.metrics, harvester=harvester, rows=json_rows(rows))


async def set_slots(
    tx: Transaction, queue: str, share: str | None, kind: str | None, slots: int, until: datetime | None, now: datetime
) -> None:
    await tx.run(SQL.queue_up, queue=queue)
    await tx.run(SQL.set_slots, queue=queue, share=share, kind=kind, slots=slots, until=until, now=now)


async def drop_slots(tx: Transaction, queue: str, share: str | None, kind: str | None) -> None:
    await tx.run(SQL.drop_slots, queue=queue, share=share, kind=kind)
