"""What pilots say of workers and nodes, and counting their requests, on a real database."""

import attrs
import pytest
from endings import run
from twisted.internet import task

from pandatx.clock import Clock
from pandatx.config import Schemas
from pandatx.domain.job import Job
from pandatx.domain.report import ReportOutcome
from pandatx.domain.requests import WorkerNode, WorkerNodeGpu, WorkerStatus
from pandatx.services.counters import OTHERS, Counters
from pandatx.services.pilot_news import PilotNews
from pandatx.store.database import Database


@pytest.fixture
def time() -> task.Clock:
    return task.Clock()


@pytest.fixture
def news(database, time) -> PilotNews:
    return PilotNews(database, Clock.manual(time))


NODE = WorkerNode(site="S", host_name="slot1@host", cpu_model="Intel(R) Xeon(R) CPU E5-2630 v3 @ 2.40GHz")


async def test_a_pilot_that_starts_and_finishes_is_noted_at_its_worker(database, news, time):
    await run(
        database,
        "INSERT INTO {panda}.harvester_workers (harvesterid, workerid, lastupdate, status)"
        " VALUES ('h', 7, '2026-01-01', 'running') RETURNING 1",
    )
    await news.worker_status(WorkerStatus(worker_id=7, harvester_id="h", status="started", node_id="n"))
    time.advance(60)
    await news.worker_status(WorkerStatus(worker_id=7, harvester_id="h", status="finished"))
    await news.worker_status(WorkerStatus(worker_id=8, harvester_id="h", status="started"))
    text = "SELECT pilotstatus, nodeid, pilotendtime - pilotstarttime = '1 minute' FROM {panda}.harvester_workers"
    assert await run(database, text) == [("finished", "n", True)]


async def test_a_node_is_kept_once_without_its_slot_and_keeps_what_a_later_pilot_leaves_out(database, news, time):
    await news.worker_node(attrs.evolve(NODE, n_logical_cpus=16, panda_queue="Q"))
    time.advance(60)
    await news.worker_node(attrs.evolve(NODE, host_name="slot2@host", total_memory=64000))
    text = "SELECT host_name, cpu_model_normalized, n_logical_cpus, total_memory, last_seen FROM {panda}.worker_node"
    ((host, model, cpus, memory, seen),) = await run(database, text)
    assert (host, model, cpus, memory) == ("host", "Intel Xeon E5-2630 v3", 16, 64000)
    assert seen.minute == 1
    assert await run(database, "SELECT host_name, panda_queue FROM {panda}.worker_node_queue") == [("host", "Q")]


async def test_graphics_processors_are_kept(database, news):
    gpu = WorkerNodeGpu(site="S", host_name="slot1@host", vendor="NVIDIA", model="T4", count=2, vram=16000)
    await news.worker_node_gpu(gpu)
    await news.worker_node_gpu(gpu)
    text = "SELECT host_name, model, count, vram FROM {panda}.worker_node_gpus"
    assert await run(database, text) == [("host", "T4", 2, 16000)]


async def test_nodes_in_job_reports_are_kept_and_broken_blocks_passed_over(database, news):
    block = {"cpu_model": "EPYC", "n_sockets": 2, "clock_speed": 2500, "total_memory": "much"}
    job = Job(panda_id=1, computing_site="S", modification_host="slot@host")
    await news.of_report(job, ReportOutcome(failed=False, worker_node=block, worker_node_gpus={"vendor": "NVIDIA"}))
    text = "SELECT site, host_name, n_sockets, clock_speed, total_memory FROM {panda}.worker_node"
    assert await run(database, text) == [("S", "host", 2, 2500.0, None)]
    assert await run(database, "SELECT * FROM {panda}.worker_node_gpus") == []


async def test_requests_are_counted_by_queue_and_minute(database, time):
    counters = Counters(database, Clock.manual(time), "host:1")
    for queue, what in (("Q", "get_job"), ("Q", "get_job"), ("Q", "no_job"), ("R", "update_job")):
        counters.count(queue, what)
    await counters.flush()
    counters.count("Q", "get_job")
    await counters.flush()
    await counters.flush()
    text = "SELECT instance, queue, get_job, no_job, update_job FROM {own}.request_counts ORDER BY queue"
    assert await run(database, text) == [("host:1", "Q", 3, 1, 0), ("host:1", "R", 0, 0, 1)]


async def test_names_that_pilots_make_up_do_not_fill_the_memory(database, time):
    counters = Counters(database, Clock.manual(time), "i")
    for n in range(5010):
        counters.count(f"q{n}", "get_job")
    await counters.flush()
    found = await run(database, "SELECT get_job FROM {own}.request_counts WHERE queue = %(q)s", q=OTHERS)
    assert found == [(10,)]


async def test_counts_outlive_an_outage(time):
    away = Database(
        name="away", conninfo="host=/nonexistent dbname=x", clock=Clock(time), schemas=Schemas(), size=1, max_waiting=0
    )
    counters = Counters(away, Clock.manual(time), "i")
    counters.count("Q", "get_job")
    await counters.flush()
    assert counters._counts == {("Q", "get_job"): 1}
