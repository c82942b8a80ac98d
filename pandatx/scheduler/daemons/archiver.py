"""archiver: ended jobs go to the archive's schema, and what is past its retention is dropped (R10, R42)."""

from __future__ import annotations

from typing import Final

from attrs import define, field

from pandatx.scheduler.context import Context
from pandatx.services.archiver import Archiver

DRY_RUN: Final = "--dry-run"


@define(eq=False)
class Archive:
    """In turns of a minute, so that a run ends within its period; true while there is more to move or to drop.

    With ``--dry-run`` among its arguments it counts and changes nothing, on any database.
    """

    _archiver: Archiver
    _idle: str = field(init=False, default="")

    async def run(self, context: Context) -> bool:
        if DRY_RUN in context.arguments:
            for table, rows in sorted((await self._archiver.count(context.breathe)).items()):
                verb = "moved" if table == "jobsarchived4" else "dropped"
                context.log.info("{rows} rows of {table} would be {verb}", rows=rows, table=table, verb=verb)
                context.did(**{f"would_be_{verb}": rows})
            return False
        if why := await self._archiver.why_idle():
            if why != self._idle:
                context.log.info("nothing is archived: {why}", why=why)
            self._idle = why
            return False
        moved, more = await self._archiver.move(context.breathe)
        context.did(**moved)
        if not more:
            dropped, more = await self._archiver.drop(context.breathe)
            context.did(**{f"dropped_{table}": rows for table, rows in dropped.items()})
        return more
