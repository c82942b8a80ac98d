"""Finding jobs that have waited for too long, and what must be known to end them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import evolve, frozen

from pandatx.domain.job import Job, JobFile
from pandatx.domain.sweep_ages import JumboTask
from pandatx.store import columns
from pandatx.store.archive import guard
from pandatx.store.columns import JOB
from pandatx.store.database import Transaction, in_batches
from pandatx.store.queries import load

PAGE: Final = 5000
"""Jobs that are looked at in one page."""
FOUND: Final = 1000
"""Jobs that one page gives at most: their values become Python objects all at once."""
BUILDS: Final = 1000
"""Builds in one page."""
ALIVE: Final = frozenset(("sent", "starting", "running", "holding", "transferring", "merging"))
"""Statuses of the index of alive jobs."""
_JUDGED: Final = (
    "panda_id job_status creation_time modification_time state_change_time prod_source_label locked_by vo "
    "transformation event_service relocation_flag current_priority computing_site processing_type jedi_task_id "
    "job_definition_id prod_user_name working_group jobset_id gshare command_to_pilot"
).split()
"""The attributes that a page gives of a job."""

SQL = load(
    __file__,
    columns=", ".join(JOB[name][0] for name in _JUDGED),
    wanted="""(%(statuses)s IS NULL OR p.jobstatus = ANY (%(statuses)s))
   AND (%(labels)s IS NULL OR p.prodsourcelabel = ANY (%(labels)s))
   AND (%(processing)s IS NULL OR p.processingtype = %(processing)s)
   AND (%(events)s IS NULL OR p.eventservice = %(events)s)
   AND CASE %(since)s WHEN 'creation_time' THEN p.creationtime WHEN 'modification_time' THEN p.modificationtime
            ELSE p.statechangetime END <= %(before)s
 ORDER BY p.pandaid LIMIT %(most)s""",
)


@frozen(kw_only=True)
class Search:
    """What is looked for: jobs of a table by statuses and labels (none: any), older than a time by ``since``."""

    active: bool
    before: datetime
    since: str = "creation_time"
    statuses: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    processing: str | None = None
    events: int | None = None


@frozen(kw_only=True)
class Page:
    """Some jobs in the order of PandaIDs: those found among them, the last of all, and whether more follow."""

    last: int
    more: bool
    _columns: tuple[str, ...]
    _found: Sequence[tuple[Any, ...]]

    def batches(self, size: int) -> Iterator[tuple[Job, ...]]:
        """The jobs found, so many at a time, each made when it is asked for: thousands take a while.

        They carry what sweeps judge by, and no files.
        """
        for rows in in_batches(self._found, size):
            yield tuple(columns.jobs(self._columns, rows))


async def page(tx: Transaction, search: Search, last: int) -> Page:
    """Look at the jobs after PandaID ``last``; nothing is locked."""
    await guard(tx)
    query = SQL.page_defined
    if search.active:
        query = SQL.page_alive if search.statuses and search.statuses <= ALIVE else SQL.page_active
    result = await tx.run(
        query,
        last=last,
        statuses=sorted(search.statuses) or None,
        labels=sorted(search.labels) or None,
        processing=search.processing,
        events=search.events,
        since=search.since,
        before=search.before,
        most=FOUND,
    )
    end, n = result.rows[0][:2]
    found = [row[2:] for row in result.rows if row[2] is not None]
    if len(found) == FOUND:
        return Page(last=found[-1][0], more=True, columns=result.columns[2:], found=found)
    return Page(last=end or last, more=n == PAGE, columns=result.columns[2:], found=found)


async def makers(tx: Transaction, ids: Sequence[int]) -> dict[int, dict[int, str | None]]:
    """For each merge job the jobs that made its inputs, and their statuses, None where they are not active.

    Those of one of its datasets, the first, are enough.
    """
    await guard(tx)
    found: dict[int, dict[int, dict[int, str | None]]] = {}
    for panda_id, dataset, maker, status in (await tx.run(SQL.makers, ids=list(ids))).rows:
        found.setdefault(panda_id, {}).setdefault(dataset, {})[maker] = status
    return {panda_id: datasets[min(datasets)] for panda_id, datasets in found.items()}


async def jumbo_tasks(tx: Transaction, tasks: Sequence[int]) -> dict[int, JumboTask]:
    """What is known of tasks with jumbo jobs."""
    rows: list[dict[str, Any]] = (await tx.run(SQL.jumbo_tasks, tasks=list(tasks))).dicts()
    return {row.pop("task"): JumboTask(**row) for row in rows}


@frozen(kw_only=True)
class EndedBuilds:
    """Builds that have ended, each with its outputs; ``until`` is where the next page begins."""

    builds: tuple[Job, ...]
    until: tuple[datetime, int]
    more: bool


async def ended_builds(tx: Transaction, after: tuple[datetime, int], before: datetime) -> EndedBuilds:
    """The next builds that ended badly ``after`` a time and PandaID, and not later than ``before``."""
    await guard(tx)
    rows = (await tx.run(SQL.ended_builds, since=after[0], last=after[1], before=before)).rows
    builds: dict[int, Job] = {}
    for _, panda_id, definition, owner, lfn in rows:
        build = builds.get(panda_id) or Job(panda_id=panda_id, job_definition_id=definition or 0, prod_user_name=owner)
        made = (JobFile(lfn=lfn, type="output"),) if lfn is not None else ()
        builds[panda_id] = evolve(build, files=build.files + made)
    until = (rows[-1][0], rows[-1][1]) if rows else after
    return EndedBuilds(builds=tuple(builds.values()), until=until, more=len(builds) == BUILDS)
