"""What users and monitors ask finds its rows by indexes: no large table is read as a whole for them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pandatx.store import debug_mode, job_counts, task_queries, user_metadata
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import Query

LARGE = (
    "jobsactive4", "jobsdefined4", "jobsarchived4", "jobsarchived", "filestable4", "metatable", "metatable_arch",
    "jedi_tasks", "jedi_taskparams", "jedi_jobparams_template", "jedi_datasets", "jedi_dataset_contents", "t_task",
    "debug_jobs",
)  # fmt: skip
ASKED: dict[str, Any] = {
    "task_id": 5, "ids": [5, 6], "username": "me", "req_id": None, "since": datetime(2026, 1, 1, tzinfo=UTC),
    "until": datetime(2026, 2, 1, tzinfo=UTC), "equal": '{"status": "done"}', "filled": ["site"], "n": 500,
    "label": "user", "after": None, "datasets": [1, 2], "dataset": 1, "statuses": None, "id": 5, "tags": "dm",
    "holder": "user me", "held": [5], "room": 100,
}  # fmt: skip
SEARCHES = ({"task_id": None}, {"req_id": 7}, {"task_id": None, "req_id": 7, "since": None})
QUERIES = [
    query
    for store in (task_queries, job_counts, user_metadata, debug_mode)
    for query in store.SQL
    if query.name != "job_counts_alive"
]


async def plan_of(database: Database, query: Query, asked: dict[str, Any]) -> list[str]:
    async def explain(tx: Transaction) -> list[str]:
        await tx.run(Query(name="guard", text="SET LOCAL enable_seqscan = off"))
        text = f"EXPLAIN {query.in_schemas(database.schemas)}"
        return (await tx.run(Query(name=f"explain_{query.name}", text=text), **asked)).column("QUERY PLAN")

    return await database.transaction("explain", explain)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
async def test_no_large_table_is_read_as_a_whole(database: Database, query: Query) -> None:
    for more in SEARCHES if query.name == "task_queries_found" else ({},):
        after = {"after": 0} if query.name == "task_queries_files" else {}
        plan = await plan_of(database, query, {**ASKED, **more, **after})
        whole = [line for line in plan if "Seq Scan" in line and any(f" on {table} " in f"{line} " for table in LARGE)]
        assert not whole, plan
