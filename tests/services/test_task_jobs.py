"""Jobs that come from a task or name one: set up when JEDI asks for it, taken from users with tasks of their own."""

import pytest
from attrs import evolve
from endings import Told, job, run
from tasks_by_hand import counters, files, make_job, make_task, recount
from test_setup import Made, about
from test_submission import ALICE, JOB, PRODUCTION
from twisted.internet import reactor

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.errors import NotPermitted
from pandatx.services.closer import Closer
from pandatx.services.killing import Killing

BOB = Caller(dn="/DC=org/CN=bob", name="bob", how="x509")


@pytest.fixture
def made(database) -> Made:
    return Made(database)


def killing_of(made: Made) -> Killing:
    clock = Clock(reactor)
    closer = Closer(made.database, clock, Told().activate)
    return Killing(made.database, clock, closer, made.setup.accept)


async def places(made: Made) -> list[tuple[str, str]]:
    await made.setup.idle()
    return await made.places()


@pytest.mark.parametrize("label", ["user", "managed"])
async def test_a_pending_job_of_jedi_is_set_up_when_it_is_reassigned(made, database, label):
    task = await make_task(database, n_files=2, label=label)
    panda_id = await make_job(database, task, n=2, status="pending")
    await killing_of(made).reassign(PRODUCTION, [panda_id])
    assert await places(made) == [("active", "activated")]
    assert (made.activated, len(made.plugins.calls)) == ([panda_id], 1)
    ((seen,),) = made.plugins.calls[0][0:1]
    assert (seen["panda_id"], seen["locked_by"], len(seen["files"])) == (panda_id, "jedi", 4)
    assert {row["proc_status"] for row in (await files(database, task)).values()} == {"queued"}
    log = "SELECT jobstatus FROM {panda}.jobs_statuslog ORDER BY modificationtime, jobstatus DESC"
    assert await run(database, log) == [("defined",), ("activated",)]


async def test_a_run_job_waits_for_the_library_of_its_build(made, database):
    task = await make_task(database, n_files=1, with_lib=True)
    panda_id = await make_job(database, task, status="pending")
    late = "SET status = 'unknown', dispatchdblock = 'lib' WHERE lfn LIKE '%%.lib.tgz' RETURNING 1"
    await run(database, f"UPDATE {{panda}}.filestable4 {late}")
    made.plugins.says = lambda jobs: about(panda_id)
    await killing_of(made).reassign(PRODUCTION, [panda_id])
    assert await places(made) == [("defined", "assigned")]


async def test_a_production_job_that_is_activated_begins_again_at_its_queue(made, database):
    task = await make_task(database, n_files=1, label="managed")
    panda_id = await make_job(database, task, relocationflag=0, currentpriority=5)
    await killing_of(made).reassign(PRODUCTION, [panda_id])
    assert await places(made) == [("active", "activated")]
    row = await job(database, panda_id, "jobsactive4")
    assert (row["computingsite"], row["currentpriority"]) == ("Q", 100)
    assert {row["status"] for row in (await files(database, task)).values()} == {"running"}
    assert await counters(database, task) == await recount(database, task)


async def test_a_users_job_that_is_activated_stays(made, database):
    task = await make_task(database, n_files=1)
    panda_id = await make_job(database, task)
    await killing_of(made).reassign(PRODUCTION, [panda_id])
    assert await places(made) == [("active", "activated")]
    assert made.plugins.calls == []


async def test_a_setup_that_fails_gives_the_files_back(made, database):
    task = await make_task(database, n_files=1)
    panda_id = await make_job(database, task, status="pending")
    made.plugins.says = lambda jobs: about(panda_id, status="failed", error="no such dataset")
    await killing_of(made).reassign(PRODUCTION, [panda_id])
    assert await places(made) == [("archived", "failed")]
    row = await job(database, panda_id)
    assert (row["ddmerrorcode"], row["ddmerrordiag"]) == (100, "no such dataset")
    assert [(f["status"], f["attemptnr"], f["failedattempt"]) for f in (await files(database, task)).values()] == [
        ("ready", 1, 1)
    ]
    assert await counters(database, task) == await recount(database, task)


async def test_a_user_may_name_a_task_of_ones_own(made, database):
    task = await make_task(database, 1234)
    (panda_id,) = await made.submit(evolve(JOB, jedi_task_id=task.id))
    assert (await job(database, panda_id, "jobsactive4"))["jeditaskid"] == 1234
    with pytest.raises(NotPermitted, match=r"jobs\[1\].jediTaskID: task 99 is not yours"):
        await made.submit(evolve(JOB, jedi_task_id=1234), evolve(JOB, jedi_task_id=99))
    with pytest.raises(NotPermitted, match=r"jobs\[0\].jediTaskID: task 1234 is not yours"):
        await made.submit(evolve(JOB, jedi_task_id=1234), caller=BOB)
    await made.submit(evolve(JOB, jedi_task_id=99), caller=PRODUCTION)


async def test_such_a_job_moves_no_file_of_the_task_that_is_not_in_it(made, database):
    task = await make_task(database, 1234, n_files=1)
    theirs = await make_job(database, task, status="running")
    before = await counters(database, task), await files(database, task)
    for each in JOB.files:
        assert each.type in ("output", "log")
    file = evolve(
        JOB.files[0], jedi_task_id=task.id, dataset_id=task.datasets["input"], file_id=task.inputs[0], attempt_nr=0
    )
    (panda_id,) = await made.submit(evolve(JOB, jedi_task_id=task.id, files=(evolve(file, type="pseudo_input"),)))
    assert await killing_of(made).kill(ALICE, [panda_id]) == [True]
    assert (await counters(database, task), await files(database, task)) == before
    assert await killing_of(made).kill(ALICE, [theirs]) == [True]
