"""Taking jobs from users, on a real database."""

from datetime import UTC, datetime

import pytest
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.job import Job, JobFile
from pandatx.domain.queues import queue_of
from pandatx.domain.shares import ShareRow, tree_of
from pandatx.errors import BadRequest, Banned, NotPermitted, UnknownQueue
from pandatx.services.facts import Facts, Known
from pandatx.services.owners import Owners
from pandatx.services.submission import Submission
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import Query

ALICE = Caller(dn="/DC=org/CN=alice", name="alice", how="x509")
PRODUCTION = Caller(dn="/DC=org/CN=prod", name="prod", how="x509", production=True)
QUEUE = queue_of("Q", {"nickname": "Q", "type": "unified", "cloud": "US", "status": "online"})
KNOWN = Known(
    queues={"Q": QUEUE},
    shares=tree_of([ShareRow(name="User", value=100, prodsourcelabel="user|panda")]),
)
FILES = (
    JobFile(lfn="out.root", type="output", destination_dblock="user.alice.out"),
    JobFile(lfn="job.log.tgz", type="log"),
)
JOB = Job(
    computing_site="Q",
    prod_source_label="user",
    job_name="a job",
    job_parameters="-c 'echo hi'",
    transformation="http://x/runGen",
    min_ram_count=1000,
    vo="wlcg",
    files=FILES,
)
COUNTS = Query(
    name="counts",
    text="""SELECT (SELECT count(*) FROM {panda}.jobsdefined4), (SELECT count(*) FROM {panda}.filestable4),
      (SELECT count(*) FROM {panda}.jobparamstable), (SELECT count(*) FROM {panda}.jobs_statuslog),
      (SELECT count(*) FROM {panda}.metatable), (SELECT count(*) FROM {own}.owners)""",
)
JOBS = Query(
    name="jobs",
    text="""SELECT pandaid, jobstatus, produsername, produserid, jobdefinitionid, currentpriority, gshare, job_label,
      creationhost, modificationhost, creationtime FROM {panda}.jobsdefined4 ORDER BY pandaid""",
)
FILE_ROWS = Query(
    name="file_rows", text="SELECT lfn, type, status, guid, pandaid FROM {panda}.filestable4 ORDER BY row_id"
)
USERS = Query(name="users", text="SELECT name, dn, jobid FROM {meta}.users ORDER BY id")


class Made:
    """A submission service, and what it told of stored jobs."""

    def __init__(self, database: Database, known: Known = KNOWN) -> None:
        self.facts = Facts(database, Clock(reactor))
        self.facts.known = known
        self.told: list[Job] = []
        self.submission = Submission(
            database=database,
            clock=Clock(reactor),
            facts=self.facts,
            stored=self.told.extend,
            owners=Owners(database, Clock(reactor)),
            node="server1",
        )
        self.submit = self.submission.submit


async def execute(database: Database, text: str, **values) -> None:
    async def work(tx: Transaction) -> None:
        await tx.run(Query(name=text, text=text), **values)

    await database.transaction("execute", work)


async def counts(database: Database) -> tuple[int, ...]:
    return (await database.statement("counts", COUNTS)).rows[0]


async def test_a_job_is_stored_as_defined_with_its_files_parameters_and_log_row(database):
    made = Made(database)
    (stored,) = await made.submit(ALICE, [JOB], "client.example")
    assert await counts(database) == (1, 2, 1, 1, 0, 1)
    (row,) = (await database.statement("jobs", JOBS)).dicts()
    created = row.pop("creationtime")
    assert abs((datetime.now(UTC) - created).total_seconds()) < 60
    assert row == {
        "pandaid": stored.panda_id,
        "jobstatus": "defined",
        "produsername": "alice",
        "produserid": "/DC=org/CN=alice",
        "jobdefinitionid": stored.job_definition_id,
        "currentpriority": 1000,
        "gshare": "User",
        "job_label": "user",
        "creationhost": "client.example",
        "modificationhost": "server1",
    }
    assert [job.panda_id for job in made.told] == [stored.panda_id]


async def test_outputs_are_unknown_and_a_log_gets_a_guid(database):
    made = Made(database)
    await made.submit(ALICE, [JOB], "h")
    (output, log) = (await database.statement("file_rows", FILE_ROWS)).rows
    assert output[:4] == ("out.root", "output", "unknown", None)
    assert log[:3] == ("job.log.tgz", "log", "unknown")
    assert len(log[3]) == 36
    assert made.told[0].files[1].guid == log[3]


async def test_submissions_of_a_user_are_numbered_one_after_the_other(database):
    made = Made(database)
    receipts = [(await made.submit(ALICE, [JOB, JOB], "h")) for _ in range(2)]
    assert [[one.job_definition_id for one in receipt] for receipt in receipts] == [[2, 2], [3, 3]]
    (jobset,) = await made.submit(ALICE, [evolve(JOB, jobset_id=-1)], "h")
    assert (jobset.jobset_id, jobset.job_definition_id) == (4, 5)
    assert (await database.statement("users", USERS)).rows == [("alice", "/DC=org/CN=alice", 5)]


async def test_submissions_that_wait_together_are_all_stored_and_numbered(database):
    made = Made(database)
    receipts = await gatherResults([Deferred.fromCoroutine(made.submit(ALICE, [JOB] * 3, "h")) for _ in range(20)])
    ids = [one.panda_id for receipt in receipts for one in receipt]
    assert len(set(ids)) == 60
    assert sorted(receipt[0].job_definition_id for receipt in receipts) == list(range(2, 22))
    assert (await counts(database))[:4] == (60, 120, 60, 60)


async def test_metadata_is_stored_only_where_there_is_any(database):
    made = Made(database)
    texts = ["NULL", "", None, "{}"]
    await made.submit(ALICE, [evolve(JOB, metadata=text) for text in texts], "h")
    rows = await database.statement("m", Query(name="m", text="SELECT pandaid, metadata FROM {panda}.metatable"))
    assert rows.rows == [(made.told[3].panda_id, "{}")]


@pytest.mark.parametrize(
    ("job", "fault", "named"),
    [
        (evolve(JOB, computing_site="NOWHERE"), UnknownQueue, "jobs[1].computingSite"),
        (evolve(JOB, prod_source_label="managed"), NotPermitted, "jobs[1].prodSourceLabel"),
        (evolve(JOB, job_name="x" * 300), BadRequest, "jobs[1].jobName"),
        (evolve(JOB, job_parameters="a\0b"), BadRequest, "jobs[1].jobParameters"),
        (evolve(JOB, job_parameters="\ud800"), BadRequest, "jobs[0]"),
    ],
)
async def test_a_refused_job_refuses_its_whole_submission_and_changes_nothing(database, job, fault, named):
    made = Made(database)
    with pytest.raises(fault) as refusal:
        await made.submit(ALICE, [JOB, job], "h")
    assert named in str(refusal.value)
    assert (await counts(database))[:5] == (0, 0, 0, 0, 0)
    assert made.told == []


async def test_a_disabled_user_is_refused(database):
    made = Made(database)
    await made.submit(ALICE, [JOB], "h")
    await execute(database, "UPDATE {meta}.users SET status = 'disabled'")
    with pytest.raises(Banned):
        await made.submit(ALICE, [JOB], "h")
    await made.facts.refresh()
    assert made.facts.known.banned == {"alice"}
    with pytest.raises(Banned):
        await made.submit(ALICE, [JOB], "h")
    assert len(made.told) == 1


async def test_a_name_belongs_to_the_subject_that_used_it_first(database):
    made = Made(database)
    other = evolve(ALICE, dn="/DC=elsewhere/CN=alice")
    await made.submit(ALICE, [JOB], "h")
    with pytest.raises(NotPermitted, match="alice"):
        await made.submit(other, [JOB], "h")
    with pytest.raises(NotPermitted, match="alice"):
        await Made(database).submit(other, [JOB], "h")
    both = await DeferredList(
        [Deferred.fromCoroutine(made.submit(caller, [JOB], "h")) for caller in (ALICE, other)], consumeErrors=True
    )
    assert [good for good, _ in both] == [True, False]


async def test_production_jobs_count_in_no_user_row(database):
    made = Made(database)
    job = evolve(JOB, prod_source_label="managed", assigned_priority=900, job_definition_id=7)
    (stored,) = await made.submit(PRODUCTION, [job], "h")
    assert stored.job_definition_id == 7
    assert (await database.statement("users", USERS)).rows == []
    (row,) = (await database.statement("jobs", JOBS)).dicts()
    assert (row["currentpriority"], row["job_label"], row["gshare"]) == (900, "managed", "Undefined")


async def test_what_the_database_refuses_fails_alone(database):
    made = Made(database)
    await execute(database, "ALTER TABLE {panda}.jobsdefined4 ADD CHECK (jobname <> 'poison')")
    both = await DeferredList(
        [
            Deferred.fromCoroutine(made.submit(PRODUCTION, [evolve(JOB, job_name=name)], "h"))
            for name in ("first", "poison", "last")
        ],
        consumeErrors=True,
    )
    assert [good for good, _ in both] == [True, False, True]
    assert (await counts(database))[0] == 2


async def test_a_large_submission_lets_others_have_the_reactor(database):
    made = Made(database)
    calls = []
    asked = Deferred.fromCoroutine(made.submit(ALICE, [JOB] * 1000, "h"))

    def tick():
        calls.append(1)
        if not asked.called:
            reactor.callLater(0, tick)

    tick()
    assert len(await asked) == 1000
    assert len(calls) > 20
    assert (await counts(database))[:4] == (1000, 2000, 1000, 1000)
