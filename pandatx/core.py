"""What the server can do: every service, and who knows whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from attrs import frozen

from pandatx.clients.web import Web
from pandatx.config import Config, PluginEntry
from pandatx.filing import Files, make_files
from pandatx.foundations import Foundations
from pandatx.plugins.handlers import check_handlers
from pandatx.plugins.registry import Registry, resolve
from pandatx.requesting import Requests, make_requests
from pandatx.services.activator import Activator
from pandatx.services.adder import Adder
from pandatx.services.asks import Asks
from pandatx.services.closer import Closer
from pandatx.services.counters import Counters
from pandatx.services.daemons import DaemonBoard
from pandatx.services.datasets import Datasets
from pandatx.services.dispatch import Dispatch
from pandatx.services.facts import Facts
from pandatx.services.finisher import Finisher
from pandatx.services.heartbeats import Heartbeats
from pandatx.services.instances import Instances
from pandatx.services.jobs import Jobs
from pandatx.services.killing import Killing
from pandatx.services.owners import Owners
from pandatx.services.permissions_of_users import UserPermissions
from pandatx.services.pilot_news import PilotNews
from pandatx.services.queues import Queues
from pandatx.services.setup import Setup
from pandatx.services.spooling import Spooler
from pandatx.services.statistics import Statistics
from pandatx.services.storages import Storages
from pandatx.services.submission import Submission
from pandatx.services.tokens import Tokens
from pandatx.services.watcher import Watcher
from pandatx.store.offset import measure_offset


@frozen(kw_only=True)
class Plugins:
    """Which plugins serve which VO, and handlers which requests; made before the reactor runs: it starts processes."""

    setuppers: Registry
    adders: Registry
    handlers: Mapping[str, str]

    @classmethod
    def of(cls, config: Config) -> Plugins:
        """Raises StartFault with every entry that names no plugin (rule R37)."""
        return cls(
            setuppers=resolve(_entries(config.jobs.setupper_plugins), "setupper"),
            adders=resolve(_entries(config.jobs.adder_plugins), "adder"),
            handlers=check_handlers(config.outside.request_handlers),
        )


def _entries(entries: tuple[PluginEntry, ...]) -> list[tuple[tuple[str, ...], str, str | None]]:
    return [(entry.vos, entry.target, entry.group) for entry in entries]


@frozen(kw_only=True)
class Core:
    """The services of one server."""

    facts: Facts
    queues: Queues
    counters: Counters
    asks: Asks
    dispatch: Dispatch
    heartbeats: Heartbeats
    spooler: Spooler
    instances: Instances
    owners: Owners
    submission: Submission
    setup: Setup
    adder: Adder
    watcher: Watcher
    statistics: Statistics
    killing: Killing
    jobs: Jobs
    news: PilotNews
    datasets: Datasets
    activator: Activator
    finisher: Finisher
    closer: Closer
    storages: Storages
    board: DaemonBoard
    requests: Requests
    permissions: UserPermissions
    tokens: Tokens
    files: Files
    web: Web


def _adder_of(plugins: Plugins, vo: str | None, cloud: str | None) -> str:
    return plugins.adders.for_vo(vo, cloud or None)


def make_core(ground: Foundations, plugins: Plugins) -> Core:
    """Every service, on ``ground``; nothing runs yet."""
    config, clock, instance = ground.config, ground.clock, ground.state.instance
    database, background, pool = ground.database, ground.background, ground.plugins
    settings = {"storage": dict(config.jobs.storage)}
    web = Web(clock.reactor, config.http.ca_dir, config.outside.client_certificate)
    facts = Facts(background, clock, config.outside.pilot_secrets)
    asks = Asks(background, clock, instance)
    dispatch = Dispatch(database, clock, facts, config.database.hot_statement_timeout, noticed=asks)
    activator = Activator(background, clock, dispatch.activated)
    closer = Closer(background, clock, activator.release)
    news = PilotNews(database, clock)
    counters = Counters(background, clock, instance)
    adders = partial(_adder_of, plugins)
    adder = Adder(background, clock, facts, pool, adders, settings, closer, instance, news.of_report)
    finisher = Finisher(background, clock, adder.wake)
    owners = Owners(database, clock)
    setup = Setup(database, clock, plugins.setuppers, pool, dispatch.activated, settings)
    permissions = UserPermissions(facts, config.database.schemas.meta)
    requests = make_requests(ground, plugins.handlers, permissions, owners)
    spooler, heartbeats = _reports(
        ground, facts, adder, requests, lambda: instances.note_outage_end(), counters.started
    )
    set_clock = partial(measure_offset, background, clock)
    pools = (database, background)
    instances = Instances(background, clock, instance, ground.host, lambda: spooler.unplayed, pools, set_clock)
    return Core(
        facts=facts,
        queues=Queues(background, clock, facts, config.jobs.cric_url_schedconfig, web),
        counters=counters,
        asks=asks,
        dispatch=dispatch,
        heartbeats=heartbeats,
        spooler=spooler,
        instances=instances,
        owners=owners,
        submission=Submission(database, clock, facts, setup.accept, owners, ground.host, setup.room),
        setup=setup,
        adder=adder,
        watcher=Watcher(background, clock, facts, instances, closer),
        statistics=Statistics(background, clock, facts),
        killing=Killing(database, clock, closer, setup.accept),
        jobs=Jobs(database, clock),
        news=news,
        datasets=Datasets(database, activator, finisher),
        activator=activator,
        finisher=finisher,
        closer=closer,
        storages=Storages(pool, clock, plugins.setuppers.for_vo, adders, settings),
        board=DaemonBoard(background, clock, instance),
        requests=requests,
        permissions=permissions,
        tokens=Tokens(config.identity, clock, config.http.ca_dir, ground.state.path / "token_issuers.json"),
        files=make_files(ground, owners, web),
        web=web,
    )


def _reports(
    ground: Foundations,
    facts: Facts,
    adder: Adder,
    requests: Requests,
    outage_over: Callable[[], None],
    started: Callable[[str], None],
) -> tuple[Spooler, Heartbeats]:
    """The spool and the service that it plays its reports to, which in turn spools."""

    async def gone(owners: Sequence[str]) -> None:
        await adder.adopt(owners)
        await requests.work.adopt(owners)

    jobs = ground.config.jobs
    spooler = Spooler(
        ground.state.path / "spool",
        ground.state.instance,
        lambda caller, beat: heartbeats.play(caller, beat),
        jobs.spool_report_limit,
        jobs.spool_total_limit,
        gone,
    )
    hot = ground.config.database.hot_statement_timeout
    heartbeats = Heartbeats(ground.database, ground.clock, facts, spooler, adder.wake, hot, outage_over, started)
    return spooler, heartbeats
