"""A task of the event service as the engine of tasks leaves it, made by hand: a file, consumers, ranges of events.

A range lies with its jobset (``pandaid`` is the jobset's id) until a job takes it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor

from pandatx.clock import Clock
from pandatx.domain.events import read_updates
from pandatx.store import archive
from pandatx.store.archive import Change
from pandatx.store.database import Database
from pandatx.store.queries import Query

TASK, JOBSET, DATASET, FILE = 7, 9, 11, 13


async def run(database: Database, text: str, **params: Any) -> list[tuple[Any, ...]]:
    return (await database.statement("test", Query(name=text, text=text), **params)).rows


async def make_ranges(
    database: Database,
    n: int,
    *,
    task: int = TASK,
    jobset: int = JOBSET,
    file: int = FILE,
    dataset: int = DATASET,
    attempts: int = 3,
    split_rule: str = "ES=10",
) -> None:
    """A file of a task with ``n`` ranges of ten events."""
    await run(
        database,
        "INSERT INTO {panda}.jedi_tasks (jeditaskid, taskname, status, username, creationdate, modificationtime, vo,"
        " prodsourcelabel, splitrule) VALUES (%(task)s, 't', 'running', 'alice', '2026-01-01', '2026-01-01', 'wlcg',"
        " 'managed', %(rule)s) ON CONFLICT DO NOTHING RETURNING 1",
        task=task,
        rule=split_rule,
    )
    await run(
        database,
        "INSERT INTO {panda}.jedi_dataset_contents (jeditaskid, datasetid, fileid, creationdate, lfn, type, status,"
        " guid, scope) VALUES (%(task)s, %(dataset)s, %(file)s, '2026-01-01', %(lfn)s, 'input',"
        " 'running', 'guid', 'scope') RETURNING 1",
        task=task,
        dataset=dataset,
        file=file,
        lfn=f"in.{file}",
    )
    await run(
        database,
        "INSERT INTO {panda}.jedi_events (jeditaskid, pandaid, fileid, job_processid, datasetid, status,"
        " def_min_eventid, def_max_eventid, processed_upto_eventid, attemptnr, event_offset)"
        " SELECT %(task)s, %(jobset)s, %(file)s, g, %(dataset)s, 0, 10 * g - 9, 10 * g, 10 * g - 9, %(attempts)s,"
        " %(jobset)s FROM generate_series(1, %(n)s) g RETURNING 1",
        task=task,
        jobset=jobset,
        file=file,
        dataset=dataset,
        attempts=attempts,
        n=n,
    )


async def make_consumer(database: Database, panda_id: int, **columns: Any) -> None:
    """A job of the jobset."""
    row: dict[str, Any] = {
        "pandaid": panda_id,
        "jobstatus": "running",
        "attemptnr": 1,
        "jobsetid": JOBSET,
        "jeditaskid": TASK,
        "lockedby": "jedi",
        "eventservice": 1,
        "specialhandling": "eventservice",
        "prodsourcelabel": "managed",
        "produsername": "alice",
        "computingsite": "Q",
        "vo": "wlcg",
        "cloud": "",
        "creationtime": "2026-01-01",
        "modificationtime": "2026-01-01",
        "statechangetime": "2026-01-01",
        **columns,
    }
    names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    await run(database, f"INSERT INTO {{panda}}.jobsactive4 ({names}) VALUES ({values}) RETURNING 1", **row)
    await run(
        database,
        "INSERT INTO {panda}.jobparamstable (pandaid, jobparameters) VALUES (%(id)s, 'x') RETURNING 1",
        id=panda_id,
    )


async def ranges(database: Database) -> list[tuple[int, int, int, int, int]]:
    """(owner, file, process, status, attempts left) of every range."""
    return await run(
        database,
        "SELECT pandaid, fileid, job_processid, status, attemptnr FROM {panda}.jedi_events"
        " ORDER BY pandaid, fileid, job_processid",
    )


def said(status: str, *names: Any, **values: Any) -> list[Any]:
    return read_updates([{"eventRangeID": str(name), "eventStatus": status, **values} for name in names])


async def end(database: Database, panda_id: int, status: str = "finished", before_commit: Any = None) -> None:
    """A job ends as every job does."""
    clock = Clock(reactor)

    async def work(tx: Any) -> None:
        await archive.guard(tx)
        await archive.wait_for(tx, [panda_id], 5.0)
        job = (await archive.lock(tx, [panda_id]))[panda_id]
        await archive.archive(tx, [Change(job=job, changes={"job_status": status}, file_changes={})], clock.now())
        if before_commit is not None:
            tx.at_end(before_commit, [None], clock.now())

    await database.transaction("end", work)


SEEDS = f"""
INSERT INTO jedi_dataset_contents (jeditaskid, datasetid, fileid, creationdate, lfn, type, status)
VALUES ({TASK}, {DATASET}, {FILE}, '2026-01-01', 'in', 'input', 'running');
INSERT INTO jedi_events (jeditaskid, pandaid, fileid, job_processid, datasetid, status, def_min_eventid,
                         def_max_eventid, attemptnr, event_offset)
SELECT {TASK}, {JOBSET}, {FILE}, g, {DATASET}, 0, g, g, 3, {JOBSET} FROM generate_series(1, 3) g;
INSERT INTO jobsactive4 (pandaid, jobstatus, jobsetid, jeditaskid, eventservice, modificationtime)
VALUES (50, 'running', {JOBSET}, {TASK}, 1, now() AT TIME ZONE 'UTC')"""
"""A job and three ranges for it, in the search path doma_panda."""
