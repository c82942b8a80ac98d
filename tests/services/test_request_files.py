"""Files that an older front end has left in cache_dir become requests, by their ages."""

from __future__ import annotations

import json
import os
from datetime import timedelta

import pytest
from async_site import ME, YOU, make_handlers, notes, run, server
from twisted.logger import capturedLogs

from pandatx.domain.async_work import EVENT_PICKING, FILE_RECOVERY, WORKFLOW
from pandatx.scheduler.context import Context
from pandatx.scheduler.daemons.request_files import TakeFiles

ID = "0b5cde3a-5a4f-4a52-9d2e-2d4c3b0d7a11"
WORK = json.dumps({"userName": ME.dn, "data": {"taskParams": {}}})
EVENTS = f"userName={ME.dn}\nrunEvent=1,2\nrunEvtGuidMap={{}}\n"


@pytest.fixture
def cache(config):
    config.files.cache_dir.mkdir(parents=True)
    return config.files.cache_dir


def handlers(config, **of):
    known = make_handlers(config.process.state_dir)
    return {kind: known[handler] for kind, handler in of.items()}


def put(cache, here, name, text, age):
    path = cache / name
    path.write_text(text)
    stamp = (here.clock.now() - age).timestamp()
    os.utime(path, (stamp, stamp))
    return path


async def take(here, kind):
    context = Context(here.clock, "files")
    await TakeFiles(here.requests.files, kind).run(context)
    return context.counts["taken"]


SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


async def test_a_file_older_than_5_s_becomes_a_request_of_its_writer_and_is_deleted(config, database, cache):
    async with server(config, database, handlers=handlers(config, workflow="prints")) as here:
        young = put(cache, here, "workflow.young", WORK, timedelta(seconds=3))
        old = put(cache, here, f"workflow.{ID}", WORK, timedelta(seconds=6))
        assert await take(here, WORKFLOW) == 1
        assert (young.exists(), old.exists()) == (True, False)
        await here.turn()
        row = await here.row(ID)
        assert (row["status"], row["result"]) == ("done", str(cache))
        (stored,) = await run(database, "SELECT parameters, created_at FROM {panda}.async_requests")
        assert json.loads(stored["parameters"]) == {
            "data": {"taskParams": {}}, "dry_run": False, "requester": "Me", "access": "production", "dn": ME.dn,
            "production": False,
        }  # fmt: skip
        age = here.clock.now() - stored["created_at"]
        assert timedelta(seconds=6) <= age < timedelta(seconds=60)


async def test_a_file_that_nobody_could_store_keeps_no_other_from_being_taken(config, database, cache):
    async with server(config, database, handlers=handlers(config, workflow="prints")) as here:
        deep = "[" * 300 + "]" * 300
        bad = ('{"userName": "\\ud800"}', f'{{"userName": "/CN=x", "data": {{"taskParams": {{"a": {deep}}}}}}}')
        for number, text in enumerate(bad):
            put(cache, here, f"workflow.{number}", text, HOUR)
        put(cache, here, "workflow.9", WORK, HOUR)
        assert await take(here, WORKFLOW) == 1
        assert sorted(path.name for path in cache.iterdir()) == ["workflow.0", "workflow.1"]


async def test_a_file_is_one_request_even_if_it_was_not_deleted(config, database, cache):
    async with server(config, database, handlers=handlers(config, workflow="prints")) as here:
        for _ in range(2):
            put(cache, here, f"workflow.{ID}", WORK, HOUR)
            await take(here, WORKFLOW)
        put(cache, here, "workflow.other-name", WORK, HOUR)
        await take(here, WORKFLOW)
        assert len(await run(database, "SELECT request_id FROM {panda}.async_requests")) == 2


async def test_files_wait_for_whoever_can_do_them_and_fail_at_their_last_attempt(config, database, cache):
    async with server(config, database, handlers={}) as here:
        waiting = put(cache, here, "workflow.a", WORK, 2 * HOUR - timedelta(seconds=30))
        with capturedLogs() as events:
            assert [await take(here, WORKFLOW) for _ in range(3)] == [0, 0, 0]
        assert waiting.exists()
        assert len([event for event in events if "request_handlers names no workflow" in event.get("text", "")]) == 1
        last = put(cache, here, f"workflow.{ID}", WORK, 2 * HOUR + SECOND)
        assert await take(here, WORKFLOW) == 1
        assert (waiting.exists(), last.exists()) == (True, False)
        await here.turn()
        row = await here.row(ID)
        assert (row["status"], row["attempts"]) == ("failed", 1)
        assert "need a workflow engine" in row["error_msg"]


async def test_a_handler_that_cannot_do_it_now_is_asked_until_the_file_is_2_h_old(config, database, cache):
    async with server(config, database, handlers=handlers(config, workflow="later")) as here:
        put(cache, here, f"workflow.{ID}", WORK, 2 * HOUR - timedelta(seconds=30))
        await take(here, WORKFLOW)
        await here.turn()
        assert (await here.row(ID))["status"] == "pending"
        other = ID.replace("0b", "0c")
        put(cache, here, f"workflow.{other}", WORK, 2 * HOUR + SECOND)
        await take(here, WORKFLOW)
        await here.turn()
        row = await here.row(other)
        assert (row["status"], row["error_msg"]) == (
            "failed",
            "given up, since it is older than 2:00:00: the engine is away",
        )
        assert len(notes(config)) == 2


async def test_a_recovery_file_is_kept_by_a_normal_attempt_and_deleted_by_the_last(config, database, cache):
    """The older daemon does it the other way round."""
    async with server(config, database) as here:
        broken = put(cache, here, "recov.broken", '{"userName": "/CN=Me", "jediT', HOUR)
        assert await take(here, FILE_RECOVERY) == 0
        assert broken.exists()
        put(cache, here, "recov.broken", '{"userName": "/CN=Me", "jediT', 2 * HOUR + SECOND)
        with capturedLogs() as events:
            assert await take(here, FILE_RECOVERY) == 0
        assert not broken.exists()
        assert events == []  # said at the first attempt


async def test_a_file_that_claims_the_production_role_does_not_get_it(config, database, cache):
    await run(
        database,
        """INSERT INTO {panda}.jedi_tasks (jeditaskid, status, username, creationdate, modificationtime)
           VALUES (7, 'finished', 'You', '2026-01-01', '2026-01-01')""",
    )
    async with server(config, database) as here:
        text = json.dumps({"userName": ME.dn, "isProductionManager": True, "jediTaskID": 7})
        put(cache, here, f"recov.{ID}", text, HOUR)
        assert await take(here, FILE_RECOVERY) == 1
        await here.turn()
        row = await here.row(ID)
        assert (row["status"], row["error_msg"]) == ("failed", "not the task owner or no production role")


async def test_event_picking_files_are_taken_after_1_min_and_are_past_their_time_after_24_h(config, database, cache):
    async with server(config, database, handlers=handlers(config, event_picking="prints")) as here:
        young = put(cache, here, "evp.young", EVENTS, timedelta(seconds=58))
        old = put(cache, here, "evp.old", EVENTS, timedelta(seconds=61))
        unreadable = put(cache, here, "evp.unreadable", "userName=x\n", 24 * HOUR - timedelta(seconds=30))
        assert await take(here, EVENT_PICKING) == 1
        assert (young.exists(), old.exists(), unreadable.exists()) == (True, False, True)
        put(cache, here, "evp.unreadable", "userName=x\n", 24 * HOUR + SECOND)
        assert await take(here, EVENT_PICKING) == 0
        assert not unreadable.exists()


async def test_links_folders_and_huge_files_are_no_requests(config, database, cache, monkeypatch, tmp_path):
    from pandatx.services import request_files

    monkeypatch.setattr(request_files, "LARGEST", 100)
    async with server(config, database, handlers=handlers(config, workflow="prints")) as here:
        target = tmp_path / "target"
        target.write_text(WORK)
        os.utime(target, (1e9, 1e9))
        (cache / "workflow.link").symlink_to(target)
        (cache / "workflow.folder").mkdir()
        huge = put(cache, here, "workflow.huge", WORK + " " * 100, HOUR)
        assert await take(here, WORKFLOW) == 0
        assert target.exists()
        assert huge.exists()
        assert await run(database, "SELECT request_id FROM {panda}.async_requests") == []


async def test_other_files_of_the_folder_are_not_touched(config, database, cache):
    async with server(config, database) as here:
        names = {"sources.x.tar.gz", "jobO.x", "myworkflow.x", "recovery.x", "evpx"}
        for name in names:
            put(cache, here, name, WORK, 100 * HOUR)
        for kind in (WORKFLOW, FILE_RECOVERY, EVENT_PICKING):
            assert await take(here, kind) == 0
        assert {path.name for path in cache.iterdir()} == names


async def test_without_the_folder_there_is_nothing_to_do(config, database):
    async with server(config, database) as here:
        assert await take(here, WORKFLOW) == 0


async def test_what_came_of_a_file_is_for_its_writer(config, database, cache):
    from pandatx.errors import NotPermitted

    async with server(config, database, handlers=handlers(config, workflow="prints")) as here:
        put(cache, here, f"workflow.{ID}", WORK, HOUR)
        await take(here, WORKFLOW)
        await here.turn()
        assert (await here.row(ID, ME))["status"] == "done"
        with pytest.raises(NotPermitted):
            await here.row(ID, YOU)
