"""What pilots say of their workers and nodes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from pandatx.domain.nodes import normal_cpu_model
from pandatx.domain.requests import WorkerNode, WorkerNodeGpu, WorkerStatus
from pandatx.store.database import Database
from pandatx.store.queries import load

SQL = load(__file__)


async def worker_status(database: Database, news: WorkerStatus, now: datetime) -> None:
    """A worker's pilot has started or finished; nothing where the worker is not known."""
    await database.statement(
        "pilot_news.worker_status",
        SQL.worker_status,
        status=news.status,
        node=news.node_id,
        harvester=news.harvester_id,
        worker=news.worker_id,
        now=now,
    )


async def worker_node(database: Database, node: WorkerNode, now: datetime) -> None:
    """What hardware a node has, and which queue it serves."""
    values = _values(node) | {"normalized": normal_cpu_model(node.cpu_model), "now": now}
    await database.statement("pilot_news.worker_node", SQL.worker_node, **values)


async def worker_node_gpu(database: Database, gpu: WorkerNodeGpu, now: datetime) -> None:
    """What graphics processors a node has."""
    await database.statement("pilot_news.worker_node_gpu", SQL.worker_node_gpu, **_values(gpu), now=now)


def _values(request: WorkerNode | WorkerNodeGpu) -> dict[str, Any]:
    return attrs.asdict(request, filter=lambda attribute, _: attribute.name != "timeout")
