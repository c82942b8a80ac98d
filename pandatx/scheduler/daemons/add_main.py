"""add_main: the Adder looks for final reports that nobody has worked on."""

from __future__ import annotations

from attrs import frozen

from pandatx.scheduler.context import Context
from pandatx.services.adder import TOGETHER, Adder


@frozen
class AddMain:
    """Works on what is there; the Adder itself wakes for each report, and looks every ten seconds."""

    _adder: Adder

    async def run(self, context: Context) -> bool:
        """Until nothing is left."""
        taken = TOGETHER
        while taken >= TOGETHER:
            taken = await self._adder.run_once()
            context.did(reports=taken)
            await context.breathe()
        return False
