"""What tests of tasks share: a task by its parameters, one as the engine leaves it, the rows that requests write."""

from __future__ import annotations

from typing import Any

import psycopg2
from asking import old
from real import Real
from sites import USER
from tasks_by_hand import Task, make_task

PARAMETERS = {"taskName": "user.me.x/", "vo": "wlcg", "prodSourceLabel": "user", "uniqueTaskName": True, "nFiles": 3}
DENIED = "not the task owner or no production role"
ROLE = "production or pilot role required"
FIRST = 10_000_000


async def legacy(real: Real, method: str, caller: Any = USER, **values: Any) -> Any:
    """What a client is told that posts a form and reads JSON."""
    return (await old(real, method, caller, **values)).json


def rows(real: Real, statement: str) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(real.dsn, options="-c search_path=doma_panda,doma_deft,doma_pandameta,pandatx")
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
        found = cursor.fetchall()
    connection.close()
    return found


def commands(real: Real) -> list[tuple[Any, ...]]:
    return rows(real, "SELECT comm_task, comm_owner, comm_cmd, comm_comment, comm_parameters FROM prodsys_comm")


async def mine(database: Any, status: str = "running", task_id: int = 77, **columns: Any) -> Task:
    return await make_task(database, task_id, status=status, user="Some User", taskname="user.me.x/", **columns)
