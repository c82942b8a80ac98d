"""Workers of which a pilot knows more than their Harvester."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from attrs import frozen

from pandatx.domain.pilot_streaming import Command

DISCOVERY: Final = timedelta(minutes=60)
"""How long a Harvester may take to find out by itself."""
AGAIN: Final = timedelta(minutes=30)
"""After which a Harvester is told of a worker again."""
NEWEST: Final = timedelta(days=7)
"""Workers that have not changed for so long are nobody's business any more."""
SUBMITTED: Final = timedelta(days=14)
"""Likewise of those that were submitted so long ago."""
TOGETHER: Final = 100
"""Workers in one command."""
# By what pilots say (reference/wire.md 2.4). The older server waits for "running" here, which no pilot says.
_COMMANDS: Final = {"started": "SYNC_WORKERS_ACTIVATE", "finished": "SYNC_WORKERS_KILL"}


@frozen(kw_only=True)
class Stale:
    """A worker that its Harvester has wrong; ``pilot_status`` is what the pilot says."""

    harvester: str
    worker: int
    pilot_status: str


def commands(stale: Iterable[Stale]) -> list[Command]:
    """What the Harvesters are told of their workers, a hundred in a command."""
    groups: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for each in stale:
        if each.pilot_status in _COMMANDS:
            groups[each.harvester, _COMMANDS[each.pilot_status]].append(each.worker)
    return [
        Command(harvester=harvester, name=name, params=workers[first : first + TOGETHER])
        for (harvester, name), found in sorted(groups.items())
        for workers in [sorted(found)]
        for first in range(0, len(workers), TOGETHER)
    ]
