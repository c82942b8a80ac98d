"""The daemons carbon, cache_pilots and hs_scrapers: with their services, without them, and when these fail."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
import pytest_twisted
from test_submission import execute
from twisted.internet import reactor
from twisted.logger import formatEvent, globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import Site

from pandatx.clients.web import Web
from pandatx.clock import Clock
from pandatx.errors import BadArguments
from pandatx.scheduler.context import Context
from pandatx.scheduler.daemons.cache_pilots import CachePilots
from pandatx.scheduler.daemons.carbon import CountCarbon
from pandatx.scheduler.daemons.hs_scrapers import LoadBenchmarks
from pandatx.services.benchmarks import Benchmarks
from pandatx.services.carbon import Carbon
from pandatx.store.queries import Query
from pandatx.workers.pool import CallTimedOut, PoolSettings, ProcessPool

CLOCK = Clock(reactor)
TOKEN = "bearer-hush"
NOW = CLOCK.now().replace(microsecond=0)


class Service(Resource):
    """Answers every POST with ``answer``."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.code, self.answer = 200, b""
        self.headers: dict[str, str | None] = {}
        self.asked = 0

    def render_POST(self, request) -> bytes:
        self.asked += 1
        self.headers = {name: request.getHeader(name) for name in ("authorization", "content-type")}
        request.setResponseCode(self.code)
        return self.answer


@pytest.fixture
def service() -> Service:
    return Service()


@pytest_twisted.async_yield_fixture
async def address(service):
    port = reactor.listenTCP(0, Site(service), interface="127.0.0.1")
    yield f"http://127.0.0.1:{port.getHost().port}/_msearch"
    await port.stopListening()


@pytest.fixture
def said():
    lines: list[str] = []

    def observer(event):
        lines.append(formatEvent(event) or "")

    globalLogPublisher.addObserver(observer)
    yield lines
    globalLogPublisher.removeObserver(observer)
    assert TOKEN not in "\n".join(lines)


async def run(daemon, name: str, *arguments) -> Context:
    context = Context(CLOCK, name, arguments)
    assert await daemon.run(context) is False
    return context


def measures(*values) -> bytes:
    hits = [
        {
            "_source": {
                "data": {"region": region, "gCO2_perkWh": value},
                "metadata": {"timestamp": int((NOW - timedelta(minutes=minutes)).timestamp() * 1000)},
            }
        }
        for region, value, minutes in values
    ]
    return json.dumps({"responses": [{"status": 200, "hits": {"hits": hits}}]}).encode()


EMISSIONS = Query(name="e", text="SELECT region, value FROM {panda}.carbon_region_emissions ORDER BY 1, timestamp")


def carbon(database, address, token=TOKEN) -> CountCarbon:
    return CountCarbon(Carbon(database, CLOCK, Web(reactor, limit=5), address, token))


async def use(database, queue: str, hs: int, region: str | None = None) -> None:
    await execute(
        database,
        "INSERT INTO {panda}.jobs_share_stats (ts, jobstatus, computingsite, hs) "
        "VALUES (%(now)s, 'running', %(q)s, %(hs)s)",
        now=NOW,
        q=queue,
        hs=hs,
    )
    document = json.dumps({"region": region} if region else {})
    sql = "INSERT INTO {panda}.schedconfig_json (panda_queue, data) VALUES (%(q)s, %(document)s)"
    await execute(database, sql, q=queue, document=document)


async def test_emissions_are_stored_with_the_average_of_the_grid(database, service, address, said):
    await use(database, "A", 30, "DE")
    await use(database, "B", 10, "FR")
    await use(database, "C", 60)
    service.answer = measures(("DE", 500, 60), ("DE", 400, 30), ("FR", 100, 30))
    daemon = carbon(database, address)
    assert (await run(daemon, "carbon")).counts["measures"] == 3
    assert service.headers == {"authorization": f"Bearer {TOKEN}", "content-type": "application/x-ndjson"}
    rows = [("DE", 500), ("DE", 400), ("FR", 100), ("GRID", 130)]
    assert (await database.statement("e", EMISSIONS)).rows == rows
    assert (await run(daemon, "carbon")).counts["measures"] == 0
    assert (await database.statement("e", EMISSIONS)).rows == [*rows, ("GRID", 130)]


async def test_without_any_computing_there_is_no_average(database, service, address, said):
    service.answer = measures(("DE", 500, 60))
    await run(carbon(database, address), "carbon")
    assert (await database.statement("e", EMISSIONS)).rows == [("DE", 500)]


@pytest.mark.parametrize(("days", "kept"), [(9.99, True), (10.01, False)])
async def test_emissions_are_kept_for_ten_days(database, service, address, said, days, kept):
    sql = "INSERT INTO {panda}.carbon_region_emissions VALUES ('OLD', %(at)s, 1)"
    await execute(database, sql, at=CLOCK.now() - timedelta(days=days))
    service.answer = measures(("DE", 500, 60))
    await run(carbon(database, address), "carbon")
    assert (("OLD", 1) in (await database.statement("e", EMISSIONS)).rows) is kept


@pytest.mark.parametrize(
    ("code", "answer"), [(401, b"{}"), (200, b"<html>"), (200, b'{"responses": [{"status": 503}]}')]
)
async def test_a_service_that_fails_changes_nothing(database, service, address, said, code, answer):
    service.code, service.answer = code, answer
    await run(carbon(database, address), "carbon")
    assert (await database.statement("e", EMISSIONS)).rows == []
    assert any(line.startswith("emissions stay as they are:") for line in said)


@pytest.mark.parametrize(("url", "token"), [(None, TOKEN), ("https://x", None)])
async def test_without_token_or_address_carbon_is_idle_and_says_so_once(database, said, url, token):
    daemon = carbon(database, url, token)
    for _ in range(3):
        await run(daemon, "carbon")
    assert said.count("carbon stays idle: [server] CO2_BEARER_TOKEN or [pandatx] co2_url is not set") == 1


async def test_carbon_takes_no_arguments(database):
    with pytest.raises(BadArguments):
        await run(carbon(database, None), "carbon", "--all")


def test_the_token_is_in_no_text_of_the_service(database):
    assert TOKEN not in repr(Carbon(database, CLOCK, None, "https://x", TOKEN))


@pytest_twisted.async_yield_fixture
async def pool():
    pool = ProcessPool(reactor, PoolSettings(size=1, environment={"PATH": os.environ["PATH"]}))
    await pool.start()
    yield pool
    await pool.stop()


async def test_tarballs_are_copied_when_they_have_changed(pool, tmp_path, said):
    source, absent, there = tmp_path / "pilot3.tar.gz", tmp_path / "pilot2.tar.gz", tmp_path / "new" / "pilot"
    source.write_bytes(b"one")
    os.utime(source, (1000, 1000))
    daemon = CachePilots(pool, [str(source), str(absent)], there)
    assert (await run(daemon, "cache_pilots")).counts["copied"] == 1
    assert [(path.name, path.read_bytes()) for path in there.iterdir()] == [("pilot3.tar.gz", b"one")]
    assert (there / source.name).stat().st_mode & 0o777 == 0o644
    assert (await run(daemon, "cache_pilots")).counts["copied"] == 0
    source.write_bytes(b"two")
    assert (await run(daemon, "cache_pilots")).counts["copied"] == 1
    assert (there / source.name).read_bytes() == b"two"
    source.unlink()
    await run(daemon, "cache_pilots")
    assert (there / source.name).read_bytes() == b"two"


async def test_where_no_tarball_exists_cache_pilots_is_idle_and_says_so_once(pool, tmp_path, said):
    daemon = CachePilots(pool, ["/nonexistent/pilot3.tar.gz"], tmp_path / "pilot")
    for _ in range(2):
        await run(daemon, "cache_pilots")
    assert said.count("cache_pilots stays idle: no such files: /nonexistent/pilot3.tar.gz") == 1
    assert not (tmp_path / "pilot").exists()


async def test_a_copy_that_fails_is_told(pool, tmp_path, said):
    (tmp_path / "pilot3.tar.gz").write_bytes(b"one")
    (tmp_path / "file").write_text("")
    await run(CachePilots(pool, [str(tmp_path / "pilot3.tar.gz")], tmp_path / "file"), "cache_pilots")
    assert any("a tarball of the pilot could not be copied" in line for line in said)


async def test_a_file_system_that_hangs_costs_the_child_and_not_the_server(said, tmp_path):
    class Hanging:
        async def call(self, name, *args, timeout, context):
            assert timeout == 60
            raise CallTimedOut("it took more than 60 s")

    await run(CachePilots(Hanging(), ["/cvmfs/x"], tmp_path), "cache_pilots")
    assert any(line.startswith("tarballs of the pilot stay as they are:") for line in said)


HEAD = "CPU,SMT enabled,# Sockets,Cores/Socket,Ncores,Site,Score/Ncores,last_date\n"
SCORES = Query(
    name="scores",
    text="SELECT cpu_type, cpu_type_normalized, smt_enabled, sockets, cores_per_socket, ncores, site, "
    "score_per_core, timestamp, source FROM {panda}.cpu_benchmarks ORDER BY timestamp",
)


def benchmarks(database, path) -> LoadBenchmarks:
    return LoadBenchmarks(Benchmarks(database, path and str(path), Web(reactor)))


async def test_scores_that_are_newer_are_added(database, tmp_path, said):
    path = tmp_path / "HS23scores.csv"
    path.write_text(HEAD + "Xeon X,True,2,8,32,CERN,11.25,2026-01-01 00:00:00\n")
    daemon = benchmarks(database, path)
    assert (await run(daemon, "hs_scrapers")).counts["scores"] == 1
    row = ("Xeon X", "Xeon X", 1, 2, 8, 32, "CERN", 11.25, datetime(2026, 1, 1, tzinfo=UTC), str(path))
    assert (await database.statement("s", SCORES)).rows == [row]
    with path.open("a") as file:
        file.write("EPYC,0,1,64,64,BNL,20,2026-01-02 00:00:00\nOld,0,1,64,64,BNL,20,2025-01-02 00:00:00\n")
    assert (await run(daemon, "hs_scrapers")).counts["scores"] == 1
    assert [found[0] for found in (await database.statement("s", SCORES)).rows] == ["Xeon X", "EPYC"]


async def test_a_table_of_scores_that_cannot_be_read_changes_nothing(database, tmp_path, said):
    (tmp_path / "x.csv").write_text("<html>")
    await run(benchmarks(database, tmp_path / "x.csv"), "hs_scrapers")
    await run(benchmarks(database, tmp_path / "absent.csv"), "hs_scrapers")
    assert sum(line.startswith("scores of CPUs stay as they are:") for line in said) == 2


async def test_without_address_or_table_hs_scrapers_is_idle_and_says_so_once(database, tmp_path, said):
    daemon = benchmarks(database, None)
    for _ in range(2):
        await run(daemon, "hs_scrapers")
    assert said.count("hs_scrapers stays idle: [pandatx] hs23_url is not set") == 1
    await execute(database, "DROP TABLE {panda}.cpu_benchmarks")
    (tmp_path / "x.csv").write_text(HEAD)
    daemon = benchmarks(database, tmp_path / "x.csv")
    for _ in range(2):
        await run(daemon, "hs_scrapers")
    assert said.count("hs_scrapers stays idle: the database has no table cpu_benchmarks") == 1
