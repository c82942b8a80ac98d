"""copyArchive, its watching part: jobs whose pilots have gone silent."""

from __future__ import annotations

from attrs import frozen

from pandatx.scheduler.context import Context
from pandatx.services.watcher import Watcher


@frozen
class CopyArchive:
    """Looks at all active jobs once."""

    _watcher: Watcher

    async def run(self, context: Context) -> bool:
        """One pass; other work goes on between its pages."""
        context.did(failed=await self._watcher.run_once(context.breathe))
        return False
