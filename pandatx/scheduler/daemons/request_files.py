"""process_workflow_files_daemon, recover_lost_files_daemon and evpPD2P: requests in files of older front ends."""

from __future__ import annotations

from attrs import frozen

from pandatx.domain.async_work import Kind
from pandatx.scheduler.context import Context
from pandatx.services.request_files import RequestFiles


@frozen
class TakeFiles:
    """Makes requests of the files of one kind; async_request_daemon works through them."""

    _files: RequestFiles
    _kind: Kind

    async def run(self, context: Context) -> bool:
        """One pass over the folder."""
        context.did(taken=await self._files.take(self._kind, context.breathe))
        return False
