"""The loader of queue descriptions, and the statistics that use them."""

import json
import threading

import pytest
from test_setup import Made
from test_submission import JOB, execute
from twisted.internet import reactor

from pandatx.clients.cric import DumpAway
from pandatx.clients.web import Web
from pandatx.clock import Clock
from pandatx.domain.dumps import UnreadableDump
from pandatx.domain.queues import with_children
from pandatx.scheduler.context import Context
from pandatx.scheduler.daemons.load_queues import LoadQueues
from pandatx.scheduler.daemons.setup_rescue import SetupRescue
from pandatx.scheduler.daemons.share_statistics import ShareStatistics
from pandatx.services.facts import Facts
from pandatx.services.queues import Queues
from pandatx.services.statistics import Statistics
from pandatx.store.queries import Query

WEB = Web(reactor)
STORED = Query(name="stored", text="SELECT panda_queue FROM {panda}.schedconfig_json ORDER BY 1")
SHARES = Query(
    name="shares",
    text="SELECT gshare, computingsite, jobstatus, njobs, hs, maxpriority FROM {panda}.jobs_share_stats ORDER BY 3",
)
USERS = Query(name="users", text="SELECT name, ncurrent FROM {meta}.users")


def queue(name: str, **values) -> dict:
    return {"nickname": name, "type": "unified", "cloud": "US", "status": "online", **values}


@pytest.fixture
def dump(tmp_path):
    """Write a dump; its address."""
    path = tmp_path / "queues file.json"

    def write(content) -> str:
        path.write_text(content if isinstance(content, str) else json.dumps({one["nickname"]: one for one in content}))
        return f"file://{str(path).replace(' ', '%20')}"

    return write


@pytest.fixture
def facts(database) -> Facts:
    return Facts(database, Clock(reactor))


async def names(database) -> list[str]:
    return (await database.statement("stored", STORED)).column("panda_queue")


async def test_a_dump_is_stored_and_known_at_once(database, facts, dump):
    queues = Queues(database, Clock(reactor), facts, dump([queue("A", corepower=12.5), queue("B")]), WEB)
    await queues.start()
    assert await names(database) == ["A", "B"]
    assert queues.get("A").core_power == 12.5
    assert json.loads(queues.document("B"))["cloud"] == "US"
    await facts.refresh()
    assert sorted(facts.known.queues) == ["A", "B"]


async def test_changes_are_stored_and_queues_that_are_gone_are_removed(database, facts, dump):
    url = dump([queue("A"), queue("B"), queue("C")])
    queues = Queues(database, Clock(reactor), facts, url, WEB)
    assert await queues.load() == 3
    assert await queues.load() == 0
    dump([queue("A"), queue("B", status="offline"), queue("D")])
    assert await queues.load() == 3
    assert await names(database) == ["A", "B", "D"]
    assert queues.get("B").status == "offline"
    assert queues.get("C") is None


@pytest.mark.parametrize("content", ["", "<html>", "[]", "{}", '{"X": {"type": "production"}}'])
async def test_what_is_no_dump_changes_nothing(database, facts, dump, content):
    queues = Queues(database, Clock(reactor), facts, dump([queue("A")]), WEB)
    await queues.load()
    dump(content)
    with pytest.raises(UnreadableDump):
        await queues.load()
    await LoadQueues(queues).run(Context(Clock(reactor), "queue_loader"))
    assert await names(database) == ["A"]
    assert queues.get("A") is not None


async def test_without_the_file_the_stored_descriptions_count(database, facts, dump):
    await Queues(database, Clock(reactor), facts, dump([queue("A")]), WEB).load()
    queues = Queues(database, Clock(reactor), Facts(database, Clock(reactor)), "/nonexistent/queues.json", WEB)
    with pytest.raises(DumpAway, match="nonexistent"):
        await queues.load()
    await queues.start()
    assert await names(database) == ["A"]


async def count(database, facts) -> Context:
    context = Context(Clock(reactor), "share_statistics")
    await ShareStatistics(Statistics(database, Clock(reactor), facts)).run(context)
    return context


async def test_shares_and_users_are_counted(database, facts, dump):
    made = Made(database)
    await made.submit(*[JOB] * 3)
    made.submission._stored = lambda jobs: None
    await made.submit(JOB)
    await execute(
        database,
        "UPDATE {panda}.jobsactive4 SET jobstatus = 'running', corecount = 8 "
        "WHERE pandaid = (SELECT max(pandaid) FROM {panda}.jobsactive4)",
    )
    await Queues(database, Clock(reactor), facts, dump([queue("Q", corepower=12)]), WEB).load()
    for _ in range(2):
        await count(database, facts)
        assert (await database.statement("shares", SHARES)).rows == [
            ("User", "Q", "activated", 2, 24, 1000),
            ("User", "Q", "defined", 1, 12, 1000),
            ("User", "Q", "running", 1, 96, 999),
        ]
        assert (await database.statement("users", USERS)).rows == [("alice", 4)]


async def test_work_in_the_system_lowers_the_priority_of_new_jobs(database, facts):
    made = Made(database)
    await made.submit(*[JOB] * 10)
    await count(database, facts)
    (late,) = await made.submit(JOB)
    row = Query(name="p", text="SELECT currentpriority FROM {panda}.jobsactive4 WHERE pandaid = %(id)s")
    assert (await database.statement("p", row, id=late)).scalar() == 998


async def test_counting_is_left_to_others_that_do_it(database, facts):
    await execute(
        database,
        "INSERT INTO {panda}.jobs_share_stats (ts, jobstatus, gshare) VALUES (%(now)s, 'running', 'theirs')",
        now=Clock(reactor).now(),
    )
    await count(database, facts)
    assert [row[0] for row in (await database.statement("shares", SHARES)).rows] == ["theirs"]
    await execute(database, "UPDATE {panda}.jobs_share_stats SET ts = ts - interval '1 hour'")
    await count(database, facts)
    assert (await database.statement("shares", SHARES)).rows == []


async def test_the_rescue_daemon_sets_up_what_was_left(database):
    made = Made(database)
    made.submission._stored = lambda jobs: None
    await made.submit(JOB)
    await execute(database, "UPDATE {panda}.jobsdefined4 SET modificationtime = modificationtime - interval '1 hour'")
    context = Context(Clock(reactor), "setup_rescue")
    await SetupRescue(made.setup).run(context)
    assert context.counts["jobs"] == 1
    assert await made.places() == [("active", "activated")]


async def test_a_dump_that_has_lost_most_queues_removes_none(database, facts, dump):
    many = [queue(f"Q{n:02}") for n in range(30)]
    queues = Queues(database, Clock(reactor), facts, dump(many), WEB)
    await queues.load()
    dump([queue("Q00", status="offline"), queue("NEW")])
    assert await queues.load() == 2
    assert len(await names(database)) == 31
    assert queues.get("Q29") is not None and queues.get("Q00").status == "offline"
    dump(many)
    await queues.load()
    assert len(await names(database)) == 30


async def test_a_queue_that_nobody_could_read_again_is_left_out(database, facts, dump):
    content = '{"A": {"nickname": "A", "bad": "\\ud800"}, "B": {"x": 1e999}, "C": {"x": NaN}, "D": {"x": 9e99}}'
    queues = Queues(database, Clock(reactor), facts, dump(content), WEB)
    await queues.load()
    assert await names(database) == ["C", "D"]
    await facts.refresh()


async def test_a_huge_description_costs_only_its_queue(database, facts, dump):
    huge = queue("HUGE", text="x" * 4_000_000)
    assert await Queues(database, Clock(reactor), facts, dump([huge, queue("A")]), WEB).load() == 1
    sql = "INSERT INTO {panda}.schedconfig_json (panda_queue, data) VALUES ('HUGE', %(data)s)"
    await execute(database, sql, data=json.dumps(huge))
    await facts.refresh()
    assert list(facts.known.queues) == ["A"]


async def test_the_loader_and_an_older_server_spell_alike(database, facts, dump):
    one = queue("A", region="Genève", floats=1.50)
    await execute(
        database,
        "INSERT INTO {panda}.schedconfig_json (panda_queue, data) VALUES ('A', %(data)s)",
        data=json.dumps(json.loads(json.dumps(one))),
    )
    assert await Queues(database, Clock(reactor), facts, dump([one]), WEB).load() == 0


async def test_only_descriptions_that_have_changed_are_read_again(database, facts, dump):
    url = dump([queue(f"Q{n:02}") for n in range(45)])
    queues = Queues(database, Clock(reactor), facts, url, WEB)
    await queues.load()
    await facts.refresh()
    before = dict(facts.known.queues)
    await facts.refresh()
    assert all(facts.known.queues[name] is before[name] for name in before) and len(before) == 45
    dump([queue(f"Q{n:02}", status="test" if n == 7 else "online") for n in range(44)])
    await queues.load()
    await facts.refresh()
    changed = [name for name in facts.known.queues if facts.known.queues[name] is not before[name]]
    assert changed == ["Q07"] and facts.queue("Q07").status == "test" and facts.queue("Q44") is None


async def test_descriptions_are_read_beside_the_reactor_and_not_twice(database, facts, dump, monkeypatch):
    threads = []

    def noting(function):
        return lambda *arguments: threads.append(threading.current_thread()) or function(*arguments)

    for module in ("facts", "queues"):
        name = f"pandatx.services.{module}.with_children"
        monkeypatch.setattr(name, noting(with_children))
    await Queues(database, Clock(reactor), facts, dump([queue("A", capability="ucore"), queue("B")]), WEB).load()
    await facts.refresh()
    assert len(threads) == 4 and threading.current_thread() not in threads
    await facts.refresh()
    assert len(threads) == 4


async def test_a_new_resource_type_gives_every_queue_a_child(database, facts, dump):
    await Queues(database, Clock(reactor), facts, dump([queue("A", capability="ucore")]), WEB).load()
    await facts.refresh()
    await execute(
        database,
        "INSERT INTO {panda}.resource_types (resource_name, mincore, maxcore, minrampercore, maxrampercore) "
        "VALUES ('HUGE', 99, 99, 0, 1)",
    )
    await facts.refresh()
    assert facts.queue("A/HUGE").capability == "huge"


async def test_a_stored_description_that_cannot_be_read_costs_only_its_queue(database, facts):
    deep = '{"x": ' + "[" * 300 + "]" * 300 + "}"
    for name, data in (("DEEP", deep), ("BAD", "[1]"), ("WORSE", '"\\ud800"'), ("GOOD", "{}")):
        sql = "INSERT INTO {panda}.schedconfig_json (panda_queue, data) VALUES (%(name)s, %(data)s)"
        await execute(database, sql, name=name, data=data)
    await facts.refresh()
    assert list(facts.known.queues) == ["GOOD"]
    await execute(database, "UPDATE {panda}.schedconfig_json SET data = '{{}}'".replace("{{}}", "{}"))
    await facts.refresh()
    assert sorted(facts.known.queues) == ["BAD", "DEEP", "GOOD", "WORSE"]
