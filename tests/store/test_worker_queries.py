"""The statements of Harvesters by their plans: each finds its rows by an index, in a database of our own."""

import pytest

from pandatx.store import archive, dispatch, harvester, harvester_commands, workers
from pandatx.store.queries import Query

LITERALS = {
    "harvester": "'h'", "queue": "'Q'", "now": "'2026-01-01'", "rows": "'[]'", "n": "5", "params": "'x'",
    "command": "'c'", "milliseconds": "'1'", "since": "'2026-01-01'", "taken": "'2026-01-01'", "kept": "'2026-01-01'",
    "worker": "ARRAY[1]", "ids": "ARRAY[1]",
}  # fmt: skip
SMALL = {
    "workers_statistics",
    *(f"harvester_commands_{name}" for name in ("add", "take", "give_back_all")),
}
"""These read a table that has a row for each kind of thing, not for each worker."""
PREPARED = [query for query in workers.SQL if query.parameters]
OTHERS = [
    *(query for query in workers.SQL if not query.parameters and "FROM" in query.text),
    *(getattr(harvester.SQL, name) for name in ("owner", "dialogs", "metrics")),
    *(getattr(harvester_commands.SQL, name) for name in ("add", "take", "give_back", "give_back_all", "acknowledge")),
    dispatch.SQL.touch_workers,
]


async def plan_of(database, prepare: str | None, explain: str, *before: Query) -> str:
    async def work(tx):
        await archive.guard(tx)
        for query in before:
            await tx.run(query)
        if prepare:
            await tx.run(Query(name="prepare", text=prepare.replace("%", "%%")))
        return (await tx.run(Query(name="explain", text=explain.replace("%", "%%")))).column("QUERY PLAN")

    return "\n".join(await database.transaction("plan", work))


@pytest.mark.parametrize("query", PREPARED, ids=lambda query: query.name)
async def test_a_prepared_statement_reads_no_table_as_a_whole(database, query):
    nulls = ", ".join("NULL" for _ in query.parameters)
    plan = await plan_of(database, query.prepare(database.schemas), f"EXPLAIN EXECUTE {query.name} ({nulls})")
    assert "Seq Scan on" not in plan, plan


@pytest.mark.parametrize("query", [query for query in OTHERS if query.name not in SMALL], ids=lambda query: query.name)
async def test_no_other_statement_does(database, query):
    text = query.in_schemas(database.schemas)
    words = {name: "NULL" for name in ("share", "kind")} | LITERALS
    text = text.replace("%(harvester)s::text[]", "ARRAY['h']").replace("%(queue)s::text[]", "ARRAY['Q']")
    for name in ("job_types", "resource_types", "statuses"):
        text = text.replace(f"%({name})s", "ARRAY['x']")
    text = text.replace("%(numbers)s", "ARRAY[1]")
    for name, value in words.items():
        text = text.replace(f"%({name})s", value)
    plan = await plan_of(database, None, f"EXPLAIN {text}")
    assert "Seq Scan on" not in plan, plan


@pytest.mark.parametrize("query", [workers.SQL.save, workers.SQL.relate], ids=lambda query: query.name)
async def test_hundreds_of_workers_are_not_compared_each_with_each(database, query):
    """Whatever the planner believes, which has seen an empty table: of a Harvester it once read all workers."""
    nulls = ", ".join("NULL" for _ in query.parameters)
    explain = f"EXPLAIN EXECUTE {query.name} ({nulls})"
    plan = await plan_of(database, query.prepare(database.schemas), explain, workers.SQL.by_hash)
    assert "Nested Loop" not in plan, plan
    assert "Hash" in plan and "workerid = ANY" in plan, plan
