"""The configurator: CRIC's dumps in the tables of sites, as a daemon with its arguments."""

import json
from datetime import timedelta
from types import SimpleNamespace
from typing import ClassVar

import pytest
from attrs import evolve
from test_submission import execute
from twisted.internet import reactor

from pandatx.clients.cric import DumpAway
from pandatx.clients.web import Web
from pandatx.clock import Clock
from pandatx.config import Config
from pandatx.errors import BadArguments
from pandatx.scheduler.context import Context
from pandatx.scheduler.daemons.configurator import Configure
from pandatx.services.configurator import Configurator, Sources
from pandatx.services.facts import Facts
from pandatx.services.network import Network
from pandatx.services.queues import Queues
from pandatx.services.sw_tags import SoftwareTags
from pandatx.store.queries import Query

CLOCK = Clock(reactor)
WEB = Web(reactor)
TABLES = {
    "sites": "SELECT site_name, role, tier_level FROM {panda}.site ORDER BY 1",
    "queues": "SELECT panda_site_name, site_name FROM {panda}.panda_site ORDER BY 1",
    "endpoints": "SELECT ddm_endpoint_name, site_name, blacklisted_write, space_free FROM {panda}.ddm_endpoint "
    "ORDER BY 1",
    "relations": "SELECT panda_site_name, ddm_endpoint_name, scope, roles, is_local, order_read, order_write, "
    "default_read, default_write FROM {panda}.panda_ddm_relation ORDER BY 1, 2, 3",
}


async def rows(database, table: str) -> list[tuple]:
    return (await database.statement("rows", Query(name=f"rows_{table}", text=TABLES[table]))).rows


def endpoint(at: str) -> dict:
    return {"state": "ACTIVE", "site": at, "token": "TOKEN", "type": "DATADISK", "is_tape": False}


def site(endpoints=(), queues=()) -> dict:
    return {
        "state": "ACTIVE",
        "tier_level": 1,
        "datapolicies": ["Nucleus"],
        "ddmendpoints": {name: {"state": "ACTIVE"} for name in endpoints},
        "presources": {"R": {name: {"state": "ACTIVE"} for name in queues}},
    }


def queue(name: str, at: str, **storages) -> dict:
    return {
        "nickname": name,
        "panda_resource": name,
        "type": "unified",
        "cloud": "US",
        "atlas_site": at,
        "astorages": storages,
    }


class Dumps:
    """Files that stand for CRIC, and the settings that name them."""

    KEYS: ClassVar = {
        "sites": "cric_url_sites",
        "endpoints": "cric_url_endpoints",
        "no_write": "cric_url_no_write",
        "no_read": "cric_url_no_read",
        "exclusions": "cric_url_exclusions",
        "usage": "rse_usage_url",
        "closeness": "cric_url_closeness",
        "weather": "nws_url",
        "tags": "cric_url_tags",
    }

    def __init__(self, path) -> None:
        self.path = path
        self.settings = Config.for_tests(path).outside
        self.queues_url = None

    def put(self, **contents) -> None:
        for name, content in contents.items():
            path = self.path / f"{name}.json"
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            if name == "queues":
                self.queues_url = f"file://{path}"
            else:
                self.settings = evolve(self.settings, **{self.KEYS[name]: f"file://{path}"})

    def three(self) -> None:
        """Two sites with a queue and an endpoint each."""
        self.put(
            sites={"S": site(["D"], ["Q"]), "T": site(["E"], ["P"])},
            endpoints={"D": endpoint("S"), "E": endpoint("T")},
            queues={"q": queue("Q", "S", read_lan=["D", "E"], write_lan=["D"]), "p": queue("P", "T", read_lan=["E"])},
        )


@pytest.fixture
def dumps(tmp_path) -> Dumps:
    return Dumps(tmp_path)


@pytest.fixture
def daemon(database, dumps):
    """Makes the daemon of the dumps as they are configured by then."""

    def make(clock=CLOCK) -> Configure:
        settings = dumps.settings
        return Configure(
            Configurator(database, clock, Sources.of(settings, dumps.queues_url, WEB)),
            Network(database, clock, settings.nws_url, settings.cric_url_closeness, WEB),
            Queues(database, clock, Facts(database, clock), dumps.queues_url, WEB),
            SoftwareTags(database, clock, settings.cric_url_tags, WEB),
        )

    return make


async def run(daemon, *arguments) -> Context:
    context = Context(CLOCK, "configurator", arguments)
    assert await daemon.run(context) is False
    return context


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """Lines of the log, by any logger."""
    from twisted.logger import formatEvent, globalLogPublisher

    lines: list[str] = []
    observer = lambda event: lines.append(formatEvent(event))  # noqa: E731
    globalLogPublisher.addObserver(observer)
    yield lines
    globalLogPublisher.removeObserver(observer)


async def test_the_dumps_fill_the_four_tables(database, dumps, daemon):
    dumps.three()
    context = await run(daemon())
    assert await rows(database, "sites") == [("S", "nucleus", 1), ("T", "nucleus", 1)]
    assert await rows(database, "queues") == [("P", "T"), ("Q", "S")]
    assert await rows(database, "endpoints") == [("D", "S", "N", None), ("E", "T", "N", None)]
    assert await rows(database, "relations") == [
        ("P", "E", "default", "read_lan", "Y", 1, None, "Y", "N"),
        ("Q", "D", "default", "read_lan,write_lan", "Y", 1, 1, "Y", "Y"),
        ("Q", "E", "default", "read_lan", "N", 2, None, "N", "N"),
    ]
    assert context.counts == {"changed": 9, "gone": 0}


async def test_many_rows_are_stored_piece_by_piece(database, dumps, daemon, monkeypatch):
    monkeypatch.setattr("pandatx.store.configurator._ROWS_AT_ONCE", 1)
    monkeypatch.setattr("pandatx.store.configurator._DOCUMENTS_AT_ONCE", 1)
    dumps.three()
    dumps.put(tags={"Q": [1], "P": [2]})
    made = daemon()
    first, second = await run(made), await run(made)
    assert (first.counts["changed"], second.counts["changed"]) == (9, 0)
    assert [name for name, *_ in await rows(database, "relations")] == ["P", "Q", "Q"]
    assert (await run(made, "--sw_tags")).counts["queues"] == 2
    assert (await run(made, "--sw_tags")).counts["queues"] == 0


async def test_a_second_run_changes_nothing(dumps, daemon):
    dumps.three()
    one = daemon()
    await run(one)
    assert (await run(one)).counts == {"changed": 0, "gone": 0}
    assert (await run(daemon())).counts == {"changed": 0, "gone": 0}


async def test_a_site_that_is_gone_takes_along_what_belongs_to_it(database, dumps, daemon):
    dumps.three()
    one = daemon()
    await run(one)
    dumps.put(sites={"S": site(["D"], ["Q"])})
    assert (await run(one)).counts == {"changed": 0, "gone": 5}
    assert [row[0] for row in await rows(database, "sites")] == ["S"]
    assert [row[0] for row in await rows(database, "queues")] == ["Q"]
    assert [row[0] for row in await rows(database, "endpoints")] == ["D"]
    assert [row[:2] for row in await rows(database, "relations")] == [("Q", "D")]


async def test_an_endpoint_and_a_queue_may_go_by_themselves(database, dumps, daemon):
    dumps.three()
    one = daemon()
    await run(one)
    dumps.put(endpoints={"D": endpoint("S")}, queues={"q": queue("Q", "S", read_lan=["D"])})
    await run(one)
    assert [row[0] for row in await rows(database, "endpoints")] == ["D"]
    assert await rows(database, "queues") == [("Q", "S")]
    assert len(await rows(database, "relations")) == 1
    assert len(await rows(database, "sites")) == 2


async def test_space_is_stored_where_it_is_given_and_stays_where_it_is_not(database, dumps, daemon):
    dumps.three()
    await run(daemon())
    storage = {"used": 10 * 1024**3, "free": 4 * 1024**3, "updated_at": "2026-01-02 03:04:05"}
    dumps.put(usage={"D": {"storage": storage}}, no_write=["D"], exclusions={"D": {"x": {"status": {"value": "OFF"}}}})
    one = daemon()
    assert (await run(one)).counts["changed"] == 1
    assert await rows(database, "endpoints") == [("D", "S", "Y", 4), ("E", "T", "N", None)]
    dumps.put(usage={})
    assert (await run(one)).counts["changed"] == 0
    dumps.put(no_write=[])
    await run(one)
    assert await rows(database, "endpoints") == [("D", "S", "N", 4), ("E", "T", "N", None)]
    detail = Query(
        name="detail",
        text="SELECT detailed_status, space_total, space_timestamp::text FROM {panda}.ddm_endpoint "
        "WHERE ddm_endpoint_name = 'D'",
    )
    assert (await database.statement("d", detail)).rows == [({"x": "OFF"}, 14, "2026-01-02 03:04:05")]


@pytest.mark.parametrize("name", ["sites", "endpoints", "queues", "usage", "no_write", "no_read", "exclusions"])
@pytest.mark.parametrize("content", ["", "<html>", "{"])
async def test_one_dump_that_cannot_be_read_stops_the_run_and_changes_nothing(
    database, dumps, daemon, said, name, content
):
    dumps.three()
    await run(daemon())
    dumps.put(sites={"S": site()})
    dumps.put(**{name: content})
    await run(daemon())
    assert len(await rows(database, "sites")) == 2
    assert len(await rows(database, "relations")) == 3
    assert any("configurator changes nothing: the" in line for line in said)


async def test_a_dump_that_cannot_be_had_changes_nothing(database, dumps, daemon, said):
    dumps.three()
    await run(daemon())
    (dumps.path / "endpoints.json").unlink()
    await run(daemon())
    assert len(await rows(database, "endpoints")) == 2
    assert any("No such file" in line for line in said)


async def test_a_dump_that_has_lost_most_sites_deletes_none_until_it_has_said_so_for_a_day(
    database, dumps, daemon, said
):
    dumps.three()
    names = [f"S{n:02}" for n in range(40)]
    dumps.put(sites={name: site() for name in names})
    moved = timedelta()
    clock = SimpleNamespace(now=lambda: CLOCK.now() + moved)
    one = daemon(clock)
    await run(one)
    dumps.put(sites={name: site() for name in names[:5]})
    await run(one)
    await run(one)
    assert len(await rows(database, "sites")) == 40
    assert said.count("the dumps lack 35 sites that are stored: none is removed until they have said so for a day") == 1
    moved = timedelta(hours=25)
    await run(one)
    assert len(await rows(database, "sites")) == 5


async def test_what_does_not_fit_together_is_told_once(dumps, daemon, said):
    dumps.three()
    dumps.put(sites={"S": site(["D"], ["Q", "STRANGE"])})
    one = daemon()
    await run(one)
    await run(one)
    for line in ("sites of queues are not active: T", "queues of sites have no description: STRANGE"):
        assert said.count(line) == 1


@pytest.mark.parametrize(
    ("arguments", "lacking"),
    [
        ((), "CRIC_URL_SITES, CRIC_URL_DDMENDPOINTS, CRIC_URL_SCHEDCONFIG"),
        (("--network",), "NWS_URL or CRIC_URL_CM"),
        (("--json_dump",), "CRIC_URL_SCHEDCONFIG"),
        (("--sw_tags",), "CRIC_URL_TAGS"),
    ],
)
async def test_what_is_not_configured_says_so_once(daemon, said, arguments, lacking):
    one = daemon()
    for _ in range(3):
        await run(one, *arguments)
    assert said.count(f"configurator stays idle: no {lacking} in the configuration") == 1


@pytest.mark.parametrize("arguments", [("--networks",), ("--network", "--sw_tags"), (7,)])
async def test_other_arguments_are_an_error_of_this_daemon(daemon, arguments):
    with pytest.raises(BadArguments, match="--json_dump"):
        await run(daemon(), *arguments)


STORED = Query(name="stored", text="SELECT panda_queue, data->>'status' FROM {panda}.schedconfig_json ORDER BY 1")


async def test_json_dump_puts_right_what_others_have_changed_though_the_dump_is_the_same(database, dumps, daemon):
    dumps.put(queues={"A": queue("A", "S") | {"status": "online"}, "B": queue("B", "S") | {"status": "test"}})
    one = daemon()
    assert (await run(one, "--json_dump")).counts["queues"] == 2
    await execute(database, "DELETE FROM {panda}.schedconfig_json WHERE panda_queue = 'A'")
    await execute(
        database,
        "INSERT INTO {panda}.schedconfig_json (panda_queue, data) VALUES ('GONE', '{{}}')".replace("{{}}", "{}"),
    )
    assert (await run(one, "--JSON_dump")).counts["queues"] == 2
    assert (await database.statement("s", STORED)).rows == [("A", "online"), ("B", "test")]


NETWORK = Query(name="network", text="SELECT src, dst, key, value FROM {panda}.network_matrix_kv ORDER BY 1, 2, 3")


def weather(**values) -> dict:
    at = CLOCK.now().strftime("%Y-%m-%dT%H:%M:%S")
    return {pair.replace("_", ":"): {"mbps": {"fts": {"1h": value, "timestamp": at}}} for pair, value in values.items()}


async def sites(database, *names) -> None:
    for name in names:
        await execute(database, "INSERT INTO {panda}.site (site_name) VALUES (%(name)s)", name=name)


async def test_the_network_comes_from_both_services_for_known_sites(database, dumps, daemon):
    await sites(database, "A", "B")
    pairs = [{"src": "A", "dst": "B", "closeness": 4}, {"src": "A", "dst": "C", "closeness": 4}]
    dumps.put(weather=weather(A_B=7, A_C=8, UNKNOWN_B=9), closeness=pairs)
    assert (await run(daemon(), "--network")).counts["measures"] == 3
    assert (await database.statement("n", NETWORK)).rows == [
        ("A", "B", "AGIS_closeness", 4),
        ("A", "B", "fts_mbps_1h", 7),
        ("UNKNOWN", "B", "fts_mbps_1h", 9),
    ]
    dumps.put(weather=weather(A_B=70))
    await run(daemon(), "--network")
    assert (await database.statement("n", NETWORK)).rows[1] == ("A", "B", "fts_mbps_1h", 70)


@pytest.mark.parametrize("broken", ["weather", "closeness"])
async def test_one_service_that_fails_does_not_keep_the_other_from_counting(database, dumps, daemon, said, broken):
    await sites(database, "A", "B")
    dumps.put(weather=weather(A_B=7), closeness=[{"src": "A", "dst": "B", "closeness": 4}])
    dumps.put(**{broken: "<html>"})
    assert (await run(daemon(), "--network")).counts["measures"] == 1
    assert any(line.startswith("the network matrix lacks news: the") for line in said)


async def test_rows_that_nothing_has_renewed_for_seven_days_go(database, dumps, daemon):
    await sites(database, "A", "B")
    for key, days in (("old", 7.01), ("young", 6.99)):
        await execute(
            database,
            "INSERT INTO {panda}.network_matrix_kv VALUES ('A', 'B', %(key)s, 1, %(at)s)",
            key=key,
            at=CLOCK.now() - timedelta(days=days),
        )
    dumps.put(closeness="<html>")
    await run(daemon(), "--network")
    assert len((await database.statement("n", NETWORK)).rows) == 2
    dumps.put(closeness=[{"src": "A", "dst": "B", "closeness": 4}])
    await run(daemon(), "--network")
    assert [row[2] for row in (await database.statement("n", NETWORK)).rows] == ["AGIS_closeness", "young"]


TAGS = Query(name="tags", text="SELECT panda_queue, data, last_update IS NULL FROM {panda}.sw_tags ORDER BY 1, 2")


async def test_tags_are_those_of_the_dump(database, dumps, daemon):
    one_tag = [{"cmtconfig": "x86"}]
    for name, data in (("A", json.dumps(one_tag)), ("A", json.dumps(one_tag)), ("B", "[]"), ("GONE", "[]")):
        await execute(database, "INSERT INTO {panda}.sw_tags VALUES (%(name)s, %(data)s, NULL)", name=name, data=data)
    dumps.put(tags={"A": one_tag, "B": [1], "C": {}, "N" * 51: []})
    one = daemon()
    assert (await run(one, "--sw_tags")).counts["queues"] == 3
    stored = [("A", '[{"cmtconfig": "x86"}]', True), ("B", "[1]", False), ("C", "{}", False)]
    assert (await database.statement("t", TAGS)).rows == stored
    assert (await run(one, "--sw_tags")).counts["queues"] == 0
    assert (await database.statement("t", TAGS)).rows == stored


@pytest.mark.parametrize("content", ["{}", "", "[]"])
async def test_a_dump_of_tags_without_a_queue_changes_nothing(database, dumps, daemon, content):
    dumps.put(tags={"A": []})
    await run(daemon(), "--sw_tags")
    dumps.put(tags=content)
    await run(daemon(), "--sw_tags")
    assert len((await database.statement("t", TAGS)).rows) == 1


async def test_a_dump_of_tags_that_has_lost_most_queues_removes_none(database, dumps, daemon):
    dumps.put(tags={f"Q{n}": [n] for n in range(30)})
    one = daemon()
    await run(one, "--sw_tags")
    dumps.put(tags={"Q0": ["new"]})
    assert (await run(one, "--sw_tags")).counts["queues"] == 1
    assert len((await database.statement("t", TAGS)).rows) == 30


async def test_what_fails_in_the_service_is_raised_by_name(database, dumps):
    dumps.three()
    (dumps.path / "sites.json").unlink()
    with pytest.raises(DumpAway, match=r"sites\.json"):
        await Configurator(database, CLOCK, Sources.of(dumps.settings, dumps.queues_url, WEB)).load()
