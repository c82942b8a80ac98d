"""The statements of jobs' ends: each against the real schema, the large ones by their plans."""

import pytest

from pandatx.store import (
    archive,
    closing,
    counters,
    dataset_manager,
    instances,
    jedi,
    job_metrics,
    jobs,
    killing,
    merges,
    pilot_news,
    reports,
    retry_rules,
    watching,
)
from pandatx.store.queries import Query

MODULES = (
    *(archive, closing, counters, dataset_manager, instances, job_metrics, jobs, killing, merges, pilot_news, reports),
    *(retry_rules, watching),
)
PREPARED = [query for module in MODULES for query in module.SQL if query.parameters]
OF_TASKS = [
    *(query for query in jedi.SQL if query.parameters),
    reports.SQL.mismatches,
    merges.SQL.makers,
    merges.SQL.outcomes,
    *(getattr(retry_rules.SQL, name) for name in ("lock_tasks", "lock_datasets", "limit_attempts", "raise_memory")),
    *(getattr(retry_rules.SQL, name) for name in ("memory_of_files", "events", "has_finished", "master_inputs")),
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
    [
        *(archive.SQL.archive, archive.SQL.keep, archive.SQL.lock_again, archive.SQL.files, archive.SQL.note_failures),
        *(closing.SQL.blocks, *OF_TASKS),
    ],
    ids=lambda query: query.name,
)
async def test_an_end_reads_no_table_as_a_whole(database, query):
    async def explain(tx):
        await archive.guard(tx)
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
        "jedi_tasks",
        "jedi_datasets",
        "jedi_dataset_contents",
        "jobsarchived4",
        "jobsarchived",
        "t_task",
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
