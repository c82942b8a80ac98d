"""The daemons of what is outside, as an operator's file names them."""

from types import SimpleNamespace

from twisted.internet import reactor

from pandatx.clients.web import Web
from pandatx.clock import Clock
from pandatx.config import Config
from pandatx.outside import outside_natives
from pandatx.scheduler.context import Context
from pandatx.services.facts import Facts
from pandatx.services.queues import Queues


async def test_each_of_them_runs_where_nothing_is_configured(database, tmp_path):
    config = Config.for_tests(tmp_path)
    clock, web = Clock(reactor), Web(reactor)

    class Pool:
        async def call(self, name, sources, directory, **how):
            return {"copied": [], "absent": sources, "failed": []}

    ground = SimpleNamespace(config=config, clock=clock, background=database, plugins=Pool())
    queues = Queues(database, clock, Facts(database, clock), None, web)
    natives = outside_natives(SimpleNamespace(web=web, queues=queues), ground)
    assert set(natives) == {
        "configurator",
        "cache_schedconfig",
        "panda_activeusers_query",
        "carbon",
        "cache_pilots",
        "hs_scrapers",
    }
    for name, native in natives.items():
        context = Context(clock, name)
        assert await native.run(context) is False
        assert all(name == "cache_schedconfig" or not count for count in context.counts.values())
    for argument in ("--network", "--json_dump", "--sw_tags"):
        assert await natives["configurator"].run(Context(clock, "configurator", (argument,))) is False
