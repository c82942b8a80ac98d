"""The sessions that a killed call has left in the database."""

from __future__ import annotations

from pandatx.clock import Clock
from pandatx.store.database import Database
from pandatx.store.queries import load

SQL = load(__file__)

PAUSE = 0.1


async def end(database: Database, clock: Clock, application: str) -> None:
    """End the sessions of an application, its calls' too, and come back when none is left (rule R38)."""
    while (await database.statement("sessions.terminate", SQL.terminate, application=application)).scalar():
        await clock.wait(PAUSE)
