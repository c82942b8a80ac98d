"""Jobs that wait for files, and who may say that these are there."""

import pytest
from attrs import evolve
from test_setup import WITH_INPUT, Made, about
from test_submission import ALICE, PRODUCTION, execute
from twisted.internet import reactor

from pandatx.clock import Clock
from pandatx.domain.job import JobFile
from pandatx.errors import NotFound, NotPermitted
from pandatx.services.activator import Activator
from pandatx.services.datasets import Datasets
from pandatx.services.finisher import Finisher
from pandatx.store.database import Database
from pandatx.store.queries import Query

BOB = evolve(ALICE, dn="/DC=org/CN=bob", name="bob")
DATASETS = Query(name="datasets", text="SELECT name, status FROM {panda}.datasets ORDER BY name")
INPUTS = Query(name="inputs", text="SELECT status FROM {panda}.filestable4 WHERE type = 'input' ORDER BY row_id")


def behind(block: str):
    """What a setupper says that makes each input wait for the block."""

    def says(jobs):
        answer = {"jobs": [], "datasets": [{"name": block, "type": "dispatch", "status": "defined"}]}
        for job in jobs:
            inputs = [file["row_id"] for file in job["files"] if file["type"] == "input"]
            files = [{"row_id": row_id, "dispatch_dblock": block} for row_id in inputs]
            answer["jobs"] += about(job["panda_id"], dispatch_dblock=block, files=files)["jobs"]
        return answer

    return says


class Waiting(Made):
    """A server whose jobs with inputs wait for the block ``dis1``."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.plugins.says = behind("dis1")
        clock = Clock(reactor)
        self.reports: list[int] = []
        self.activator = Activator(database, clock, self.tell)
        finisher = Finisher(database, clock, lambda: self.reports.append(1))
        self.datasets = Datasets(database, self.activator, finisher)


@pytest.fixture
def waiting(database: Database) -> Waiting:
    return Waiting(database)


async def test_completing_a_dispatch_block_activates_the_jobs_that_wait_for_it(waiting, database):
    ids = await waiting.submit(WITH_INPUT, WITH_INPUT)
    assert await waiting.places() == [("defined", "assigned")] * 2
    assert await waiting.datasets.complete(ALICE, "dis1") == 2
    assert await waiting.places() == [("active", "activated")] * 2
    assert sorted(waiting.activated) == ids
    assert (await database.statement("i", INPUTS)).rows == [("ready",), ("ready",)]
    assert (await database.statement("d", DATASETS)).rows == [("dis1", "completed")]


async def test_a_job_that_lacks_another_file_keeps_waiting(waiting, database):
    await waiting.submit(evolve(WITH_INPUT, files=(*WITH_INPUT.files, JobFile(lfn="in2", type="input"))))
    await execute(database, "UPDATE {panda}.filestable4 SET dispatchdblock = 'dis2' WHERE lfn = 'in2'")
    assert await waiting.datasets.complete(ALICE, "dis1") == 0
    assert await waiting.places() == [("defined", "assigned")]
    assert await waiting.datasets.complete(ALICE, "dis2") == 1
    assert await waiting.places() == [("active", "activated")]


async def test_a_block_may_be_completed_twice(waiting):
    await waiting.submit(WITH_INPUT)
    assert [await waiting.datasets.complete(PRODUCTION, "dis1") for _ in range(2)] == [1, 0]


async def test_the_activator_leaves_a_completed_block_alone_unless_told(waiting, database):
    await waiting.submit(WITH_INPUT)
    await execute(database, "UPDATE {panda}.datasets SET status = 'completed'")
    assert await waiting.activator.release("dis1") == 0
    assert await waiting.activator.release("dis1", enforce=True) == 1


async def test_others_may_not_complete_it(waiting):
    await waiting.submit(WITH_INPUT)
    with pytest.raises(NotPermitted, match="dis1"):
        await waiting.datasets.complete(BOB, "dis1")
    assert await waiting.places() == [("defined", "assigned")]


async def test_an_unknown_name_is_not_found(waiting):
    with pytest.raises(NotFound, match="nothing"):
        await waiting.datasets.complete(PRODUCTION, "nothing")


async def test_completing_an_output_block_ends_its_transfers(waiting, database):
    waiting.plugins.says = lambda jobs: {"jobs": []}
    await waiting.submit(evolve(WITH_INPUT, files=WITH_INPUT.files[:2]))
    await execute(database, "UPDATE {panda}.jobsactive4 SET jobstatus = 'transferring', attemptnr = 1")
    await execute(
        database,
        """UPDATE {panda}.filestable4 SET status = CASE type WHEN 'log' THEN 'ready' ELSE 'transferring' END""",
    )
    with pytest.raises(NotPermitted):
        await waiting.datasets.complete(BOB, "user.alice.out")
    assert await waiting.datasets.complete(ALICE, "user.alice.out") == 1
    assert waiting.reports == [1]
