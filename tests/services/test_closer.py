"""Closing blocks and finishing transferring jobs, on a real database."""

import pytest
from attrs import evolve
from endings import (
    DirectPool,
    Told,
    job,
    logged,
    make_adder,
    reports,
    run,
    seed_block,
    seed_file,
    seed_job,
    seed_reported,
    statuses,
)
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from pandatx.clock import Clock
from pandatx.domain.job import Job, JobFile
from pandatx.services.closer import Closer
from pandatx.services.finisher import Finisher

ENDED = Job(
    panda_id=1,
    job_status="finished",
    prod_source_label="user",
    files=(JobFile(row_id=1, lfn="out", type="output", status="ready", destination_dblock="block"),),
)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def closer(database, told) -> Closer:
    return Closer(database, Clock(reactor), told.activate)


async def blocks(database) -> dict[str, str]:
    return dict(await run(database, "SELECT name, status FROM {panda}.datasets"))


async def test_a_block_stays_open_while_a_file_of_it_is_to_come(database, closer, told):
    await seed_block(database)
    await seed_file(database, 2, "out2")
    await closer.close([ENDED])
    assert await blocks(database) == {"block": "defined"}
    await run(database, "UPDATE {panda}.filestable4 SET status = 'failed' RETURNING 1")
    await closer.close([ENDED])
    assert await blocks(database) == {"block": "tobeclosed"}
    assert told.names == ["block"]


async def test_a_block_is_closed_by_one_of_those_that_want_it(database, closer, told):
    await seed_block(database)
    await gatherResults([Deferred.fromCoroutine(closer.close([ENDED])) for _ in range(3)])
    assert told.names == ["block"]


async def test_blocks_that_are_closed_or_unknown_are_left_alone(database, closer, told):
    for status in ("cleanup", "completed", "deleted"):
        await seed_block(database, status, status)
    file = ENDED.files[0]
    names = ("cleanup", "completed", "deleted", "unknown")
    await closer.close([evolve(ENDED, files=tuple(evolve(file, destination_dblock=name) for name in names))])
    assert await blocks(database) == {"cleanup": "cleanup", "completed": "completed", "deleted": "deleted"}


async def test_jobs_that_end_on_two_servers_at_once_close_their_block(database):
    await seed_reported(database, 1, 2)
    await seed_block(database)
    one, two = (make_adder(database, DirectPool(), owner=owner) for owner in ("one", "two"))
    await gatherResults([Deferred.fromCoroutine(adder.run_once(1)) for adder in (one, two)])
    assert await blocks(database) == {"block": "tobeclosed"}


@pytest.fixture
def woken() -> list[bool]:
    return []


@pytest.fixture
def finisher(database, woken) -> Finisher:
    return Finisher(database, Clock(reactor), lambda: woken.append(True))


async def test_outputs_that_have_arrived_end_their_jobs_through_the_adder(database, finisher, woken):
    await seed_job(database, 1, jobstatus="transferring")
    await seed_file(database, 1, "out1", status="transferring", guid="g", fsize=5, checksum="ad:00000001")
    await seed_file(database, 1, "log1", "log", status="ready", guid="h", fsize=6, checksum="ad:00000002")
    await seed_block(database)
    assert await finisher.arrived("block") == 1
    assert woken
    await make_adder(database, DirectPool()).run_once()
    assert (await job(database, 1))["jobstatus"] == "finished"
    assert await statuses(database) == {"out1": "ready", "log1": "ready"}
    assert await blocks(database) == {"block": "cleanup"}
    assert await logged(database) == [(1, "finished")]


async def test_a_job_with_other_outputs_on_their_way_waits(database, finisher):
    await seed_job(database, 1, jobstatus="transferring")
    await seed_file(database, 1, "out1", status="transferring")
    await seed_file(database, 1, "out2", status="transferring", destinationdblock="other")
    assert await finisher.arrived("block") == 0
    assert await reports(database) == []
    assert await statuses(database) == {"out1": "ready", "out2": "transferring"}


async def test_a_job_with_a_failed_output_is_reported_failed(database, finisher):
    await seed_job(database, 1, jobstatus="transferring")
    await seed_file(database, 1, "out1", status="failed")
    assert await finisher.finish([1, 2]) == 1
    assert await run(database, "SELECT jobstatus FROM {panda}.job_output_report") == [("failed",)]
