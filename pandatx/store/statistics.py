"""Counting jobs for the ranks of shares and the priorities of users."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from pandatx.domain.queues import ANALYSIS_LABELS
from pandatx.store.database import Transaction
from pandatx.store.queries import load

_COLUMNS: Final = (
    "gshare, computingsite, jobstatus, vo, workqueue_id, resource_type, nucleus, prodsourcelabel, cloud, processingtype"
)
_COUNTED: Final = f"""c AS MATERIALIZED (
  SELECT {_COLUMNS}, CASE WHEN prodsourcelabel = ANY (%(user_labels)s::text[]) THEN produsername END AS username,
         count(*) AS njobs, sum(coalesce(nullif(corecount, 0), 1)) AS cores, max(currentpriority) AS maxpriority
    FROM (SELECT {_COLUMNS}, produsername, corecount, currentpriority FROM {{panda}}.jobsactive4
          UNION ALL
          SELECT {_COLUMNS}, produsername, corecount, currentpriority FROM {{panda}}.jobsdefined4) j
   GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)"""
_TOLD: Final = """dj AS (DELETE FROM {own}.job_counts),
 ij AS (INSERT INTO {own}.job_counts (computingsite, jobstatus, prodsourcelabel, resource_type, gshare, cloud,
                                      processingtype, njobs)
        SELECT computingsite, jobstatus, prodsourcelabel, resource_type, gshare, cloud, processingtype, sum(njobs)
          FROM c GROUP BY 1, 2, 3, 4, 5, 6, 7),
 mj AS (INSERT INTO {own}.counted (what, at) VALUES ('job_counts', %(now)s)
        ON CONFLICT (what) DO UPDATE SET at = excluded.at)"""

SQL = load(__file__, counted=_COUNTED, told=_TOLD)

USUAL_POWER: Final = 10.0
"""HS of a core at a queue whose description says nothing."""
FOREIGN_AGE: Final = timedelta(minutes=10)
"""How old rows of others may be that spare us the counting."""


async def counted_by_others(tx: Transaction, now: datetime) -> bool:
    """Whether something else than our servers, pg_cron on a found database, keeps the share statistics."""
    found = (await tx.run(SQL.newest)).one() or {}
    written, ours = found.get("written"), found.get("ours")
    return written is not None and written != ours and written > now - FOREIGN_AGE


async def count(tx: Transaction, powers: Mapping[str, float], now: datetime) -> int:
    """Replace the share statistics and the counts of jobs; how many rows the first have.

    ``powers`` is HS of a core by queue.
    """
    await tx.run(SQL.room)
    result = await tx.run(
        SQL.count,
        user_labels=sorted(ANALYSIS_LABELS),
        queues=list(powers),
        powers=list(powers.values()),
        usual_power=USUAL_POWER,
        now=now,
    )
    return result.count


async def tell(tx: Transaction, now: datetime) -> None:
    """Count jobs for those that ask, and nothing else: others count for the shares."""
    await tx.run(SQL.room)
    await tx.run(SQL.tell, user_labels=sorted(ANALYSIS_LABELS), now=now)
