"""metric_collector: what brokers read of shares, queues and users."""

from __future__ import annotations

from attrs import frozen

from pandatx.scheduler.context import Context
from pandatx.services.metric_collector import MetricCollector


@frozen
class CollectMetrics:
    """Makes the metrics that are due."""

    _collector: MetricCollector

    async def run(self, context: Context) -> bool:
        context.did(**await self._collector.run_once(context.breathe))
        return False
