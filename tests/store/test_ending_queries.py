"""The statements of jobs' ends: each against the real schema, the large ones by their plans."""

import pytest

from pandatx.store import (
    archive,
    closing,
    counters,
    dataset_manager,
    instances,
    jobs,
    killing,
    pilot_news,
    reports,
    watching,
)
from pandatx.store.queries import Query

PREPARED = [
    query
    for module in (archive, closing, counters, dataset_manager, instances, jobs, killing, pilot_news, reports, watching)
    for query in module.SQL
    if query.parameters
]


@pytest.mark.parametrize("query", PREPARED, ids=lambda query: query.name)
async def test_every_prepared_statement_suits_the_schema(database, query):
    text = query.prepare(database.schemas).replace("%", "%%")
    await database.statement("prepare", Query(name=f"p_{query.name}", text=text))


def _generic_plan(query: Query) -> str:
    nulls = ", ".join("NULL" for _ in query.parameters)
    return f"EXPLAIN EXECUTE {query.name} ({nulls})"


@pytest.mark.parametrize(
    "query",
    [archive.SQL.archive, archive.SQL.keep, archive.SQL.lock_again, archive.SQL.files, closing.SQL.blocks],
    ids=lambda query: query.name,
)
async def test_an_end_reads_no_table_as_a_whole(database, query):
    async def explain(tx):
        await tx.run(Query(name="generic", text="SET LOCAL plan_cache_mode = force_generic_plan"))
        prepare = query.prepare(database.schemas).replace("%", "%%")
        await tx.run(Query(name=f"prepare_{query.name}", text=prepare))
        return (await tx.run(Query(name=f"explain_{query.name}", text=_generic_plan(query)))).column("QUERY PLAN")

    plan = await database.transaction("explain", explain)
    tables = (
        "jobsactive4",
        "jobsdefined4",
        "filestable4",
        "job_output_report",
        "metatable",
        "jobparamstable",
        "datasets",
    )
    assert not [line for line in plan if "Seq Scan" in line and any(table in line for table in tables)]


async def test_a_page_of_the_watcher_is_read_from_the_index_of_active_jobs(database):
    query = watching.SQL.page

    async def explain(tx):
        prepare = query.prepare(database.schemas).replace("%", "%%")
        await tx.run(Query(name="prepare_page", text=prepare))
        return (await tx.run(Query(name="explain_page", text=_generic_plan(query)))).column("QUERY PLAN")

    plan = await database.transaction("explain", explain)
    assert any("jobsactive4_alive" in line for line in plan)
