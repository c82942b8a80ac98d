"""Applying what an older server has left in SQL_QUEUE, on a real database."""

import json
from datetime import timedelta

import pytest
from endings import run
from tasks_by_hand import counters, make_task, task_row
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from pandatx.clock import Clock
from pandatx.scheduler.context import Context
from pandatx.scheduler.daemons.add_main import AddMain
from pandatx.services import queued_updates
from pandatx.services.queued_updates import LeftUpdates

SET = (
    "UPDATE ATLAS_PANDA.JEDI_Datasets SET nFilesUsed=nFilesUsed-1,nFilesFinished=nFilesFinished+2 "
    "WHERE jediTaskID=:jediTaskID AND datasetID=:datasetID "
)
WAIT = "UPDATE ATLAS_PANDA.JEDI_Tasks SET queuedTime=CURRENT_DATE WHERE jediTaskID=:jediTaskID AND queuedTime IS NULL "


async def queue(
    database, task, panda_id: int, *texts: str, age: float = 120, topic: str = "async_dataset_update"
) -> None:
    at = Clock(reactor).now() - timedelta(seconds=age)
    for place, text in enumerate(texts):
        values = {":jediTaskID": task.id, ":datasetID": task.datasets["input"]}
        await run(
            database,
            "INSERT INTO {panda}.sql_queue (topic, pandaid, execution_order, jeditaskid, creationtime, data)"
            " VALUES (%(topic)s, %(job)s, %(place)s, %(task)s, %(at)s, %(data)s) RETURNING 1",
            topic=topic,
            job=panda_id,
            place=place,
            task=task.id,
            at=at,
            data=json.dumps((text, values)),
        )


async def left(database) -> list[int]:
    return [row[0] for row in await run(database, "SELECT DISTINCT pandaid FROM {panda}.sql_queue ORDER BY 1")]


async def no_pause() -> None:
    pass


@pytest.fixture
def updates(database) -> LeftUpdates:
    return LeftUpdates(database, Clock(reactor))


async def test_statements_that_were_left_are_applied_once(database, updates):
    task = await make_task(database, n_files=9)
    for panda_id in (1, 2, 3):
        await queue(database, task, panda_id, SET, SET, WAIT)
    assert await updates.run_once(no_pause) == 3
    assert await updates.run_once(no_pause) == 0
    found = (await counters(database, task))["input"]
    assert (found["nfilesused"], found["nfilesfinished"]) == (-6, 12)
    assert await left(database) == []
    assert (await task_row(database, task))["queuedtime"] is not None


async def test_two_servers_apply_them_once(database):
    task = await make_task(database, n_files=9)
    for panda_id in range(1, 21):
        await queue(database, task, panda_id, SET)
    both = [LeftUpdates(database, Clock(reactor)).run_once(no_pause) for _ in range(2)]
    await gatherResults([Deferred.fromCoroutine(one) for one in both])
    assert (await counters(database, task))["input"]["nfilesfinished"] == 40


async def test_those_of_the_last_minute_are_their_servers_own(database, updates):
    task = await make_task(database)
    await queue(database, task, 1, SET, age=50)
    await queue(database, task, 2, SET, age=70)
    await queue(database, task, 3, SET, topic="another")
    assert await updates.run_once(no_pause) == 1
    assert await left(database) == [1, 3]


async def test_what_is_not_understood_stays_whole_and_is_told_once(database, updates, monkeypatch):
    monkeypatch.setattr(queued_updates, "TOGETHER", 2)
    task = await make_task(database)
    await queue(database, task, 1, SET, "DELETE FROM ATLAS_PANDA.JEDI_Datasets")
    for panda_id in (2, 3, 4):
        await queue(database, task, panda_id, SET)
    said = []
    monkeypatch.setattr(queued_updates.log, "error", lambda format, **values: said.append(values["id"]))
    assert await updates.run_once(no_pause) == 3
    assert await updates.run_once(no_pause) == 0
    assert (await left(database), said) == ([1], [1])
    assert (await counters(database, task))["input"]["nfilesfinished"] == 6


class Reports:
    async def run_once(self) -> int:
        return 0


async def test_add_main_looks_every_two_minutes(clock):
    class Left:
        runs = 0

        async def run_once(self, pause) -> int:
            Left.runs += 1
            return 0

    daemon, seen = AddMain(Reports(), Left()), []
    for _ in range(9):
        running = Deferred.fromCoroutine(daemon.run(Context(clock, "add_main")))
        clock.reactor.advance(0)
        clock.reactor.advance(0)
        await running
        clock.reactor.advance(30)
        seen.append(Left.runs)
    assert seen == [1, 1, 1, 1, 2, 2, 2, 2, 3]
