"""The guide's dummy_test: a line in the log that says that daemons run, and as whom."""

from __future__ import annotations

import os

from attrs import frozen

from pandatx.scheduler.context import Context


@frozen
class DummyTest:
    """Tells who and when; operators have it in their files to see that the scheduler lives."""

    async def run(self, context: Context) -> bool:
        context.log.info(
            "dummy test of the PanDA daemon: uid={uid}, pid={pid}, {now:%Y-%m-%d %H:%M:%S} by the database's clock",
            uid=os.getuid(),
            pid=os.getpid(),
            now=context.now(),
        )
        return False
