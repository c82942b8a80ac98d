"""What operators have set down on errors reaches the tasks of failed jobs (reference/lifecycle.md 1.8)."""

from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import evolve
from endings import DUMMY, DirectPool, Told, report_of, run, seed_report, seed_reported
from tasks_by_hand import Task, counters, files, make_job, make_task, recount, task_row
from twisted.internet import reactor

from pandatx.clock import Clock
from pandatx.domain.queues import Queue
from pandatx.domain.shares import ResourceTypeRow
from pandatx.services.adder import Adder
from pandatx.services.closer import Closer
from pandatx.services.facts import Facts
from pandatx.services.watcher import Watcher
from pandatx.store.database import Transaction
from pandatx.store.queries import Query

PILOT_ERROR = 1305
FAILED = {"piloterrorcode": PILOT_ERROR, "piloterrordiag": "payload ran\nout of memory", "status": "holding"}
LONG = {**FAILED, "corecount": 4, "starttime": "2026-01-01 00:00", "endtime": "2026-01-01 10:00"}


@pytest.fixture
def facts(database) -> Facts:
    known = Facts(database, Clock(reactor))
    queue = Queue(name="Q", core_power=10.0, core_count=4, document={"maxtime": 345600})
    types = (
        ResourceTypeRow(name="SCORE", min_core=1, max_core=1, min_ram_per_core=None, max_ram_per_core=2000),
        ResourceTypeRow(name="SCORE_HIMEM", min_core=1, max_core=1, min_ram_per_core=2001, max_ram_per_core=None),
    )
    known.known = evolve(known.known, queues={"Q": queue}, resource_types=types)
    return known


@pytest.fixture
def adder(database, facts) -> Adder:
    clock = Clock(reactor)
    closer = Closer(database, clock, Told().activate)
    return Adder(database, clock, facts, DirectPool(), lambda vo, group: DUMMY, {}, closer, "here")


async def rule(
    database, action: str, parameters: str | None = None, *, id: int = 1, active="YY", **columns: Any
) -> None:
    row = {
        "retryerror_id": id,
        "errorsource": "pilotErrorCode",
        "errorcode": PILOT_ERROR,
        "parameters": parameters,
        "retryaction": id,
        "active": active[0],
        **columns,
    }
    names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    await run(database, f"INSERT INTO {{panda}}.retryerrors ({names}) VALUES ({values}) RETURNING 1", **row)
    await run(
        database,
        "INSERT INTO {panda}.retryactions (retryaction_id, retry_action, active)"
        " VALUES (%(i)s, %(a)s, %(y)s) RETURNING 1",
        i=id,
        a=action,
        y=active[1],
    )


async def fail(database, adder: Adder, task: Task, **columns: Any) -> int:
    """A job of the task that ends as failed by its report; the id of its file."""
    panda_id = await make_job(database, task, **{**FAILED, **columns})
    ((attempt,),) = await run(database, "SELECT attemptnr FROM {panda}.jobsactive4 WHERE pandaid = %(i)s", i=panda_id)
    await seed_report(database, panda_id, "failed", data=report_of(f"log.{panda_id}"), attemptnr=attempt)
    assert await adder.run_once() == 1
    rows = await run(database, "SELECT jobstatus FROM {panda}.jobsarchived4 WHERE pandaid = %(i)s", i=panda_id)
    assert rows == [("failed",)]
    ((file_id,),) = await run(
        database,
        "SELECT fileid FROM {panda}.filestable4 WHERE pandaid = %(i)s AND type = 'input' AND datasetid = %(d)s",
        i=panda_id,
        d=task.datasets["input"],
    )
    return file_id


async def failed_row(database, adder: Adder, task: Task, **columns: Any) -> dict[str, Any]:
    """The row of the file whose job has just failed."""
    file_id = await fail(database, adder, task, **columns)
    return (await files(database, task))[file_id]


async def consistent(database, task: Task) -> dict[str, int]:
    """The counters of the master, which are those of its rows (promise 8)."""
    counted = await counters(database, task)
    assert counted == await recount(database, task)
    return counted["input"]


async def test_without_a_rule_a_failed_file_is_ready_for_its_next_attempt(database, adder):
    task = await make_task(database)
    row = await failed_row(database, adder, task)
    assert (row["attemptnr"], row["maxattempt"], row["status"]) == (1, 3, "ready")
    assert (await consistent(database, task))["nfilesused"] == 0


async def test_no_retry_ends_the_attempts_of_the_jobs_files(database, adder):
    await rule(database, "no_retry")
    task = await make_task(database, secondary=True)
    row = await failed_row(database, adder, task)
    assert (row["attemptnr"], row["maxattempt"], row["status"], row["proc_status"]) == (1, 1, "ready", "failed")
    counted = await consistent(database, task)
    assert (counted["nfilesused"], counted["nfilesfailed"]) == (1, 1)
    others = [each for key, each in (await files(database, task)).items() if key != row["fileid"]]
    assert [each["maxattempt"] for each in others] == [3, 3]


async def test_a_job_whose_pilot_found_nothing_to_do_is_no_reason_for_a_rule(database, adder):
    await rule(database, "no_retry")
    task = await make_task(database, 77)
    panda_id = await make_job(database, task, **FAILED, jobsubstatus="pilot_closed")
    ((attempt,),) = await run(database, "SELECT attemptnr FROM {panda}.jobsactive4")
    await seed_report(database, panda_id, "failed", data=report_of(f"log.{panda_id}"), attemptnr=attempt)
    assert await adder.run_once() == 1
    assert await run(database, "SELECT jobstatus FROM {panda}.jobsarchived4") == [("closed",)]
    assert {row["maxattempt"] for row in (await files(database, task)).values()} == {3}


async def test_limit_retry_leaves_so_many_attempts(database, adder):
    await rule(database, "limit_retry", "maxAttempt=2")
    task = await make_task(database, n_files=1, max_attempt=9)
    row = await failed_row(database, adder, task)
    assert (row["attemptnr"], row["maxattempt"]) == (1, 2)
    assert (await consistent(database, task))["nfilesfailed"] == 0
    row = await failed_row(database, adder, task)
    assert (row["attemptnr"], row["maxattempt"]) == (2, 2)
    assert (await consistent(database, task))["nfilesfailed"] == 1


async def test_a_limit_above_the_tasks_own_changes_nothing(database, adder):
    await rule(database, "limit_retry", "maxAttempt=7")
    task = await make_task(database)
    assert (await failed_row(database, adder, task))["maxattempt"] == 3


@pytest.mark.parametrize("active", ["NY", "YN"])
async def test_a_rule_or_action_that_is_not_active_is_only_logged(database, adder, active):
    await rule(database, "no_retry", active=active)
    task = await make_task(database)
    assert (await failed_row(database, adder, task))["maxattempt"] == 3


async def test_a_rule_whose_time_is_over_does_nothing(database, adder):
    await rule(database, "no_retry", id=1, expiration_date=datetime(2020, 1, 1, tzinfo=UTC))
    await rule(database, "limit_retry", "maxAttempt=2", id=2, expiration_date=datetime(2199, 1, 1, tzinfo=UTC))
    task = await make_task(database)
    assert (await failed_row(database, adder, task))["maxattempt"] == 2


async def test_a_bad_expression_of_an_operator_makes_only_its_own_rule_void(database, adder):
    await rule(database, "no_retry", id=1, errordiag="payload (ran")
    await rule(database, "limit_retry", "maxAttempt=2", id=2, errordiag="payload.*of memory")
    task = await make_task(database)
    assert (await failed_row(database, adder, task))["maxattempt"] == 2


async def test_rules_are_read_at_most_once_a_minute(database, facts, clock):

    closer = Closer(database, clock, Told().activate)
    adder = Adder(database, clock, facts, DirectPool(), lambda vo, group: DUMMY, {}, closer, "here")
    task = await make_task(database)
    assert (await failed_row(database, adder, task))["maxattempt"] == 3
    await rule(database, "limit_retry", "maxAttempt=2")
    clock.reactor.advance(59)
    assert (await failed_row(database, adder, task))["maxattempt"] == 3
    clock.reactor.advance(1)
    assert (await failed_row(database, adder, task))["maxattempt"] == 2


async def test_a_job_without_a_task_asks_for_no_rules(database, adder):
    await seed_reported(database, 1, status="failed", piloterrorcode=PILOT_ERROR)
    assert await adder.run_once() == 1
    assert adder._rules._read_at is None


async def test_more_memory_is_the_next_step_for_the_files_of_the_job(database, adder):
    await rule(database, "increase_memory")
    task = await make_task(database, n_files=10, ramcount=2000, ramunit="MBPerCore")
    file_id = await fail(database, adder, task, minramcount=1800, minramunit="MB", corecount=1)
    rows = await files(database, task)
    assert rows.pop(file_id)["ramcount"] == 3000
    assert {row["ramcount"] or 0 for row in rows.values()} == {0}
    assert (await task_row(database, task))["ramcount"] == 2000


async def test_when_many_files_have_needed_more_memory_the_task_gets_it_with_its_resource_type(database, adder):
    await rule(database, "increase_memory")
    task = await make_task(
        database,
        n_files=10,
        max_attempt=1,
        ramcount=2000,
        ramunit="MBPerCore",
        corecount=1,
        resource_type="SCORE",
    )
    for n in range(4):
        assert (await task_row(database, task))["ramcount"] == 2000, n
        await fail(database, adder, task, minramcount=1800, minramunit="MB", corecount=1)
    await fail(database, adder, task, minramcount=1800, minramunit="MB", corecount=1)
    row = await task_row(database, task)
    assert (row["ramcount"], row["resource_type"]) == (3000, "SCORE_HIMEM")


async def test_for_jobs_that_fail_together_the_files_of_their_task_are_looked_at_once(database, adder, monkeypatch):
    """There may be a million, and a hundred jobs in a batch, whose locks are held meanwhile."""
    await rule(database, "increase_memory")
    task = await make_task(database, n_files=10, ramcount=2000, ramunit="MBPerCore", corecount=1)
    for _ in range(5):
        panda_id = await make_job(database, task, **FAILED, minramcount=1800, minramunit="MB", corecount=1)
        await seed_report(database, panda_id, "failed", data=report_of(f"log.{panda_id}"), attemptnr=0)
    asked: list[str] = []
    run_query = Transaction.run

    async def noted(tx: Transaction, query: Query, **params: Any) -> Any:
        asked.append(query.name)
        return await run_query(tx, query, **params)

    monkeypatch.setattr(Transaction, "run", noted)
    assert await adder.run_once() == 5
    assert asked.count("retry_rules_memory_of_files") == 1
    assert (await task_row(database, task))["ramcount"] == 3000, "as if they had failed one after the other"
    raised = [row["ramcount"] for row in (await files(database, task)).values() if row["ramcount"]]
    assert raised == [3000] * 4


async def test_more_memory_by_the_tasks_own_factor(database, adder):
    await rule(database, "increase_memory_xtimes")
    task = await make_task(database, n_files=10, ramcount=2000, ramunit="MB", splitrule="RY=3000,RZ=5000,US=1")
    file_id = await fail(database, adder, task, minramcount=1800, minramunit="MB", corecount=1)
    assert (await files(database, task))[file_id]["ramcount"] == 3000
    file_id = await fail(database, adder, task, minramcount=3600, minramunit="MB", corecount=1)
    assert (await files(database, task))[file_id]["ramcount"] == 5000


async def test_more_cpu_time_by_the_time_of_a_failed_job(database, adder):
    """(36000 s - 600 s) * 10 HS06 * 4 cores * 1.1 / 90 % / 1000 events * 1.5."""
    await rule(database, "increase_cputime")
    task = await make_task(database, n_events=1000, basewalltime=600, cpuefficiency=90, cputime=5)
    await fail(database, adder, task, **LONG)
    row = await task_row(database, task)
    assert (row["cputime"], row["cputimeunit"], row["walltimeunit"]) == (2596, "HS06sPerEvent", "s")


async def test_the_work_of_a_job_is_kept_with_it(database, adder):
    task = await make_task(database)
    await fail(database, adder, task, **LONG)
    assert await run(database, "SELECT hs06sec FROM {panda}.jobsarchived4") == [(36000 * 10 * 4,)]


async def test_once_a_job_has_finished_jedi_is_asked_to_work_the_cpu_time_out(database, adder):
    await rule(database, "increase_cputime")
    task = await make_task(database, n_events=1000, basewalltime=600, cpuefficiency=90, cputime=5)
    done = await make_job(database, task, status="holding", transformation="runGen")
    await seed_report(database, done, data=report_of(f"output.{done}", f"log.{done}"), attemptnr=0)
    assert await adder.run_once() == 1
    await fail(database, adder, task, **LONG)
    row = await task_row(database, task)
    assert (row["cputime"], row["walltimeunit"]) == (5, None)
    await run(database, "UPDATE {panda}.jedi_tasks SET walltimeunit = 's' RETURNING 1")
    await fail(database, adder, task, **LONG)
    assert (await task_row(database, task))["walltimeunit"] == "s", "asked again within half an hour"


async def test_less_input_per_job_from_the_second_attempt_on(database, adder):
    await rule(database, "reduce_input_per_job")
    task = await make_task(database, n_files=2, max_attempt=9, splitrule="US=1,NG=40,MF=20")
    for attempt, expected in enumerate(
        [
            "US=1,NG=40,MF=20",
            "US=1,NG=40,MF=20",
            "US=1,RM=NG:40|MF:20,NG=20,MF=10",
            None,
            "US=1,RM=NG:40|MF:20,NG=10,MF=5",
        ]
    ):
        await fail(database, adder, task)
        found = (await task_row(database, task))["splitrule"]
        assert expected in (None, found), attempt


async def test_a_system_error_gives_the_attempt_back(database, adder):
    await run(
        database,
        "INSERT INTO {panda}.error_classification (error_source, error_code, error_diag, error_class, active)"
        " VALUES ('pilotErrorCode', %(c)s, 'payload.*', 'system', 'Y') RETURNING 1",
        c=PILOT_ERROR,
    )
    task = await make_task(database, n_files=1, max_attempt=1, max_failure=1)
    row = await failed_row(database, adder, task)
    assert (row["attemptnr"], row["maxattempt"], row["failedattempt"], row["maxfailure"]) == (1, 2, 1, 2)
    assert row["proc_status"] == "ready"
    counted = await consistent(database, task)
    assert (counted["nfilesused"], counted["nfilesfailed"]) == (0, 0)


@pytest.mark.parametrize(("name", "active"), [("user", "Y"), ("system", "N")])
async def test_other_classes_and_inactive_ones_give_nothing_back(database, adder, name, active):
    await run(
        database,
        "INSERT INTO {panda}.error_classification (error_source, error_code, error_diag, error_class, active)"
        " VALUES ('pilotErrorCode', %(c)s, '.*', %(n)s, %(a)s) RETURNING 1",
        c=PILOT_ERROR,
        n=name,
        a=active,
    )
    task = await make_task(database, n_files=1, max_attempt=1)
    row = await failed_row(database, adder, task)
    assert row["maxattempt"] == 1
    assert (await consistent(database, task))["nfilesfailed"] == 1


async def test_no_retry_holds_although_the_error_was_the_systems(database, adder):
    await rule(database, "no_retry")
    await run(
        database,
        "INSERT INTO {panda}.error_classification (error_source, error_code, error_diag, error_class, active)"
        " VALUES ('pilotErrorCode', %(c)s, '.*', 'system', 'Y') RETURNING 1",
        c=PILOT_ERROR,
    )
    task = await make_task(database, n_files=1, max_attempt=3)
    row = await failed_row(database, adder, task)
    assert (row["attemptnr"], row["maxattempt"]) == (1, 1)


async def test_the_watcher_applies_rules_on_the_dispatchers_errors(database, facts, clock):
    await rule(database, "no_retry", errorsource="jobDispatcherErrorCode", errorcode=100, errordiag="lost heartbeat")

    class Loud:
        async def silence_counts(self) -> bool:
            return True

    now = Clock(reactor)
    task = await make_task(database)
    panda_id = await make_job(database, task, status="running", starttime="2026-01-01")
    watcher = Watcher(database, now, facts, Loud(), Closer(database, now, Told().activate))
    assert await watcher.run_once() == 1
    row = next(each for each in (await files(database, task)).values() if each["pandaid"] == panda_id)
    assert (row["attemptnr"], row["maxattempt"], row["failedattempt"]) == (1, 1, 1)
    assert (await consistent(database, task))["nfilesfailed"] == 1
