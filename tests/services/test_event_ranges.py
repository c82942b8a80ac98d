"""Event ranges over the real database: given to one job at a time, heard of, and given back."""

from __future__ import annotations

import itertools
import time
from typing import Any

import psycopg2
import pytest
from event_ranges import DATASET, FILE, JOBSET, TASK, end, make_consumer, make_ranges, ranges, run, said
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from pandatx.clock import Clock
from pandatx.domain.event_requests import RangeCountRequest, RangeRequest
from pandatx.domain.events import read_updates
from pandatx.services.closer import Closer
from pandatx.services.events import Events
from pandatx.services.facts import Facts
from pandatx.services.killing import SERVER, Killing
from pandatx.services.watcher import Watcher
from pandatx.store.database import Database
from pandatx.store.events import Range

READY, SENT, RUNNING, FINISHED, CANCELLED, DISCARDED, DONE, FAILED, FATAL = range(9)


async def nothing(*_: Any) -> None:
    pass


@pytest.fixture
def events(database: Database) -> Events:
    return Events(database, Clock(reactor))


def wish(job: int, n: int = 100, **values: Any) -> RangeRequest:
    return RangeRequest(**{"job_id": job, "jobset_id": JOBSET, "task_id": TASK, "n_ranges": n, **values})


def processes(found: list[Range]) -> list[int]:
    return [each.id.process_id for each in found]


async def test_a_job_gets_ranges_of_its_jobset_in_their_order_and_they_are_sent(database, events):
    await make_ranges(database, 3)
    await make_consumer(database, 50)
    found = await events.take(wish(50, 2))
    assert [str(each.id) for each in found] == ["7-50-13-1-3", "7-50-13-2-3"]
    first = found[0]
    assert (first.first, first.last, first.lfn, first.guid, first.scope) == (1, 10, "in.13", "guid", "scope")
    assert await ranges(database) == [
        (JOBSET, FILE, 3, READY, 3),
        (50, FILE, 1, SENT, 3),
        (50, FILE, 2, SENT, 3),
    ]
    assert processes(await events.take(wish(50))) == [3]
    assert await events.take(wish(50)) == []


async def test_without_a_task_and_a_jobset_the_jobs_own_are_taken(database, events):
    await make_ranges(database, 1)
    await make_consumer(database, 50)
    assert processes(await events.take(wish(50, task_id=None, jobset_id=None))) == [1]


@pytest.mark.parametrize(
    "columns",
    [{"jobstatus": "holding"}, {"jobstatus": "activated"}, {"commandtopilot": "tobekilled"}, {"jeditaskid": 8},
     {"pandaid": 51}],
)  # fmt: skip
async def test_a_job_that_is_not_at_work_or_of_another_task_gets_nothing(database, events, columns):
    await make_ranges(database, 1)
    await make_consumer(database, 50, **columns)
    before = await ranges(database)
    assert await events.take(wish(50)) == []
    assert await ranges(database) == before


async def test_what_has_no_attempts_left_is_not_given(database, events):
    await make_ranges(database, 2, attempts=0)
    await make_consumer(database, 50)
    assert await events.take(wish(50)) == []
    assert await events.ready(RangeCountRequest(job_id=50, jobset_id=JOBSET, task_id=TASK)) == 0


async def test_a_segment_is_one_dataset(database, events):
    await make_ranges(database, 2)
    await make_ranges(database, 2, dataset=DATASET + 1, file=FILE + 1)
    await make_consumer(database, 50)
    found = await events.take(wish(50, segment_id=DATASET + 1))
    assert {each.id.file_id for each in found} == {FILE + 1}
    assert len(found) == 2


@pytest.mark.parametrize("scattered", [False, True])
async def test_a_jumbo_job_gets_ranges_of_any_jobset_of_its_task(database, events, scattered):
    await make_ranges(database, 2)
    await make_ranges(database, 2, jobset=10, file=14)
    await make_ranges(database, 2, task=8, jobset=20, file=15)
    await make_consumer(database, 50, eventservice=4, jobsetid=99)
    asked = RangeCountRequest(job_id=50, jobset_id=99, task_id=TASK)
    assert await events.ready(asked) == 4
    found = await events.take(wish(50, scattered=scattered))
    assert sorted(each.id.file_id for each in found) == [13, 13, 14, 14]
    assert await run(database, "SELECT DISTINCT is_jumbo FROM {panda}.jedi_events WHERE pandaid = 50") == [(1,)]
    assert await events.ready(asked) == 0


async def test_ranges_are_counted_for_a_jobset(database, events):
    await make_ranges(database, 5)
    await make_consumer(database, 50)
    await events.take(wish(50, 2))
    for job, jobset, n in ((50, JOBSET, 3), (50, None, 3), (51, JOBSET, 3), (50, 77, 0), (51, None, 0)):
        assert await events.ready(RangeCountRequest(job_id=job, jobset_id=jobset, task_id=TASK)) == n


async def test_pilots_that_ask_at_once_get_different_ranges(database, events):
    await make_ranges(database, 40)
    jobs = range(50, 58)
    for job in jobs:
        await make_consumer(database, job)
    asked = [Deferred.fromCoroutine(events.take(wish(job, 5))) for job in jobs]
    found = await gatherResults(asked)
    assert sorted(itertools.chain.from_iterable(map(processes, found))) == list(range(1, 41))


async def test_nobody_waits_for_ranges_that_others_are_just_taking(database, events):
    await make_ranges(database, 4)
    await make_consumer(database, 50)
    other = psycopg2.connect(database.conninfo)
    with other.cursor() as cursor:
        cursor.execute("SELECT 1 FROM doma_panda.jedi_events WHERE job_processid < 3 FOR UPDATE")
        assert processes(await events.take(wish(50))) == [3, 4]
    other.close()


async def test_ends_are_stored_and_events_counted(database, events):
    await make_ranges(database, 4)
    await make_consumer(database, 50)
    a, b, c, d = (each.id for each in await events.take(wish(50)))
    read = [*said("finished", a, b, objstoreID=5, pathConvention=2), *said("failed", c, errorCode=4, errorDiag="no"),
            *said("fatal", d), *said("running", a)]  # fmt: skip
    judged = await events.update(read, 0)
    assert (judged.returns, judged.commands) == ([True, True, True, True, None], {50: None})
    assert await ranges(database) == [
        (50, FILE, 1, FINISHED, 3),
        (50, FILE, 2, FINISHED, 3),
        (50, FILE, 3, FAILED, 3),
        (50, FILE, 4, FAILED, 1),
    ]
    columns = "objstore_id, path_convention, error_code, error_diag"
    assert await run(database, f"SELECT {columns} FROM {{panda}}.jedi_events WHERE job_processid IN (1, 3)") == [
        (5, 2, None, None),
        (None, None, 4, "no"),
    ]
    assert await run(database, "SELECT nevents FROM {panda}.jobsactive4") == [(20,)]


async def test_an_end_is_not_changed_by_a_second_one_and_an_old_attempt_changes_nothing(database, events):
    await make_ranges(database, 2)
    await make_consumer(database, 50)
    a, b = (each.id for each in await events.take(wish(50)))
    await events.update(said("finished", a), 0)
    before = await ranges(database)
    judged = await events.update(said("failed", a, "7-50-13-2-2", "7-50-99-1-3"), 0)
    assert judged.returns == [True, True, True]
    assert await ranges(database) == before
    assert str(b) == "7-50-13-2-3"


async def test_pilots_of_jobs_that_are_over_or_to_end_are_told(database, events):
    await make_ranges(database, 3)
    await make_consumer(database, 50, commandtopilot="tobekilled")
    await make_consumer(database, 51, commandtopilot="tobekilled", superrorcode=122)
    judged = await events.update(said("finished", "7-50-13-1-3", "7-51-13-1-3", "7-52-13-1-3"), 0)
    assert judged.commands == {50: "tobekilled", 51: "softkill", 52: "tobekilled"}
    assert judged.returns == [True, True, False]


async def test_ranges_of_a_jobset_may_end_before_their_job_was_dispatched(database, events):
    await make_ranges(database, 2)
    await make_consumer(database, 50, jobstatus="activated", eventservice=6)
    await make_consumer(database, 51, jobstatus="running", eventservice=6)
    names = (f"7-{JOBSET}-13-1-3", f"7-{JOBSET}-13-2-3")
    assert (await events.update(said("finished", *names), 0)).returns == [False, False]
    judged = await events.update(said("finished", *names), 2)
    assert (judged.returns, judged.commands) == ([True, True], {JOBSET: None})
    assert await ranges(database) == [(JOBSET, FILE, 1, FINISHED, 3), (JOBSET, FILE, 2, FINISHED, 3)]
    assert await run(database, "SELECT nevents FROM {panda}.jobsactive4") == [(20,), (20,)]


async def test_packed_ranges_point_to_the_row_of_their_file_which_is_made_once(database, events):
    await make_ranges(database, 3)
    await make_consumer(database, 50)
    a, b, c = (str(each.id) for each in await events.take(wish(50)))
    zipped = {"lfn": "z.zip", "objstoreID": 5, "adler32": "ab", "fsize": 7, "numEvents": 20, "pathConvention": 1000}
    for names in ((a, b), (c,)):
        chunk = {"eventRanges": [{"eventRangeID": n, "eventStatus": "finished"} for n in names], "zipFile": zipped}
        assert (await events.update(read_updates([chunk]), 1)).returns == [True] * len(names)
    columns = "row_id, pandaid, jeditaskid, lfn, type, status, fsize, checksum, dispatchdblocktoken, destinationse"
    ((row_id, *row),) = await run(database, f"SELECT {columns} FROM {{panda}}.filestable4")
    assert row == [50, TASK, "z.zip", "zipoutput", "ready", 7, "ad:ab", "20", "5/1000"]
    assert await run(database, "SELECT DISTINCT ziprow_id FROM {panda}.jedi_events") == [(row_id,)]


async def test_an_update_of_five_thousand_ranges_is_a_few_statements(database, events):
    await make_ranges(database, 5000)
    await make_consumer(database, 50)
    found = await events.take(wish(50, 5000))
    assert len(found) == 5000
    texts: list[str] = []
    execute = type(next(iter(database.pool.sessions))).execute

    async def heard(session: Any, text: str, params: Any = None) -> Any:
        texts.append(text)
        return await execute(session, text, params)

    kind = type(next(iter(database.pool.sessions)))
    kind.execute = heard
    try:
        begun = time.monotonic()
        judged = await events.update(said("finished", *(each.id for each in found)), 1)
        took = time.monotonic() - begun
    finally:
        kind.execute = execute
    assert judged.returns == [True] * 5000
    assert len(texts) <= 6, texts
    assert took < 10
    assert await run(database, "SELECT nevents FROM {panda}.jobsactive4") == [(50000,)]


async def test_what_a_job_has_left_goes_back_with_an_attempt_less(database, events):
    await make_ranges(database, 5)
    await make_consumer(database, 50)
    await make_consumer(database, 51)
    a, b, _, _ = (each.id for each in await events.take(wish(50, 4)))
    await events.update([*said("finished", a), *said("failed", b)], 0)
    await end(database, 50)
    assert await ranges(database) == [
        (JOBSET, FILE, 2, READY, 2),
        (JOBSET, FILE, 3, READY, 2),
        (JOBSET, FILE, 4, READY, 2),
        (JOBSET, FILE, 5, READY, 3),
        (50, FILE, 1, DONE, 3),
        (50, FILE, 2, FAILED, 3),
    ]
    assert processes(await events.take(wish(51))) == [2, 3, 4, 5]


async def test_a_failed_job_gives_back_the_same(database, events):
    await make_ranges(database, 2)
    await make_consumer(database, 50)
    await events.take(wish(50, 1))
    await end(database, 50, "failed")
    assert await ranges(database) == [(JOBSET, FILE, 1, READY, 2), (JOBSET, FILE, 2, READY, 3)]


async def test_tags_keep_attempts_and_give_up_for_good(database, events):
    await make_ranges(database, 2, attempts=1)
    await make_consumer(database, 50, specialhandling="eventservice,df")
    await events.take(wish(50))
    await end(database, 50)
    assert await ranges(database) == [(JOBSET, FILE, 1, READY, 1), (JOBSET, FILE, 2, READY, 1)]
    await make_consumer(database, 51, specialhandling="eventservice,ap")
    a, _ = (each.id for each in await events.take(wish(51)))
    await events.update(said("fatal", a), 0)
    await end(database, 51)
    assert await ranges(database) == [
        (JOBSET, FILE, 1, FATAL, 0),
        (JOBSET, FILE, 2, FATAL, 0),
        (51, FILE, 1, FAILED, 1),
    ]


async def test_a_jumbo_job_gives_back_to_each_jobset(database, events):
    await make_ranges(database, 1)
    await make_ranges(database, 1, jobset=10, file=14)
    await make_consumer(database, 50, eventservice=4, jobsetid=99)
    await events.take(wish(50))
    await end(database, 50, "failed")
    assert await ranges(database) == [(JOBSET, 13, 1, READY, 2), (10, 14, 1, READY, 2)]
    assert await run(database, "SELECT DISTINCT is_jumbo FROM {panda}.jedi_events") == [(None,)]


async def test_what_a_jumbo_job_failed_on_is_tried_again_by_the_jobsets(database, events):
    await make_ranges(database, 2)
    await make_consumer(database, 50, eventservice=4, jobsetid=99)
    a, b = (each.id for each in await events.take(wish(50)))
    await events.update([*said("failed", a), *said("finished", b)], 0)
    await end(database, 50)
    assert await ranges(database) == [
        (JOBSET, FILE, 1, READY, 2),
        (50, FILE, 1, FAILED, 3),
        (50, FILE, 2, FINISHED, 3),
    ]


@pytest.mark.parametrize(
    ("columns", "status"),
    [({}, "failed"), ({"eventservice": 4}, "failed"), ({"eventservice": 6}, "failed"),
     ({"specialhandling": "eventservice,de"}, "cancelled")],
)  # fmt: skip
async def test_a_job_can_end_though_its_range_is_in_its_jobset_too(database, events, columns, status):
    await make_ranges(database, 2)
    await make_consumer(database, 50, **columns)
    await events.take(wish(50))
    await run(
        database,
        "INSERT INTO {panda}.jedi_events (jeditaskid, pandaid, fileid, job_processid, datasetid, status, attemptnr)"
        " VALUES (%(task)s, %(jobset)s, %(file)s, 1, %(dataset)s, 0, 3) RETURNING 1",
        task=TASK,
        jobset=JOBSET,
        file=FILE,
        dataset=DATASET,
    )
    await end(database, 50, status)
    assert await run(database, "SELECT jobstatus FROM {panda}.jobsarchived4") == [(status,)]
    found = await ranges(database)
    assert found[0] == (JOBSET, FILE, 1, READY, 3)
    assert [each[:4] for each in found[1:]] == [(JOBSET, FILE, 2, READY), (50, FILE, 1, SENT)]


async def test_a_fine_grained_job_gives_back_all_but_what_it_finished(database, events):
    await make_ranges(database, 3)
    await make_consumer(database, 50, eventservice=6)
    a, b, _ = (each.id for each in await events.take(wish(50)))
    await events.update([*said("finished", a), *said("failed", b)], 2)
    await end(database, 50)
    assert await ranges(database) == [
        (JOBSET, FILE, 2, READY, 3),
        (JOBSET, FILE, 3, READY, 3),
        (50, FILE, 1, FINISHED, 3),
    ]


async def test_points_of_a_search_are_nobodys_again(database, events):
    await make_ranges(database, 3, jobset=0, file=0, attempts=2)
    await run(database, "UPDATE {panda}.jedi_events SET attemptnr = 1 WHERE job_processid = 3 RETURNING 1")
    await make_consumer(database, 50, eventservice=None, specialhandling="ho")
    a, _, _ = (each.id for each in await events.take(wish(50, jobset_id=0)))
    await events.update(said("finished", a), 0)
    await end(database, 50, "failed")
    assert await ranges(database) == [(0, 0, 2, READY, 1), (50, 0, 1, FINISHED, 2), (50, 0, 3, FAILED, 0)]


async def test_of_a_job_that_is_killed_nothing_is_wanted(database, events):
    await make_ranges(database, 4)
    await make_consumer(database, 50)
    a, _, c = (each.id for each in await events.take(wish(50, 3)))
    await events.update([*said("finished", a), *said("failed", c)], 0)
    killing = Killing(database, Clock(reactor), Closer(database, Clock(reactor), nothing), lambda jobs: None)
    assert await killing.kill(SERVER, [50], 91) == [True]
    assert await ranges(database) == [
        (JOBSET, FILE, 4, CANCELLED, 3),
        (50, FILE, 1, DISCARDED, 3),
        (50, FILE, 2, CANCELLED, 3),
        (50, FILE, 3, FAILED, 3),
    ]


async def test_of_consumers_that_are_killed_only_the_last_one_ends_the_others_chances(database, events):
    await make_ranges(database, 3)
    for panda_id, columns in ((50, {}), (51, {}), (60, {"jobsetid": 10}), (61, {"jeditaskid": 8})):
        await make_consumer(database, panda_id, **columns)
    a, _ = (each.id for each in await events.take(wish(50, 2)))
    await events.update(said("finished", a), 0)
    await end(database, 50, "cancelled")
    assert await ranges(database) == [
        (JOBSET, FILE, 2, READY, 2),
        (JOBSET, FILE, 3, READY, 3),
        (50, FILE, 1, DONE, 3),
    ]
    assert processes(await events.take(wish(51, 1))) == [2]
    await end(database, 51, "closed")
    assert await ranges(database) == [
        (JOBSET, FILE, 3, CANCELLED, 3),
        (50, FILE, 1, DONE, 3),
        (51, FILE, 2, CANCELLED, 2),
    ]


async def test_of_two_that_are_killed_at_once_one_is_the_last(database, events):
    await make_ranges(database, 2)
    for panda_id in (50, 51):
        await make_consumer(database, panda_id)
    settled, go_on = Deferred(), Deferred()

    async def hold(tx: Any, items: Any, now: Any) -> None:
        settled.callback(None)
        await go_on

    first = Deferred.fromCoroutine(end(database, 50, "cancelled", hold))
    await settled
    second = Deferred.fromCoroutine(end(database, 51, "cancelled"))
    while not second.called and not await run(database, "SELECT 1 FROM pg_locks WHERE NOT granted"):
        await deferLater(reactor, 0.01)
    go_on.callback(None)
    await gatherResults([first, second])
    assert {status for _, _, _, status, _ in await ranges(database)} == {CANCELLED}


async def test_unless_its_events_are_to_be_kept(database, events):
    await make_ranges(database, 3)
    await make_consumer(database, 50, specialhandling="eventservice,de")
    a, _ = (each.id for each in await events.take(wish(50, 2)))
    await events.update(said("finished", a), 0)
    await end(database, 50, "cancelled")
    assert await ranges(database) == [
        (JOBSET, FILE, 2, READY, 2),
        (JOBSET, FILE, 3, READY, 3),
        (50, FILE, 1, FINISHED, 3),
    ]


class Loud:
    async def silence_counts(self) -> bool:
        return True


async def test_a_silent_job_is_failed_by_the_watcher_and_its_ranges_are_free(database, events):
    clock = Clock(reactor)
    await make_ranges(database, 1)
    await make_consumer(database, 50)
    await events.take(wish(50))
    closer = Closer(database, clock, nothing)
    assert await Watcher(database, clock, Facts(database, clock), Loud(), closer).run_once() == 1
    assert await ranges(database) == [(JOBSET, FILE, 1, READY, 2)]


async def test_clones_keep_the_one_range_that_says_who_may_run(database, events):
    await make_ranges(database, 1)
    await make_consumer(database, 50, eventservice=3, specialhandling="eventservice,sc:1")
    await events.take(wish(50))
    await end(database, 50, "failed")
    assert await ranges(database) == [(50, FILE, 1, SENT, 3)]
