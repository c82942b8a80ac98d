"""datasetManager: the life of datasets, and jobs that wait for files of which no message tells."""

from __future__ import annotations

from attrs import frozen

from pandatx.scheduler.context import Context
from pandatx.scheduler.steps import Steps
from pandatx.services.arrivals import Arrivals
from pandatx.services.dataset_manager import DatasetManager
from pandatx.services.left_open import LeftOpen
from pandatx.services.transfers import Transfers


@frozen
class ManageDatasets:
    """One pass over everything (reference/lifecycle.md 3.4); a part that fails leaves the others alone."""

    _datasets: DatasetManager
    _left_open: LeftOpen
    _transfers: Transfers
    _arrivals: Arrivals

    async def run(self, context: Context) -> bool:
        """Raises StepsFailed at the end."""
        pause, steps = context.breathe, Steps(context)
        await steps.take("closed", self._datasets.close(pause))
        await steps.take("left_open", self._left_open.close(pause))
        await steps.take("frozen", self._datasets.freeze(pause))
        await steps.take("dispatch_deleted", self._datasets.delete_dispatch(pause))
        await steps.take("settled", self._transfers.settled(pause))
        await steps.take("transfers", self._follow(context))
        await steps.take("activated", self._arrivals.look(pause))
        await steps.take("subs_deleted", self._datasets.delete_subs(pause))
        steps.judge()
        return False

    async def _follow(self, context: Context) -> int:
        finished, failed = await self._transfers.follow(context.breathe)
        context.did(transfers_failed=failed)
        return finished
