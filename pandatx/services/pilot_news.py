"""What pilots say of their workers and nodes (reference/wire.md 2.4 to 2.6)."""

from __future__ import annotations

from attrs import frozen

from pandatx.clock import Clock
from pandatx.domain.job import Job
from pandatx.domain.nodes import node_of, on_host
from pandatx.domain.report import ReportOutcome
from pandatx.domain.requests import WorkerNode, WorkerNodeGpu, WorkerStatus
from pandatx.store import pilot_news as store
from pandatx.store.database import Database


@frozen
class PilotNews:
    """Note what pilots find; a node is named without the batch slot."""

    _database: Database
    _clock: Clock

    async def worker_status(self, status: WorkerStatus) -> None:
        """The pilot of a Harvester worker started or finished; a worker that is not known is passed over."""
        await store.worker_status(self._database, status, self._clock.now())

    async def worker_node(self, node: WorkerNode) -> None:
        """What hardware a node has."""
        await store.worker_node(self._database, on_host(node), self._clock.now())

    async def worker_node_gpu(self, gpu: WorkerNodeGpu) -> None:
        """What graphics processors a node has."""
        await store.worker_node_gpu(self._database, on_host(gpu), self._clock.now())

    async def of_report(self, job: Job, outcome: ReportOutcome) -> None:
        """The nodes that a job's report describes; blocks that cannot be read are passed over."""
        place = {"site": job.computing_site, "host_name": job.modification_host}
        if outcome.worker_node and (node := node_of(WorkerNode, place | outcome.worker_node)):
            await self.worker_node(node)
        if outcome.worker_node_gpus and (gpu := node_of(WorkerNodeGpu, place | outcome.worker_node_gpus)):
            await self.worker_node_gpu(gpu)
