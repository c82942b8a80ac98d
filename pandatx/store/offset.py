"""Whose time counts: the clock is set right by the database's (rules R8, R44)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from twisted.logger import Logger

from pandatx.clock import Clock, machine_time
from pandatx.metrics import DATABASE_OFFSET_SECONDS
from pandatx.store.database import Database
from pandatx.store.queries import load

log = Logger()

SQL = load(__file__)

WORRYING: Final = timedelta(seconds=5)


async def measure_offset(database: Database, clock: Clock, machine_time: Callable[[], datetime] = machine_time) -> None:
    """Set the clock right by the database's; a machine whose own differs is warned of."""
    before = clock.now() - clock.offset  # which another measurement may change meanwhile
    there: datetime = (await database.statement("clock.offset", SQL.now)).scalar()
    took = clock.now() - clock.offset - before
    clock.offset = there - (before + took / 2)
    known, clock.difference = clock.difference, there - (machine_time() - took / 2)
    if abs(clock.difference) > WORRYING >= abs(known):
        difference = str(clock.difference)
        log.warn("the clock of the database differs from this machine's by {difference}", difference=difference)
    DATABASE_OFFSET_SECONDS.set(clock.difference.total_seconds())
