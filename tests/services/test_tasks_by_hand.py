"""The rows that tests make of tasks are as the engine of tasks would leave them."""

from tasks_by_hand import counters, files, make_job, make_task, n_ready, recount, task_row


async def test_a_task_begins_with_its_files_ready_and_nothing_counted(database):
    task = await make_task(database, n_files=3, secondary=True, with_lib=True, n_events=10)
    assert set(task.datasets) == {"input", "secondary", "output", "log", "lib"}
    assert await n_ready(database, task) == 3
    assert (await counters(database, task))["input"] == dict.fromkeys((await counters(database, task))["input"], 0)
    assert await counters(database, task) == await recount(database, task)
    assert (await task_row(database, task))["total_done_jobs"] == 0


async def test_a_job_takes_files_and_counts_them(database):
    task = await make_task(database, n_files=3, secondary=True, with_lib=True)
    job = await make_job(database, task, n=2)
    build = await make_job(database, task, build=True, status="defined")
    assert build == job + 1
    assert (await counters(database, task))["input"]["nfilesused"] == 2
    assert await counters(database, task) == await recount(database, task)
    assert [row["pandaid"] for row in (await files(database, task)).values()] == [job, job, None]
