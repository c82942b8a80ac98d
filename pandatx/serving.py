"""Every resource that is served, and what it needs: what only requests need is made here, not in the core."""

from __future__ import annotations

from typing import Final

from attrs import Factory, frozen

from pandatx.clock import Clock
from pandatx.config import Config, HttpSettings
from pandatx.core import Core
from pandatx.identity.voms_reader import VomsReader
from pandatx.resources.async_process import AsyncProcessResource, RequestsResource
from pandatx.resources.creds import CredsResource
from pandatx.resources.data_carousel import DataCarouselResource
from pandatx.resources.event import EventResource
from pandatx.resources.file_server import FileServerResource
from pandatx.resources.harvester import HarvesterResource
from pandatx.resources.idds import IddsResource
from pandatx.resources.job import JobResource
from pandatx.resources.metaconfig import MetaconfigResource
from pandatx.resources.owners import OwnersResource
from pandatx.resources.pandatx_group import PandatxResource
from pandatx.resources.pilot import PilotResource
from pandatx.resources.statistics import StatisticsResource
from pandatx.resources.system import SystemResource
from pandatx.resources.task import TaskResource
from pandatx.resources.task_changes import TaskChangesResource
from pandatx.resources.task_queries import TaskQueryResource
from pandatx.resources.workflow import WorkflowResource
from pandatx.services.creds import Creds, Places
from pandatx.services.debug_mode import DebugModes
from pandatx.services.events import Events
from pandatx.services.harvester import Harvesters
from pandatx.services.job_counts import JobCounts
from pandatx.services.metaconfig import Metaconfig
from pandatx.services.secrets import UserSecrets
from pandatx.services.task_changes import TaskChanges
from pandatx.services.task_commands import TaskCommands
from pandatx.services.task_queries import TaskQueries
from pandatx.services.task_submission import TaskSubmissions
from pandatx.services.user_metadata import UserMetadata
from pandatx.services.why import Why
from pandatx.services.workers import Workers
from pandatx.services.workflows import Workflows
from pandatx.store.database import Database

RESOURCES: Final[tuple[type, ...]] = (
    SystemResource,
    PilotResource,
    JobResource,
    PandatxResource,
    OwnersResource,
    AsyncProcessResource,
    RequestsResource,
    TaskResource,
    TaskChangesResource,
    TaskQueryResource,
    StatisticsResource,
    MetaconfigResource,
    WorkflowResource,
    IddsResource,
    DataCarouselResource,
    CredsResource,
    EventResource,
    FileServerResource,
    HarvesterResource,
)
"""Their classes, for those that ask what is declared without a server: the document, and tests."""


@frozen(kw_only=True)
class Serving:
    """What resources are made of. ``database`` serves requests; ``voms`` says what the attributes of callers grant."""

    config: Config
    clock: Clock
    core: Core
    database: Database
    voms: VomsReader = Factory(VomsReader)


def make_resources(serving: Serving) -> list[object]:
    """One of each class of ``RESOURCES``."""
    core, http = serving.core, serving.config.http
    why = Why(serving.database, serving.clock, core.facts, core.asks.of_queue, core.watcher.silence)
    return [
        SystemResource(f"{http.url_host}:{http.url_https_port}"),
        PilotResource(core.dispatch, core.heartbeats, core.jobs, core.news, core.facts.queue, core.counters.count),
        _jobs(serving),
        PandatxResource(core.jobs, core.datasets, core.board, why),
        OwnersResource(core.owners),
        AsyncProcessResource(core.requests.asking),
        RequestsResource(core.requests.asking, cache_url(http)),
        _tasks(serving),
        TaskChangesResource(TaskChanges(serving.database, serving.clock, core.facts, core.dispatch.activated)),
        TaskQueryResource(TaskQueries(serving.database, serving.clock, core.jobs)),
        StatisticsResource(JobCounts(serving.database, serving.clock, core.facts)),
        MetaconfigResource(Metaconfig(core.facts)),
        WorkflowResource(Workflows(serving.database, serving.clock, core.owners)),
        IddsResource(core.requests.relays),
        DataCarouselResource(core.requests.relays),
        _creds(serving),
        EventResource(Events(serving.database, serving.clock)),
        _files(serving),
        _harvester(serving),
    ]


def _jobs(serving: Serving) -> JobResource:
    core, database = serving.core, serving.database
    return JobResource(core.jobs, core.submission, core.killing, DebugModes(database), UserMetadata(database))


def _tasks(serving: Serving) -> TaskResource:
    database, clock, core = serving.database, serving.clock, serving.core
    return TaskResource(
        TaskSubmissions(database, clock, core.facts, core.owners, core.permissions),
        TaskCommands(database, clock, core.killing, core.permissions),
    )


def _harvester(serving: Serving) -> HarvesterResource:
    database, clock, core = serving.database, serving.clock, serving.core
    return HarvesterResource(
        Harvesters(database, clock, core.facts, core.owners), Workers(database, clock, core.adder.wake)
    )


def _creds(serving: Serving) -> CredsResource:
    config, core = serving.config, serving.core
    places = Places(
        credentials=config.outside.credentials_dir,
        token_clients=config.outside.token_cache_config,
        keys=config.outside.key_dir,
    )
    return CredsResource(
        Creds(serving.database, core.facts, serving.clock, core.permissions, core.owners, places),
        UserSecrets(serving.database, serving.clock, core.owners, config.outside.pilot_secrets),
    )


def _files(serving: Serving) -> FileServerResource:
    files, config = serving.core.files, serving.config
    url = cache_url(config.http)
    return FileServerResource(files.uploads, files.book, files.logs, files.checkpoints, url, config.files.sandbox_host)


def cache_url(http: HttpSettings) -> str:
    """Where clients find what lies in cache_dir, without a certificate."""
    return f"http://{http.url_host_http or http.url_host}:{http.url_http_port}/cache"
