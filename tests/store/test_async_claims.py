"""Which rows a server of ours takes, beside older servers and JEDI's daemons on the same tables."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from pandatx.domain.async_work import Ending, Status
from pandatx.store import async_requests as store
from pandatx.store.async_requests import LEASE, NewRequest
from pandatx.store.queries import Query

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


async def run(database, text, **params):
    result = await database.statement("test", Query(name=text, text=text), **params)
    return result.dicts() if result.columns else []


async def add(database, request_id="r", *, service=None, machine=None, expected=(), kind="grep", at=NOW):
    new = NewRequest(
        request_id=request_id, kind=kind, parameters={"requester": "Me"}, service=service, machine=machine,
        expected=list(expected), created_at=at,
    )  # fmt: skip
    return await database.transaction("insert", store.insert, new)


async def claim(database, now=NOW, *, host="here", instance="i-1", kinds=("grep",), limit=10):
    return await database.transaction("claim", store.claim, kinds, host, instance, now, limit)


async def machines(database, **how):
    return [each.machine for each in await claim(database, **how)]


async def older(database, request_id="r", machine="any", status="running", attempts=1, started=NOW):
    """What an older server writes."""
    await run(
        database,
        "INSERT INTO {panda}.async_results (request_id, machine_name, status, attempts, started_at)"
        " VALUES (%(r)s, %(m)s, %(s)s, %(a)s, %(t)s) ON CONFLICT (request_id, machine_name) DO UPDATE"
        " SET status = excluded.status, attempts = excluded.attempts, started_at = excluded.started_at",
        r=request_id, m=machine, s=status, a=attempts, t=started,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("target", "as_whom"),
    [
        ({"machine": "here"}, ["here"]),
        ({"machine": "there"}, []),
        ({"machine": "pandatx", "service": "pandatx"}, ["pandatx"]),
        ({"service": "server", "machine": "any"}, ["any"]),
        ({"service": "jedi", "machine": "any"}, []),
        ({"service": "server", "expected": ["here", "there"]}, ["here"]),
        ({"service": "server", "expected": ["there"]}, []),
        ({"service": "server", "machine": "", "expected": ["here"]}, ["here"]),
        ({"service": "jedi", "expected": ["here"]}, []),
    ],
)
async def test_a_machine_takes_what_is_asked_of_it(database, target, as_whom):
    await add(database, **target)
    assert await machines(database) == as_whom


async def test_a_type_that_is_not_known_is_left_to_others(database):
    await add(database, machine="here", kind="strange")
    assert await claim(database) == []


async def test_a_request_for_all_is_done_once_on_each_machine(database):
    await add(database, service="server", expected=["here", "there"])
    assert await machines(database) == ["here"]
    assert await machines(database) == []
    assert await machines(database, host="there", instance="i-2") == ["there"]


async def test_the_oldest_come_first_and_no_more_than_there_is_room_for(database):
    for n in range(5):
        await add(database, f"r{n}", machine="here", at=NOW - n * SECOND)
    assert [each.request_id for each in await claim(database, limit=2)] == ["r4", "r3"]


async def test_what_an_older_server_runs_is_left_alone_for_480_s(database):
    await add(database, service="server", machine="any")
    await older(database)
    assert await claim(database, NOW + 480 * SECOND) == []
    (ours,) = await claim(database, NOW + 481 * SECOND)
    assert ours.attempts == 2


async def test_what_an_older_server_has_taken_over_from_us_is_left_alone_too(database):
    await add(database, service="server", machine="any")
    await claim(database)
    await older(database, attempts=2, started=NOW + 500 * SECOND)
    assert await claim(database, NOW + 600 * SECOND) == []
    assert len(await claim(database, NOW + 981 * SECOND)) == 1


async def test_what_an_older_server_has_put_back_may_begin_again(database):
    await add(database, service="server", machine="any")
    await older(database, status="pending", attempts=2)
    (ours,) = await claim(database)
    assert ours.attempts == 3


@pytest.mark.parametrize("status", ["done", "failed"])
async def test_what_has_ended_is_not_begun_again(database, status):
    await add(database, service="server", machine="any")
    await older(database, status=status)
    assert await claim(database, NOW + timedelta(days=1)) == []


async def test_a_lease_lasts_60_s_and_is_renewed_by_its_holder_only(database):
    await add(database, machine="here")
    claims = await claim(database)
    assert LEASE == 60 * SECOND
    later = NOW + 50 * SECOND
    await database.transaction("renew", store.renew, claims, "somebody else", later)
    await database.transaction("renew", store.renew, claims, "i-1", NOW + 40 * SECOND)
    assert await claim(database, NOW + 99 * SECOND, instance="i-2") == []
    (again,) = await claim(database, NOW + 100 * SECOND, instance="i-2")
    assert again.attempts == 2


async def test_only_the_holder_of_the_attempt_writes_its_end(database):
    await add(database, machine="here")
    (first,) = await claim(database)
    (second,) = await claim(database, NOW + 61 * SECOND, instance="i-2")
    done = Ending(status=Status.DONE, result="x")

    async def end(held, instance):
        return await database.transaction("end", store.end, held, done, instance, NOW + 62 * SECOND)

    assert not await end(first, "i-1")
    assert not await end(second, "i-1")
    assert await end(second, "i-2")
    assert not await end(second, "i-2")
    (row,) = await run(database, "SELECT status, attempts, result, finished_at FROM {panda}.async_results")
    assert row == {"status": "done", "attempts": 2, "result": "x", "finished_at": NOW + 62 * SECOND}


async def test_the_same_id_is_stored_once(database):
    assert await add(database, machine="here")
    assert not await add(database, machine="there")
    assert await machines(database) == ["here"]


async def test_rows_that_others_have_written_badly_stop_nothing(database):
    await add(database, machine="here")
    await run(
        database, "UPDATE {panda}.async_requests SET parameters = '{', expected_machines = 'x', created_at = NULL"
    )
    (taken,) = await claim(database)
    assert (taken.parameters, taken.created_at) == ({}, NOW)
    found = await database.transaction("find", store.find, "r")
    assert (found.parameters, found.expected) == ({}, [])


async def test_our_own_kinds_look_to_an_older_server_like_nothing_it_knows(database):
    """Its query for work: types that it knows, for its machine or its service; its rule for rows left running: those of
    its machine and of ``any``."""
    await add(database, service="pandatx", machine="pandatx", kind="workflow")
    await claim(database, kinds=("workflow",))
    asked = """SELECT count(*) AS n FROM {panda}.async_requests WHERE request_type IN ('grep', 'sleep_echo')
               AND (machine_name = 'here' OR service_name = 'server')"""
    stale = (
        "SELECT count(*) AS n FROM {panda}.async_results WHERE machine_name IN ('here', 'any') AND status = 'running'"
    )
    assert [await run(database, text) for text in (asked, stale)] == [[{"n": 0}], [{"n": 0}]]


async def test_an_attempt_of_ours_is_written_as_an_older_server_reads_it(database):
    await add(database, service="server", machine="any", expected=["any"])
    await claim(database)
    (request,) = await run(database, "SELECT * FROM {panda}.async_requests")
    assert json.loads(request["expected_machines"]) == ["any"]
    assert json.loads(request["parameters"])["requester"] == "Me"
    (row,) = await run(database, "SELECT status, attempts, truncated, started_at FROM {panda}.async_results")
    assert row == {"status": "running", "attempts": 1, "truncated": 0, "started_at": NOW}


async def test_machines_are_alive_for_an_hour(database):
    await database.transaction("beat", store.beat, "here", NOW)
    await database.transaction("beat", store.beat, "here", NOW + SECOND)
    await database.transaction("beat", store.beat, "there", NOW - SECOND)
    assert await database.transaction("alive", store.alive, "server", NOW) == ["here"]
    assert await database.transaction("alive", store.alive, "jedi", NOW) == []
