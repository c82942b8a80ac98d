"""share_statistics: what each share uses, counted once a minute (R12)."""

from __future__ import annotations

from attrs import frozen

from pandatx.scheduler.context import Context
from pandatx.services.statistics import Statistics


@frozen
class ShareStatistics:
    """Count, unless others keep the rows fresh."""

    _statistics: Statistics

    async def run(self, context: Context) -> bool:
        rows = await self._statistics.count()
        if rows:
            context.did(rows=rows)
        return False
