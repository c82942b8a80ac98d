"""The ends of jobs of tasks, as their tasks hear of them, on a real database (reference/lifecycle.md 1.8 A, 7.12)."""

import json
from datetime import UTC, datetime

import pytest
from endings import DirectPool, Told, make_adder, report_of, run, seed_block, seed_report
from tasks_by_hand import counters, files, make_job, make_task, n_ready, recount, task_row
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.services.closer import Closer
from pandatx.services.killing import Killing
from pandatx.store import archive
from pandatx.store.archive import Change
from pandatx.store.database import Database

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ALICE = Caller(dn="/CN=alice", name="alice", how="x509")
PRODUCTION = Caller(dn="/CN=prod", name="prod", how="x509", production=True)


@pytest.fixture
def killing(database) -> Killing:
    clock = Clock(reactor)
    return Killing(database, clock, Closer(database, clock, Told().activate), lambda jobs: None)


async def ends(database: Database, panda_id: int, status: str = "finished", *skipped: str, **changes) -> None:
    """A job ends as the Adder writes it."""

    async def work(tx) -> None:
        await archive.guard(tx)
        jobs = await archive.lock(tx, [panda_id]) | await archive.lock_defined(tx, [panda_id])
        job = jobs[panda_id]
        values = {"job_status": status, "modification_time": NOW, **changes}
        kept = status in ("transferring", "merging")
        made = status if kept else "ready" if status == "finished" else "failed"
        about = {f.row_id: {"status": made} for f in job.files if f.type in ("output", "log")}
        about |= {f.row_id: {"status": "skipped"} for f in job.files if f.lfn in skipped}
        change = Change(job=job, changes=values, file_changes=about)
        await (archive.keep if kept else archive.archive)(tx, [change], NOW)

    await database.transaction("ends", work)


async def seen(database: Database, task, name: str = "input") -> list[tuple]:
    """Status, attempt, failed attempts and proc_status of each file."""
    rows = (await files(database, task, name)).values()
    return [(row["status"], row["attemptnr"], row["failedattempt"], row["proc_status"]) for row in rows]


async def fits(database: Database, task) -> dict[str, dict[str, int]]:
    found = await counters(database, task)
    assert found == await recount(database, task)
    return found


async def test_a_finished_job_finishes_its_files(database):
    task = await make_task(database, n_files=2, n_events=10)
    await ends(database, await make_job(database, task, n=2, status="holding"))
    assert await seen(database, task) == [("finished", 1, 0, "finished")] * 2
    found = await fits(database, task)
    assert (found["input"]["nfilesused"], found["input"]["nfilesfinished"], found["input"]["neventsused"]) == (2, 2, 20)
    assert found["output"]["nfilesfinished"] == found["log"]["nfilesfinished"] == 1
    (output,) = (await files(database, task, "output")).values()
    assert (output["status"], output["keeptrack"]) == ("finished", None)


async def test_events_of_a_range_count_as_the_range(database):
    task = await make_task(database, n_files=1, n_events=100)
    await run(database, "UPDATE {panda}.jedi_dataset_contents SET startevent = 11, endevent = 15 RETURNING 1")
    await ends(database, await make_job(database, task))
    assert (await fits(database, task))["input"]["neventsused"] == 5


async def test_a_failed_job_gives_its_files_back_until_their_attempts_are_used_up(database):
    task = await make_task(database, n_files=1, max_attempt=3)
    for attempt in (1, 2):
        await ends(database, await make_job(database, task, status="holding"), "failed")
        assert await seen(database, task) == [("ready", attempt, attempt, "ready")]
        assert (await fits(database, task))["input"]["nfilesused"] == 0
    await ends(database, await make_job(database, task), "failed")
    assert await seen(database, task) == [("ready", 3, 3, "failed")]
    found = (await fits(database, task))["input"]
    assert (found["nfilesused"], found["nfilesfailed"], await n_ready(database, task)) == (1, 1, 0)
    assert [row["status"] for row in (await files(database, task, "output")).values()] == ["failed"] * 3


@pytest.mark.parametrize(("tags", "status", "since"), [
    ("sj,tq=1767000000", "failed", NOW),
    ("tq=1767000000", "finished", None),
    ("sj", "failed", None),
])  # fmt: skip
async def test_a_task_whose_files_are_given_back_waits_from_then_on(database, tags, status, since):
    task = await make_task(database, n_files=3)
    waits = "SELECT queuedtime FROM {panda}.jedi_tasks"
    await ends(database, await make_job(database, task, specialhandling=tags, status="holding"), status)
    assert await run(database, waits) == [(since,)]
    await run(database, "UPDATE {panda}.jedi_tasks SET queuedtime = '2025-12-31' RETURNING 1")
    await ends(database, await make_job(database, task, specialhandling=tags, status="holding"), status)
    assert await run(database, waits) == [(datetime(2025, 12, 31, tzinfo=UTC),)]


async def test_failures_may_be_limited_more_than_attempts(database):
    task = await make_task(database, n_files=1, max_attempt=5, max_failure=2)
    await ends(database, await make_job(database, task), "failed")
    await ends(database, await make_job(database, task), "cancelled")
    assert await seen(database, task) == [("ready", 2, 1, "ready")]
    await ends(database, await make_job(database, task), "failed")
    assert await seen(database, task) == [("ready", 3, 2, "failed")]
    assert (await fits(database, task))["input"]["nfilesfailed"] == 1


@pytest.mark.parametrize("status", ["cancelled", "closed"])
async def test_a_job_that_is_withdrawn_has_used_an_attempt_but_failed_none(database, status):
    task = await make_task(database, n_files=1)
    await ends(database, await make_job(database, task, status="assigned"), status)
    assert await seen(database, task) == [("ready", 1, 0, "ready")]
    assert [row["status"] for row in (await files(database, task, "log")).values()] == ["cancelled"]
    await fits(database, task)


async def test_an_input_that_the_pilot_skipped_is_ready_although_the_job_finished(database):
    task = await make_task(database, n_files=2, n_events=3)
    job = await make_job(database, task, n=2)
    await ends(database, job, "finished", f"in.{task.id}.1")
    assert await seen(database, task) == [("finished", 1, 0, "finished"), ("ready", 1, 0, "ready")]
    found = (await fits(database, task))["input"]
    assert (found["nfilesused"], found["nfilesfinished"], found["neventsused"]) == (1, 1, 3)


async def test_files_of_a_dataset_without_a_limit_are_neither_given_back_nor_failed(database):
    task = await make_task(database, n_files=1, secondary=True)
    await ends(database, await make_job(database, task), "failed")
    assert await seen(database, task, "secondary") == [("ready", 1, 1, "queued")]
    found = await fits(database, task)
    assert (found["secondary"]["nfilesused"], found["secondary"]["nfilesfailed"]) == (1, 0)


async def test_a_library_that_is_read_is_passed_over(database):
    task = await make_task(database, n_files=1, with_lib=True)
    await ends(database, await make_job(database, task), "failed")
    assert [(row["status"], row["attemptnr"]) for row in (await files(database, task, "lib")).values()] == [
        ("finished", 0)
    ]
    await fits(database, task)


async def test_a_build_makes_its_library_and_counts_as_no_done_job(database):
    task = await make_task(database, n_files=1, with_lib=True)
    await ends(database, await make_job(database, task, build=True))
    assert (await fits(database, task))["lib"]["nfilesfinished"] == 2
    assert (await task_row(database, task))["total_done_jobs"] == 0


async def test_an_output_that_may_be_missing_counts_as_nothing(database):
    task = await make_task(database, n_files=1)
    job = await make_job(database, task)

    async def work(tx) -> None:
        found = (await archive.lock(tx, [job]))[job]
        about = {f.row_id: {"status": "nooutput" if f.type == "output" else "ready"} for f in found.files}
        await archive.archive(tx, [Change(job=found, changes={"job_status": "finished"}, file_changes=about)], NOW)

    await database.transaction("work", work)
    assert [row["status"] for row in (await files(database, task, "output")).values()] == ["nooutput"]
    assert (await fits(database, task))["output"]["nfilesfinished"] == 0


@pytest.mark.parametrize("status", ["done", "finished", "failed", "broken", "aborted", "prepared"])
async def test_a_task_that_is_over_hears_nothing(database, status):
    task = await make_task(database, n_files=1)
    job = await make_job(database, task, status="holding")
    await run(database, "UPDATE {panda}.jedi_tasks SET status = %(status)s RETURNING 1", status=status)
    before = await counters(database, task), await files(database, task)
    await ends(database, job, "finished")
    assert (await counters(database, task), await files(database, task)) == before
    assert (await task_row(database, task))["total_done_jobs"] == 0


@pytest.mark.parametrize(
    "theirs",
    ["pandaid = 7", "attemptnr = attemptnr + 1", "keeptrack = NULL", "status = 'ready'", "status = 'finished'"],
)
async def test_a_row_that_is_anothers_is_left_alone_with_its_counters(database, theirs):
    task = await make_task(database, n_files=1)
    job = await make_job(database, task)
    await run(
        database,
        f"UPDATE {{panda}}.jedi_dataset_contents SET {theirs} WHERE datasetid = %(id)s RETURNING 1",
        id=task.datasets["input"],
    )
    before = (await counters(database, task))["input"], await files(database, task)
    await ends(database, job, "failed")
    assert ((await counters(database, task))["input"], await files(database, task)) == before
    assert (await counters(database, task))["log"]["nfilesfailed"] == 1


async def test_files_are_on_hold_while_they_are_transferred(database):
    task = await make_task(database, n_files=2)
    job = await make_job(database, task, n=2, status="holding")
    await ends(database, job, "transferring")
    assert [row["proc_status"] for row in (await files(database, task)).values()] == ["transferring"] * 2
    assert (await fits(database, task))["input"]["nfilesonhold"] == 2
    await ends(database, job)
    assert (await fits(database, task))["input"]["nfilesonhold"] == 0


async def test_a_hold_is_never_below_nothing(database):
    """An older server brings jobs to transferring without counting all of them."""
    task = await make_task(database, n_files=1)
    await ends(database, await make_job(database, task, status="transferring"), "failed")
    assert (await fits(database, task))["input"]["nfilesonhold"] == 0


async def test_outputs_wait_for_their_merging(database):
    task = await make_task(database, n_files=1)
    job = await make_job(database, task, status="holding", outputs=("output",))
    await run(
        database, "UPDATE {panda}.filestable4 SET destinationdblocktoken = 'TOMERGE' WHERE type = 'output' RETURNING 1"
    )
    await ends(database, job, "merging")
    (output,) = (await files(database, task, "output")).values()
    assert (output["status"], output["boundaryid"], output["maxattempt"], output["keeptrack"]) == ("ready", job, 3, 1)
    assert [row["proc_status"] for row in (await files(database, task)).values()] == ["merging"]
    assert (await fits(database, task))["output"]["nfilesonhold"] == 1
    await ends(database, job, "cancelled")
    (output,) = (await files(database, task, "output")).values()
    assert output["status"] == "cancelled"
    found = await fits(database, task)
    assert (found["output"]["nfilesonhold"], found["output"]["nfilesfailed"]) == (0, 1)


async def test_outputs_that_were_merged_are_not_counted_again(database):
    task = await make_task(database, n_files=1)
    job = await make_job(database, task, status="merging", outputs=("output",))
    await run(
        database, "UPDATE {panda}.filestable4 SET destinationdblocktoken = 'TOMERGE' WHERE type = 'output' RETURNING 1"
    )
    await ends(database, job, "finished")
    assert (await counters(database, task))["output"]["nfilesfinished"] == 0
    assert (await fits(database, task))["input"]["nfilesfinished"] == 1


async def test_done_jobs_are_counted_and_the_fifth_and_hundredth_have_the_task_computed_anew(database):
    task = await make_task(database, n_files=5)
    for n in range(1, 6):
        assert (await task_row(database, task))["walltimeunit"] == "s"
        await ends(database, await make_job(database, task))
        assert (await task_row(database, task))["total_done_jobs"] == n
    assert (await task_row(database, task))["walltimeunit"] is None
    assert (await task_row(database, task))["done_at"] == NOW


@pytest.mark.parametrize(
    ("before", "reset"), [(3, False), (4, True), (5, False), (98, False), (99, True), (100, False)]
)
async def test_only_the_fifth_and_the_hundredth_do_so(database, before, reset):
    task = await make_task(database, n_files=1)
    await run(database, "UPDATE {deft}.t_task SET total_done_jobs = %(n)s RETURNING 1", n=before)
    await ends(database, await make_job(database, task))
    assert ((await task_row(database, task))["walltimeunit"] is None) is reset


async def test_jobs_that_end_together_are_counted_together(database):
    task = await make_task(database, n_files=7, max_attempt=1)
    other = await make_task(database, 999, n_files=2)
    jobs = [await make_job(database, task) for _ in range(7)] + [await make_job(database, other) for _ in range(2)]

    async def work(tx) -> None:
        found = await archive.lock(tx, jobs)
        about = [Change(job=job, changes={"job_status": "failed"}, file_changes={}) for job in found.values()]
        await archive.archive(tx, about, NOW)

    await database.transaction("work", work)
    assert (await fits(database, task))["input"]["nfilesfailed"] == 7
    assert (await fits(database, other))["input"]["nfilesused"] == 0


async def test_a_tasks_row_that_is_refused_undoes_the_end_of_the_job(database):
    task = await make_task(database, n_files=1)
    job = await make_job(database, task)
    await run(database, "ALTER TABLE {panda}.jedi_datasets ADD CHECK (nfilesfinished = 0); SELECT 1")
    with pytest.raises(Exception, match="violates check constraint"):
        await ends(database, job)
    assert await run(database, "SELECT jobstatus FROM {panda}.jobsactive4") == [("activated",)]
    assert await seen(database, task) == [("running", 0, 0, "queued")]


# Through the services


async def test_the_adder_tells_the_task_what_the_report_says(database):
    task = await make_task(database, n_files=2)
    job = await make_job(database, task, n=2, status="holding", attemptnr=1)
    for name in ("output", "log"):
        await seed_block(database, f"user.{task.id}.{name}")
    skipped = {f"in.{task.id}.1": {"guid": ""}}
    about = json.loads(report_of(f"output.{job}", f"log.{job}")) | skipped
    await seed_report(database, job, data=json.dumps(about))
    await make_adder(database, DirectPool()).run_once()
    assert [row[0] for row in await seen(database, task)] == ["finished", "ready"]
    (output,) = (await files(database, task, "output")).values()
    assert (output["fsize"], output["checksum"], output["status"]) == (7, "ad:00000001", "finished")
    assert (await fits(database, task))["input"]["nfilesused"] == 1
    assert (await task_row(database, task))["total_done_jobs"] == 1


async def test_scenario_6_a_failed_report_costs_the_file_an_attempt(database):
    task = await make_task(database, n_files=1)
    job = await make_job(database, task, status="holding", attemptnr=1, piloterrorcode=1305)
    await seed_report(database, job, "failed", report_of(f"log.{job}"))
    await make_adder(database, DirectPool()).run_once()
    assert await run(database, "SELECT jobstatus FROM {panda}.jobsarchived4") == [("failed",)]
    assert await seen(database, task) == [("ready", 1, 1, "ready")]
    await fits(database, task)


@pytest.mark.parametrize(("code", "status"), [(2, "closed"), (9, "cancelled"), (50, "cancelled"), (51, "closed")])
async def test_a_kill_gives_the_files_back(database, killing, code, status):
    task = await make_task(database, n_files=1)
    job = await make_job(database, task, status="sent")
    assert await killing.kill(PRODUCTION, [job], code) == [True]
    assert await run(database, "SELECT jobstatus FROM {panda}.jobsarchived4") == [(status,)]
    assert await seen(database, task) == [("ready", 1, 0, "ready")]
    await fits(database, task)


async def merging(database: Database, task, block: str = "defined") -> int:
    """A job that waits for the merging of its output."""
    name = f"user.{task.id}.output"
    await seed_block(database, name, block)
    job = await make_job(database, task, status="holding", outputs=("output",))
    await run(
        database,
        f"UPDATE {{panda}}.filestable4 SET destinationdblocktoken = 'TOMERGE' WHERE pandaid = {job} RETURNING 1",
    )
    await ends(database, job, "merging")
    return job


async def test_an_output_that_is_withdrawn_when_its_merging_has_begun_counts_as_used(database):
    task = await make_task(database, n_files=1)
    job = await merging(database, task, "tobeclosed")
    text = "UPDATE {panda}.jedi_datasets SET nfilesonhold = 3, nfilesused = 0 WHERE type = 'output' RETURNING 1"
    await run(database, text)
    await ends(database, job, "closed")
    rows = await run(database, "SELECT nfilesonhold, nfilesused FROM {panda}.jedi_datasets WHERE type = 'output'")
    assert rows == [(3, 1)]


async def merge_job(database: Database, task, maker: int) -> int:
    """A job that merges the output of another, as the job generator makes it."""
    merger = await make_job(database, task, files=(), status="sent", processingtype="pmerge")
    about = f"SET pandaid = {merger}, status = 'running', attemptnr = 1 WHERE outpandaid = {maker} AND type = 'output'"
    await run(database, f"UPDATE {{panda}}.jedi_dataset_contents {about} RETURNING 1")
    await run(
        database,
        "INSERT INTO {panda}.filestable4 (row_id, pandaid, lfn, type, status, dispatchdblocktoken, jeditaskid,"
        " datasetid, fileid, attemptnr) SELECT nextval('{panda}.filestable4_row_id_seq'), %(merger)s, lfn, 'input',"
        " 'ready', 'TOMERGE', jeditaskid, datasetid, fileid, 1 FROM {panda}.jedi_dataset_contents"
        " WHERE outpandaid = %(maker)s AND type = 'output' RETURNING 1",
        merger=merger,
        maker=maker,
    )
    return merger


@pytest.mark.parametrize(
    ("code", "options", "row"),
    [
        (9, (), ("notmerged", 0, None)),
        (9, ("keepUnmerged",), ("ready", 3, 1)),
        (51, (), ("ready", 3, 1)),
    ],
)
async def test_a_merge_job_that_is_killed_is_not_tried_again_unless_that_is_asked_for(
    database, killing, code, options, row
):
    task = await make_task(database, n_files=1)
    maker = await merging(database, task)
    merger = await merge_job(database, task, maker)
    assert await killing.kill(PRODUCTION, [merger], code, options) == [True]
    found = next(r for r in (await files(database, task, "output")).values() if r["outpandaid"] == maker)
    assert (found["status"], found["maxattempt"], found["keeptrack"]) == row
    assert (await counters(database, task))["output"]["nfilesfailed"] == (2 if row[0] == "notmerged" else 1)


class Transferring(DirectPool):
    """A plugin that has all outputs transferred."""

    async def call(self, name, *args, **about):
        found = await super().call(name, *args, **about)
        for answer, item in zip(found, args[1], strict=True):
            answer["transferring"] = [file["lfn"] for file in item["job"]["files"] if file["type"] == "output"]
        return found


@pytest.mark.parametrize("mode", ["at once", "after a transfer"])
async def test_what_a_job_makes_beside_its_outputs_is_counted_too(database, mode):
    task = await make_task(database, n_files=1)
    job = await make_job(database, task, status="holding", attemptnr=1)
    pool = Transferring() if mode == "after a transfer" else DirectPool()
    data = report_of(f"log.{job}", *(f"output.{job}_{n}" for n in (1, 2, 3)))
    await seed_report(database, job, data=data)
    await make_adder(database, pool).run_once()
    if mode == "after a transfer":
        assert (await fits(database, task))["input"]["nfilesonhold"] == 1
        await ends(database, job)
    rows = (await files(database, task, "output")).values()
    assert sorted((row["lfn"], row["status"], row["keeptrack"]) for row in rows) == [
        (f"output.{job}_{n}", "finished", None) for n in (1, 2, 3)
    ]
    assert (await fits(database, task))["output"]["nfilesfinished"] == 3
    linked = await run(
        database, "SELECT lfn, fileid IS NOT NULL FROM {panda}.filestable4 WHERE type = 'output' ORDER BY 1"
    )
    assert linked == [(f"output.{job}_{n}", True) for n in (1, 2, 3)]


async def test_jobs_of_one_task_end_on_several_servers_at_once(database):
    """The rows of datasets are what they all want: in one order, and not for long."""
    task = await make_task(database, n_files=60, max_attempt=1, secondary=True)
    jobs = [await make_job(database, task) for _ in range(60)]

    async def end(some, status) -> None:
        async def work(tx) -> None:
            await archive.guard(tx)
            found = await archive.lock(tx, some)
            about = [Change(job=job, changes={"job_status": status}, file_changes={}) for job in found.values()]
            await archive.archive(tx, about, NOW)

        await database.transaction("end", work)

    ending = [end(jobs[n::12], "finished" if n % 2 else "failed") for n in range(12)]
    await gatherResults([Deferred.fromCoroutine(one) for one in ending])
    found = await fits(database, task)
    assert (found["input"]["nfilesfinished"], found["input"]["nfilesfailed"]) == (30, 30)
    assert (await task_row(database, task))["total_done_jobs"] == 30
