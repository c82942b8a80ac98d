"""Two servers end the jobs of one task in every way there is, at once: nobody hears of a deadlock (rule R1)."""

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from random import Random

import pytest
import pytest_twisted
from attrs import frozen
from databases import make_database
from endings import GUID, DirectPool, Told, make_adder, run
from storing import Manager
from tasks_by_hand import Task, counters, make_job, make_task, recount, task_row
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.requests import Heartbeat
from pandatx.scheduler.context import Context
from pandatx.services.adder import Adder
from pandatx.services.closer import Closer
from pandatx.services.facts import Facts
from pandatx.services.finisher import Finisher
from pandatx.services.heartbeats import Heartbeats
from pandatx.services.killing import Killing
from pandatx.services.watcher import Watcher
from pandatx.store.database import Database

JOBS = 90
PILOT = Caller(dn="/CN=pilot", name="pilot", how="x509", pilot=True)
PRODUCTION = Caller(dn="/CN=prod", name="prod", how="x509", production=True)
RULES = """
INSERT INTO {panda}.retryactions (retryaction_id, retry_action)
VALUES (1, 'no_retry'), (2, 'increase_memory'), (3, 'increase_cputime');
INSERT INTO {panda}.retryerrors (retryerror_id, errorsource, errorcode, retryaction)
VALUES (1, 'pilotErrorCode', 1, 1), (2, 'pilotErrorCode', 2, 2), (3, 'pilotErrorCode', 3, 3),
       (4, 'jobDispatcherErrorCode', 100, 2);
SELECT 1"""


class Loud:
    async def silence_counts(self) -> bool:
        return True


class NoSpool:
    def add(self, caller, beat):
        return succeed(None)


class Plugin(DirectPool):
    """Every third job has files that are transferred."""

    async def call(self, name, *args, timeout, context=""):
        answers = await super().call(name, *args, timeout=timeout, context=context)
        for answer, item in zip(answers, args[1], strict=True):
            if item["job"]["panda_id"] % 3 == 0:
                answer["transferring"] = [f["lfn"] for f in item["job"]["files"] if f["type"] == "output"]
        return answers


@frozen
class Server:
    database: Database
    adder: Adder
    heartbeats: Heartbeats
    killing: Killing
    watcher: Watcher
    finisher: Finisher
    datasets: Manager


def make_server(database: Database, name: str) -> Server:
    clock = Clock(reactor)
    closer, facts = Closer(database, clock, Told().activate), Facts(database, clock)
    return Server(
        database=database,
        adder=make_adder(database, Plugin(), owner=name, clock=clock),
        heartbeats=Heartbeats(database, clock, facts, NoSpool(), lambda: None),
        killing=Killing(database, clock, closer, lambda jobs: None),
        watcher=Watcher(database, clock, facts, Loud(), closer),
        finisher=Finisher(database, clock, lambda: None),
        datasets=Manager(database, clock=clock),
    )


@pytest_twisted.async_yield_fixture
async def servers(cluster, database_name) -> AsyncIterator[list[Server]]:
    databases = [make_database(cluster, database_name, Clock(reactor), size=5) for _ in range(2)]
    for each in databases:
        each.start()
    yield [make_server(each, f"server{n}") for n, each in enumerate(databases)]
    for each in databases:
        await each.stop()


def report(panda_id: int, dice: Random) -> Heartbeat:
    status = dice.choice(("finished", "failed", "finished", "running"))
    files = {f"{kind}.{panda_id}": {"guid": GUID, "fsize": 7, "adler32": "00000001"} for kind in ("output", "log")}
    final = status != "running"
    return Heartbeat(
        job_id=panda_id,
        job_status=status,
        job_output_report=json.dumps(files) if final else "",
        pilot_error_code=dice.randrange(5) if status == "failed" else None,
        pilot_error_diag="text" if status == "failed" else None,
    )


def doings(servers: list[Server], jobs: list[int], killed: list[int], dice: Random) -> list[Deferred]:
    """What happens to the jobs, each on one of the servers, in any order."""
    found: list[Callable[[], Coroutine]] = []
    for panda_id in jobs:
        found.append(partial(dice.choice(servers).heartbeats.report, PILOT, report(panda_id, dice)))
    for server in servers * 3:
        daemon = partial(server.datasets.daemon.run, Context(Clock(reactor), "datasetManager"))
        found += [partial(server.adder.run_once, 20), partial(arrived, server), server.watcher.run_once, daemon]
    for n in range(0, len(killed), 30):
        code = dice.choice((4, 9, 51))
        found.append(partial(dice.choice(servers).killing.kill, PRODUCTION, killed[n : n + 30], code))
    dice.shuffle(found)
    return [Deferred.fromCoroutine(do()) for do in found]


async def arrived(server: Server) -> None:
    text = "UPDATE {panda}.filestable4 SET status = 'ready' WHERE status = 'transferring' RETURNING pandaid"
    await server.finisher.finish(sorted({panda_id for (panda_id,) in await run(server.database, text)}))


async def silenced(database: Database, jobs: list[int]) -> None:
    """Nothing was heard for long of some of the jobs."""
    await run(
        database,
        "UPDATE {panda}.jobsactive4 SET modificationtime = '2020-01-01' WHERE pandaid = ANY (%(ids)s) RETURNING 1",
        ids=jobs[::7],
    )


async def deadlocks(database: Database) -> int:
    text = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    return (await run(database, text))[0][0]


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_ends_the_jobs_of_a_task_at_once_is_not_refused_and_counts(servers, seed):
    database, dice = servers[0].database, Random(seed)
    await run(database, RULES)
    task: Task = await make_task(database, n_files=JOBS, max_attempt=3, secondary=True, n_events=10)
    jobs = [
        await make_job(database, task, status=dice.choice(("running", "activated", "defined"))) for _ in range(JOBS)
    ]
    await silenced(database, jobs)
    for killed in ([], jobs[::5], jobs[::-4], jobs):
        await gatherResults(doings(servers, jobs, killed, dice), consumeErrors=True)
    assert await counters(database, task) == await recount(database, task)
    counts = dict(await run(database, "SELECT jobstatus, count(*) FROM {panda}.jobsarchived4 GROUP BY 1"))
    assert counts.keys() >= {"finished", "failed", "closed"}
    assert (await task_row(database, task))["total_done_jobs"] == counts["finished"]
    assert await deadlocks(database) == 0
