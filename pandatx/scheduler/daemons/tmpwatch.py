"""tmpwatch [-h HOURS] [-t]: this server's own old files in the places for temporary files (lifecycle.md 3.5)."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, NoReturn

from attrs import frozen

from pandatx.domain.sweep_files import TEMPORARY_AGE, TEMPORARY_PLACES, is_old_temporary
from pandatx.errors import BadArguments
from pandatx.scheduler.context import Context
from pandatx.services.sweep_files import Entry, clean

LONGEST: Final = 24 * 36525
"""Hours."""


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadArguments(f"tmpwatch: {message}")


@frozen
class TmpWatch:
    """Removes regular files tmp* of this server's user that nobody has changed for some hours."""

    _places: tuple[str, ...] = TEMPORARY_PLACES

    async def run(self, context: Context) -> bool:
        """Raises BadArguments. With -t nothing is removed; what would be is counted. A closed place stops no other."""
        options = _parse(context.arguments)
        now, user, age = context.now(), os.geteuid(), timedelta(hours=options.hours)

        def doomed(entry: Entry) -> bool:
            return entry.owner == user and is_old_temporary(entry.name, entry.changed, now, age)

        for place in self._places:
            # No link on the way: these places are anybody's.
            try:
                n = await clean(place, doomed, context.breathe, follow=place == "/tmp", remove=not options.test)
            except PermissionError as fault:
                context.log.warn("{place} is not ours to read: {fault}", place=place, fault=fault)
                continue
            context.did(**{"would be removed" if options.test else "removed": n})
            await context.breathe()
        return False


def _parse(arguments: Sequence[Any]) -> Namespace:
    parser = _Parser(prog="tmpwatch", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", dest="hours", type=float, default=TEMPORARY_AGE / timedelta(hours=1))
    parser.add_argument("-t", dest="test", action="store_true")
    options = parser.parse_args([str(each) for each in arguments])
    if not 0 <= options.hours <= LONGEST:
        raise BadArguments(f"tmpwatch: -h {options.hours:g} is no number of hours")
    return options
