"""datasetManager with the plugins that come with the server: whole ways, over real directories and a real database."""

import zlib
from pathlib import Path

import pytest
from endings import DirectPool, job, make_adder, run, seed_file, seed_job, statuses
from storing import Manager, RealPlugins, ago, datasets, seed_dataset, seed_sub

from pandatx.plugins.storage import path_in

CONTENT = b"what a job has made"
ADLER = f"ad:{zlib.adler32(CONTENT):08x}"


def put(directory: Path, lfn: str, content: bytes = CONTENT, scope: str = "mc") -> Path:
    path = path_in(str(directory), scope, lfn)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def here(tmp_path) -> Path:
    return tmp_path / "here"


@pytest.fixture
def there(tmp_path) -> Path:
    return tmp_path / "there"


@pytest.fixture
def local(database, here, there) -> Manager:
    storage = {"storage": {"HERE": str(here), "THERE": str(there)}}
    return Manager(database, RealPlugins(), storage, "pandatx.plugins.local")


async def seed_waiting(database) -> None:
    await seed_job(database, 1, "jobsdefined4", jobstatus="assigned", currentpriority=900)
    await seed_file(
        database, 1, "in1", "input", scope="mc", dispatchdblock="in_dis1", destinationdblock=None, fsize=len(CONTENT)
    )


async def test_an_input_that_was_put_into_the_storage_releases_its_job(local, database, here):
    await seed_waiting(database)
    assert await local.run() == {}
    path = put(here, "in1", CONTENT[:-1])
    await run(database, "UPDATE {panda}.jobsdefined4 SET proddbupdatetime = NULL RETURNING 1")
    assert await local.run() == {}, "the half of a file is no file"
    path.write_bytes(CONTENT)
    await run(database, "UPDATE {panda}.jobsdefined4 SET proddbupdatetime = NULL RETURNING 1")
    assert await local.run() == {"activated": 1}
    assert local.activated == [1]


async def seed_moving(database, **file) -> None:
    await seed_job(database, 1, jobstatus="transferring", prodsourcelabel="managed", modificationtime=ago(hours=3))
    about = {"scope": "mc", "destinationse": "THERE", "guid": "g", "fsize": len(CONTENT), "checksum": ADLER}
    await seed_file(database, 1, "out1", status="transferring", destinationdblock="mc.x_sub01", **about | file)
    await seed_sub(database, "mc.x_sub01", "running", ago(hours=3))


async def test_an_output_that_has_arrived_at_its_destination_finishes_its_job(local, database, here, there):
    await seed_moving(database)
    put(here, "out1")
    assert await local.run() == {}, "it is where the job ran, not where it goes"
    put(there, "out1")
    await run(database, "UPDATE {panda}.jobsactive4 SET modificationtime = %(t)s RETURNING 1", t=ago(hours=3))
    assert await local.run() == {"transfers": 1}
    await make_adder(database, DirectPool()).run_once()
    assert (await job(database, 1))["jobstatus"] == "finished"
    assert await statuses(database) == {"out1": "ready"}


@pytest.mark.parametrize("wrong", [{"fsize": 1}, {"checksum": "ad:00000001"}])
async def test_a_file_that_is_not_the_one_that_was_reported_has_not_arrived(local, database, there, wrong):
    await seed_moving(database, **wrong)
    put(there, "out1")
    assert await local.run() == {}


async def test_where_the_destination_is_none_of_ours_any_storage_will_do(local, database, here):
    await seed_moving(database, destinationse="ELSEWHERE")
    put(here, "out1")
    assert await local.run() == {"transfers": 1}


async def test_the_rows_of_blocks_go_and_their_files_stay(local, database, here):
    """From closing to deletion: a sub block, and the dispatch block behind it."""
    await seed_sub(database, "mc.x_sub01", "tobeclosed", ago(minutes=2))
    await seed_dataset(database, "mc.in_dis1", "completed", ago(hours=5), "dispatch")
    await seed_job(database, 1, "jobsarchived4", jobstatus="finished", vo="mc")
    about = {"scope": "mc", "status": "ready"}
    await seed_file(database, 1, "out1", destinationdblock="mc.x_sub01", **about)
    await seed_file(database, 1, "in1", "input", dispatchdblock="mc.in_dis1", destinationdblock=None, **about)
    files = [put(here, "out1"), put(here, "in1")]
    assert await local.run() == {"closed": 1}
    assert await datasets(database) == {"mc.x_sub01": "completed", "mc.in_dis1": "deleting"}
    local.clock.reactor.advance(30 * 60)
    await run(database, "UPDATE {panda}.datasets SET creationdate = modificationdate RETURNING 1")
    assert await local.run() == {"dispatch_deleted": 1, "subs_deleted": 1}
    assert await datasets(database) == {"mc.x_sub01": "deleted", "mc.in_dis1": "deleted"}
    assert all(path.exists() for path in files)


async def test_without_data_management_there_is_nothing_to_wait_for(database):
    dummy = Manager(database, RealPlugins(), {}, "pandatx.plugins.dummy")
    await seed_moving(database)
    await seed_dataset(database, "mc.y", "tobeclosed", ago(hours=1))
    assert await dummy.run() == {"closed": 1, "transfers": 1}


async def test_a_job_that_waits_for_what_nobody_here_knows_keeps_waiting(database):
    dummy = Manager(database, RealPlugins(), {}, "pandatx.plugins.dummy")
    await seed_waiting(database)
    assert await dummy.run() == {}


class Broken:
    """A setupper that knows one dataset less than it should, and does not follow transfers."""

    def close_datasets(self, items, settings):
        if any(item["name"] == "mc.bad" for item in items):
            raise OSError("mc.bad is not on this tape")
        return [{"name": item["name"], "done": True, "error": None} for item in items]


async def test_a_plugin_that_fails_over_one_dataset_does_the_others(database, monkeypatch):
    import pandatx.plugins.run as child

    monkeypatch.setattr(child, "Setupper", Broken, raising=False)
    broken = Manager(database, RealPlugins(), {}, "pandatx.plugins.run")
    for name in ("mc.good", "mc.bad", "mc.fine"):
        await seed_dataset(database, name, "tobeclosed", ago(hours=1))
    assert await broken.run() == {"closed": 2}
    assert await datasets(database) == {"mc.good": "completed", "mc.bad": "tobeclosed", "mc.fine": "completed"}


async def test_the_plugin_of_the_jobs_vo_is_asked(database):
    asked = []

    class Asking(RealPlugins):
        async def call(self, name, *args, timeout, context=""):
            asked.append(args[0])
            return await super().call(name, "pandatx.plugins.dummy:Setupper", *args[1:], timeout=timeout)

    manager = Manager(database, Asking(), {})
    manager.datasets._storages._setupper = lambda vo: f"plugin of {vo}"
    for name, columns in {
        "mc.a": {"vo": "atlas"},
        "mc.b": {"vo": "atlas", "destinationse": "local"},
        "mc.c": {"vo": "ams"},
    }.items():
        await seed_dataset(database, name, "tobeclosed", ago(hours=1))
        panda_id = ord(name[-1])
        await seed_job(database, panda_id, "jobsarchived4", jobstatus="finished", **columns)
        await seed_file(database, panda_id, "out", destinationdblock=name, status="ready")
    assert await manager.run() == {"closed": 3}
    assert sorted(asked) == ["plugin of ams", "plugin of atlas", "plugin of local"]
