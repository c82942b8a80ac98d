"""The statements of event ranges, of which a task may have millions: by their plans."""

import pytest
import pytest_twisted
from attrs import evolve
from event_ranges import make_ranges, run

from pandatx.store import archive, events
from pandatx.store.queries import Query

LARGE = ("jobsactive4", "jobsdefined4", "filestable4", "jedi_events", "jedi_dataset_contents", "jedi_tasks")
VALUES = {
    "job": 50, "task": 7, "dataset": None, "jobset": 9, "jumbo": None, "n": 10, "jobs": [50], "tasks": [7],
    "jobsets": [9],
    "owners": [50], "lfns": ["z"], "rows": "[]", "zipped": True, "statuses": [1, 2], "now": "2026-01-01",
    "most": 10,
}  # fmt: skip


async def plan_of(database, query: Query) -> list[str]:
    async def explain(tx):
        await archive.guard(tx)
        asked = evolve(query, name=f"explain_{query.name}", text=f"EXPLAIN {query.text}")
        given = {name: value for name, value in VALUES.items() if f"%({name})s" in query.text}
        return (await tx.run(asked, **given)).column("QUERY PLAN")

    return await database.transaction("explain", explain)


@pytest.mark.parametrize("query", list(events.SQL), ids=lambda query: query.name)
async def test_no_table_is_read_as_a_whole(database, query):
    plan = await plan_of(database, query)
    assert not [line for line in plan if "Seq Scan" in line and any(f" on {table}" in line for table in LARGE)]


@pytest_twisted.async_fixture
async def filled(database):
    """Tasks with so many ranges that a plan matters."""
    for task in range(1, 6):
        await make_ranges(database, 1000, task=task, jobset=task * 10, file=task)
    await make_ranges(database, 3000)
    moved = "jeditaskid = 7 AND job_processid > 100"
    await run(database, f"UPDATE {{panda}}.jedi_events SET pandaid = 50, status = 3 WHERE {moved} RETURNING 1")
    await run(database, "ANALYZE {panda}.jedi_events; SELECT 1")
    return database


@pytest.mark.parametrize("name", ["take", "take_in_order", "take_scattered"])
async def test_ranges_that_are_ready_have_an_index_and_what_a_job_has_had_is_looked_up_by_its_whole_key(filled, name):
    plan = await plan_of(filled, getattr(events.SQL, name))
    assert [line for line in plan if "jedi_events_ready" in line]
    (had,) = (plan[n + 1] for n, line in enumerate(plan) if "jedi_events_pk on jedi_events o" in line)
    assert "(fileid = e.fileid) AND (job_processid = e.job_processid)" in had


async def test_ranges_of_fine_grained_jobs_are_counted_by_their_owners(filled):
    plan = await plan_of(filled, events.SQL.parts)
    keys = [line for n, line in enumerate(plan) if n and "jedi_events" in plan[n - 1] and "Index Cond" in line]
    assert len(keys) == 2 and all("pandaid" in line for line in keys), plan


async def test_ranges_of_an_update_are_found_by_their_keys(filled):
    plan = await plan_of(filled, events.SQL.write)
    (keys,) = (plan[n + 1] for n, line in enumerate(plan) if "jedi_events_pk on jedi_events e" in line)
    assert "job_processid" in keys
