"""The sessions of the database, ours and others'."""

from __future__ import annotations

from datetime import datetime

from twisted.internet.task import deferLater
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.metrics import OLDEST_SNAPSHOT_SECONDS
from pandatx.store.database import Database
from pandatx.store.queries import load

log = Logger()
SQL = load(__file__)

PAUSE = 0.1
WORRYING_AGE = 300.0


async def end(database: Database, clock: Clock, application: str) -> None:
    """End the sessions of an application name, and come back when none is left (rule R38)."""
    while (await database.statement("sessions.terminate", SQL.terminate, application=application)).scalar():
        await deferLater(clock.reactor, PAUSE)  # type: ignore[arg-type]


async def watch_snapshots(database: Database, now: datetime) -> None:
    """Measure the age of the oldest snapshot; from five minutes on it is a warning (rule R5)."""
    age = float((await database.statement("sessions.snapshot", SQL.oldest_snapshot, now=now)).scalar())
    OLDEST_SNAPSHOT_SECONDS.set(age)
    if age > WORRYING_AGE:
        log.warn("a transaction is open in the database since {age:.0f} s: the dispatch index slows down", age=age)
