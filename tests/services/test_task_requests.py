"""Submitting and retrying tasks where several act at once, or another server has been before."""

import json

import psycopg2
import pytest
from endings import run
from tasks_by_hand import counters, files, make_job, make_task, recount
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from pandatx.domain.caller import Caller
from pandatx.domain.task_requests import PriorityChange, TaskFinish, TaskKill, TaskRetry
from pandatx.domain.task_submission import TaskRefused
from pandatx.services.closer import Closer
from pandatx.services.killing import Killing
from pandatx.services.owners import Owners
from pandatx.services.permissions_of_users import UserPermissions
from pandatx.services.task_changes import TaskChanges
from pandatx.services.task_commands import TaskCommands
from pandatx.services.task_submission import TaskSubmissions
from pandatx.services.workflows import Workflows
from pandatx.store.database import Session
from pandatx.store.queries import Query

ALICE = Caller(dn="/CN=alice", name="alice", how="x509")
TASK = {"taskName": "user.alice.x/", "vo": "wlcg", "prodSourceLabel": "user", "uniqueTaskName": True}


@pytest.fixture
def commands(database, now, facts):
    async def release(block):
        return 0

    killing = Killing(database, now, Closer(database, now, release), lambda jobs: None)
    return TaskCommands(database, now, killing, UserPermissions(facts))


async def test_of_two_submissions_at_once_one_is_a_duplicate(database, now, facts):
    submissions = TaskSubmissions(database, now, facts, Owners(database, now), UserPermissions(facts))

    async def submit():
        try:
            return (await submissions.submit(ALICE, TASK, None)).code
        except TaskRefused as refused:
            return refused.code

    codes = await gatherResults([Deferred.fromCoroutine(submit()) for _ in range(3)])
    assert sorted(codes) == [0, 1, 1]
    assert await run(database, "SELECT count(*) FROM {deft}.t_task") == [(1,)]


async def test_a_task_is_stored_once_though_the_answer_to_its_commit_was_lost(database, now, facts, monkeypatch):
    original, lost = Session.execute, []

    async def execute(self, text, params=None):
        result = await original(self, text, params)
        if text == "COMMIT" and not lost:
            lost.append(text)
            self.close()
            raise psycopg2.OperationalError("the connection was lost")
        return result

    monkeypatch.setattr(Session, "execute", execute)
    done = await TaskSubmissions(database, now, facts, Owners(database, now), UserPermissions(facts)).submit(
        ALICE, {**TASK, "uniqueTaskName": False}, None
    )
    assert lost == ["COMMIT"]
    assert await run(database, "SELECT taskid FROM {deft}.t_task") == [(done.task_id,)]
    lost.clear()
    workflow_id = await Workflows(database, now, Owners(database, now)).submit(ALICE, {"workflow_name": "w"})
    assert lost == ["COMMIT"]
    assert await run(database, "SELECT workflow_id FROM {panda}.workflows") == [(workflow_id,)]


@pytest.mark.parametrize("status", ["running", "finished"])
async def test_commands_that_are_given_at_once_leave_one(database, now, commands, status):
    await make_task(database, 77, status=status)
    await run(database, "INSERT INTO {panda}.jedi_taskparams VALUES (77, %(d)s) RETURNING 1", d=json.dumps(TASK))
    given = [commands.kill(ALICE, TaskKill(task_id=77)) for _ in range(3)]
    given += [commands.retry(ALICE, TaskRetry(task_id=77, new_parameters={"nFiles": 2})) for _ in range(3)]
    given += [commands.finish(ALICE, TaskFinish(task_id=77, soft=True)) for _ in range(3)]
    outcomes = await gatherResults(list(map(Deferred.fromCoroutine, given)))
    assert [outcome.code for outcome in outcomes] == ([0] * 3 + [3] * 3 + [0] * 3 if status == "running" else
                                                      [4] * 3 + [3] * 3 + [4] * 3)  # fmt: skip
    assert await run(database, "SELECT count(*) FROM {deft}.prodsys_comm") == [(1,)]


async def test_the_limit_of_tasks_is_that_of_the_vo(database, now, facts):
    for vo, most in (("atlas", 0), ("wlcg", 1)):
        await run(
            database,
            "INSERT INTO {panda}.config (app, component, key, value, type, vo, descr) VALUES ('pandaserver', 'dbproxy',"
            " 'MAX_ACTIVE_TASKS_PER_USER_user', %(most)s, 'int', %(vo)s, 'x') RETURNING 1",
            most=str(most),
            vo=vo,
        )
    await facts.refresh()
    await make_task(database, 77, user="alice")
    submissions = TaskSubmissions(database, now, facts, Owners(database, now), UserPermissions(facts))
    assert (await submissions.submit(ALICE, TASK, None)).code == 0
    for vo in ("atlas", "invented"):
        with pytest.raises(TaskRefused, match="Too many active tasks for alice 1>0"):
            await submissions.submit(ALICE, {**TASK, "vo": vo}, None)


async def test_a_priority_is_changed_of_the_mirror_first_as_where_jobs_end(database, now, facts):
    await make_task(database, 77)
    changes = TaskChanges(database, now, facts, lambda jobs: None)
    holding, go_on = Deferred(), Deferred()

    async def end(tx):
        await tx.run(Query(name="a", text="SELECT 1 FROM {deft}.t_task WHERE taskid = 77 FOR UPDATE"))
        holding.callback(None)
        await go_on
        await tx.run(Query(name="b", text="SELECT 1 FROM {panda}.jedi_tasks WHERE jeditaskid = 77 FOR UPDATE NOWAIT"))

    ending = Deferred.fromCoroutine(database.transaction("end", end))
    await holding
    changing = Deferred.fromCoroutine(changes.change_priority(ALICE, PriorityChange(task_id=77, priority=9)))
    while not await run(database, "SELECT 1 FROM pg_locks WHERE NOT granted"):
        await deferLater(reactor, 0.01)
    go_on.callback(None)
    await ending
    assert await changing


async def test_ids_of_tasks_are_beyond_what_clients_take_for_a_request(database, now, facts):
    done = await TaskSubmissions(database, now, facts, Owners(database, now), UserPermissions(facts)).submit(
        ALICE, TASK, None
    )
    assert done.task_id >= 10_000_000


async def test_failed_jobs_that_an_older_server_keeps_are_ended_before_their_files_are_tried_again(
    database, now, commands
):
    task = await make_task(database, 77, n_files=3, max_attempt=2)
    failed = await make_job(database, task, status="running", attemptnr=0, maxattempt=2)
    running = await make_job(database, task, status="running")
    await run(
        database, "UPDATE {panda}.jobsactive4 SET jobstatus = 'failed' WHERE pandaid = %(id)s RETURNING 1", id=failed
    )
    outcome = await commands.retry(ALICE, TaskRetry(task_id=77))
    told = "retry has been triggered for failed jobs while the task is still running"
    assert (outcome.code, outcome.message) == (0, told)
    assert await run(database, "SELECT pandaid FROM {panda}.jobsactive4") == [(running,)]
    ended = await run(database, "SELECT pandaid, jobstatus FROM {panda}.jobsarchived4")
    assert ended == [(failed, "failed")]
    found = await files(database, task)
    first = found[task.inputs[0]]
    assert (first["status"], first["attemptnr"], first["maxattempt"]) == ("ready", 1, 7)
    assert await counters(database, task) == await recount(database, task)


async def test_sets_without_attempts_left_are_left_alone(database, now, commands):
    task = await make_task(database, 77, n_files=1)
    spent = await make_job(database, task, status="running", attemptnr=3, maxattempt=3)
    await run(database, "UPDATE {panda}.jobsactive4 SET jobstatus = 'failed' RETURNING 1")
    await commands.retry(ALICE, TaskRetry(task_id=77))
    assert await run(database, "SELECT pandaid FROM {panda}.jobsactive4") == [(spent,)]


async def test_parameters_that_only_the_engine_has_are_gone_by(database, now, commands):
    await make_task(database, 77, status="failed")
    await run(
        database,
        "INSERT INTO {panda}.jedi_taskparams VALUES (77, %(document)s) RETURNING 1",
        document=json.dumps({**TASK, "site": "A"}),
    )
    outcome = await commands.retry(ALICE, TaskRetry(task_id=77, new_parameters={"nFiles": 2}))
    assert outcome.code == 3
    ((text,),) = await run(database, "SELECT comm_parameters FROM {deft}.prodsys_comm")
    assert json.loads(text) == {"site": "A", "nFiles": 2}


async def test_commands_are_in_the_order_in_which_they_were_given(database, now, time, commands):
    for task_id in (77, 78):
        await make_task(database, task_id, status="failed")
    await commands.retry(ALICE, TaskRetry(task_id=78))
    time.advance(10)
    await commands.retry(ALICE, TaskRetry(task_id=77))
    given = await run(database, "SELECT comm_task FROM {deft}.prodsys_comm ORDER BY comm_ts")
    assert given == [(78,), (77,)]
