"""What the tests of jobs' ends share: rows, the stub of the process pool, the Adder put together."""

import importlib
import json
from typing import Any

from attrs import define, field
from twisted.internet import reactor

from pandatx.clock import Clock
from pandatx.services.adder import Adder
from pandatx.services.closer import Closer
from pandatx.services.facts import Facts
from pandatx.store.database import Database, Transaction
from pandatx.store.queries import Query

DUMMY = "pandatx.plugins.dummy:Adder"
GUID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


@define
class DirectPool:
    """Calls the functions at once; ``faults`` are raised instead, by PandaID, in each call that has the job."""

    faults: dict[int, Exception] = field(factory=dict)
    calls: list[list[int]] = field(factory=list)
    before: Any = None

    async def call(self, name: str, *args: Any, timeout: float, context: str = "") -> Any:
        module, _, function = name.partition(":")
        target, items, settings = json.loads(json.dumps(args, default=str))
        ids = [item["job"]["panda_id"] for item in items]
        self.calls.append(ids)
        if self.before is not None:
            await self.before()
        for panda_id in ids:
            if panda_id in self.faults:
                raise self.faults[panda_id]
        return getattr(importlib.import_module(module), function)(target, items, settings)


@define
class Told:
    """Names of blocks that jobs wait for."""

    names: list[str] = field(factory=list)

    async def activate(self, name: str) -> None:
        self.names.append(name)


def make_adder(
    database: Database, pool: DirectPool, *, owner: str = "here", told: Told | None = None, clock: Clock | None = None
) -> Adder:
    clock = clock or Clock(reactor)
    closer = Closer(database, clock, (told or Told()).activate)
    return Adder(database, clock, Facts(database, clock), pool, lambda vo, group: DUMMY, {}, closer, owner)


async def run(database: Database, text: str, **params: Any) -> Any:
    result = await database.statement("test", Query(name=text, text=text), **params)
    return result.rows


async def seed_job(database: Database, panda_id: int, table: str = "jobsactive4", **columns: Any) -> None:
    row: dict[str, Any] = {
        "jobstatus": "holding",
        "attemptnr": 1,
        "prodsourcelabel": "user",
        "produsername": "alice",
        "computingsite": "Q",
        "vo": "wlcg",
        "cloud": "",
        "creationtime": "2025-12-31",
        "modificationtime": "2026-01-01",
        "statechangetime": "2026-01-01",
        "starttime": "2025-12-31 20:00",
        "endtime": None,
        **columns,
    }
    names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    await run(
        database,
        f"INSERT INTO {{panda}}.{table} (pandaid, {names}) VALUES (%(pandaid)s, {values}) RETURNING 1",
        pandaid=panda_id,
        **row,
    )
    await run(
        database,
        "INSERT INTO {panda}.jobparamstable (pandaid, jobparameters) VALUES (%(i)s, 'x') RETURNING 1",
        i=panda_id,
    )


async def seed_file(database: Database, panda_id: int, lfn: str, kind: str = "output", **columns: Any) -> None:
    row = {"lfn": lfn, "type": kind, "status": "unknown", "destinationdblock": "block", **columns}
    names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    await run(
        database,
        f"INSERT INTO {{panda}}.filestable4 (row_id, pandaid, {names})"
        f" VALUES (nextval('{{panda}}.filestable4_row_id_seq'), %(pandaid)s, {values}) RETURNING 1",
        pandaid=panda_id,
        **row,
    )


async def seed_block(database: Database, name: str = "block", status: str = "defined") -> None:
    await run(
        database,
        "INSERT INTO {panda}.datasets (vuid, name, type, status, creationdate, modificationdate)"
        " VALUES (%(block)s, %(block)s, 'output', %(status)s, '2026-01-01', '2026-01-01') RETURNING 1",
        block=name,
        status=status,
    )


async def seed_report(
    database: Database, panda_id: int, status: str = "finished", data: str | None = None, **columns: Any
) -> None:
    row = {"attemptnr": 1, "timestamp": "2026-01-01", "jobstatus": status, **columns}
    names, values = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    await run(
        database,
        f"INSERT INTO {{panda}}.job_output_report (pandaid, data, {names})"
        f" VALUES (%(id)s, %(data)s, {values}) RETURNING 1",
        id=panda_id,
        data=report_of(f"out{panda_id}", f"log{panda_id}") if data is None else data,
        **row,
    )


async def seed_reported(database: Database, *ids: int, status: str = "finished", **columns: Any) -> None:
    """Jobs in holding with an output, a log, and a final report."""
    for panda_id in ids:
        await seed_job(database, panda_id, **columns)
        await seed_file(database, panda_id, f"out{panda_id}")
        await seed_file(database, panda_id, f"log{panda_id}", "log")
        await seed_report(database, panda_id, status)


def report_of(*lfns: str) -> str:
    return json.dumps({lfn: {"guid": GUID, "fsize": 7, "adler32": "00000001"} for lfn in lfns})


async def job(database: Database, panda_id: int, table: str = "jobsarchived4") -> dict[str, Any] | None:
    query = Query(name=f"job in {table}", text=f"SELECT * FROM {{panda}}.{table} WHERE pandaid = %(id)s")
    return (await database.statement("job", query, id=panda_id)).one()


async def statuses(database: Database) -> dict[str, str]:
    """Of the files by LFN."""
    return dict(await run(database, "SELECT lfn, status FROM {panda}.filestable4"))


async def logged(database: Database) -> list[tuple[int, str]]:
    return await run(
        database, "SELECT pandaid, jobstatus FROM {panda}.jobs_statuslog ORDER BY modificationtime, pandaid"
    )


async def reports(database: Database) -> list[tuple[int, str | None]]:
    return await run(database, "SELECT pandaid, lockedby FROM {panda}.job_output_report ORDER BY pandaid")


async def held(database: Database, panda_id: int, begun: Any, end: Any) -> None:
    """Hold a job's row from ``begun`` to ``end``."""

    async def work(tx: Transaction) -> None:
        text = f"SELECT 1 FROM {{panda}}.jobsactive4 WHERE pandaid = {panda_id} FOR UPDATE"
        await tx.run(Query(name=text, text=text))
        begun.callback(None)
        await end

    await database.transaction("held", work)
