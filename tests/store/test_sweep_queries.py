"""The statements of sweeps: each against the real schema, and none of them reads a large table as a whole."""

import pytest

from pandatx.store import archive, merging, rebrokerage, sandboxes, sweeps
from pandatx.store.queries import Query

PREPARED = [query for module in (merging, rebrokerage, sandboxes, sweeps) for query in module.SQL if query.parameters]
LARGE = (
    "jobsactive4",
    "jobsdefined4",
    "jobsarchived4",
    "jobs_statuslog",
    "filestable4",
    "datasets",
    "jedi_dataset_contents",
    "usercacheusage",
)


@pytest.mark.parametrize("query", PREPARED, ids=lambda query: query.name)
async def test_a_sweep_reads_no_table_as_a_whole(database, query):
    async def explain(tx):
        await tx.run(archive.SQL.guard)
        await tx.run(Query(name=f"prepare_{query.name}", text=query.prepare(database.schemas).replace("%", "%%")))
        nulls = ", ".join("NULL" for _ in query.parameters)
        text = f"EXPLAIN EXECUTE {query.name} ({nulls})"
        return (await tx.run(Query(name=f"explain_{query.name}", text=text))).column("QUERY PLAN")

    plan = await database.transaction("explain", explain)
    whole = [line for line in plan if "Seq Scan" in line and any(f"on {table}" in line for table in LARGE)]
    assert not whole, "\n".join(plan)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (sweeps.SQL.page_active, "jobsactive4_pk"),
        (sweeps.SQL.page_defined, "jobsdefined4_pk"),
        (sweeps.SQL.page_alive, "jobsactive4_alive"),
        (sweeps.SQL.ended_builds, "jobsarch4_mtimeprodslabel_idx"),
        (rebrokerage.SQL.queued, "jobsactive4_oldest"),
        (rebrokerage.SQL.lively, "jobsarchived4_task_idx"),
        (rebrokerage.SQL.waiting, "jobsactive4_task_idx"),
        (sandboxes.SQL.take, "usercacheusage_looked_at"),
        (archive.SQL.behind_builds, "jobsdefined4_definition"),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
async def test_a_sweep_reads_by_the_index_that_is_meant_for_it(database, query, index):
    async def explain(tx):
        await tx.run(archive.SQL.guard)
        text = query.prepare(database.schemas) if query.parameters else None
        if text is None:
            nulls = {name: [] for name in ("definitions", "owners", "tasks", "lfns")}
            explained = Query(name="explain", text="EXPLAIN " + query.text)
            return (await tx.run(explained, **nulls)).column("QUERY PLAN")
        await tx.run(Query(name="prepare", text=text.replace("%", "%%")))
        nulls = ", ".join("NULL" for _ in query.parameters)
        return (await tx.run(Query(name="explain", text=f"EXPLAIN EXECUTE {query.name} ({nulls})"))).column(
            "QUERY PLAN"
        )

    plan = await database.transaction("explain", explain)
    assert any(index in line for line in plan), "\n".join(plan)
