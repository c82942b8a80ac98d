"""The daemons that bring in what services outside know, each with what it works through."""

from __future__ import annotations

from collections.abc import Mapping

from pandatx.clients.web import MIB, Web
from pandatx.core import Core
from pandatx.domain.user_proxies import ASKED_HOURS
from pandatx.foundations import Foundations
from pandatx.scheduler.context import Native
from pandatx.scheduler.daemons.active_users import ActiveUsers
from pandatx.scheduler.daemons.cache_pilots import CachePilots
from pandatx.scheduler.daemons.cache_schedconfig import CacheSchedconfig
from pandatx.scheduler.daemons.carbon import CountCarbon
from pandatx.scheduler.daemons.configurator import Configure
from pandatx.scheduler.daemons.hs_scrapers import LoadBenchmarks
from pandatx.services.benchmarks import Benchmarks
from pandatx.services.carbon import Carbon
from pandatx.services.configurator import Configurator, Sources
from pandatx.services.network import Network
from pandatx.services.schedconfig_cache import SchedconfigCache
from pandatx.services.sw_tags import SoftwareTags
from pandatx.services.token_cache import TokenCache
from pandatx.services.user_proxies import UserProxies


def outside_natives(core: Core, ground: Foundations) -> Mapping[str, Native]:
    """By the module names of the guide."""
    config, clock, background = ground.config, ground.clock, ground.background
    settings, web = config.outside, core.web
    sources = Sources.of(settings, config.jobs.cric_url_schedconfig, web)
    network = Network(background, clock, settings.nws_url, settings.cric_url_closeness, web)
    tags = SoftwareTags(background, clock, settings.cric_url_tags, web)
    proxies = UserProxies(
        background,
        clock,
        ground.plugins,
        settings.credentials_dir,
        settings.proxy_plugin,
        settings.proxy_roles,
        {"server": settings.myproxy_server, "hours": ASKED_HOURS},
    )
    issuers = Web(clock.reactor, config.http.ca_dir, largest=MIB)
    tokens = TokenCache(background, clock, issuers, settings.token_cache_config, settings.credentials_dir)
    return {
        "panda_activeusers_query": ActiveUsers(proxies, tokens),
        "configurator": Configure(Configurator(background, clock, sources), network, core.queues, tags),
        "carbon": CountCarbon(Carbon(background, clock, issuers, settings.co2_url, settings.co2_token)),
        "cache_pilots": CachePilots(ground.plugins, settings.pilot_tarballs, settings.pilot_cache_dir),
        "hs_scrapers": LoadBenchmarks(Benchmarks(background, settings.hs23_url, issuers)),
        "cache_schedconfig": CacheSchedconfig(SchedconfigCache(background, config.files.schedconfig_cache_dir)),
    }
