"""metric_collector and task_evaluator on a real database."""

import json
from datetime import timedelta

import pytest
from endings import run, seed_job

from pandatx.domain.queues import Queue
from pandatx.domain.shares import ShareRow, tree_of
from pandatx.scheduler.context import Context
from pandatx.scheduler.daemons.metric_collector import CollectMetrics
from pandatx.scheduler.daemons.task_evaluator import EvaluateTasks
from pandatx.services.facts import Facts, Known
from pandatx.services.metric_collector import MetricCollector
from pandatx.services.task_evaluator import TaskEvaluator

ALL = {"gshare_preference", "analy_pmerge_jobs_wait_time", "analy_site_eval", "users_jobs_stats", "analy_user_eval"}


@pytest.fixture
def facts(database, now) -> Facts:
    tree = tree_of([ShareRow(name="User Analysis", value=1)])
    queues = {"Q": Queue(name="Q", resource_type="GRID", workflow="push")}
    return Facts(database, now, known=Known(queues=queues, shares=tree, ranks={"User Analysis": 1}))


@pytest.fixture
def collector(database, now, facts) -> MetricCollector:
    return MetricCollector(database, now, facts, "here")


async def collect(collector, now) -> dict:
    context = Context(now, "metric_collector")
    assert await CollectMetrics(collector).run(context) is False
    return dict(context.counts)


async def metric(database, name) -> dict:
    text = "SELECT computingsite, gshare, value_json::text FROM {panda}.metrics WHERE metric = %(metric)s"
    return {(site, share): json.loads(value) for site, share, value in await run(database, text, metric=name)}


async def seed_analysis(database) -> None:
    """A merge job that waited ten minutes and ran, one that waited twenty, one that waits; jobs of a user."""
    user = {"gshare": "User Analysis", "processingtype": "pmerge", "corecount": 1}
    for panda_id, waited in ((1, 10), (2, 20)):
        at = {"modificationtime": "2025-12-31 23:50", "starttime": "2025-12-31 23:40"}
        await seed_job(database, panda_id, "jobsarchived4", jobstatus="finished", **at, **user)
        for status, minute in (("activated", 0), ("running", waited), ("running", 59)):
            columns, values = (
                "pandaid, modificationtime, jobstatus",
                f"{panda_id}, '2025-12-31 22:{minute:02}', '{status}'",
            )
            await run(database, f"INSERT INTO {{panda}}.jobs_statuslog ({columns}) VALUES ({values}) RETURNING 1")
    await seed_job(database, 3, jobstatus="starting", **user | {"creationtime": "2025-12-31 22:00"})
    for panda_id in (4, 5):
        await seed_job(database, panda_id, jobstatus="running", gshare="User Analysis", corecount=8)
    stats = "ts, gshare, computingsite, jobstatus, njobs, hs"
    values = "'2026-01-01', 'User Analysis', 'Q', 'running', 2, 160"
    await run(database, f"INSERT INTO {{panda}}.jobs_share_stats ({stats}) VALUES ({values}) RETURNING 1")


async def test_from_jobs_to_the_evaluation_of_their_user(database, collector, now):
    await seed_analysis(database)
    assert (await collect(collector, now)).keys() == ALL
    preference = (await metric(database, "gshare_preference"))["NULL", "User Analysis"]
    assert (preference["running_hs"], preference["target_hs"], preference["rank"]) == (160, 160, 1)
    waits = (await metric(database, "analy_pmerge_jobs_wait_time"))["Q", "NULL"]
    assert (waits["n"], waits["mean"], waits["med"]) == (2, 900, 900)
    assert (waits["long_q_n"], waits["long_q_mean"]) == (1, 7200)
    sites = (await metric(database, "analy_site_eval"))["Q", "NULL"]
    assert (sites["class"], sites["resource_type"]) == (1, "GRID")
    assert sites["strr_6h"] == pytest.approx(18 / (6 - 1 / 6))
    jobs = (await metric(database, "users_jobs_stats"))["Q", "User Analysis"]
    assert (jobs["alice"]["nRunning"], jobs["alice"]["slotsRunning"], jobs["_total"]["nRunning"]) == (2, 16, 2)
    users = (await metric(database, "analy_user_eval"))["NULL", "NULL"]
    assert users["alice"]["rem_slots_A"] == 984


async def test_each_metric_has_its_own_period_among_all_servers(database, collector, now, facts, time):
    another = MetricCollector(database, now, facts, "there")
    assert (await collect(collector, now)).keys() == ALL
    assert await collect(another, now) == {}
    time.advance(299)
    assert (await collect(another, now)).keys() == {"gshare_preference", "users_jobs_stats"}
    time.advance(301)
    assert (await collect(collector, now)).keys() == {"gshare_preference", "users_jobs_stats", "analy_user_eval"}
    time.advance(1200)
    assert (await collect(collector, now)).keys() == ALL


async def test_an_older_server_that_has_begun_a_metric_is_left_to_it(database, collector, now):
    lock = "'default', 'default', 'default', 0, 'default', 'pandaMetr.gshare_preferenc.3f0e06f9', 'old-1-2'"
    await run(
        database,
        "INSERT INTO {panda}.jedi_process_lock (vo, prodsourcelabel, cloud, workqueue_id, resource_type, component,"
        f" lockedby, lockedtime) VALUES ({lock}, '2025-12-31 23:56') RETURNING 1",
    )
    assert (await collect(collector, now)).keys() == ALL - {"gshare_preference"}
    holders = "SELECT DISTINCT lockedby FROM {panda}.jedi_process_lock WHERE component LIKE 'pandaMetr%%' ORDER BY 1"
    assert await run(database, holders) == [("here",), ("old-1-2",)]


async def test_what_is_too_old_is_not_built_upon(database, collector, now, time):
    await seed_analysis(database)
    await collect(collector, now)
    await run(database, "UPDATE {panda}.jedi_process_lock SET lockedtime = NULL WHERE component LIKE '%%analy_user%%'")
    await run(database, "UPDATE {panda}.metrics SET timestamp = timestamp - interval '3 hours'")
    time.advance(60)
    await collect(collector, now)
    assert (await metric(database, "analy_user_eval"))["NULL", "NULL"] == {}


async def seed_task(database, task_id, **columns) -> None:
    row = {
        "jeditaskid": task_id, "status": "running", "tasktype": "anal", "prodsourcelabel": "user", "username": "alice",
        "gshare": "User Analysis", "taskname": f"t{task_id}", "creationdate": "2025-12-31",
        "modificationtime": "2025-12-31", "vo": "wlcg", **columns,
    }  # fmt: skip
    names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    await run(database, f"INSERT INTO {{panda}}.jedi_tasks ({names}) VALUES ({values}) RETURNING 1", **row)
    dataset = {
        "jeditaskid": task_id, "datasetid": task_id, "datasetname": "d", "type": "input", "nfiles": 100,
        "nfilesfinished": 95, "nfilesfailed": 0, "creationtime": "2025-12-31", "modificationtime": "2025-12-31",
        "status": "ready",
    }  # fmt: skip
    names, values = ", ".join(dataset), ", ".join(f"%({name})s" for name in dataset)
    await run(database, f"INSERT INTO {{panda}}.jedi_datasets ({names}) VALUES ({values}) RETURNING 1", **dataset)
    for number in range(40):
        content = {
            "jeditaskid": task_id, "datasetid": task_id, "fileid": task_id * 100 + number, "lfn": "f", "type": "input",
            "pandaid": number // 2, "creationdate": "2025-12-31", "status": "ready",
        }  # fmt: skip
        names, values = ", ".join(content), ", ".join(f"%({name})s" for name in content)
        await run(
            database, f"INSERT INTO {{panda}}.jedi_dataset_contents ({names}) VALUES ({values}) RETURNING 1", **content
        )


async def evaluate(evaluator, now) -> int:
    context = Context(now, "task_evaluator")
    assert await EvaluateTasks(evaluator).run(context) is False
    return context.counts["tasks"]


EVALUATIONS = "SELECT jeditaskid, value_json FROM {panda}.task_evaluation ORDER BY 1"


async def test_tasks_under_way_are_evaluated_every_ten_minutes_among_all_servers(database, collector, facts, now, time):
    await seed_analysis(database)
    await collect(collector, now)
    for task_id, columns in (
        (1, {}), (2, {"status": "done"}), (3, {"username": "gangarbt"}), (4, {"modificationtime": "2025-12-01"}),
        (5, {"tasktype": "prod"}), (6, {"username": "bob"}), (7, {"gshare": "Express Analysis", "username": "bob"}),
    ):  # fmt: skip
        await seed_task(database, task_id, **columns)
    evaluator = TaskEvaluator(database, now, facts, "here")
    assert await evaluate(evaluator, now) == 2
    rows = {task_id: json.loads(value) for task_id, value in await run(database, EVALUATIONS)}
    assert {task_id: value["class"] for task_id, value in rows.items()} == {1: 2, 7: 2}
    assert (rows[1]["user"], rows[1]["n_files_total"], rows[1]["pct_finished"]) == ("alice", 100, 95.0)
    assert await evaluate(TaskEvaluator(database, now, facts, "there"), now) == 0
    time.advance(600)
    assert await evaluate(TaskEvaluator(database, now, facts, "there"), now) == 2


async def test_evaluations_of_tasks_that_are_over_go_after_two_hours(database, facts, now):
    for task_id, status in ((1, "done"), (2, "running"), (3, "finished")):
        await seed_task(database, task_id, status=status)
        age = timedelta(minutes=119 if task_id == 3 else 121)
        columns, values = "jeditaskid, metric, value_json, timestamp", f"{task_id}, 'analy_task_eval', '[]', %(at)s"
        text = f"INSERT INTO {{panda}}.task_evaluation ({columns}) VALUES ({values}) RETURNING 1"
        await run(database, text, at=now.now() - age)
    await evaluate(TaskEvaluator(database, now, facts, "here"), now)
    assert [task_id for task_id, _ in await run(database, EVALUATIONS)] == [2, 3]
