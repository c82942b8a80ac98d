"""Lost files of a task, by JEDI's tables and the storages of this server."""

from __future__ import annotations

import pytest
from async_site import ME, PRODUCTION, YOU, run, server
from attrs import evolve

from pandatx.domain.async_requests import FileRecovery
from pandatx.errors import NotFound, NotPermitted
from pandatx.plugins.storage import path_in

TASK = 7
LOG = "jedilog/lost_file_recovery.x.log"


async def add_task(database, task=TASK, owner="Me", status="done"):
    await run(
        database,
        """INSERT INTO {panda}.jedi_tasks (jeditaskid, status, username, creationdate, modificationtime)
           VALUES (%(t)s, %(s)s, %(o)s, '2026-01-01', '2026-01-01')""",
        t=task, s=status, o=owner,
    )  # fmt: skip


async def add_dataset(database, number, name, kind, task=TASK, files=2, master=None):
    await run(
        database,
        """INSERT INTO {panda}.jedi_datasets (jeditaskid, datasetid, datasetname, type, creationtime, modificationtime,
              masterid, nfiles, nfilesused, nfilesfinished, nfilesfailed, nevents, neventsused, state)
           VALUES (%(t)s, %(d)s, %(n)s, %(k)s, '2026-01-01', '2026-01-01',
              %(m)s, %(f)s, %(f)s, %(f)s, 0, 20, 20, 'closed')""",
        t=task, d=number, n=name, k=kind, f=files, m=master,
    )  # fmt: skip


async def add_file(database, dataset, number, lfn, kind, job, task=TASK, status="finished", made_by=None, rse=None):
    await run(
        database,
        """INSERT INTO {panda}.jedi_dataset_contents (jeditaskid, datasetid, fileid, creationdate, lfn, type, status,
              scope, attemptnr, maxattempt, nevents, pandaid, outpandaid)
           VALUES (%(t)s, %(d)s, %(n)s, '2026-01-01', %(l)s, %(k)s, %(s)s, 'user.me', 1, 3, 10, %(j)s, %(m)s)""",
        t=task, d=dataset, n=number, l=lfn, k=kind, s=status, j=job, m=made_by,
    )  # fmt: skip
    if rse is not None:
        await run(
            database,
            """INSERT INTO {panda}.filestable4
              (row_id, pandaid, lfn, type, status, destinationse, modificationtime, fsize)
               VALUES (%(n)s, %(j)s, %(l)s, 'output', 'ready', %(r)s, '2026-01-01', 0)""",
            n=number, j=job, l=lfn, r=rse,
        )  # fmt: skip


async def make(database, rse=None):
    """Two jobs, each with an input and two outputs."""
    await add_task(database)
    await add_dataset(database, 1, "user.me.in", "input")
    await add_dataset(database, 2, "user.me.out", "output")
    await add_dataset(database, 3, "user.me.hist", "output")
    for n, job in enumerate((100, 101)):
        await add_file(database, 1, 10 + n, f"in.{n}", "input", job)
        await add_file(database, 2, 20 + n, f"out.{n}", "output", job, made_by=job, rse=rse)
        await add_file(database, 3, 30 + n, f"hist.{n}", "output", job, made_by=job, rse=rse)


async def files(database, task=TASK):
    rows = await run(
        database,
        "SELECT lfn, status, attemptnr FROM {panda}.jedi_dataset_contents WHERE jeditaskid = %(t)s ORDER BY fileid",
        t=task,
    )
    return {row["lfn"]: (row["status"], row["attemptnr"]) for row in rows}


async def counters(database):
    return await run(
        database,
        """SELECT datasetid AS id, nfilesused AS used, nfilesfinished AS finished, nevents, neventsused, state
             FROM {panda}.jedi_datasets WHERE jeditaskid = 7 ORDER BY 1""",
    )


async def commands(database):
    return await run(
        database, "SELECT comm_task, comm_owner, comm_cmd, comm_comment, comm_parameters FROM {deft}.prodsys_comm"
    )


async def recover(here, caller=ME, **asked):
    stored = await here.requests.asking.recover_files(caller, FileRecovery(**asked), LOG)
    await here.turn()
    return await here.row(stored, caller)


async def test_a_lost_file_that_is_named_is_made_again_with_all_that_its_job_made(config, database):
    await make(database)
    async with server(config, database) as here:
        row = await recover(here, dataset="user.me:user.me.out", files=("out.0",))
    assert (row["status"], row["error_msg"]) == ("done", None)
    assert "2 outputs lost, 1 inputs to be read again. The command retry is registered" in row["result"]
    assert await files(database) == {
        "in.0": ("ready", 2), "in.1": ("finished", 1), "out.0": ("lost", 1), "out.1": ("finished", 1),
        "hist.0": ("lost", 1), "hist.1": ("finished", 1),
    }  # fmt: skip
    assert await counters(database) == [
        {"id": 1, "used": 1, "finished": 1, "nevents": 20, "neventsused": 10, "state": "closed"},
        {"id": 2, "used": 2, "finished": 1, "nevents": 10, "neventsused": 20, "state": None},
        {"id": 3, "used": 2, "finished": 1, "nevents": 10, "neventsused": 20, "state": None},
    ]
    assert await run(database, "SELECT status FROM {panda}.jedi_tasks") == [{"status": "finished"}]
    assert await commands(database) == [
        {"comm_task": 7, "comm_owner": "DEFT", "comm_cmd": "retry", "comm_comment": "sole command by Me",
         "comm_parameters": None},
    ]  # fmt: skip


async def test_the_log_is_where_the_answer_said(config, database):
    await make(database)
    async with server(config, database) as here:
        row = await recover(here, dataset="user.me.out", files=("out.0",))
    text = (config.files.cache_dir / LOG).read_text()
    assert text == f"{row['result']}done\n"
    assert "user.me.out has 1 lost files -> out.0" in text


async def test_the_counters_of_datasets_equal_the_rows_they_count(config, database):
    await make(database)
    async with server(config, database) as here:
        for name in ("out.0", "out.1", "out.0"):
            await recover(here, dataset="user.me.out", files=(name,))
    rows = await run(
        database,
        """SELECT d.datasetid, d.nfilesfinished AS counted, count(*) FILTER (WHERE c.status = 'finished') AS there
             FROM {panda}.jedi_datasets d JOIN {panda}.jedi_dataset_contents c USING (jeditaskid, datasetid)
            GROUP BY 1, 2""",
    )
    assert all(row["counted"] == row["there"] == 0 for row in rows)


async def test_a_dry_run_changes_nothing(config, database):
    await make(database)
    before = (await files(database), await counters(database))
    async with server(config, database) as here:
        row = await recover(here, dataset="user.me.out", files=("out.0",), dry_run=True)
    assert "would be: 2 outputs lost, 1 inputs to be read again. Nothing is changed: dry run" in row["result"]
    assert (await files(database), await counters(database), await commands(database)) == (*before, [])


async def test_outputs_are_read_page_by_page(config, database, monkeypatch):
    monkeypatch.setattr("pandatx.services.recovery.AT_ONCE", 1)
    await make(database)
    async with server(config, database) as here:
        row = await recover(here, task_id=TASK, files=("out.0", "out.1", "hist.1"), dry_run=True)
    assert "user.me.hist has 1 lost files -> hist.1" in row["result"]
    assert "user.me.out has 2 lost files -> out.0,out.1" in row["result"]


async def test_files_that_are_missing_from_their_storage_are_found_to_be_lost(config, database, tmp_path):
    folder = tmp_path / "rse"
    await make(database, rse="RSE")
    for name in ("out.0", "hist.0", "hist.1"):
        path = path_in(str(folder), "user.me", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    config = evolve(config, jobs=evolve(config.jobs, storage={"RSE": str(folder)}))
    async with server(config, database) as here:
        row = await recover(here, task_id=TASK)
    assert "user.me.out has 1 lost files -> out.1" in row["result"]
    assert {name for name, (status, _) in (await files(database)).items() if status == "lost"} == {"out.1", "hist.1"}


async def test_without_a_lost_file_nothing_happens_unless_forced(config, database, tmp_path):
    folder = tmp_path / "rse"
    await make(database, rse="RSE")
    for name in ("out.0", "out.1", "hist.0", "hist.1"):
        path = path_in(str(folder), "user.me", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    config = evolve(config, jobs=evolve(config.jobs, storage={"RSE": str(folder)}))
    async with server(config, database) as here:
        row = await recover(here, task_id=TASK)
        assert (row["status"], row["result"]) == ("done", "No lost files. Use force to ignore this check\n")
        assert await commands(database) == []
        await recover(here, task_id=TASK, force=True, no_child_retry=False)
    assert [row["comm_comment"] for row in await commands(database)] == ["command by Me"]
    assert {status for status, _ in (await files(database)).values()} == {"finished"}


@pytest.mark.parametrize(
    ("rse", "storage", "why"),
    [("RSE", None, "this server has no [pandatx] storage"), ("OTHER", "RSE", "no output of the task is on a storage")],
)
async def test_where_nobody_can_look_it_fails_with_what_is_missing(config, database, tmp_path, rse, storage, why):
    await make(database, rse=rse)
    (tmp_path / "x").touch()
    if storage:
        config = evolve(config, jobs=evolve(config.jobs, storage={storage: str(tmp_path)}))
    async with server(config, database) as here:
        row = await recover(here, task_id=TASK)
    assert row["status"] == "failed"
    assert why in row["error_msg"]
    assert "[pandatx] request_handlers" in row["error_msg"]
    assert {status for status, _ in (await files(database)).values()} == {"finished"}


async def test_a_storage_that_is_away_is_looked_at_later(config, database, tmp_path):
    await make(database, rse="RSE")
    config = evolve(config, jobs=evolve(config.jobs, storage={"RSE": str(tmp_path / "unmounted")}))
    async with server(config, database) as here:
        row = await recover(here, task_id=TASK)
    assert (row["status"], row["attempts"]) == ("pending", 0)
    assert "unmounted" in row["error_msg"]
    assert {status for status, _ in (await files(database)).values()} == {"finished"}


async def test_a_task_that_runs_goes_on_by_itself(config, database):
    await make(database)
    await run(database, "UPDATE {panda}.jedi_tasks SET status = 'running'")
    async with server(config, database) as here:
        row = await recover(here, dataset="user.me.out", files=("out.0",))
    assert "It is running, so it goes on by itself" in row["result"]
    assert await commands(database) == []


async def test_lost_inputs_are_made_again_by_the_task_of_the_same_owner_that_made_them(config, database):
    await make(database)
    await add_task(database, 6)
    await add_dataset(database, 4, "user.me.raw", "input", task=6)
    await add_dataset(database, 5, "user.me.in", "output", task=6)
    await add_file(database, 4, 40, "raw.0", "input", 90, task=6)
    await add_file(database, 5, 50, "in.0", "output", 90, task=6, made_by=90)
    async with server(config, database) as here:
        row = await recover(here, dataset="user.me.out", files=("out.0",), reproduce_parent=True)
    assert row["status"] == "done"
    assert (await files(database))["in.0"] == ("lost", 2)
    assert await files(database, 6) == {"raw.0": ("ready", 2), "in.0": ("lost", 1)}
    assert [(each["comm_task"], each["comm_cmd"]) for each in await commands(database)] == [
        (6, "retry"),
        (7, "incexec"),
    ]


async def test_inputs_of_others_are_not_made_again(config, database):
    await make(database)
    await add_task(database, 6, owner="You")
    await add_dataset(database, 5, "user.me.in", "output", task=6)
    await add_file(database, 5, 50, "in.0", "output", 90, task=6, made_by=90)
    async with server(config, database) as here:
        row = await recover(here, dataset="user.me.out", files=("out.0",), reproduce_upto_nth_gen=2)
    assert "cannot be made again: no task of Me has made them" in row["result"]
    assert await files(database, 6) == {"in.0": ("finished", 1)}


async def test_tasks_of_others_are_for_the_production_role(config, database):
    await make(database)
    async with server(config, database) as here:
        for asked in ({"task_id": TASK}, {"dataset": "user.me.out", "files": ("out.0",)}):
            with pytest.raises(NotPermitted, match="not the task owner or no production role"):
                await recover(here, YOU, **asked)
        for asked in ({"task_id": 8}, {"dataset": "nowhere"}):
            with pytest.raises(NotPermitted, match="not the task owner or no production role"):
                await recover(here, ME, **asked)
            with pytest.raises(NotFound):
                await recover(here, PRODUCTION, **asked)
        assert await run(database, "SELECT request_id FROM {panda}.async_requests") == []
        row = await recover(here, PRODUCTION, dataset="user.me.out", files=("out.0",))
    assert row["status"] == "done"


async def test_a_log_file_is_written_nowhere_else(config, database, tmp_path):
    await make(database)
    async with server(config, database) as here:
        for name in ("../x.log", "jedilog/../../x.log", "/etc/x.log", "jedilog/.hidden.log", "jedilog/x", "x.log"):
            asked = FileRecovery(dataset="user.me.out", files=("out.0",), dry_run=True)
            await here.requests.asking.recover_files(ME, asked, name)
            await here.turn()
        outside = tmp_path / "outside"
        outside.write_text("as it was")
        (config.files.cache_dir / "jedilog").mkdir(parents=True)
        for link in (".taken.log.new", "taken.log"):
            (config.files.cache_dir / "jedilog" / link).symlink_to(outside)
        stored = await here.requests.asking.recover_files(ME, asked, "jedilog/taken.log")
        await here.turn()
        assert (await here.row(stored))["status"] == "done"
        assert outside.read_text() == "as it was"
        (config.files.cache_dir / "jedilog" / "taken.log").unlink()
        (config.files.cache_dir / "jedilog" / ".taken.log.new").unlink()
        stored = await here.requests.asking.recover_files(ME, asked, "jedilog/\0.hidden.log\0")
        await here.turn()
        assert (await here.row(stored))["status"] == "done"
    assert not list(config.files.cache_dir.rglob("*.log"))
    assert not list(tmp_path.rglob("x.log"))
