"""add_sub: request statistics into SITEDATA (reference/lifecycle.md 3.2)."""

from __future__ import annotations

from attrs import frozen

from pandatx.scheduler.context import Context
from pandatx.services.site_data import SiteData


@frozen
class AddSub:
    """Requests of pilots by queue, and in this server's turn the running jobs."""

    _site_data: SiteData

    async def run(self, context: Context) -> bool:
        context.did(rows=await self._site_data.count_requests())
        await context.breathe()
        context.did(queues_running=await self._site_data.count_running())
        return False
