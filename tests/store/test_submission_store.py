"""The rows of new jobs, and the ids they get."""

from datetime import UTC, datetime

from twisted.internet.defer import Deferred, gatherResults

from pandatx.domain.job import Job, JobFile
from pandatx.store import columns, submission
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import Query
from pandatx.store.submission import Ids

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def job(panda_id: int, **values) -> Job:
    times = dict.fromkeys(("creation_time", "modification_time", "state_change_time", "prod_db_update_time"), NOW)
    files = (JobFile(row_id=panda_id * 10, panda_id=panda_id, lfn="out,1", type="output", fsize=5),)
    return Job(panda_id=panda_id, job_parameters="a 'quoted' \\ text é %s", files=files, **times, **values)


async def test_ids_are_given_once_however_many_ask(database: Database):
    ids = Ids(database)
    taken = await gatherResults([Deferred.fromCoroutine(ids.take(700, 900)) for _ in range(6)])
    panda_ids = [one for numbers, _ in taken for one in numbers]
    row_ids = [one for _, numbers in taken for one in numbers]
    assert len(panda_ids) == len(set(panda_ids)) == 4200
    assert len(row_ids) == len(set(row_ids)) == 5400
    assert await ids.serials(3) == [1, 2, 3]


async def test_ids_of_two_servers_differ(database: Database):
    here, there = Ids(database), Ids(database)
    first, _ = await here.take(10, 0)
    second, _ = await there.take(10, 0)
    assert not set(first) & set(second)


async def test_a_job_comes_back_as_it_was_stored(database: Database):
    jobs = [job(1, job_name="one", core_count=8), job(2, min_ram_count=2000, nucleus="N")]
    pieces = [submission.piece_of([one], frozenset()) for one in jobs]
    await database.transaction("store", submission.store, pieces)
    rows = await database.statement(
        "jobs", Query(name="jobs", text=f"SELECT {columns.names(columns.JOB)} FROM {{panda}}.jobsdefined4 ORDER BY 1")
    )
    found = list(columns.jobs(rows.columns, rows.rows))
    assert [(one.job_name, one.core_count, one.min_ram_count, one.nucleus, one.creation_time) for one in found] == [
        ("one", 8, 0, None, NOW),
        (None, None, 2000, "N", NOW),
    ]
    texts = await database.statement(
        "p", Query(name="p", text="SELECT jobparameters FROM {panda}.jobparamstable ORDER BY pandaid")
    )
    assert texts.column("jobparameters") == [one.job_parameters for one in jobs]


async def test_a_missing_user_row_is_made_once_though_two_need_it_at_a_time(database: Database):
    async def number(tx: Transaction) -> int:
        (row,) = (await submission.lock_users(tx, {"alice": "/CN=alice"}, NOW)).values()
        await submission.count_users(tx, {row.id: row.jobid + 1}, NOW)
        return row.jobid

    numbers = await gatherResults([Deferred.fromCoroutine(database.transaction("n", number)) for _ in range(3)])
    assert sorted(numbers) == [1, 2, 3]
    rows = await database.statement("u", Query(name="u", text="SELECT name, jobid FROM {meta}.users"))
    assert rows.rows == [("alice", 4)]
