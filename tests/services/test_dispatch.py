"""Handing jobs to pilots, on a real database."""

from random import Random

import pytest
from attrs import evolve
from tasks_by_hand import make_task
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.pilot_job import job_dictionary
from pandatx.domain.requests import JobRequest
from pandatx.errors import RoleRequired
from pandatx.services import claims
from pandatx.services.dispatch import Acquired, Dispatch
from pandatx.services.facts import Facts
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import Query

PILOT = Caller(dn="/CN=pilot", name="pilot", how="x509", pilot=True)
USER = Caller(dn="/CN=alice", name="alice", how="x509")

SEED = Query(
    name="seed",
    text="""INSERT INTO {panda}.jobsactive4 (pandaid, jobstatus, computingsite, prodsourcelabel, gshare, resource_type,
      currentpriority, minramcount, maxdiskcount, attemptnr, produsername, creationtime, modificationtime, jobname)
    SELECT n, 'activated', %(queue)s, %(label)s, %(share)s, %(rtype)s, %(priority)s, %(memory)s, %(disk)s, 1, %(owner)s,
      '2026-01-01', '2026-01-01', 'job' || n FROM generate_series(%(first)s, %(last)s) n""",
)
STATUS = Query(name="status", text="SELECT pandaid, jobstatus FROM {panda}.jobsactive4 ORDER BY pandaid")
LOG = Query(name="log", text="SELECT pandaid, jobstatus FROM {panda}.jobs_statuslog ORDER BY modificationtime, pandaid")

OF_TASK = Query(name="of_task", text="UPDATE {panda}.jobsactive4 SET jeditaskid = %(task)s WHERE pandaid = 1")


async def seed(database: Database, first: int, last: int, **values) -> None:
    row = dict(
        queue="Q",
        label="managed",
        share="Production",
        rtype="SCORE",
        priority=100,
        memory=1000,
        disk=100,
        owner="alice",
    )

    async def work(tx: Transaction) -> None:
        await tx.run(SEED, first=first, last=last, **{**row, **values})

    await database.transaction("seed", work)


class NeverSloppy(Random):
    def randrange(self, *_) -> int:
        return 99


@pytest.fixture
def dispatch(database: Database) -> Dispatch:
    clock = Clock(reactor)
    return Dispatch(database, clock, Facts(database, clock), random=NeverSloppy())


def ids(acquired: Acquired) -> list[int]:
    return [job.panda_id for job in acquired.jobs]


async def test_a_pilot_without_time_to_wait_gets_nothing_that_it_could_not_take(database, dispatch):
    await seed(database, 1, 1)
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q", timeout=10))) == []
    assert (await database.statement("status", STATUS)).rows == [(1, "activated")]
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q", timeout=11))) == [1]


async def test_a_request_gets_one_job_at_least_and_no_more_than_there_are_for_one(database, dispatch, monkeypatch):
    monkeypatch.setattr("pandatx.services.dispatch.MOST_JOBS", 3)
    await seed(database, 1, 5)
    assert len(ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q", n_jobs=10**9)))) == 3
    assert len(ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q", n_jobs=-1)))) == 1


async def test_a_job_is_sent_with_what_the_pilot_said(database, dispatch):
    await seed(database, 1, 1)
    request = JobRequest(site_name="Q", node="node7", computing_element="ce1", scheduler_id="harvester-h")
    (job,) = (await dispatch.acquire(PILOT, request)).jobs
    assert (job.panda_id, job.job_status, job.modification_host, job.computing_element, job.scheduler_id) == (
        1,
        "sent",
        "node7",
        "ce1",
        "harvester-h",
    )
    assert job.start_time == job.modification_time is not None
    assert (await database.statement("log", LOG)).rows == [(1, "sent")]


async def test_a_job_of_a_task_tells_how_much_the_task_reads_and_writes(database, dispatch):
    await make_task(database, 77, iointensity=300, iointensityunit="kBPerS")
    await seed(database, 1, 2)
    await database.statement("of_task", OF_TASK, task=77)
    acquired = await dispatch.acquire(PILOT, JobRequest(site_name="Q", n_jobs=2))
    told = [job_dictionary(job, None, acquired.extras(job)) for job in acquired.jobs]
    assert [(job["ioIntensity"], job["ioIntensityUnit"]) for job in told] == [(300, "kBPerS"), (None, None)]


async def test_a_second_pilot_gets_nothing(database, dispatch):
    await seed(database, 1, 1)
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q"))) == [1]
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q"))) == []


@pytest.mark.parametrize(
    ("request_values", "job_values"),
    [
        ({"memory": 999}, {"memory": 1000}),
        ({"disk_space": 99}, {"disk": 100}),
        ({"resource_type": "MCORE"}, {}),
        ({"prod_source_label": "user"}, {}),
        ({"prod_source_label": "ptest"}, {}),
        ({"prod_source_label": "prod_test"}, {"label": "test"}),
        ({"task_id": 5}, {}),
        ({"background": True}, {}),
        ({"prod_user_id": "/DC=x/CN=bob"}, {}),
    ],
)
async def test_a_job_that_does_not_fit_is_not_given(database, dispatch, request_values, job_values):
    await seed(database, 1, 3, **job_values)
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q", **request_values))) == []


@pytest.mark.parametrize(
    ("request_values", "job_values"),
    [
        ({"memory": 1000}, {"memory": 1000}),
        ({"memory": 900}, {"memory": 0}),
        ({"disk_space": 100}, {}),
        ({"resource_type": "SCORE"}, {}),
        ({"prod_source_label": "user"}, {"label": "panda"}),
        ({"prod_source_label": "unified"}, {"label": "user"}),
        ({"prod_source_label": "ptest"}, {"label": "ptest"}),
        ({"prod_source_label": "test"}, {"label": "test"}),
        ({"prod_user_id": "/DC=x/CN=alice"}, {}),
    ],
)
async def test_a_job_that_fits_is_given(database, dispatch, request_values, job_values):
    await seed(database, 1, 1, **job_values)
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q", **request_values))) == [1]


async def test_fifty_pilots_share_twenty_jobs(database, dispatch):
    await seed(database, 1, 20)
    asked = [Deferred.fromCoroutine(dispatch.acquire(PILOT, JobRequest(site_name="Q"))) for _ in range(50)]
    answers = await gatherResults(asked)
    given = [panda_id for answer in answers for panda_id in ids(answer)]
    assert sorted(given) == list(range(1, 21))
    assert sum(not answer.jobs for answer in answers) == 30


async def test_the_order_is_share_then_priority_then_age(database, dispatch):
    await seed(database, 1, 1, share="Production", priority=900)
    await seed(database, 2, 2, share="User", priority=10)
    await seed(database, 3, 3, share="User", priority=500)
    await seed(database, 4, 4, share="User", priority=500)
    await seed(database, 5, 5, share="Nobody", priority=5000)
    facts = dispatch._facts
    facts.known = evolve(facts.known, ranks={"User": 1, "Production": 2})
    got = [ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q"))) for _ in range(5)]
    assert got == [[3], [4], [2], [1], [5]]


async def test_the_sloppy_part_of_calls_is_served_oldest_first(database):
    class Sloppy(Random):
        def randrange(self, *_) -> int:
            return 10

    clock = Clock(reactor)
    dispatch = Dispatch(database, clock, Facts(database, clock), random=Sloppy())
    await seed(database, 1, 1, priority=1)
    await seed(database, 2, 2, priority=900)
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q"))) == [1]


async def test_a_bulk_request_gets_several(database, dispatch):
    await seed(database, 1, 5)
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q", n_jobs=3))) == [1, 2, 3]
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q", n_jobs=3))) == [4, 5]


async def test_without_the_role_only_own_user_jobs_are_given(database, dispatch):
    await seed(database, 1, 1, label="user", owner="bob")
    await seed(database, 2, 2, label="user", owner="alice")
    with pytest.raises(RoleRequired):
        await dispatch.acquire(USER, JobRequest(site_name="Q", prod_source_label="managed"))
    assert ids(await dispatch.acquire(USER, JobRequest(site_name="Q", prod_source_label="user"))) == [2]
    assert ids(await dispatch.acquire(USER, JobRequest(site_name="Q", prod_source_label="user"))) == []


async def test_a_request_whose_client_is_gone_takes_no_job(database, dispatch):
    await seed(database, 1, 1)
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q"), gone=lambda: True)) == []
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q"))) == [1]


async def test_a_job_given_back_is_activated_at_once_and_given_again(database, dispatch):
    await seed(database, 1, 1)
    acquired = await dispatch.acquire(PILOT, JobRequest(site_name="Q"))
    await dispatch.give_back(acquired)
    assert (await database.statement("status", STATUS)).rows == [(1, "activated")]
    assert (await database.statement("log", LOG)).rows == [(1, "sent"), (1, "activated")]
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q"))) == [1]


async def test_a_job_that_was_touched_since_is_not_given_back(database, dispatch):
    await seed(database, 1, 1)
    acquired = await dispatch.acquire(PILOT, JobRequest(site_name="Q"))

    async def start(tx: Transaction) -> None:
        await tx.run(Query(name="s", text="UPDATE {panda}.jobsactive4 SET jobstatus = 'starting'"))

    await database.transaction("start", start)
    await dispatch.give_back(acquired)
    assert (await database.statement("status", STATUS)).rows == [(1, "starting")]


async def test_the_worker_link_is_made_for_a_known_harvester(database, dispatch):
    async def know(tx: Transaction) -> None:
        await tx.run(Query(name="h", text="INSERT INTO {panda}.harvester_instances (harvester_id) VALUES ('h1')"))

    await database.transaction("know", know)
    await seed(database, 1, 2)
    await dispatch.acquire(PILOT, JobRequest(site_name="Q", harvester_id="h1", worker_id=7))
    await dispatch.acquire(PILOT, JobRequest(site_name="Q", harvester_id="stranger", worker_id=8))
    link = Query(name="l", text="SELECT harvesterid, workerid, pandaid FROM {panda}.harvester_rel_jobs_workers")
    assert (await database.statement("l", link)).rows == [("h1", 7, 1)]
    worker = Query(name="w", text="SELECT harvesterid, workerid, status FROM {panda}.harvester_workers")
    assert (await database.statement("w", worker)).rows == [("h1", 7, "running")]


async def test_a_user_without_a_role_names_no_workers_of_anothers_harvester(database, dispatch):
    """The highest worker of a Harvester is where it goes on counting from, and its workers' states are its own."""
    text = "INSERT INTO {panda}.harvester_instances (harvester_id, owner) VALUES ('hers', 'alice'), ('his', 'bob')"
    await database.statement("know", Query(name="know", text=text))
    await seed(database, 1, 4, label="user")
    for name, number in (("hers", 7), ("his", 2**60), ("stranger", 8)):
        request = JobRequest(site_name="Q", prod_source_label="user", harvester_id=name, worker_id=number)
        assert len((await dispatch.acquire(USER, request)).jobs) == 1
    for table in ("harvester_workers", "harvester_rel_jobs_workers"):
        query = Query(name=table, text=f"SELECT harvesterid, workerid FROM {{panda}}.{table}")
        assert (await database.statement("w", query)).rows == [("hers", 7)]


async def test_names_of_queues_that_pilots_make_up_cost_no_memory_without_end(database, dispatch, monkeypatch):
    monkeypatch.setattr(claims, "MOST_QUEUES", 3)
    await seed(database, 1, 2)
    for n in range(20):
        assert ids(await dispatch.acquire(PILOT, JobRequest(site_name=f"Q{n}"))) == []
        assert max(map(len, (dispatch._claims._summaries, dispatch._claims._took, dispatch._claims._sent))) <= 4
    assert len(ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q", n_jobs=2)))) == 2


async def test_jobs_that_others_activate_are_found(database, dispatch):
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q"))) == []
    await seed(database, 1, 1)
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q"))) == [1]


async def test_nobody_goes_away_empty_while_a_job_fits_though_many_ask_with_different_limits(database, dispatch):
    await seed(database, 1, 30, memory=1000)
    await seed(database, 31, 60, memory=3000)
    asked = [
        Deferred.fromCoroutine(dispatch.acquire(PILOT, JobRequest(site_name="Q", memory=memory)))
        for memory in [1000, 4000] * 30
    ]
    answers = await gatherResults(asked)
    given = [panda_id for answer in answers for panda_id in ids(answer)]
    assert len(given) == len(set(given))
    large = [panda_id for answer in answers[1::2] for panda_id in ids(answer)]
    small = [panda_id for answer in answers[0::2] for panda_id in ids(answer)]
    assert len(large) == 30
    assert all(panda_id <= 30 for panda_id in small)
    assert len(given) + sum(1 for n in range(1, 31) if n not in given) >= 30


async def test_jobs_whose_files_could_not_be_read_are_given_to_the_next_pilot(database, dispatch, monkeypatch):
    from pandatx.errors import Busy, DatabaseAway
    from pandatx.store import dispatch as store

    await seed(database, 1, 2)
    whole = store.complete

    async def breaks(*_):
        raise DatabaseAway()

    monkeypatch.setattr(store, "complete", breaks)
    with pytest.raises(Busy):
        await dispatch.acquire(PILOT, JobRequest(site_name="Q", n_jobs=2))
    monkeypatch.setattr(store, "complete", whole)
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q", n_jobs=2))) == [1, 2]


async def test_many_keys_are_searched_until_one_gives_a_job(database, dispatch):
    for n in range(1, 41):
        await seed(database, n, n, share=f"share{n:02}", memory=900, label="user", owner="bob")
    await seed(database, 99, 99, share="zzz", memory=900, label="user", owner="alice")
    request = JobRequest(site_name="Q", prod_source_label="user", prod_user_id="/DC=x/CN=alice")
    assert ids(await dispatch.acquire(PILOT, request)) == [99]


async def test_a_job_without_share_and_resource_type_is_found_too(database, dispatch):
    await seed(database, 1, 2, share=None, rtype=None)
    assert ids(await dispatch.acquire(PILOT, JobRequest(site_name="Q", n_jobs=2))) == [1, 2]


async def test_a_claim_reads_its_index_and_nothing_else(database):
    from pandatx.store.dispatch import SQL

    await seed(database, 1, 500)
    lists = dict.fromkeys(("node", "ce", "scheduler", "harvester"), "'{NULL}'")
    values = {
        **dict(queue="'{Q}'", memory="'{4000}'", disk="'{4000}'", walltime="'{9999999}'", n="'{1}'", slot0="'{0}'"),
        **dict(key_from="'{1}'", key_to="'{1}'", key_gshare="'{Production}'", key_rtype="'{SCORE}'"),
        **dict(key_fit="'{103010}'", key_prio="'{-100}'", key_id="'{0}'", worker="'{NULL}'", now="now()"),
        **lists,
    }

    async def plan(tx: Transaction) -> str:
        prepare = SQL.claim.prepare(database.schemas)
        execute = SQL.claim.execute % values
        text = f"{prepare}; EXPLAIN {execute}; "
        return "\n".join(row[0] for row in (await tx.run(Query(name="explain", text=text.replace("%", "%%")))).rows)

    shown = await database.transaction("plan", plan)
    assert "jobsactive4_claim" in shown
    assert "Seq Scan on jobsactive4" not in shown
