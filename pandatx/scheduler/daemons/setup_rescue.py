"""setup_rescue: jobs that a dead server, or a plugin that failed, has left in defined; inputs that have come since."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from attrs import frozen

from pandatx.scheduler.context import Context
from pandatx.services.setup import Setup

LEFT: Final = timedelta(minutes=12)
"""Longer than a plugin may take, so that no job is set up twice at a time."""
RECHECK: Final = timedelta(minutes=5)
"""How often it is looked for the inputs of a job that is assigned."""


@frozen
class SetupRescue:
    """Set up what has been waiting for too long."""

    _setup: Setup
    _older_than: timedelta = LEFT

    async def run(self, context: Context) -> bool:
        context.did(jobs=await self._setup.rescue(self._older_than) + await self._setup.recheck(RECHECK))
        return False
