"""The statements of task commands: each against the real schema, and by its plan."""

import pytest

from pandatx.store import archive, task_attempts, task_changes, task_commands, task_submission, workflows
from pandatx.store.queries import Query

MODULES = (task_attempts, task_changes, task_commands, task_submission, workflows)
TABLES = (
    *("jobsactive4", "jobsdefined4", "jedi_tasks", "jedi_datasets", "jedi_dataset_contents", "jedi_taskparams"),
    *("t_task", "prodsys_comm", "workflows", "workflow_steps", "workflow_data", "users"),
)


@pytest.mark.parametrize("query", [query for module in MODULES for query in module.SQL], ids=lambda query: query.name)
async def test_a_task_is_found_by_an_index(database, query):
    async def explain(tx):
        await archive.guard(tx)
        prepare = query.prepare(database.schemas).replace("%", "%%")
        await tx.run(Query(name=f"prepare_{query.name}", text=prepare))
        nulls = ", ".join("NULL" for _ in query.parameters)
        explained = Query(name=f"explain_{query.name}", text=f"EXPLAIN EXECUTE {query.name} ({nulls})")
        return (await tx.run(explained)).column("QUERY PLAN")

    plan = await database.transaction("explain", explain)
    assert not [line for line in plan if "Seq Scan" in line and any(f" {table}" in line for table in TABLES)]
