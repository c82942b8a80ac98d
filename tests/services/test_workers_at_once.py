"""Harvesters, pilots, kills and the Adder on the same jobs at once, by Hypothesis, on two servers with one database."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

from attrs import evolve, frozen
from databases import make_database
from endings import GUID, DirectPool, make_adder, run
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tasks_by_hand import counters, make_job, make_task, recount
from test_ends_at_once import Server, make_server
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import blockingCallFromThread, deferToThread

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.domain.harvester_requests import WorkerReport
from pandatx.domain.requests import Heartbeat, JobRequest
from pandatx.domain.workers import FINAL
from pandatx.metrics import TRANSACTION_RETRIES
from pandatx.services.dispatch import Dispatch
from pandatx.services.facts import Facts
from pandatx.services.workers import Workers

PROD = Caller(dn="/CN=prod", name="prod", production=True, pilot=True)
N = 6
"""Jobs, and workers."""


@frozen
class Update:
    """A call of update_workers: (worker, status, in step, error, jobs) of each."""

    workers: tuple[tuple[int, str, bool, int, tuple[int, ...]], ...]


@frozen
class Beats:
    """Reports of pilots: (job, state) of each."""

    of: tuple[tuple[int, str], ...]


@frozen
class Kill:
    jobs: tuple[int, ...]


@frozen
class Ask:
    """getJob of the pilot of a worker."""

    worker: int


@frozen
class Add:
    """A run of the Adder."""


numbers = st.integers(0, N - 1)
several = st.lists(numbers, min_size=1, max_size=N, unique=True).map(tuple)
given_out = st.lists(numbers.filter(lambda n: n % 2 == 0), max_size=N, unique=True).map(tuple)
"""Jobs that a Harvester can know of; the others have been given to nobody yet, and come to those that ask."""
statuses = st.sampled_from(("submitted", "running", "finished", "failed", "cancelled", "missed"))
states = st.sampled_from(("running", "starting", "finished", "failed", "holding"))
one_worker = st.tuples(numbers, statuses, st.booleans(), st.sampled_from((0, 0, 7)), given_out)
acts = st.one_of(
    st.builds(Update, st.lists(one_worker, min_size=1, max_size=N).map(tuple)),
    st.builds(Beats, st.lists(st.tuples(numbers, states), min_size=1, max_size=N, unique_by=lambda x: x[0]).map(tuple)),
    st.builds(Kill, several),
    st.builds(Ask, numbers),
    st.just(Add()),
)
rounds = st.lists(st.lists(acts, min_size=2, max_size=6), min_size=1, max_size=5)


@frozen
class Field:
    """Both servers, and the jobs of one example."""

    servers: list[Server]
    workers: list[Workers]
    dispatch: list[Dispatch]
    jobs: list[int]

    def do(self, act: Any, turn: int) -> Deferred:
        return Deferred.fromCoroutine(self._do(act, turn % 2))

    async def _do(self, act: Any, on: int) -> None:
        server = self.servers[on]
        if isinstance(act, Update):
            reports = [self._report(*each) for each in act.workers]
            assert all((await self.workers[on].update(PROD, "h", reports)).values())
        elif isinstance(act, Beats):
            beats = [report(self.jobs[job], state) for job, state in act.of]
            replies = await server.heartbeats.report_many(PROD, beats)
            assert all(getattr(reply, "code", None) == 0 for reply in replies), replies
        elif isinstance(act, Kill):
            await server.killing.kill(PROD, [self.jobs[job] for job in act.jobs])
        elif isinstance(act, Ask):
            await self.dispatch[on].acquire(PROD, JobRequest(site_name="Q", prod_source_label="user", harvester_id="h",
                                                             worker_id=act.worker))  # fmt: skip
        else:
            await server.adder.run_once()

    def _report(self, worker: int, status: str, in_step: bool, error: int, jobs: tuple[int, ...]) -> WorkerReport:
        return WorkerReport(
            worker_id=worker,
            status=status,
            sync_level=int(in_step),
            error_code=error,
            diag_message="said so",
            pandaid_list=tuple(self.jobs[job] for job in jobs),
        )


async def example(servers: list[Server], task_id: int, course: list[list[Any]]) -> None:
    database = servers[0].database
    await run(
        database, "DELETE FROM {panda}.harvester_workers; DELETE FROM {panda}.harvester_rel_jobs_workers; SELECT 1"
    )
    task = await make_task(database, task_id, n_files=N)
    jobs = [await make_job(database, task, status="activated" if n % 2 else "running") for n in range(N)]
    clock = Clock(reactor)
    field = Field(
        servers,
        [Workers(each.database, clock, lambda: None) for each in servers],
        [Dispatch(each.database, clock, Facts(each.database, clock)) for each in servers],
        jobs,
    )
    before = retries()
    for acts_of_round in course:
        await gatherResults([field.do(act, turn) for turn, act in enumerate(acts_of_round)])
        assert await counters(database, task) == await recount(database, task)
        text = (
            "SELECT pandaid FROM {panda}.jobsactive4 WHERE pandaid = ANY (%(ids)s)"
            " UNION ALL SELECT pandaid FROM {panda}.jobsarchived4 WHERE pandaid = ANY (%(ids)s)"
        )
        assert sorted(row[0] for row in await run(database, text, ids=jobs)) == jobs
    assert retries() == before, "a transaction was tried again: a deadlock"
    await finish(servers[0], jobs)
    assert await counters(database, task) == await recount(database, task)
    await field.workers[0].update(PROD, "h", [WorkerReport(worker_id=n, status="finished") for n in range(N)])
    text = "SELECT workerid, status FROM {panda}.harvester_workers"
    assert {n: status in FINAL for n, status in await run(database, text)} == dict.fromkeys(range(N), True)
    assert await run(database, "SELECT count(*) FROM {panda}.harvester_workers") == [(N,)]


def report(job: int, state: str) -> Heartbeat:
    files = {f"{kind}.{job}": {"guid": GUID, "fsize": 7, "adler32": "00000001"} for kind in ("output", "log")}
    final = json.dumps(files) if state in ("finished", "failed") else ""
    return Heartbeat(job_id=job, job_status=state, job_output_report=final, pilot_error_code=int(state == "failed"))


async def finish(server: Server, jobs: list[int]) -> None:
    """Every pilot says that it failed: then every job that was given is at its end, and no report waits."""
    given = "UPDATE {panda}.jobsactive4 SET jobstatus = 'running' WHERE jobstatus = 'activated' RETURNING 1"
    await run(server.database, given)
    for _ in range(2):  # one on hold without a report gets one, one with a report keeps it
        await server.heartbeats.report_many(PROD, [report(job, "failed") for job in jobs])
        await run(
            server.database, "UPDATE {panda}.job_output_report SET lockedtime = NULL RETURNING 1"
        )  # what others held
        await server.adder.run_once()
    for table in ("jobsactive4", "job_output_report"):
        text = f"SELECT pandaid, jobstatus FROM {{panda}}.{table} WHERE pandaid = ANY (%(ids)s)"
        assert await run(server.database, text, ids=jobs) == []
    text = "SELECT DISTINCT jobstatus FROM {panda}.jobsarchived4 WHERE pandaid = ANY (%(ids)s)"
    found = {row[0] for row in await run(server.database, text, ids=jobs)}
    assert found <= {"finished", "failed", "cancelled", "closed"}


def retries() -> float:
    """How often a transaction was tried again."""
    samples = (sample for family in TRANSACTION_RETRIES.collect() for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


async def test_whatever_happens_at_once_nothing_is_lost_and_nobody_deadlocks(cluster, database_name):
    databases = [make_database(cluster, database_name, Clock(reactor), size=4) for _ in range(2)]
    for each in databases:
        each.start()
    servers = [
        evolve(make_server(each, name), adder=make_adder(each, DirectPool(), owner=name))
        for each, name in zip(databases, ("one", "two"), strict=True)
    ]
    await run(databases[0], "INSERT INTO {panda}.harvester_instances (harvester_id) VALUES ('h') RETURNING 1")
    tasks: Iterator[int] = itertools.count(1000)

    @settings(
        max_examples=30, deadline=None, derandomize=True, database=None, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(rounds)
    def trial(course: list[list[Any]]) -> None:
        blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(example(servers, next(tasks), course)))

    try:
        await deferToThread(trial)
    finally:
        for each in databases:
            await each.stop()
