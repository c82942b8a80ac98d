"""Asynchronous requests in real children, over a real database: kills, restarts, several servers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from async_site import ME, PRODUCTION, YOU, make_handlers, make_pool, notes, run, server, until
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import capturedLogs

from pandatx.clock import Clock
from pandatx.domain.async_requests import FileRequest, GrepRequest, SleepEchoRequest
from pandatx.domain.async_work import WORKFLOW
from pandatx.domain.outside_requests import IddsCommand
from pandatx.errors import NotConfigured, NotFound, NotPermitted
from pandatx.foundations import request_pool
from pandatx.scheduler.context import Context
from pandatx.scheduler.daemons.async_request_daemon import AsyncRequestDaemon
from pandatx.services.async_work import MOST
from pandatx.store import async_requests as store


async def test_what_a_handler_returns_can_be_asked_for(config, database):
    async with server(config, database) as here:
        stored = await here.submit("well", number=7)
        before = await here.requests.asking.result(ME, stored)
        assert before == {"overall_status": "pending", "expected_machines": ["pandatx"], "results": []}
        assert await here.turn() == 1
        after = await here.requests.asking.result(ME, stored)
        assert after["overall_status"] == "complete"
        (row,) = after["results"]
        assert (row["machine_name"], row["status"], row["attempts"]) == ("pandatx", "done", 1)
        assert (row["result"], row["stderr"], row["return_code"]) == ('{"got": 7}', "hm", 3)
        assert (row["truncated"], row["error_msg"]) == (0, None)
        assert row["started_at"] < row["finished_at"]
        assert "+" not in row["started_at"]


async def test_while_it_runs_it_says_so(config, database):
    async with server(config, database) as here:
        stored = await here.submit("waits")
        await here.requests.work.run_once()
        await until(lambda: notes(config))
        told = await here.requests.asking.result(ME, stored)
        assert told["overall_status"] == "pending"
        assert (told["results"][0]["status"], told["results"][0]["finished_at"]) == ("running", None)
        (config.process.state_dir / "go").touch()
        await here.requests.work.idle()
        assert (await here.row(stored))["result"] == "went"


async def test_a_call_that_kills_its_child_three_times_ends_as_failed_with_the_reason(config, database):
    async with server(config, database) as here:
        stored = await here.submit("dies")
        statuses = []
        for _ in range(4):
            await here.requests.work.run_once()
            await here.requests.work.idle()
            row = await here.row(stored)
            statuses.append((row["status"], row["attempts"]))
        assert statuses == [("pending", 1), ("pending", 2), ("failed", 3), ("failed", 3)]
        assert row["error_msg"] == "given up after 3 attempts: its process was killed by signal 9"
        assert len(notes(config)) == 3
        assert (await here.requests.asking.result(ME, stored))["overall_status"] == "complete"


async def test_a_killed_child_is_followed_by_the_next_attempt_at_once(config, database):
    async with server(config, database) as here:
        stored = await here.submit("dies_once")
        await here.turn()
        row = await here.row(stored)
        assert (row["status"], row["result"], row["attempts"], row["error_msg"]) == ("done", "second time", 2, None)


async def test_the_attempt_is_counted_before_the_child_begins(config, database):
    async with server(config, database) as here:
        stored = await here.submit("waits")
        await here.requests.work.run_once()
        (row,) = await run(database, "SELECT status, attempts FROM {panda}.async_results")
        assert row == {"status": "running", "attempts": 1}
        assert (await here.row(stored))["attempts"] == 1
        (config.process.state_dir / "go").touch()
        await here.requests.work.idle()


async def test_a_server_that_dies_three_times_in_a_request_leaves_it_failed(config, database):
    """The attempts of servers that never came back are rows without an end, whose leases run out."""
    async with server(config, database) as here:
        stored = await here.submit("well", number=1)
        now, ahead = here.clock.now(), timedelta(0)
        for attempt in (1, 2, 3):
            claims = await _claim(database, now + ahead, f"dead-{attempt}")
            assert [claim.attempts for claim in claims] == [attempt]
            ahead += store.LEASE - timedelta(seconds=1)
            assert await _claim(database, now + ahead, "too-early") == []
            ahead += timedelta(seconds=2)
        assert await _claim(database, now + ahead, "last") == []
        row = await here.row(stored)
        assert (row["status"], row["attempts"]) == ("failed", 3)
        assert row["error_msg"] == "given up after 3 attempts: its server ended in the middle of it"


async def _claim(database, now, instance, kinds=("well",), host="here", limit=10):
    return await database.transaction("claim", store.claim, kinds, host, instance, now, limit)


async def test_a_restart_in_the_middle_goes_on_with_the_request(config, database):
    async with server(config, database) as dying:
        stored = await dying.submit("waits")
        await dying.requests.work.run_once()
        await until(lambda: notes(config))
        # SIGKILL of the server: nothing of it comes any more, its children die with it.
        dying.requests.work._instance = "gone"
        (config.process.state_dir / "go").touch()
        async with server(config, database, instance="here-2") as here:
            assert await here.turn() == 0
            await here.requests.work.beat()
            await here.requests.work.adopt(["here-1"])
            await until(lambda: len(notes(config)) == 2)
            await here.requests.work.idle()
            row = await here.row(stored)
            assert (row["status"], row["result"], row["attempts"]) == ("done", "went", 2)


async def test_the_result_of_an_attempt_that_is_not_ours_any_more_is_dropped(config, database):
    async with server(config, database) as here:
        stored = await here.submit("waits")
        await here.requests.work.run_once()
        await run(database, "UPDATE {panda}.async_results SET attempts = 2")
        (config.process.state_dir / "go").touch()
        with capturedLogs() as events:
            await here.requests.work.idle()
        assert (await here.row(stored))["status"] == "running"
        assert any("another server has taken it over" in event["log_format"] for event in events)


async def test_an_attempt_that_lost_its_lease_to_the_next_one_of_the_same_server_harms_nothing(config, database):
    """As after a minute without the database."""
    async with server(config, database) as here:
        stored = await here.submit("waits")
        await here.requests.work.run_once()
        await until(lambda: notes(config))
        await run(database, "UPDATE {own}.async_work SET until = %(at)s", at=here.clock.now())
        assert await here.requests.work.run_once() == 1
        await until(lambda: len(notes(config)) == 2)
        (config.process.state_dir / "go").touch()
        await here.requests.work.idle()
        row = await here.row(stored)
        assert (row["status"], row["result"], row["attempts"]) == ("done", "went", 2)


async def test_leases_are_renewed_while_a_call_runs(config, database):
    async with server(config, database) as here:
        await here.submit("waits")
        await here.requests.work.run_once()
        long_ago = here.clock.now() - timedelta(hours=1)
        await run(database, "UPDATE {own}.async_work SET until = %(at)s", at=long_ago)
        here.requests.work._renewal.cancel()
        here.requests.work._renew()
        await until_row(database, lambda row: row["until"] > here.clock.now() + timedelta(seconds=50))
        (config.process.state_dir / "go").touch()
        await here.requests.work.idle()


async def until_row(database, condition):
    end = reactor.seconds() + 20
    while not condition((await run(database, "SELECT until FROM {own}.async_work"))[0]):
        assert reactor.seconds() < end, "it did not come to be"


async def test_a_stop_gives_back_what_runs_without_counting_it(config, database):
    async with server(config, database) as here:
        stored = await here.submit("hangs")
        await here.requests.work.run_once()
        await until(lambda: notes(config))
        await here.requests.work.stop(0)
        (row,) = await run(database, "SELECT status, attempts FROM {panda}.async_results")
        assert row == {"status": "pending", "attempts": 0}
        async with server(config, database, instance="here-2") as next_one:
            assert [claim.request_id for claim in await _claim(database, next_one.clock.now(), "x", ("hangs",))] == [
                stored
            ]


async def test_two_servers_share_the_work_and_nothing_is_done_twice(config, database):
    async with server(config, database) as one, server(config, database, host="there", instance="there-1") as two:
        ids = [await one.submit("well", number=n) for n in range(12)]
        await one.requests.work.beat()
        await two.requests.work.beat()
        while True:
            begun = await gatherResults([Deferred.fromCoroutine(each.requests.work.run_once()) for each in (one, two)])
            await one.requests.work.idle()
            await two.requests.work.idle()
            if not any(begun):
                break
        rows = [await one.row(each) for each in ids]
        assert [(row["status"], row["result"]) for row in rows] == [("done", f'{{"got": {n}}}') for n in range(12)]
        assert sorted(line.split()[1] for line in notes(config)) == sorted(ids)


async def test_claims_made_at_once_never_meet(config, database):
    async with server(config, database) as here:
        ids = {await here.submit("well", number=n) for n in range(20)}
        now = here.clock.now()
        takers = [Deferred.fromCoroutine(_claim(database, now, f"taker-{n}", limit=7)) for n in range(4)]
        taken = [claim.request_id for claims in await gatherResults(takers) for claim in claims]
        assert len(taken) == len(set(taken))
        assert set(taken) <= ids


@pytest.mark.parametrize(("kind", "why"), [("raises", "RuntimeError: no such thing"), ("leaves", "SystemExit: 4")])
async def test_a_handler_that_raises_ends_its_request_with_the_text(config, database, kind, why):
    async with server(config, database) as here:
        stored = await here.submit(kind)
        await here.turn()
        row = await here.row(stored)
        assert (row["status"], row["attempts"], row["error_msg"]) == ("failed", 1, why)


async def test_a_handler_that_hangs_is_killed_and_holds_up_no_other(config, database, monkeypatch):
    from pandatx.domain import async_work as rules

    monkeypatch.setitem(rules.KINDS, "hangs", rules.Kind(name="hangs", limit=1.0, once=True))
    async with server(config, database) as here:
        hung = await here.submit("hangs")
        well = await here.submit("well", number=1)
        await here.turn()
        assert (await here.row(well))["status"] == "done"
        row = await here.row(hung)
        assert row["status"] == "failed"
        assert row["error_msg"] == f"request {hung} took more than 1 s and was killed"


async def test_a_handler_that_wants_to_be_asked_later_is_asked_after_its_pause(config, database):
    async with server(config, database) as here:
        stored = await here.submit("later")
        await here.turn()
        row = await here.row(stored)
        assert (row["status"], row["attempts"], row["error_msg"]) == ("pending", 0, "the engine is away")
        now = here.clock.now()
        assert await _claim(database, now + timedelta(seconds=55), "x", ("later",)) == []
        assert len(await _claim(database, now + timedelta(seconds=61), "x", ("later",))) == 1


async def test_what_nobody_can_do_is_refused_and_fails_where_a_file_asked_for_it(config, database):
    async with server(config, database) as here:
        for kind in ("workflow", "event_picking"):
            with pytest.raises(NotConfigured, match=r"\[pandatx\] request_handlers"):
                await here.submit(kind)
        ids, request = ["a", "b"], FileRequest(dn=ME.dn, parameters={"data": {}})
        with capturedLogs() as events:
            for each in ids:
                await here.requests.asking.submit_file(WORKFLOW, each, request, here.clock.now())
            while await here.turn():
                pass
        rows = [await here.row(each) for each in ids]
        assert [(row["status"], "need a workflow engine" in row["error_msg"]) for row in rows] == [("failed", True)] * 2
        warned = [event["why"] for event in events if event["log_format"] == "{why}"]
        assert len(warned) == 1
        assert notes(config) == []
        assert here.pool.status.size == 0


async def test_a_relayed_command_does_not_wait_for_requests_that_take_long(config, database):
    folder = config.process.state_dir
    pool = request_pool(reactor, make_pool(folder)._settings, database, Clock(reactor))
    handlers = {**make_handlers(folder), "idds": "acting:answers"}
    async with server(config, database, handlers=handlers, pool=pool) as here:
        for _ in range(MOST + 1):
            await here.submit("waits")
        await here.requests.work.beat()
        assert await here.requests.work.run_once() == MOST
        await until(lambda: len(pool.calls) == MOST)
        asked = here.requests.relays.idds(ME, IddsCommand(command_name="ping"))
        assert (await Deferred.fromCoroutine(asked).addTimeout(20, reactor)).data == "ping"
        (folder / "go").touch()


async def test_the_operators_handler_does_workflows(config, database):
    known = make_handlers(config.process.state_dir)
    async with server(config, database, handlers={"workflow": known["well"]}) as here:
        stored = await here.submit("workflow", number=5)
        await here.turn()
        assert (await here.row(stored))["result"] == '{"got": 5}'


async def test_a_new_request_is_begun_at_once_while_the_daemon_runs_here(config, database):
    async with server(config, database) as here:
        stored = await here.submit("well", number=1)
        assert here.pool.status.size == 0
        daemon = AsyncRequestDaemon(here.requests.work)
        await daemon.run(Context(here.clock, "async_request_daemon"))
        await here.requests.work.idle()
        assert (await here.row(stored))["status"] == "done"
        second = await here.submit("well", number=2)
        while not (await here.requests.asking.result(ME, second))["results"]:
            pass
        await here.requests.work.idle()
        assert (await here.row(second))["status"] == "done"


async def test_the_daemon_says_that_its_machine_serves(config, database):
    async with server(config, database) as here:
        await AsyncRequestDaemon(here.requests.work).run(Context(here.clock, "async_request_daemon"))
        rows = await run(database, "SELECT machine_name, service_name FROM {panda}.machine_heartbeat")
        assert rows == [{"machine_name": "here", "service_name": "server"}]


async def test_results_are_kept_for_seven_days(config, database):
    async with server(config, database) as here:
        old, young = [await here.submit("well", number=n) for n in range(2)]
        await here.turn()
        await run(
            database,
            "UPDATE {panda}.async_requests SET created_at = %(at)s WHERE request_id = %(id)s",
            at=here.clock.now() - timedelta(days=7, seconds=1),
            id=old,
        )
        await run(
            database,
            "UPDATE {panda}.async_requests SET created_at = %(at)s WHERE request_id = %(id)s",
            at=here.clock.now() - timedelta(days=7, seconds=-60),
            id=young,
        )
        context = Context(here.clock, "async_request_daemon")
        await AsyncRequestDaemon(here.requests.work).run(context)
        assert context.counts["dropped"] == 1
        assert (await here.row(young))["status"] == "done"
        with pytest.raises(NotFound, match=f"request_id '{old}' not found"):
            await here.requests.asking.result(ME, old)
        for table in ("{panda}.async_results", "{own}.async_work"):
            assert [row["request_id"] for row in await run(database, f"SELECT request_id FROM {table}")] == [young]


async def test_a_result_is_for_its_requester_and_the_production_role(config, database):
    async with server(config, database) as here:
        stored = await here.submit("well", number=1)
        await here.requests.asking.result(PRODUCTION, stored)
        with pytest.raises(NotPermitted):
            await here.requests.asking.result(YOU, stored)


async def test_a_log_is_searched_by_every_machine_of_the_service(config, database):
    config.ops.log_dir.mkdir(parents=True, exist_ok=True)
    (config.ops.log_dir / "panda-x.log").write_text("one\ntwo\n")
    await run(database, "INSERT INTO {meta}.users (id, name, gridpref, ncurrent) VALUES (1, 'Me', 'pa', 0)")
    async with server(config, database) as one, server(config, database, host="there", instance="there-1") as two:
        await one.requests.work.beat()
        await two.requests.work.beat()
        stored = await one.requests.asking.grep(
            ME, GrepRequest(pattern="t.o", log_filename="panda-x.log", service_name="server")
        )
        await one.turn()
        half = await one.requests.asking.result(ME, stored)
        assert (half["overall_status"], half["expected_machines"]) == ("pending", ["here", "there"])
        await two.turn()
        told = await one.requests.asking.result(ME, stored)
        assert told["overall_status"] == "complete"
        assert [(row["machine_name"], row["result"], row["return_code"]) for row in told["results"]] == [
            ("here", "two\n", 0),
            ("there", "two\n", 0),
        ]
        with pytest.raises(NotPermitted):
            await one.requests.asking.result(PRODUCTION, stored)


async def test_one_machine_only_echoes(config, database):
    async with server(config, database) as one, server(config, database, host="there", instance="there-1") as two:
        await one.requests.work.beat()
        asked = SleepEchoRequest(service_name="server", message="hello", seconds=0)
        stored = await one.requests.asking.sleep_echo(PRODUCTION, asked)
        await gatherResults([Deferred.fromCoroutine(each.turn()) for each in (one, two)])
        told = await one.requests.asking.result(PRODUCTION, stored)
        assert (told["overall_status"], told["expected_machines"]) == ("complete", ["any"])
        assert [(row["machine_name"], row["result"]) for row in told["results"]] == [("any", "hello\n")]
