"""add_main: final reports that nobody has worked on, and what older servers have left to be counted."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from attrs import define

from pandatx.scheduler.context import Context
from pandatx.services.adder import TOGETHER, Adder
from pandatx.services.queued_updates import LeftUpdates

LOOK: Final = timedelta(minutes=2)
"""How often it is looked for what older servers have left (reference/lifecycle.md 3.1)."""


@define(eq=False)
class AddMain:
    """Works on what is there; the Adder itself wakes for each report, and looks every ten seconds."""

    _adder: Adder
    _left: LeftUpdates
    _looked: datetime | None = None

    async def run(self, context: Context) -> bool:
        """Until nothing is left."""
        taken = TOGETHER
        while taken >= TOGETHER:
            taken = await self._adder.run_once()
            context.did(reports=taken)
            await context.breathe()
        if self._looked is None or context.now() - self._looked >= LOOK:
            self._looked = context.now()
            context.did(counters=await self._left.run_once(context.breathe))
        return False
