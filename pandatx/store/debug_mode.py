"""The tags of a job that has not ended, and whose jobs are in debug mode."""

from __future__ import annotations

from collections.abc import Sequence

from pandatx.domain.debug_mode import DebugRow
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(__file__)


async def lock(tx: Transaction, panda_id: int) -> tuple[DebugRow | None, bool]:
    """A job, and whether it is active; it is locked."""
    for active, query in ((False, SQL.lock_defined), (True, SQL.lock_active)):
        found = await tx.run(query, id=panda_id)
        if found.rows:
            job, owner, status, tags, group = found.rows[0]
            return DebugRow(panda_id=job, owner=owner, status=status, tags=tags, working_group=group), active
    return None, False


async def set_tags(tx: Transaction, panda_id: int, active: bool, tags: str | None) -> None:
    await tx.run(SQL.set_active if active else SQL.set_defined, id=panda_id, tags=tags)


async def hold(tx: Transaction, holder: str, statuses: Sequence[str]) -> list[int]:
    """The jobs of a holder that are in debug mode and one of the statuses; one at a time may ask for a holder."""
    await tx.run(SQL.hold, holder=holder)
    held = (await tx.run(SQL.held, holder=holder, statuses=list(statuses))).column("panda_id")
    await tx.run(SQL.forget, holder=holder, held=held)
    return held


async def note(tx: Transaction, panda_id: int, holder: str) -> None:
    await tx.run(SQL.note, id=panda_id, holder=holder)


async def let_go(tx: Transaction, panda_id: int) -> None:
    await tx.run(SQL.let_go, id=panda_id)
