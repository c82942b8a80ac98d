"""What pilots asked for is remembered for an hour, and jobs are explained by it, on a real database."""

import pytest
from attrs import evolve
from test_dispatch import PILOT, USER, seed

from pandatx.domain.asks import roughly
from pandatx.domain.caller import Caller
from pandatx.domain.fit import Want
from pandatx.domain.labels import LabelFilter
from pandatx.domain.requests import JobRequest
from pandatx.errors import NotFound, NotPermitted, RoleRequired
from pandatx.services import asks as service
from pandatx.services.asks import OTHERS, Asks
from pandatx.services.dispatch import Dispatch
from pandatx.services.why import Why
from pandatx.store.queries import Query

WANT = Want(labels=LabelFilter(frozenset(("managed",))), memory=2000)
ROWS = Query(name="rows", text="SELECT instance, queue, since, asked, served, refused FROM {own}.asks ORDER BY 1, 2, 3")


@pytest.fixture
def asks(database, now) -> Asks:
    return Asks(database, now, "one")


async def rows(database) -> list:
    return [(i, q, f"{s:%H:%M}", *n) for i, q, s, *n in (await database.statement("rows", ROWS)).rows]


async def test_requests_are_added_by_queue_and_ten_minutes(database, asks, time):
    asks.note("Q", WANT, True)
    asks.note("Q", WANT, False)
    asks.refuse("R", WANT)
    await asks.flush()
    asks.note("Q", WANT, False)
    await asks.flush()
    time.advance(600)
    asks.note("Q", WANT, False)
    await asks.flush()
    assert await rows(database) == [
        ("one", "Q", "00:00", 3, 1, 0),
        ("one", "Q", "00:10", 1, 0, 0),
        ("one", "R", "00:00", 1, 0, 1),
    ]


async def test_those_of_all_servers_and_of_memory_are_summed(database, now, asks):
    other = Asks(database, now, "two")
    for each, times in ((asks, 2), (other, 3)):
        for _ in range(times):
            each.note("Q", WANT, False)
        await each.flush()
    asks.note("Q", WANT, True)
    asks.note("Q", evolve(WANT, memory=1), False)
    found = await asks.of_queue("Q")
    assert [(each.want, each.asked, each.served) for each in found] == [(WANT, 6, 1), (evolve(WANT, memory=1), 1, 0)]
    assert found[0].last == now.now()


async def test_what_is_older_than_an_hour_is_not_told_and_in_time_forgotten(database, asks, time):
    asks.note("Q", WANT, False)
    await asks.flush()
    time.advance(3500)
    assert len(await asks.of_queue("Q")) == 1
    time.advance(800)
    assert await asks.of_queue("Q") == []
    time.advance(3600)
    await asks.flush()
    assert await rows(database) == []


async def test_what_the_database_does_not_take_now_is_added_later(database, asks):
    asks.note("Q", WANT, True)
    await database.stop()
    await asks.flush()
    database.start()
    await asks.flush()
    assert await rows(database) == [("one", "Q", "00:00", 1, 1, 0)]


async def test_names_that_pilots_make_up_cost_no_memory_without_end(monkeypatch, asks):
    monkeypatch.setattr(service, "MOST_WANTS", 2)
    for n in range(10):
        asks.note(f"Q{n}", WANT, False)
    assert [queue for queue, _ in asks._tallies] == ["Q0", "Q1", "Q2", "Q3", "Q4", "Q5", OTHERS]
    asks.note("Q5", WANT, False)
    asks.note("Q2", evolve(WANT, memory=2001), False)
    assert [asks._tallies[key].asked for key in ((OTHERS, None), ("Q5", None), ("Q2", roughly(WANT)))] == [4, 2, 2]


async def test_of_very_many_wants_at_once_the_limits_are_rounded_down(monkeypatch, asks):
    """Pilots send the memory and the free disk of their nodes, so that hardly two of them ask for the same."""
    monkeypatch.setattr(service, "MOST_WANTS", 2)
    for n in range(100):
        asks.note("Q", evolve(WANT, memory=4100 + n, disk=9000 + n), False)
    found = await asks.of_queue("Q")
    assert [(each.want.memory, each.want.disk, each.asked) for each in found] == [
        (4096, 8192, 98), (4100, 9000, 1), (4101, 9001, 1),
    ]  # fmt: skip


async def test_a_queue_is_told_of_so_many_wants_and_of_the_others_together(monkeypatch, asks, now, database):
    monkeypatch.setattr(service, "MOST_TOLD", 2)
    for each in (asks, other := Asks(database, now, "two")):
        for n in range(10):
            each.note("Q", evolve(WANT, memory=1 + n), False)
        each.note("Q", evolve(WANT, memory=7), True)
    await other.flush()
    for _ in range(2):
        asks.note("Q", evolve(WANT, memory=9), False)
    found = await asks.of_queue("Q")
    assert [(each.want and each.want.memory, each.asked) for each in found] == [(None, 17), (7, 4), (9, 3)]
    assert (sum(each.asked for each in found), sum(each.served for each in found)) == (24, 2)


async def test_limits_beyond_all_measure_are_none_so_that_two_such_wants_are_one(database, asks, dispatch):
    for disk in (2**41, 2**50):
        await ask(dispatch, disk_space=disk)
    await asks.flush()
    assert await rows(database) == [("one", "Q", "00:00", 2, 0, 0)]


@pytest.fixture
def dispatch(database, now, facts, asks) -> Dispatch:
    return Dispatch(database, now, facts, noticed=asks)


@pytest.fixture
def why(database, now, facts, asks) -> Why:
    return Why(database, now, facts, asks.of_queue, lambda job, reported: None)


async def ask(dispatch: Dispatch, caller: Caller = PILOT, **more) -> int:
    request = JobRequest(**{"site_name": "Q", "prod_source_label": "managed", **more})
    return len((await dispatch.acquire(caller, request)).jobs)


async def test_an_activated_job_is_told_who_asked_and_what_was_in_the_way(database, dispatch, why):
    await seed(database, 1, 1, memory=4000)
    await seed(database, 2, 3, priority=500)
    assert await ask(dispatch, memory=2000) == 1
    assert await ask(dispatch, prod_source_label="user") == 0
    with pytest.raises(RoleRequired):
        await ask(dispatch, caller=USER)
    found = await why.of(USER, 1)
    assert found.reasons == (
        "queue Q is not known to this server",
        "3 requests of pilots came within the last hour, and the job fits none of them",
    )
    assert {each.name: each.kept_out for each in found.filters if each.kept_out} == {"label": 1, "memory": 1}
    assert sum(each.asked.served for each in found.pilots) == 1
    assert sum(each.asked.refused for each in found.pilots) == 1


async def test_jobs_ahead_in_the_same_class_are_counted(database, dispatch, why):
    await seed(database, 1, 5)
    await seed(database, 6, 7, priority=500)
    assert await ask(dispatch) == 1
    found = await why.of(USER, 3)
    assert "3 jobs of the same share and class come before it, by priority and age" in found.reasons


async def test_only_its_owner_and_the_production_role_are_told(database, why):
    await seed(database, 1, 1)
    with pytest.raises(NotPermitted):
        await why.of(evolve(USER, name="bob"), 1)
    with pytest.raises(NotPermitted):
        await why.of(Caller(), 1)
    assert (await why.of(evolve(USER, name="bob", production=True), 1)).job.panda_id == 1
    with pytest.raises(NotFound, match="no job has PandaID 99"):
        await why.of(USER, 99)
