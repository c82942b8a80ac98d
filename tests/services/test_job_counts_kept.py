"""Statistics are read once in a while however many ask, and counted where others count for the shares too."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from tasks_by_hand import make_job, make_task
from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults

from pandatx.clock import Clock
from pandatx.services.facts import Facts
from pandatx.services.job_counts import JobCounts
from pandatx.services.statistics import Statistics
from pandatx.store.database import Database
from pandatx.store.queries import Query

OTHERS = Query(
    name="others", text="INSERT INTO {panda}.jobs_share_stats (ts, jobstatus, njobs) VALUES (%(now)s, 'sent', 7)"
)
ROWS = Query(name="rows", text="SELECT jobstatus, njobs FROM {own}.job_counts")
KEPT = Query(name="kept", text="SELECT jobstatus, njobs FROM {panda}.jobs_share_stats")
RUNNING = {"Q": {"assigned": 0, "activated": 0, "running": 1}}


@define
class Watched:
    """A database that tells what it was asked."""

    database: Database
    asked: list[str] = field(factory=list)

    async def transaction(self, name: str, work: Any, *args: Any) -> Any:
        self.asked.append(name)
        return await self.database.transaction(name, work, *args)

    async def limited(self, name: str, *args: Any) -> Any:
        self.asked.append(name)
        return await self.database.limited(name, *args)


async def count_one(database: Database, clock: Clock) -> None:
    await make_job(database, await make_task(database), status="running")
    await Statistics(database, clock, Facts(database, clock)).count()


async def test_those_who_ask_together_are_told_of_one_reading(database: Database) -> None:
    time = task.Clock()
    clock = Clock.manual(time)
    await count_one(database, clock)
    watched = Watched(database)
    counts = JobCounts(watched, clock, Facts(database, clock))  # type: ignore[arg-type]
    told = await gatherResults([Deferred.fromCoroutine(counts.by_site()) for _ in range(10)])
    assert told == [RUNNING] * 10
    assert watched.asked == ["job_counts.alive"]


async def test_a_reading_does_for_a_while_and_each_time_span_has_its_own(database: Database) -> None:
    time = task.Clock()
    clock = Clock.manual(time)
    await count_one(database, clock)
    watched = Watched(database)
    counts = JobCounts(watched, clock, Facts(database, clock))  # type: ignore[arg-type]
    await counts.by_site_and_type(60)
    await counts.by_site_and_type(60)
    await counts.by_site_and_type(120)
    assert watched.asked == ["job_counts.alive", "job_counts.ended", "job_counts.ended"]
    time.advance(30)
    await counts.by_site_and_type(60)
    assert watched.asked[3:] == ["job_counts.alive"]
    time.advance(31)
    await counts.by_site_and_type(60)
    assert watched.asked[4:] == ["job_counts.alive", "job_counts.ended"]


async def test_who_asks_for_living_jobs_does_not_wait_for_a_reading_of_ended_ones(database: Database) -> None:
    clock = Clock.manual(task.Clock())
    await count_one(database, clock)
    going: Deferred[None] = Deferred()

    class Slow(Watched):
        async def limited(self, name: str, *args: Any) -> Any:
            await going
            return []

    counts = JobCounts(Slow(database), clock, Facts(database, clock))  # type: ignore[arg-type]
    ended = [Deferred.fromCoroutine(counts.by_site_and_type(minutes)) for minutes in (1, 2)]
    assert (await counts.by_site()) == RUNNING
    clock.reactor.advance(60)
    assert (await counts.by_site()) == RUNNING
    going.callback(None)
    await gatherResults(ended)


async def test_a_reading_that_fails_is_tried_again_by_the_next(database: Database) -> None:
    clock = Clock.manual(task.Clock())
    await count_one(database, clock)
    counts = JobCounts(None, clock, Facts(database, clock))  # type: ignore[arg-type]
    try:
        await counts.by_site()
    except AttributeError:
        counts._database = database
    assert await counts.by_site() == RUNNING


async def test_where_others_count_for_the_shares_jobs_are_counted_for_statistics(database: Database) -> None:
    clock = Clock.manual(task.Clock())
    await make_job(database, await make_task(database), status="running")
    await database.statement("others", OTHERS, now=clock.now())
    assert await Statistics(database, clock, Facts(database, clock)).count() is None
    assert (await database.statement("rows", ROWS)).rows == [("running", 1)]
    assert (await database.statement("kept", KEPT)).rows == [("sent", 7)]
