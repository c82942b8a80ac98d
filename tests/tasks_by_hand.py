"""A task as the engine of tasks leaves it, made by hand: its rows, jobs on its files, its counters and what they count.

``make_task`` gives a Task whose files are ``ready``; ``make_job`` takes some of them as the job generator does. After
whatever a test does, ``counters(database, task)`` must equal ``recount(database, task)`` (promise 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from pandatx.store.database import Database, Transaction
from pandatx.store.queries import Query

COUNTERS = ("nfilesused", "nfilesfinished", "nfilesfailed", "nfilesonhold", "neventsused")
_AT = "2026-01-01"


@frozen(kw_only=True)
class Task:
    """``datasets`` are ids by name: input, secondary, output, log, lib. ``inputs`` are the ids of the master's files,
    in order, ``secondaries`` those of the secondary dataset that stand beside them.
    """

    id: int
    datasets: dict[str, int]
    inputs: tuple[int, ...]
    secondaries: tuple[int, ...] = ()
    lib: int | None = None
    user: str = "alice"
    label: str = "user"
    vo: str = "wlcg"


async def make_task(
    database: Database,
    task_id: int = 1000,
    *,
    n_files: int = 3,
    max_attempt: int | None = 3,
    max_failure: int | None = None,
    n_events: int | None = None,
    secondary: bool = False,
    pseudo: bool = False,
    with_lib: bool = False,
    status: str = "running",
    user: str = "alice",
    label: str = "user",
    vo: str = "wlcg",
    **columns: Any,
) -> Task:
    """Rows of a task whose inputs are all ready: jedi_tasks, t_task, datasets, files. ``columns`` are of jedi_tasks.

    ``secondary``: a second input dataset, whose files have no attempts to count; ``with_lib``: a library was built.
    """

    async def work(tx: Transaction) -> Task:
        common = {"username": user, "vo": vo, "prodsourcelabel": label, "taskname": f"user.{user}.t{task_id}"}
        await _insert(
            tx,
            "{panda}.jedi_tasks",
            jeditaskid=task_id,
            status=status,
            creationdate=_AT,
            starttime=_AT,
            tasktype="anal",
            walltime=60,
            walltimeunit="s",
            **{"modificationtime": _AT, **common, **columns},
        )
        await _insert(
            tx,
            "{deft}.t_task",
            taskid=task_id,
            status=status[:12],
            submit_time=_AT,
            total_done_jobs=0,
            total_events=0,
            total_req_jobs=n_files,
            **common,
        )
        kind = "pseudo_input" if pseudo else "input"
        datasets = {"input": await _dataset(tx, task_id, "input", kind, n_files, n_events)}
        names = [f"seq{n}" if pseudo else f"in.{task_id}.{n}" for n in range(n_files)]
        limits = {"maxattempt": max_attempt, "maxfailure": max_failure, "nevents": n_events}
        inputs = await _files(tx, task_id, datasets["input"], kind, names, **limits)
        secondaries: tuple[int, ...] = ()
        if secondary:
            datasets["secondary"] = await _dataset(tx, task_id, "secondary", "input", n_files, master=datasets["input"])
            names = [f"second.{task_id}.{n}" for n in range(n_files)]
            secondaries = await _files(tx, task_id, datasets["secondary"], "input", names, maxattempt=None)
        for name in ("output", "log"):
            datasets[name] = await _dataset(tx, task_id, name, name)
        lib = None
        if with_lib:
            datasets["lib"] = await _dataset(tx, task_id, "lib", "lib", 1)
            (lib,) = await _files(
                tx, task_id, datasets["lib"], "lib", [f"user.{task_id}.lib.tgz"], status="finished", keeptrack=None
            )
            await _add(tx, task_id, datasets["lib"], nfilesused=1, nfilesfinished=1)
        return Task(
            id=task_id,
            datasets=datasets,
            inputs=inputs,
            secondaries=secondaries,
            lib=lib,
            user=user,
            label=label,
            vo=vo,
        )

    return await database.transaction("make_task", work)


async def make_job(
    database: Database,
    task: Task,
    files: Sequence[int] | None = None,
    *,
    status: str = "activated",
    n: int = 1,
    outputs: Sequence[str] = ("output", "log"),
    build: bool = False,
    **columns: Any,
) -> int:
    """A job on files of the task that are ready, ``n`` of them unless they are named; its PandaID.

    The inputs become ``running`` and are counted as used, outputs get rows of their own, as the job generator does it.
    ``status`` decides the job's table; ``columns`` are of that table. ``build``: no inputs, and a library to make.
    """

    async def work(tx: Transaction) -> int:
        panda_id = await _one(tx, "SELECT nextval('{panda}.jobsdefined4_pandaid_seq')")
        chosen = [] if build else list(files) if files is not None else await ready(tx, task, n)
        assert build or files is not None or len(chosen) == n, "no files are left that are ready"
        table = "jobsdefined4" if status in ("pending", "waiting", "defined", "assigned") else "jobsactive4"
        inputs = [("input", file_id) for file_id in chosen]
        if task.secondaries:
            beside = [task.secondaries[task.inputs.index(file_id)] for file_id in chosen]
            # One that a job has used, whose master's file was given back, is not used again.
            inputs += [("secondary", file_id) for file_id in await _unused(tx, task, beside)]
        attempts = [0]
        for name, file_id in inputs:
            attempts.append(await _take(tx, task, name, file_id, panda_id))
        await _insert(
            tx,
            f"{{panda}}.{table}",
            pandaid=panda_id,
            jobstatus=status,
            jeditaskid=task.id,
            taskid=task.id,
            **{
                "lockedby": "jedi",
                "attemptnr": max(attempts),
                "maxattempt": max(attempts),
                "prodsourcelabel": "panda" if build else task.label,
                "produsername": task.user,
                "produserid": f"/CN={task.user}",
                "vo": task.vo,
                "cloud": "",
                "computingsite": "Q",
                "gshare": "User",
                "resource_type": "SCORE",
                "jobdefinitionid": 1,
                "currentpriority": 1000,
                "relocationflag": 2,
                "jobname": f"t{task.id}.{panda_id}",
                "creationtime": _AT,
                "modificationtime": _AT,
                "statechangetime": _AT,
                **columns,
            },
        )
        await _insert(tx, "{panda}.jobparamstable", pandaid=panda_id, jobparameters="run")
        if task.lib is not None and not build:
            await _link(tx, task, "lib", task.lib, panda_id, "input", "ready")
        for name, file_id in inputs:
            await _link(tx, task, name, file_id, panda_id, None, "ready")
        for name in ("lib", "log") if build else outputs:
            await _output(tx, task, name, panda_id)
        return int(panda_id)

    return await database.transaction("make_job", work)


async def ready(tx: Transaction, task: Task, n: int) -> list[int]:
    """The first files of the master that the job generator would take."""
    rows = await _rows(
        tx,
        "SELECT fileid FROM {panda}.jedi_dataset_contents WHERE jeditaskid = %(task)s AND datasetid = %(dataset)s"
        " AND status = 'ready' AND keeptrack = 1 AND attemptnr < maxattempt"
        " AND (maxfailure IS NULL OR failedattempt < maxfailure) ORDER BY fileid LIMIT %(n)s",
        task=task.id,
        dataset=task.datasets["input"],
        n=n,
    )
    return [file_id for (file_id,) in rows]


async def n_ready(database: Database, task: Task) -> int:
    """How many files of the master wait for a job."""
    return len(await database.transaction("ready", ready, task, 10**6))


async def counters(database: Database, task: Task) -> dict[str, dict[str, int]]:
    """The counters of each dataset of the task, by its name."""

    async def work(tx: Transaction) -> list[tuple[Any, ...]]:
        columns = ", ".join(f"coalesce({name}, 0)" for name in COUNTERS)
        text = f"SELECT datasetid, {columns} FROM {{panda}}.jedi_datasets WHERE jeditaskid = %(task)s"
        return await _rows(tx, text, task=task.id)

    return _by_name(task, await database.transaction("counters", work))


async def recount(database: Database, task: Task) -> dict[str, dict[str, int]]:
    """What the counters of each dataset should be by the rows of its files and the jobs that have them."""

    async def work(tx: Transaction) -> list[tuple[Any, ...]]:
        return await _rows(tx, _RECOUNT, task=task.id)

    return _by_name(task, await database.transaction("recount", work))


async def files(database: Database, task: Task, name: str = "input") -> dict[int, dict[str, Any]]:
    """The rows of a dataset's files, by file id."""

    async def work(tx: Transaction) -> list[dict[str, Any]]:
        text = (
            "SELECT * FROM {panda}.jedi_dataset_contents WHERE jeditaskid = %(task)s AND datasetid = %(dataset)s"
            " ORDER BY fileid"
        )
        return (await tx.run(_query(text), task=task.id, dataset=task.datasets[name])).dicts()

    return {row["fileid"]: row for row in await database.transaction("files", work)}


async def task_row(database: Database, task: Task) -> dict[str, Any]:
    """The columns of jedi_tasks, with total_done_jobs and total_events of t_task."""

    async def work(tx: Transaction) -> dict[str, Any]:
        text = (
            "SELECT j.*, t.total_done_jobs, t.total_events, t.timestamp AS done_at FROM {panda}.jedi_tasks j"
            " JOIN {deft}.t_task t ON t.taskid = j.jeditaskid WHERE j.jeditaskid = %(task)s"
        )
        row = (await tx.run(_query(text), task=task.id)).one()
        assert row is not None
        return row

    return await database.transaction("task_row", work)


# A file of the master counts as used unless it is ready for another attempt; one of a secondary dataset, whose attempts
# nobody counts, once it was used. On hold: inputs of jobs that are being transferred, outputs that wait for a merge.
_RECOUNT = """
SELECT d.datasetid,
  count(*) FILTER (WHERE c.input AND NOT c.again),
  count(*) FILTER (WHERE c.status = 'finished'),
  count(*) FILTER (WHERE c.status = 'ready' AND c.input AND c.spent
                      OR NOT c.input AND c.status IN ('failed', 'cancelled')),
  count(*) FILTER (WHERE c.status = 'running' AND c.input AND c.jobstatus = 'transferring'
                      OR NOT c.input AND c.status = 'ready' AND c.jobstatus = 'merging'),
  coalesce(sum(coalesce(c.endevent - c.startevent + 1, c.nevents)) FILTER (WHERE c.input AND c.status = 'finished'), 0)
  FROM {panda}.jedi_datasets d
  LEFT JOIN LATERAL (SELECT x.*, d.type IN ('input', 'pseudo_input') AS input, j.jobstatus,
      coalesce(x.attemptnr >= x.maxattempt OR x.failedattempt >= x.maxfailure, false) AS spent,
      x.status = 'ready' AND CASE WHEN x.maxattempt IS NULL THEN coalesce(x.attemptnr, 0) = 0
        ELSE NOT coalesce(x.attemptnr >= x.maxattempt OR x.failedattempt >= x.maxfailure, false) END AS again
    FROM {panda}.jedi_dataset_contents x LEFT JOIN {panda}.jobsactive4 j ON j.pandaid = x.pandaid
   WHERE x.jeditaskid = d.jeditaskid AND x.datasetid = d.datasetid) c ON true
 WHERE d.jeditaskid = %(task)s GROUP BY d.datasetid"""


def _by_name(task: Task, rows: Sequence[tuple[Any, ...]]) -> dict[str, dict[str, int]]:
    names = {dataset_id: name for name, dataset_id in task.datasets.items()}
    found = {names[row[0]]: dict(zip(COUNTERS, map(int, row[1:]), strict=True)) for row in rows}
    for name, counted in found.items():
        if name in ("output", "log", "lib"):
            del counted["nfilesused"]  # of outputs the job generator counts them, when it makes their rows
    return found


async def _dataset(
    tx: Transaction,
    task_id: int,
    name: str,
    kind: str,
    n_files: int = 0,
    n_events: int | None = None,
    master: int | None = None,
) -> int:
    dataset_id = await _one(tx, "SELECT nextval('{panda}.jedi_datasets_id_seq')")
    await _insert(
        tx,
        "{panda}.jedi_datasets",
        jeditaskid=task_id,
        datasetid=dataset_id,
        datasetname=f"user.{task_id}.{name}",
        type=kind,
        creationtime=_AT,
        modificationtime=_AT,
        masterid=master,
        status="ready" if kind in ("input", "pseudo_input") else "running",
        state="closed",
        streamname=name.upper(),
        nfiles=n_files,
        nfilestobeused=n_files,
        nfilesused=0,
        nfilesonhold=0,
        nfilesfinished=0,
        nfilesfailed=0,
        nevents=(n_events or 0) * n_files,
        neventsused=0,
    )
    return int(dataset_id)


async def _files(
    tx: Transaction, task_id: int, dataset_id: int, kind: str, names: Sequence[str], **columns: Any
) -> tuple[int, ...]:
    ids = []
    for name in names:
        file_id = await _one(tx, "SELECT nextval('{panda}.jedi_dataset_cont_fileid_seq')")
        values = {
            "status": "ready",
            "keeptrack": 1,
            "attemptnr": 0,
            "failedattempt": 0,
            "proc_status": "ready",
            **columns,
        }
        await _insert(
            tx,
            "{panda}.jedi_dataset_contents",
            jeditaskid=task_id,
            datasetid=dataset_id,
            fileid=file_id,
            creationdate=_AT,
            lfn=name,
            type=kind,
            guid="aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
            fsize=7,
            checksum="ad:00000001",
            **values,
        )
        ids.append(int(file_id))
    return tuple(ids)


async def _unused(tx: Transaction, task: Task, files: Sequence[int]) -> list[int]:
    """Those files of the secondary dataset that are ready."""
    text = """SELECT fileid FROM {panda}.jedi_dataset_contents WHERE jeditaskid = %(task)s AND datasetid = %(dataset)s
               AND fileid = ANY (%(files)s) AND status = 'ready' ORDER BY fileid"""
    found = await _rows(tx, text, task=task.id, dataset=task.datasets["secondary"], files=list(files))
    return [file_id for (file_id,) in found]


async def _take(tx: Transaction, task: Task, name: str, file_id: int, panda_id: int) -> int:
    """A file goes into a job; its attempt number."""
    found = await _rows(
        tx,
        "UPDATE {panda}.jedi_dataset_contents SET status = 'running', pandaid = %(job)s, proc_status = 'queued'"
        " WHERE jeditaskid = %(task)s AND datasetid = %(dataset)s AND fileid = %(file)s AND status = 'ready'"
        " RETURNING attemptnr, maxattempt",
        job=panda_id,
        task=task.id,
        dataset=task.datasets[name],
        file=file_id,
    )
    assert found, f"file {file_id} of {name} is not ready"
    attempt, limit = found[0]
    if limit is not None or attempt == 0:
        await _add(tx, task.id, task.datasets[name], nfilesused=1)
    return int(attempt)


async def _output(tx: Transaction, task: Task, name: str, panda_id: int) -> None:
    lfn = f"user.{task.id}.{panda_id}.lib.tgz" if name == "lib" else f"{name}.{panda_id}"
    file_id = await _blank(tx, task, name, lfn, panda_id)
    await _add(tx, task.id, task.datasets[name], nfiles=1, nfilesused=1)
    await _link(tx, task, name, file_id, panda_id, "log" if name == "log" else "output", "unknown")


async def _blank(tx: Transaction, task: Task, name: str, lfn: str, panda_id: int) -> int:
    file_id = await _one(tx, "SELECT nextval('{panda}.jedi_dataset_cont_fileid_seq')")
    await _insert(
        tx,
        "{panda}.jedi_dataset_contents",
        jeditaskid=task.id,
        datasetid=task.datasets[name],
        fileid=file_id,
        creationdate=_AT,
        lfn=lfn,
        type="output" if name == "lib" else name,
        status="running",
        keeptrack=1,
        attemptnr=0,
        pandaid=panda_id,
        outpandaid=panda_id,
    )
    return int(file_id)


async def _link(
    tx: Transaction, task: Task, name: str, file_id: int, panda_id: int, kind: str | None, status: str
) -> None:
    """The job's row of a file of the task."""
    ((lfn, found, attempt),) = await _rows(
        tx,
        "SELECT lfn, type, attemptnr FROM {panda}.jedi_dataset_contents"
        " WHERE jeditaskid = %(task)s AND datasetid = %(dataset)s AND fileid = %(file)s",
        task=task.id,
        dataset=task.datasets[name],
        file=file_id,
    )
    makes = kind in ("output", "log")
    row_id = await _one(tx, "SELECT nextval('{panda}.filestable4_row_id_seq')")
    await _insert(
        tx,
        "{panda}.filestable4",
        row_id=row_id,
        pandaid=panda_id,
        lfn=lfn,
        type=kind or found,
        status=status,
        dataset=f"user.{task.id}.{name}",
        destinationdblock=f"user.{task.id}.{name}" if makes else None,
        jeditaskid=task.id,
        datasetid=task.datasets[name],
        fileid=file_id,
        attemptnr=attempt,
    )


async def _add(tx: Transaction, task_id: int, dataset_id: int, **numbers: int) -> None:
    changes = ", ".join(f"{name} = {name} + {n}" for name, n in numbers.items())
    text = f"UPDATE {{panda}}.jedi_datasets SET {changes} WHERE jeditaskid = %(task)s AND datasetid = %(dataset)s"
    await tx.run(_query(text), task=task_id, dataset=dataset_id)


async def _insert(tx: Transaction, table: str, **row: Any) -> None:
    names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    await tx.run(_query(f"INSERT INTO {table} ({names}) VALUES ({values})"), **row)


async def _one(tx: Transaction, text: str, **params: Any) -> Any:
    return (await tx.run(_query(text), **params)).scalar()


async def _rows(tx: Transaction, text: str, **params: Any) -> list[tuple[Any, ...]]:
    return (await tx.run(_query(text), **params)).rows


def _query(text: str) -> Query:
    return Query(name=text, text=text)
