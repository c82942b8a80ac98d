"""Reports of Harvesters on their workers, on a real database."""

from datetime import UTC, datetime

import psycopg2
import pytest
from attrs import define, evolve, field
from endings import DirectPool, job, make_adder, run, seed_file, seed_job
from tasks_by_hand import counters, make_job, make_task, recount
from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.harvester_requests import HarvesterFacts, WorkerReport, WorkerStatistics
from pandatx.errors import BadRequest, Busy, NotPermitted
from pandatx.services import workers as service
from pandatx.services.facts import Facts
from pandatx.services.harvester import Harvesters
from pandatx.services.owners import Owners
from pandatx.services.workers import Workers
from pandatx.store.database import Transaction

PROD = Caller(dn="/CN=prod", name="prod", production=True)
ALICE = Caller(dn="/CN=alice", name="alice")
ROWS = "SELECT workerid, status, nodeid, diagmessage FROM {panda}.harvester_workers ORDER BY workerid, lastupdate"
RELATED = "SELECT workerid, pandaid FROM {panda}.harvester_rel_jobs_workers ORDER BY 1, 2"
REPORTS = "SELECT pandaid, attemptnr, jobstatus, data FROM {panda}.job_output_report ORDER BY 1"


@define
class Woken:
    """Counts how often the Adder is woken."""

    times: int = 0

    def __call__(self) -> None:
        self.times += 1


@define
class There:
    """The service over a database, at a time that the test moves."""

    database: object
    time: task.Clock = field(factory=task.Clock)
    woken: Woken = field(factory=Woken)
    clock: Clock = field(init=False)
    workers: Workers = field(init=False)
    harvesters: Harvesters = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.clock = Clock.manual(self.time)
        self.workers = Workers(self.database, self.clock, self.woken)
        self.harvesters = Harvesters(
            self.database, self.clock, Facts(self.database, self.clock), Owners(self.database, self.clock)
        )

    async def update(self, *reports, caller=PROD, harvester="h"):
        return await self.workers.update(caller, harvester, reports)


@pytest.fixture
def there(database) -> There:
    return There(database)


def told(worker=7, status="running", **values) -> WorkerReport:
    return WorkerReport(worker_id=worker, status=status, **values)


async def test_every_field_of_a_report_is_kept(database, there):
    when = datetime(2025, 12, 31, 12, tzinfo=UTC)
    report = WorkerReport(
        worker_id=7, batch_id="b.1", queue_name="Q", status="running", computing_site="S", n_core=8, node_id="n",
        submit_time=when, start_time=when, end_time=when, job_type="managed", resource_type="MCORE", native_exit_code=1,
        native_status="R", diag_message="d", n_jobs=2, computing_element="ce", sync_level=1, submission_host="sub",
        harvester_host="hv", error_code=0, min_ram_count=2000, std_out="o", std_err="e", batch_log="l", jdl="j",
    )  # fmt: skip
    assert await there.update(report) == {7: True}
    columns = (
        "batchid, queuename, status, computingsite, ncore, nodeid, submittime, starttime, endtime, jobtype,"
        " resourcetype, nativeexitcode, nativestatus, diagmessage, njobs, computingelement, submissionhost,"
        " harvesterhost, errorcode, minramcount, stdout, stderr, batchlog, jdl, harvesterid, lastupdate"
    )
    assert await run(database, f"SELECT {columns} FROM {{panda}}.harvester_workers") == [
        (
            *(
                "b.1",
                "Q",
                "running",
                "S",
                8,
                "n",
                when,
                when,
                when,
                "managed",
                "MCORE",
                1,
                "R",
                "d",
                2,
                "ce",
                "sub",
                "hv",
            ),
            *(0, 2000, "o", "e", "l", "j", "h", datetime(2026, 1, 1, tzinfo=UTC)),
        )
    ]


async def test_a_later_report_keeps_what_it_does_not_say_and_stays_one_row(database, there):
    await there.update(told(node_id="n", status="submitted"))
    there.time.advance(60)
    assert await there.update(told(status="running", diag_message="d"), told(8)) == {7: True, 8: True}
    assert await run(database, ROWS) == [(7, "running", "n", "d"), (8, "running", None, None)]


async def test_an_ended_worker_stays_ended_for_three_hours(database, there):
    await there.update(told(status="cancelled"))
    there.time.advance(3600)
    await there.update(told(status="running"))
    assert [row[1] for row in await run(database, ROWS)] == ["cancelled"]
    there.time.advance(3 * 3600)
    await there.update(told(status="running"))
    assert [row[1] for row in await run(database, ROWS)] == ["running"]


async def test_a_row_that_another_server_made_beside_ours_goes(database, there):
    for hour, status in ((10, "submitted"), (12, "running")):
        await run(
            database,
            "INSERT INTO {panda}.harvester_workers (harvesterid, workerid, lastupdate, status)"
            f" VALUES ('h', 7, '2025-12-31 {hour}:00', '{status}') RETURNING 1",
        )
    await there.update(WorkerReport(worker_id=7, node_id="n"))
    assert await run(database, ROWS) == [(7, "running", "n", None)]


async def test_the_jobs_of_a_worker_are_those_that_it_names(database, there):
    await there.update(told(pandaid_list=(1, 2)), told(8, pandaid_list=(3,)))
    assert await run(database, RELATED) == [(7, 1), (7, 2), (8, 3)]
    await there.update(told(pandaid_list=(2, 4, 4)), told(8), told(9, pandaid_list=()))
    assert await run(database, RELATED) == [(7, 2), (7, 4), (8, 3)]


async def test_a_worker_that_ends_in_step_fails_its_job_through_the_adder(database, there):
    for panda_id, status in ((1, "running"), (2, "starting"), (3, "holding"), (4, "transferring")):
        await seed_job(database, panda_id, jobstatus=status, modificationtime="2025-12-31 23:00")
    await seed_file(database, 1, "out")
    listed = told(status="finished", sync_level=1, diag_message="gone", pandaid_list=(1, 2, 3, 4))
    await there.update(listed)
    assert there.woken.times == 1
    assert await run(database, REPORTS) == [(1, 1, "failed", ""), (2, 1, "failed", "")]
    text = "SELECT pandaid, taskbuffererrorcode, taskbuffererrordiag, starttime IS NULL FROM {panda}.jobsactive4"
    assert sorted(await run(database, text)) == [
        (1, 300, "the worker was finished while the job was running: gone", False),
        (2, 300, "the worker was finished while the job was starting: gone", True),
        (3, 0, None, False),
        (4, 0, None, False),
    ]
    await make_adder(database, DirectPool()).run_once()
    ended = await job(database, 1)
    assert (ended["jobstatus"], ended["taskbuffererrorcode"], ended["ddmerrorcode"]) == ("failed", 300, 0)
    assert await run(database, REPORTS) == []


async def test_a_second_word_on_the_end_changes_nothing_more(database, there):
    await seed_job(database, 1, jobstatus="running")
    await there.update(told(status="failed", sync_level=1, pandaid_list=(1,)))
    await there.update(told(status="running", sync_level=1))
    assert len(await run(database, REPORTS)) == 1


async def test_the_first_report_of_an_attempt_stays(database, there):
    await seed_job(database, 1, jobstatus="running")
    await run(
        database,
        "INSERT INTO {panda}.job_output_report (pandaid, attemptnr, jobstatus, data, timestamp)"
        " VALUES (1, 1, 'finished', '{{}}', '2026-01-01') RETURNING 1".replace("{{}}", "[]"),
    )
    await there.update(told(status="failed", sync_level=1, pandaid_list=(1,)))
    assert await run(database, REPORTS) == [(1, 1, "finished", "[]")]


async def test_an_end_that_is_not_in_step_leaves_the_job_alone(database, there):
    await seed_job(database, 1, jobstatus="running")
    await there.update(told(status="failed", sync_level=0, pandaid_list=(1,)))
    assert (there.woken.times, await run(database, REPORTS)) == (0, [])
    assert (await job(database, 1, "jobsactive4"))["taskbuffererrorcode"] == 0


async def test_an_error_of_a_worker_stands_at_its_jobs(database, there):
    for panda_id, status in ((1, "running"), (2, "sent"), (3, "holding")):
        await seed_job(database, panda_id, jobstatus=status, modificationtime="2025-12-31 23:00")
    await there.update(told(pandaid_list=(1, 2, 3)))
    await there.update(WorkerReport(worker_id=7, error_code=123, diag_message="no disk"))
    text = "SELECT pandaid, superrorcode, superrordiag, modificationtime FROM {panda}.jobsactive4 ORDER BY 1"
    before = datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert await run(database, text) == [
        (1, 123, "of the worker: no disk", before),
        (2, 123, "of the worker: no disk", before),
        (3, 0, None, before),
    ]
    await seed_job(database, 4, jobstatus="running", modificationtime="2025-12-31 23:00")
    await there.update(told(pandaid_list=(4,)))
    assert (await job(database, 4, "jobsactive4"))["superrorcode"] == 123, "the error is the worker's still"


async def test_one_that_the_database_refuses_fails_alone(database, there, monkeypatch):
    stored = service.store.save

    async def refusing(tx, harvester, workers, jobs, now):
        if any(worker.report.worker_id == 8 for worker in workers):
            raise psycopg2.DataError("no such value")
        await stored(tx, harvester, workers, jobs, now)

    monkeypatch.setattr(service.store, "save", refusing)
    assert await there.update(told(7), told(8), told(9)) == {7: True, 8: False, 9: True}
    assert [row[0] for row in await run(database, ROWS)] == [7, 9]


async def test_a_new_worker_without_a_status_is_not_stored(database, there):
    assert await there.update(WorkerReport(worker_id=7, pandaid_list=(1,)), told(8)) == {7: False, 8: True}
    assert await run(database, RELATED) == []


async def test_no_workers_are_no_fault(there):
    assert await there.update() == {}


async def test_five_hundred_workers_take_a_few_statements(database, there, monkeypatch):
    for panda_id in range(1, 11):
        await seed_job(database, panda_id, jobstatus="running")
    reports = [told(n, status="failed", error_code=3, sync_level=1, pandaid_list=(n % 10 + 1,)) for n in range(500)]
    await there.update(*reports)
    names, ran = [], Transaction.run

    async def counted(tx, query, **params):
        names.append(query.name)
        return await ran(tx, query, **params)

    monkeypatch.setattr(Transaction, "run", counted)
    assert all((await there.update(*reports)).values())
    assert len(names) <= 9, names
    monkeypatch.undo()
    assert len(await run(database, ROWS)) == len(await run(database, RELATED)) == 500


async def test_those_that_are_held_by_others_for_too_long_are_busy(database, there, monkeypatch):
    monkeypatch.setattr(service, "LOCK_WAIT", 0.05)
    await there.update(told())
    other = psycopg2.connect(database.conninfo)
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT 1 FROM doma_panda.harvester_workers FOR UPDATE")
            with pytest.raises(Busy):
                await there.update(told(status="finished"))
    finally:
        other.close()
    assert [row[1] for row in await run(database, ROWS)] == ["running"]


# Whose workers


async def test_a_user_speaks_for_a_harvester_of_their_own_only(database, there):
    with pytest.raises(NotPermitted, match="harvester h is not yours"):
        await there.update(told(), caller=ALICE)
    await there.harvesters.heartbeat(evolve(ALICE, name="bob"), "h", HarvesterFacts(), [])
    with pytest.raises(NotPermitted):
        await there.update(told(), caller=ALICE)
    await there.harvesters.heartbeat(ALICE, "alices", HarvesterFacts(), [])
    assert await there.update(told(), caller=ALICE, harvester="alices") == {7: True}
    assert len(await run(database, ROWS)) == 1


async def test_a_user_ends_no_jobs_of_others(database, there):
    await there.harvesters.heartbeat(ALICE, "alices", HarvesterFacts(), [])
    await seed_job(database, 1, jobstatus="running", produsername="alice")
    await seed_job(database, 2, jobstatus="running", produsername="bob")
    await run(
        database,
        "INSERT INTO {panda}.harvester_rel_jobs_workers (harvesterid, workerid, pandaid, lastupdate)"
        " VALUES ('alices', 8, 2, '2026-01-01') RETURNING 1",
    )
    end = {"status": "failed", "sync_level": 1, "error_code": 3}
    await there.update(told(7, pandaid_list=(1, 2), **end), told(8, **end), caller=ALICE, harvester="alices")
    assert await run(database, REPORTS) == [(1, 1, "failed", "")]
    assert await run(database, "SELECT pandaid FROM {panda}.jobsactive4 WHERE superrorcode = 3") == [(1,)]
    assert (7, 2) not in await run(database, RELATED)


async def test_what_is_known_of_ended_jobs_of_a_users_worker_stays(database, there):
    await there.harvesters.heartbeat(ALICE, "alices", HarvesterFacts(), [])
    await seed_job(database, 1, jobstatus="running", produsername="alice")
    await there.update(told(7, pandaid_list=(1,)), caller=ALICE, harvester="alices")
    await run(database, "DELETE FROM {panda}.jobsactive4 RETURNING 1")
    await seed_job(database, 2, jobstatus="running", produsername="alice")
    await there.update(told(7, pandaid_list=(1, 2, 3)), caller=ALICE, harvester="alices")
    assert await run(database, RELATED) == [(7, 1), (7, 2)]


async def test_workers_with_very_many_jobs_are_stored_a_few_at_a_time(database, there, monkeypatch):
    monkeypatch.setattr(service, "MOST_JOBS", 10)
    sizes, save = [], service.store.save

    async def counted(tx, harvester, workers, jobs, now):
        sizes.append([len(worker.report.pandaid_list) for worker in workers])
        await save(tx, harvester, workers, jobs, now)

    monkeypatch.setattr(service.store, "save", counted)
    reports = [told(n, pandaid_list=range(1, size + 1)) for n, size in enumerate((4, 6, 1, 12, 3, 3))]
    assert all((await there.update(*reports)).values())
    assert sizes == [[4, 6], [1], [12], [3, 3]]
    assert len(await run(database, RELATED)) == 29


# Counting


def said(**statistics) -> WorkerStatistics:
    return WorkerStatistics(harvester_id="h", panda_queue="Q", statistics=statistics)


async def test_numbers_of_workers_are_those_of_the_last_report(database, there):
    await there.workers.count(PROD, said(user={"SCORE": {"running": 1, "submitted": 2}}))
    await there.workers.count(PROD, evolve(said(user={"SCORE": {"running": 5}}), panda_queue="R"))
    there.time.advance(60)
    text = await there.workers.count(PROD, said(user={"SCORE": {"running": 3}}, managed={"MCORE": {"ready": 4}}))
    assert text == "OK"
    assert await there.workers.statistics() == {
        "Q": {"h": {"user": {"SCORE": {"running": 3}}, "managed": {"MCORE": {"ready": 4}}}},
        "R": {"h": {"user": {"SCORE": {"running": 5}}}},
    }
    there.time.advance(4 * 3600 - 30)
    assert list(await there.workers.statistics()) == ["Q"]
    await there.workers.count(PROD, said())
    assert await there.workers.statistics() == {}


async def test_a_report_on_a_queue_that_is_being_stored_says_so(database, there):
    await there.workers.count(PROD, said(user={"SCORE": {"running": 1}}))
    other = psycopg2.connect(database.conninfo)
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT 1 FROM doma_panda.harvester_worker_stats FOR UPDATE")
            assert await there.workers.count(PROD, said()) == "rows locked by another update"
    finally:
        other.close()


async def test_what_are_no_counts_is_refused(there):
    with pytest.raises(BadRequest, match="statistics: must be an object by status"):
        await there.workers.count(PROD, said(user={"SCORE": 1}))
    with pytest.raises(NotPermitted):
        await there.workers.count(ALICE, said())


async def test_the_highest_worker_of_a_harvester_is_known(there):
    assert await there.workers.highest("h") is None
    await there.update(told(7), told(9), told(8))
    await there.update(told(50), harvester="another")
    assert await there.workers.highest("h") == 9


async def test_reports_at_once_on_the_same_workers_end_as_one_row_each(database, there):
    for panda_id in range(1, 21):
        await seed_job(database, panda_id, jobstatus="running")
    end = {"status": "failed", "sync_level": 1, "error_code": 3}
    reports = [told(n, pandaid_list=(n, n % 20 + 1), **end) for n in range(1, 21)]
    orders = (reports, reports[::-1], reports[5:] + reports[:5], reports[::2] + reports[1::2])
    found = await gatherResults([Deferred.fromCoroutine(there.update(*order)) for order in orders])
    assert all(all(each.values()) for each in found)
    there.time.advance(1)
    await there.update(*reports)
    assert [row[0] for row in await run(database, ROWS)] == list(range(1, 21))
    assert len(await run(database, RELATED)) == 40
    assert [row[0] for row in await run(database, REPORTS)] == list(range(1, 21))


@pytest.mark.parametrize("status", ["starting", "running"])
async def test_the_task_of_a_job_that_ends_with_its_worker_gets_its_inputs_back(database, there, status):
    task = await make_task(database, n_files=2)
    panda_id = await make_job(database, task, status=status)
    await there.update(told(status="failed", sync_level=1, pandaid_list=(panda_id,)))
    await make_adder(database, DirectPool()).run_once()
    assert (await job(database, panda_id))["jobstatus"] == "failed"
    assert await counters(database, task) == await recount(database, task)
    text = "SELECT status FROM {panda}.jedi_dataset_contents WHERE type = 'input'"
    assert [row[0] for row in await run(database, text)] == ["ready", "ready"]


async def test_workers_of_a_found_database_move_between_its_partitions(database, there):
    """By month of lastUpdate, and relations by PandaID: a job that no partition is made for fails its worker alone."""
    for statement in (
        "CREATE TABLE {panda}.w (LIKE {panda}.harvester_workers INCLUDING ALL) PARTITION BY RANGE (lastupdate)",
        "CREATE TABLE {panda}.w0 PARTITION OF {panda}.w FOR VALUES FROM ('2025-12-01') TO ('2026-01-01')",
        "CREATE TABLE {panda}.w1 PARTITION OF {panda}.w FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
        "CREATE TABLE {panda}.r (LIKE {panda}.harvester_rel_jobs_workers INCLUDING ALL) PARTITION BY RANGE (pandaid)",
        "CREATE TABLE {panda}.r0 PARTITION OF {panda}.r FOR VALUES FROM (0) TO (1000000)",
        "DROP TABLE {panda}.harvester_workers, {panda}.harvester_rel_jobs_workers",
        "ALTER TABLE {panda}.w RENAME TO harvester_workers",
        "ALTER TABLE {panda}.r RENAME TO harvester_rel_jobs_workers",
    ):
        await run(database, statement)
    await run(
        database,
        "INSERT INTO {panda}.harvester_workers (harvesterid, workerid, lastupdate, status)"
        " SELECT 'h', n, '2025-12-31 10:00', 'submitted' FROM generate_series(1, 9) n RETURNING 1",
    )
    reports = [told(n, node_id="n", pandaid_list=(n if n != 4 else 10**7,)) for n in range(1, 11)]
    assert await there.update(*reports) == {n: n != 4 for n in range(1, 11)}
    assert [row[0] for row in await run(database, "SELECT workerid FROM {panda}.w0")] == [4]
    assert len(await run(database, "SELECT 1 FROM {panda}.w1 WHERE status = 'running' AND nodeid = 'n'")) == 9
