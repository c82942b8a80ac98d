"""What is answered where there is something to tell is what the API document says."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from asking import get
from real import Real
from sites import PRODUCTION
from tasks_by_hand import make_job, make_task

from pandatx.cli.api import described_api
from pandatx.store.database import Database

TASK, PARENT = 10_000_001, 10_000_000
SINCE = "2020-01-01 00:00:00"
OF_TASK = {"task_id": TASK}
ASKED: dict[str, dict[str, Any]] = {
    "task/get_status": OF_TASK,
    "task/get_task_parameters": OF_TASK,
    "task/get_detailed_info": OF_TASK,
    "task/get_parent_detailed_info": OF_TASK,
    "task/get_tasks_detailed_info_since": {"filters": '{"userName": "alice"}'},
    "task/get_tasks_modified_since": {"since": SINCE, "dn": "alice", "full": True},
    "task/get_details": {**OF_TASK, "include_parameters": True, "include_status": True},
    "task/get_job_ids": OF_TASK,
    "task/get_job_descriptions": OF_TASK,
    "task/get_datasets_and_files": OF_TASK,
    "task/get_jumbo_job_datasets": {"from_offset": 36500},
    "statistics/active_job_stats_by_site": {},
    "statistics/active_job_detailed_stats_by_site": {},
    "statistics/job_stats_by_cloud": {"type": "analysis"},
    "statistics/production_job_stats_by_cloud_and_processing_type": {},
    "statistics/job_stats_by_site_and_resource_type": {},
    "statistics/job_stats_by_site_share_and_resource_type": {},
    "metaconfig/get_banned_users": {},
    "metaconfig/get_resource_types": {},
    "metaconfig/get_site_specs": {"type": "all"},
    "system/get_attributes": {"a": 1},
    "system/get_voms_attributes": {},
    "system/get_user_attributes": {},
    "pandatx/get_server": {},
    "job/get_status": {"job_ids": [1, 2, 99]},
    "job/get_description": {"job_ids": [1, 99]},
    "job/get_description_incl_archive": {"job_ids": [1, 99]},
    "job/get_metadata_for_analysis_jobs": OF_TASK,
    "pilot/get_job_status": {"job_ids": [1, 99]},
}


async def fill(real: Real, database: Database) -> None:
    await make_task(database, PARENT)
    task = await make_task(database, TASK, parent_tid=PARENT, splitrule="US=1", memory_leak_x2=1.5)
    await make_job(database, task)
    await make_job(database, task, status="defined", prodsourcelabel="managed", cloud="DE")
    jumbo = {"label": "managed", "usejumbo": "W", "status": "done"}
    await make_task(database, 5, **jumbo)
    for table in ("jedi_taskparams", "jedi_jobparams_template"):
        real.run(f"INSERT INTO {table} VALUES (%s, %s)", TASK, '{"cliParams": "prun"}')
    real.run("UPDATE jedi_tasks SET modificationtime = now() AT TIME ZONE 'UTC' - interval '1 hour'")
    real.run("INSERT INTO users (id, name, status) VALUES (1, 'Bad', 'disabled')")
    real.run("INSERT INTO schedconfig_json VALUES ('Q', %s)", json.dumps({"nickname": "Q", "cloud": "DE"}))
    real.run(
        "INSERT INTO jobsarchived4 (pandaid, jobstatus, jeditaskid, prodsourcelabel, modificationtime)"
        " VALUES (900, 'finished', %s, 'user', '2026-01-01')",
        TASK,
    )
    real.run("INSERT INTO metatable VALUES (900, '2026-01-01', '{}')")
    await real.core.statistics.count()
    await real.core.facts.refresh()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return dict(described_api())


async def test_answers_are_what_the_document_says(real: Real, database: Database, document: dict[str, Any]) -> None:
    await fill(real, database)
    for path, asked in ASKED.items():
        got = await get(real, path, PRODUCTION, **asked)
        assert got.json["success"], (path, got.json)
        assert got.json["data"] or path in ("system/get_voms_attributes",), path
        answers = document["paths"][f"/api/v1/{path}"]["get"]["responses"]["200"]
        schema = answers["content"]["application/json"]["schema"]
        checked = jsonschema_rs.validator_for({**schema, "components": document["components"]})
        assert [str(error) for error in checked.iter_errors(got.json)] == [], path


def test_every_operation_of_these_groups_is_asked(document: dict[str, Any]) -> None:
    read = {
        path.removeprefix("/api/v1/")
        for path, verbs in document["paths"].items()
        if "get" in verbs and path.split("/")[3:4] in (["task"], ["statistics"], ["metaconfig"], ["system"], ["job"])
    }
    assert read - set(ASKED) <= {"system/is_alive", "job/generate_offline_execution_script"}
