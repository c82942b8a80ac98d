"""Commands for pilots, and jobs that begin again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pandatx.store import columns
from pandatx.store.columns import JOB
from pandatx.store.database import Transaction
from pandatx.store.queries import load

SQL = load(
    __file__,
    columns=columns.names(JOB),
    reset=columns.renamed(
        JOB,
        jobstatus="'defined'",
        modificationtime="%(now)s",
        statechangetime="%(now)s",
        currentpriority="greatest(currentpriority, 100)",
        dispatchdblock="NULL",
        # JEDI has chosen the queue, and nobody else would.
        computingsite="CASE WHEN relocationflag IN (1, 2) OR lockedby = 'jedi' THEN computingsite END",
        brokerageerrorcode="0",
        brokerageerrordiag="NULL",
    ),
)


async def flag(tx: Transaction, ids: Sequence[int], diag: str) -> None:
    """Tell the pilots of these running jobs, with their next reports, that the jobs are killed."""
    await tx.run(SQL.flag, ids=list(ids), diag=diag)


async def pending(tx: Transaction, panda_id: int) -> tuple[bool, bool, str | None]:
    """Whether a job is alive, whether it is active, and the command that waits for its pilot; the job is locked."""
    for active, query in ((False, SQL.pending), (True, SQL.pending_active)):
        found = await tx.run(query, id=panda_id)
        if found.rows:
            return True, active, found.scalar()
    return False, False, None


async def set_command(tx: Transaction, panda_id: int, active: bool, text: str) -> None:
    await tx.run(SQL.set_command_active if active else SQL.set_command, id=panda_id, command=text)


async def redefine(tx: Transaction, waiting: Sequence[int], activated: Sequence[int], now: datetime) -> list[int]:
    """Make jobs ``defined`` again: those that wait, and activated ones; the jobs that now are."""
    found: list[int] = []
    if waiting:
        found += (await tx.run(SQL.redefine, ids=list(waiting), now=now)).column("pandaid")
    if activated:
        found += (await tx.run(SQL.reset, ids=list(activated), now=now)).column("pandaid")
    return found
