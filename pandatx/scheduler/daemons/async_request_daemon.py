"""async_request_daemon: begins asynchronous requests, and drops those past their retention."""

from __future__ import annotations

from attrs import define

from pandatx.scheduler.context import Context
from pandatx.services.async_work import TOGETHER, AsyncWork

CLEAN_EVERY = 3600.0


@define(eq=False)
class AsyncRequestDaemon:
    """Looks for what there is; requests that this process stores itself are begun at once."""

    _work: AsyncWork
    _cleaned: float | None = None

    async def run(self, context: Context) -> bool:
        """Begin what there is room for; the calls themselves go on when the run is over."""
        await self._work.beat()
        context.did(begun=await self._work.run_once())
        await self._clean(context)
        return False

    async def _clean(self, context: Context) -> None:
        now = context.now().timestamp()
        if self._cleaned is not None and now - self._cleaned < CLEAN_EVERY:
            return
        self._cleaned = now
        dropped = TOGETHER
        while dropped >= TOGETHER:
            await context.breathe()
            dropped = await self._work.forget()
            context.did(dropped=dropped)
