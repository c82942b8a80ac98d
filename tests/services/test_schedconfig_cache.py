"""The schedconfig cache: which files, what is in them, and what is left alone."""

import json
import os
from pathlib import Path

import pytest
from test_submission import execute
from twisted.internet import reactor

from pandatx.clock import Clock
from pandatx.domain.schedconfig_files import fault_in, files_of
from pandatx.errors import BadArguments, UnwritableFolder
from pandatx.scheduler.context import Context
from pandatx.scheduler.daemons.cache_schedconfig import CacheSchedconfig
from pandatx.services.schedconfig_cache import SchedconfigCache

ENDINGS = ("all.json", "factory.json", "pilot.json", "pilot.pilot")
QUEUE = {"nickname": "Q", "cloud": "US", "status": "online", "corecount": 0, "maxtime": 3600, "queue": "long"}


async def stored(database, **documents) -> None:
    await execute(database, "DELETE FROM {panda}.schedconfig_json")
    for name, document in documents.items():
        text = document if isinstance(document, str) else json.dumps(document)
        sql = "INSERT INTO {panda}.schedconfig_json (panda_queue, data) VALUES (%(name)s, %(data)s)"
        await execute(database, sql, name=name, data=text)


class Cache:
    """The daemon over a directory."""

    def __init__(self, database, directory: Path) -> None:
        self.directory = directory
        self.daemon = CacheSchedconfig(SchedconfigCache(database, directory))

    async def run(self, *arguments) -> tuple[int, int]:
        context = Context(Clock(reactor), "cache_schedconfig", arguments)
        assert await self.daemon.run(context) is False
        return context.counts["written"], context.counts["removed"]

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir() if not path.name.startswith("."))

    def json(self, name: str):
        return json.loads((self.directory / name).read_text())


@pytest.fixture
def cache(database, tmp_path) -> Cache:
    return Cache(database, tmp_path / "new" / "schedconfig")


async def test_each_queue_has_four_files_and_there_are_two_for_all(database, cache):
    await stored(database, Q=QUEUE)
    assert await cache.run() == (6, 0)
    assert cache.names == [*(f"Q.{ending}" for ending in ENDINGS), "pilot_gdp_config.json", "schedconfig.all.json"]
    assert cache.json("Q.all.json") == {**QUEUE, "siteid": "Q"}
    assert cache.json("schedconfig.all.json") == {"Q": {**QUEUE, "siteid": "Q"}}
    assert cache.json("pilot_gdp_config.json") == {}
    assert {path.stat().st_mode & 0o777 for path in cache.directory.glob("[!.]*")} == {0o644}
    assert cache.directory.stat().st_mode & 0o777 == 0o755


def test_the_files_for_pilot_and_factory_have_their_fields_in_order():
    contents = files_of("Q", QUEUE).contents
    pilot, factory = json.loads(contents["pilot.json"]), json.loads(contents["factory.json"])
    assert (len(pilot), len(factory)) == (43, 22)
    assert (pilot["maxtime"], pilot["corecount"], pilot["region"]) == (3600, 0, "")
    assert (factory["siteid"], factory["nickname"], factory["queue"], factory["system"]) == ("Q", "Q", "long", "")
    line = contents["pilot.pilot"].decode().split("|")
    assert line[:3] == ["appdir=", "allowdirectaccess=", "cloud=US"]
    assert line[-2:] == ["maxtime=3600", "maxwdir="]
    assert "corecount=" in line and len(line) == 43
    assert contents["all.json"].decode() == json.dumps({**QUEUE, "siteid": "Q"}, sort_keys=True, indent=4)


def test_releases_become_a_list():
    assert json.loads(files_of("Q", {"releases": "1|2"}).contents["all.json"])["releases"] == ["1", "2"]
    assert json.loads(files_of("Q", {"releases": None}).contents["all.json"])["releases"] is None


async def test_a_queue_stored_under_another_name_than_its_nickname_has_copies(database, cache):
    await stored(database, Q=QUEUE, SITE={**QUEUE, "nickname": "NICK"})
    await cache.run()
    assert {name.split(".")[0] for name in cache.names} == {"Q", "NICK", "SITE", "pilot_gdp_config", "schedconfig"}
    assert cache.json("SITE.all.json") == cache.json("NICK.all.json")
    assert cache.json("NICK.all.json")["siteid"] == "SITE"
    assert set(cache.json("schedconfig.all.json")) == {"Q", "NICK"}


async def test_a_copy_never_takes_the_place_of_a_nicknames_file(database, cache):
    await stored(database, A={**QUEUE, "nickname": "B"}, B={**QUEUE, "nickname": "C"})
    await cache.run()
    assert cache.json("B.all.json")["siteid"] == "A"


async def test_what_is_as_it_should_be_is_not_written_again(database, cache):
    await stored(database, Q=QUEUE, P={**QUEUE, "nickname": "P"})
    await cache.run()
    before = {path.name: path.stat().st_ino for path in cache.directory.iterdir()}
    assert await cache.run() == (0, 0)
    assert {path.name: path.stat().st_ino for path in cache.directory.iterdir()} == before
    await stored(database, Q=QUEUE, P={**QUEUE, "nickname": "P", "status": "offline"})
    assert (await cache.run())[0] == 5
    assert cache.json("P.factory.json")["status"] == "offline"


async def test_files_of_queues_that_are_gone_are_removed_and_those_of_others_stay(database, cache):
    await stored(database, Q=QUEUE, P={**QUEUE, "nickname": "P"})
    await cache.run()
    for name in ("MINE.all.json", "notes.txt"):
        (cache.directory / name).write_text("mine")
    await stored(database, Q=QUEUE)
    assert (await cache.run())[1] == 4
    assert {name.split(".")[0] for name in cache.names} == {"MINE", "Q", "notes", "pilot_gdp_config", "schedconfig"}


async def test_without_any_queue_nothing_is_removed(database, cache):
    await stored(database, Q=QUEUE)
    await cache.run()
    await stored(database)
    assert await cache.run() == (0, 0)
    assert len(cache.names) == 6


@pytest.mark.parametrize("name", ["../Q", "a/b", ".hidden", "..", "Q\n", "schedconfig", "x" * 201])
async def test_a_name_that_would_lead_out_of_the_folder_is_refused(database, cache, name):
    await stored(database, Q=QUEUE, BAD={**QUEUE, "nickname": name})
    assert await cache.run() == (6, 0)
    assert {each.split(".")[0] for each in cache.names} == {"Q", "pilot_gdp_config", "schedconfig"}
    assert list(cache.directory.parent.iterdir()) == [cache.directory]


def test_ordinary_names_are_fine():
    for name in ("ANALY_BNL-LSST", "CERN-P1_DYNAMIC_MCORE", "a.b", "q:1", "é"):
        assert fault_in(name) is None
    assert fault_in("") is not None


async def test_a_document_that_is_no_object_costs_only_its_queue(database, cache):
    await stored(database, DEEP='{"x": ' + "[" * 1000 + "]" * 1000 + "}", Q=QUEUE, BAD="[1]")
    assert await cache.run() == (6, 0)


async def test_the_pilots_configuration_is_by_vo(database, cache):
    for number, (vo, key, kind, value, document) in enumerate(
        [
            ("wlcg", "n", "int", "3", None),
            ("wlcg", "f", "Float", "0.5", None),
            ("atlas", "b", "boolean", "True", None),
            ("atlas", "bad", "int", "three", None),
            ("atlas", "text", "str", "hello", None),
            ("atlas", "json", "json", "", '{"a": [1]}'),
        ]
    ):
        await execute(
            database,
            "INSERT INTO {panda}.config (app, component, key, value, type, vo, descr, value_json) "
            "VALUES ('pilot', %(component)s, %(key)s, %(value)s, %(kind)s, %(vo)s, '', %(document)s)",
            component=f"c{number}",
            vo=vo,
            key=key,
            kind=kind,
            value=value,
            document=document,
        )
    await stored(database, Q=QUEUE)
    await cache.run()
    assert cache.json("pilot_gdp_config.json") == {
        "atlas": {"b": True, "bad": None, "json": {"a": [1]}, "text": "hello"},
        "wlcg": {"f": 0.5, "n": 3},
    }


@pytest.mark.parametrize("form", [("-o", "{}"), ("-o{}",), ("--output", "{}"), ("--output={}",)])
async def test_another_folder_may_be_given(database, cache, tmp_path, form):
    await stored(database, Q=QUEUE)
    await cache.run(*(part.format(tmp_path / "other") for part in form))
    assert (tmp_path / "other" / "Q.all.json").exists()
    assert not cache.directory.exists()


@pytest.mark.parametrize("arguments", [("-o",), ("-x", "y"), ("--output=",), ("-o", "a", "b"), (3,)])
async def test_other_arguments_are_an_error_of_this_daemon(cache, arguments):
    with pytest.raises(BadArguments, match="-o DIR"):
        await cache.run(*arguments)


async def test_a_folder_that_cannot_be_made_is_named(database, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableFolder, match="file"):
        await Cache(database, tmp_path / "file" / "cache").run()


async def test_more_queues_than_one_page_are_all_written(database, cache):
    await stored(database, **{f"Q{n:03}": {**QUEUE, "nickname": f"Q{n:03}"} for n in range(120)})
    assert await cache.run() == (482, 0)


async def test_what_a_crash_has_left_half_written_goes_after_an_hour(database, cache):
    await stored(database, Q=QUEUE)
    await cache.run()
    old, young = (cache.directory / f".pandatx-{name}" for name in ("old", "young"))
    for path in (old, young):
        path.write_text("half")
    os.utime(old, (0, 0))
    await cache.run()
    assert (old.exists(), young.exists()) == (False, True)


async def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(database, cache, tmp_path):
    await stored(database, Q=QUEUE)
    await cache.run()
    target = tmp_path / "target"
    target.write_text("precious")
    (cache.directory / "Q.all.json").unlink()
    (cache.directory / "Q.all.json").symlink_to(target)
    await cache.run()
    assert target.read_text() == "precious"
    assert cache.json("Q.all.json")["nickname"] == "Q"
