"""What servers tell of their daemons, and which are paused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from attrs import asdict, fields

from pandatx.domain.daemons import DaemonCondition, DaemonSeen, DaemonState
from pandatx.store.columns import json_rows
from pandatx.store.database import Database
from pandatx.store.queries import load

SQL = load(__file__)

_TOLD = tuple(each.name for each in fields(DaemonState))


async def tell(database: Database, server: str, states: Iterable[DaemonState]) -> None:
    """Write all that ``server`` has to tell; daemons that it does not name any more are forgotten."""
    rows = json_rows({**asdict(state), "last_error": _storable(state.last_error)} for state in states)
    await database.statement("daemons.tell", SQL.tell, server=server, rows=rows)


async def forget(database: Database, server: str, seen_since: datetime) -> None:
    """Forget what ``server`` has told, and servers that were not seen since."""
    await database.statement("daemons.forget", SQL.forget, server=server, seen_since=seen_since)


async def seen(database: Database, seen_since: datetime) -> list[DaemonSeen]:
    """The daemons of all servers seen since, by name."""
    result = await database.statement("daemons.seen", SQL.seen, seen_since=seen_since)
    return [_seen(row) for row in result.dicts()]


async def paused(database: Database) -> frozenset[str]:
    """The names of the daemons that no server is to run."""
    return frozenset((await database.statement("daemons.paused", SQL.paused)).column("name"))


async def pause(database: Database, name: str, who: str, now: datetime, seen_since: datetime) -> bool:
    """Pause a daemon on all servers; False when none that was seen since has it."""
    result = await database.statement("daemons.pause", SQL.pause, daemon=name, who=who, now=now, seen_since=seen_since)
    return bool(result.rows)


async def resume(database: Database, name: str) -> bool:
    """Let a daemon run again; False when it was not paused."""
    return (await database.statement("daemons.resume", SQL.resume, daemon=name)).count > 0


def _storable(text: str | None) -> str | None:
    """An exception's text may hold what no column does: NUL, and lone surrogates."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _seen(row: Mapping[str, Any]) -> DaemonSeen:
    told = {name: row[name] for name in _TOLD}
    waiting = told["condition"] == DaemonCondition.WAITING
    told["condition"] = DaemonCondition.PAUSED if row["paused"] and waiting else DaemonCondition(told["condition"])
    locked = row["lockedtime"]
    until = None if locked is None else locked + timedelta(seconds=row["period"])
    return DaemonSeen(server=row["server"], state=DaemonState(**told), lock_holder=row["lockedby"], locked_until=until)
