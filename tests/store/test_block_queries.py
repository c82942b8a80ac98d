"""The statements of datasetManager by their plans, and that they leave those of hot paths alone."""

import pytest

from pandatx.store import archive, closing, dataset_manager
from pandatx.store.queries import Query

LARGE = ("jobsactive4", "jobsdefined4", "jobsarchived4", "jobsarchived", "filestable4", "job_output_report", "datasets")


async def plan_of(database, query: Query) -> list[str]:
    async def explain(tx):
        await archive.guard(tx)
        prepare = query.prepare(database.schemas).replace("%", "%%")
        await tx.run(Query(name=f"prepare_{query.name}", text=prepare))
        nulls = ", ".join("NULL" for _ in query.parameters)
        text = f"EXPLAIN EXECUTE {query.name} ({nulls})"
        return (await tx.run(Query(name=f"explain_{query.name}", text=text))).column("QUERY PLAN")

    return await database.transaction("explain", explain)


@pytest.mark.parametrize("query", list(dataset_manager.SQL), ids=lambda query: query.name)
async def test_no_table_is_read_as_a_whole(database, query):
    plan = await plan_of(database, query)
    assert not [line for line in plan if "Seq Scan" in line and any(f" on {table}" in line for table in LARGE)]


async def test_the_closer_looks_for_a_file_to_come_in_the_index_of_open_blocks(database):
    plan = await plan_of(database, closing.SQL.blocks)
    assert [line for line in plan if "filestable4_open_block" in line]
    assert not [line for line in plan if "filestable4_block_name" in line]
