"""cache_schedconfig: the descriptions of queues as files for pilots and factories; -o DIR writes them elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import frozen

from pandatx.errors import BadArguments
from pandatx.scheduler.context import Context
from pandatx.services.schedconfig_cache import SchedconfigCache


@frozen
class CacheSchedconfig:
    """Bring the files up to date once."""

    _cache: SchedconfigCache

    async def run(self, context: Context) -> bool:
        done = await self._cache.refresh(context.breathe, directory_of(context.arguments))
        context.did(written=done.written, removed=done.removed)
        return False


def directory_of(arguments: tuple[Any, ...]) -> Path | None:
    """The folder of -o DIR or --output DIR, None without arguments. Raises BadArguments."""
    match tuple(map(str, arguments)):
        case ():
            return None
        case ("-o" | "--output", place) if place:
            return Path(place)
        case (one,) if one.startswith("--output=") and one != "--output=":
            return Path(one.removeprefix("--output="))
        case (one,) if one.startswith("-o") and not one.startswith("--") and one != "-o":
            return Path(one.removeprefix("-o"))
    raise BadArguments(f"cache_schedconfig takes -o DIR, not {' '.join(map(str, arguments))}")
