"""cache_pilots: tarballs of the pilot, copied from where they are published to where they are served from."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from attrs import Factory, define

from pandatx.scheduler.context import Context
from pandatx.scheduler.idle import Idle
from pandatx.workers.calls import CallError

_TIMEOUT: Final = 60.0


class Pool(Protocol):
    """What runs functions by name in killable children: workers/pool.py."""

    def call(self, name: str, *args: Any, timeout: float, context: str = "") -> Awaitable[Any]: ...


@define(eq=False)
class CachePilots:
    """In a child, since a network file system may hang."""

    _pool: Pool
    _sources: Sequence[str]
    _directory: Path
    _idle: Idle = Factory(Idle)

    async def run(self, context: Context) -> bool:
        """Copy what has changed; a file that is absent is left out, and what was copied of it before stays."""
        arguments = list(self._sources), str(self._directory)
        name = "pandatx.store.folders:copy_newer"
        try:
            done = await self._pool.call(name, *arguments, timeout=_TIMEOUT, context="cache_pilots")
        except CallError as fault:
            context.log.warn("tarballs of the pilot stay as they are: {fault}", fault=fault)
            return False
        for failed in done["failed"]:
            context.log.error("a tarball of the pilot could not be copied: {failed}", failed=failed)
        if len(done["absent"]) == len(self._sources):
            return self._idle.say(context, f"no such files: {', '.join(self._sources) or 'none are configured'}")
        self._idle.over()
        context.did(copied=len(done["copied"]))
        return False
