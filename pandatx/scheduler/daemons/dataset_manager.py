"""datasetManager: the life of datasets, and jobs that wait for files of which no message tells."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import psycopg2
from attrs import frozen

from pandatx.scheduler.context import Context
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
        pause = context.breathe
        await self._part(context, "closed", self._datasets.close(pause))
        await self._part(context, "left_open", self._left_open.close(pause))
        await self._part(context, "frozen", self._datasets.freeze(pause))
        await self._part(context, "dispatch_deleted", self._datasets.delete_dispatch(pause))
        await self._part(context, "settled", self._transfers.settled(pause))
        await self._part(context, "transfers", self._follow(context))
        await self._part(context, "activated", self._arrivals.look(pause))
        await self._part(context, "subs_deleted", self._datasets.delete_subs(pause))
        return False

    async def _follow(self, context: Context) -> int:
        finished, failed = await self._transfers.follow(context.breathe)
        context.did(transfers_failed=failed)
        return finished

    async def _part(self, context: Context, name: str, work: Awaitable[Any]) -> None:
        try:
            context.did(**{name: await work})
        except psycopg2.Error as fault:
            context.log.error("{name}: the database refused it, next time again: {fault}", name=name, fault=fault)
