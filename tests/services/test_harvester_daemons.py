"""pilotStreaming and worker_synchronization leave commands for Harvesters, on a real database."""

import json

import pytest
from endings import run, seed_job

from pandatx.domain.queues import Queue, with_children
from pandatx.domain.requests import WorkerStatus
from pandatx.domain.shares import ResourceTypeRow
from pandatx.scheduler.context import Context
from pandatx.scheduler.daemons.pilot_streaming import StreamPilots
from pandatx.scheduler.daemons.worker_synchronization import SynchronizeWorkers
from pandatx.services.facts import Facts, Known
from pandatx.services.pilot_news import PilotNews
from pandatx.services.pilot_streaming import PilotStreaming
from pandatx.services.worker_synchronization import WorkerSynchronization

COMMANDS = (
    "SELECT harvester_id, command, ack_requested, status, params FROM {panda}.harvester_commands ORDER BY command_id"
)


@pytest.fixture
def streaming(database, now) -> PilotStreaming:
    described = {"capability": "ucore", "workflow": "pull_ups", "core_count": 8, "document": {"harvester": "h"}}
    queues = [*with_children(Queue(name="Q", **described), ["SCORE"]), Queue(name="other", workflow="pull_ups")]
    types = (ResourceTypeRow(name="SCORE", min_core=1, max_core=1), ResourceTypeRow(name="MCORE", min_core=2))
    known = Known(queues={queue.name: queue for queue in queues}, resource_types=types)
    return PilotStreaming(database, now, Facts(database, now, known=known))


async def stream(streaming, now) -> Context:
    context = Context(now, "pilotStreaming")
    assert await StreamPilots(streaming).run(context) is False
    return context


async def report(
    database, harvester, number, queue="Q", at="2025-12-31 23:30", status="running", kind="managed"
) -> None:
    columns = "harvester_id, computingsite, resourcetype, status, jobtype, n_workers, lastupdate"
    values = f"'{harvester}', '{queue}', 'SCORE', '{status}', '{kind}', {number}, '{at}'"
    await run(database, f"INSERT INTO {{panda}}.harvester_worker_stats ({columns}) VALUES ({values}) RETURNING 1")


async def test_the_harvester_of_a_queue_is_told_how_many_workers_it_wants(database, streaming, now):
    await report(database, "h", 1)
    await report(database, "another", 50)
    for panda_id in (1, 2, 3):
        await seed_job(database, panda_id, jobstatus="activated", resource_type="SCORE", gshare="S")
    await seed_job(database, 4, jobstatus="activated", resource_type="MCORE")
    await seed_job(database, 5, jobstatus="running", resource_type="MCORE")
    await run(database, "UPDATE {panda}.jobsactive4 SET computingsite = 'Q'")
    assert (await stream(streaming, now)).counts == {"commands": 1}
    ((harvester, command, ack, status, params),) = await run(database, COMMANDS)
    assert (harvester, command, ack, status) == ("h", "SET_N_WORKERS_JOBTYPE:Q", 0, "new")
    assert json.loads(params) == {"managed": {"SCORE": 4, "MCORE": 2}}


async def test_a_harvester_that_reports_more_workers_than_there_can_be_stops_nobody_elses_commands(
    database, streaming, now
):
    await report(database, "h", 1)
    for kind in ("managed", "user"):
        await report(database, "another", 2**31 - 1, status="ready", kind=kind)
    assert (await stream(streaming, now)).counts == {"commands": 1}


async def test_a_new_command_takes_the_place_of_the_last_whatever_became_of_it(database, streaming, now):
    await report(database, "h", 1)
    await stream(streaming, now)
    await run(database, "UPDATE {panda}.harvester_commands SET status = 'acknowledged'")
    await run(
        database, "INSERT INTO {panda}.harvester_commands (command_id, command, harvester_id) VALUES (0, 'x', 'h')"
    )
    await stream(streaming, now)
    assert [(row[1], row[3]) for row in await run(database, COMMANDS)] == [
        ("x", None),
        ("SET_N_WORKERS_JOBTYPE:Q", "new"),
    ]


@pytest.mark.parametrize(
    "reported",
    [{"harvester": "another"}, {"harvester": "h", "at": "2025-12-31 22:59"}, {"harvester": "h", "queue": "R"}],
)
async def test_a_queue_whose_harvester_has_said_nothing_of_late_is_left_alone(database, streaming, now, reported):
    await report(database, number=1, **reported)
    assert (await stream(streaming, now)).counts["commands"] == 0
    assert await run(database, COMMANDS) == []


async def seed_worker(database, worker, **columns) -> None:
    row = {
        "harvesterid": "h", "workerid": worker, "lastupdate": "2025-12-31 20:00", "submittime": "2025-12-31 19:00",
        "status": "submitted", "pilotstatus": "started", "pilotstarttime": "2025-12-31 22:00", **columns,
    }  # fmt: skip
    names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    await run(database, f"INSERT INTO {{panda}}.harvester_workers ({names}) VALUES ({values}) RETURNING 1", **row)


async def synchronize(database, now) -> list:
    assert await SynchronizeWorkers(WorkerSynchronization(database, now)).run(Context(now, "x")) is False
    return [(row[1], json.loads(row[4])) for row in await run(database, COMMANDS)]


ENDED = {"pilotstatus": "finished", "pilotendtime": "2025-12-31 22:00"}
STALE = {
    "submitted, runs": ({}, "ACTIVATE"),
    "ready, runs": ({"status": "ready"}, "ACTIVATE"),
    "runs, ended": ({"status": "running", **ENDED}, "KILL"),
    "idle, ended": ({"status": "idle", **ENDED}, "KILL"),
    "known to run": ({"status": "running"}, None),
    "known to have ended": ({"status": "finished", **ENDED}, None),
    "started within the hour": ({"pilotstarttime": "2025-12-31 23:01"}, None),
    "ended within the hour": ({"status": "running", **ENDED, "pilotendtime": "2025-12-31 23:01"}, None),
    "unchanged for a week": ({"lastupdate": "2025-12-24 23:59"}, None),
    "submitted two weeks ago": ({"submittime": "2025-12-17 23:59"}, None),
    "told of lately": ({"pilotstatussynctime": "2025-12-31 23:31"}, None),
    "told of half an hour ago": ({"pilotstatussynctime": "2025-12-31 23:29"}, "ACTIVATE"),
}


@pytest.mark.parametrize("case", STALE)
async def test_harvesters_are_told_of_workers_that_they_have_wrong(database, now, case):
    columns, wanted = STALE[case]
    await seed_worker(database, 7, **columns)
    assert await synchronize(database, now) == ([(f"SYNC_WORKERS_{wanted}", [7])] if wanted else [])


@pytest.mark.parametrize(("said", "wanted"), [("started", "ACTIVATE"), ("finished", "KILL")])
async def test_what_pilots_say_reaches_a_harvester_that_has_not_found_it_out_in_an_hour(
    database, now, time, said, wanted
):
    await seed_worker(database, 7, pilotstatus=None, pilotstarttime=None)
    await PilotNews(database, now).worker_status(WorkerStatus(worker_id=7, harvester_id="h", status=said))
    time.advance(3600)
    assert await synchronize(database, now) == []
    time.advance(1)
    assert await synchronize(database, now) == [(f"SYNC_WORKERS_{wanted}", [7])]


async def test_of_more_than_a_hundred_workers_none_is_forgotten_and_none_told_of_twice_in_half_an_hour(
    database, now, time
):
    for worker in range(205):
        await seed_worker(database, worker)
    told = await synchronize(database, now)
    assert [len(workers) for _, workers in told] == [100, 100, 5]
    assert sorted(worker for _, workers in told for worker in workers) == list(range(205))
    time.advance(1799)
    assert await synchronize(database, now) == told
    time.advance(2)
    assert len(await synchronize(database, now)) == 3
