"""Setup with the real process pool and the shipped plugins."""

import os
from datetime import timedelta

import pytest
import pytest_twisted
from attrs import evolve
from test_setup import LOG, WITH_INPUT, Made
from test_submission import JOB, PRODUCTION
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from pandatx.clock import Clock
from pandatx.domain.job import JobFile
from pandatx.plugins.registry import resolve
from pandatx.plugins.storage import path_in
from pandatx.services.setup import Setup
from pandatx.store.queries import Query
from pandatx.workers.pool import PoolSettings, ProcessPool


@pytest_twisted.async_yield_fixture
async def pool():
    pool = ProcessPool(reactor, PoolSettings(size=1, environment={"PATH": os.environ["PATH"]}))
    await pool.start()
    yield pool
    await pool.stop()


def wired(database, pool, plugin: str) -> Made:
    made = Made(database)
    setuppers = resolve([(("any",), f"pandatx.plugins.{plugin}:Setupper", None)], "setupper")
    made.setup = Setup(database, Clock(reactor), setuppers, pool, made.tell, {"storage": {}})
    made.submission._stored = made.setup.accept
    return made


@pytest.mark.parametrize("plugin", ["dummy", "local"])
async def test_jobs_go_through_a_child_and_are_activated(database, pool, plugin):
    made = wired(database, pool, plugin)
    await gatherResults([Deferred.fromCoroutine(made.submit(JOB, JOB)) for _ in range(5)])
    assert await made.places() == [("active", "activated")] * 10


async def test_the_local_plugin_makes_blocks_and_has_jobs_wait_for_their_inputs(database, pool):
    made = wired(database, pool, "local")
    await made.submit(WITH_INPUT)
    assert await made.places() == [("defined", "assigned")]
    rows = Query(name="d", text="SELECT type, status, numberfiles, subtype FROM {panda}.datasets ORDER BY type")
    assert (await database.statement("d", rows)).rows == [
        ("dispatch", "defined", 1, None),
        ("output", "defined", 1, "top"),
    ]


async def test_production_jobs_get_sub_blocks_with_serial_numbers(database, pool):
    made = wired(database, pool, "local")
    output = JobFile(lfn="out", type="output", destination_dblock="mc.out", dataset="mc.out")
    await made.submit(*[evolve(JOB, prod_source_label="managed", files=(output,))] * 60, caller=PRODUCTION)
    assert await made.places() == [("active", "activated")] * 60
    rows = Query(
        name="f",
        text="""SELECT destinationdblock, count(*) FROM {panda}.filestable4 GROUP BY 1 ORDER BY 1""",
    )
    assert (await database.statement("f", rows)).rows == [("mc.out_sub0001", 50), ("mc.out_sub0002", 10)]


async def test_a_plugin_that_raises_is_told_of_by_name(database, pool):
    made = wired(database, pool, "dummy")
    made.setup._setuppers = type("Broken", (), {"for_vo": lambda self, vo: "pandatx.plugins.nowhere:Setupper"})()
    await made.submit(JOB)
    assert await made.places() == [("defined", "defined")]


async def test_a_job_goes_on_once_its_inputs_have_come_to_the_storage(database, pool, tmp_path):
    made = wired(database, pool, "local")
    made.setup._settings = {"storage": {"RSE": str(tmp_path)}}
    await made.submit(WITH_INPUT)
    assert await made.setup.recheck(timedelta(minutes=5)) == 0
    assert await made.setup.recheck(timedelta(0)) == 1
    assert await made.places() == [("defined", "assigned")]
    arrived = path_in(str(tmp_path), None, "in.root")
    arrived.parent.mkdir(parents=True)
    arrived.write_bytes(b"data")
    assert await made.setup.recheck(timedelta(0)) == 1
    assert await made.places() == [("active", "activated")]
    log = (await database.statement("l", LOG)).rows
    assert [status for _, status in log] == ["defined", "assigned", "activated"]
