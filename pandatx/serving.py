"""Every resource that is served, and what it needs: what only requests need is made here, not in the core."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from pandatx.clock import Clock
from pandatx.config import Config, HttpSettings
from pandatx.core import Core
from pandatx.resources.async_process import AsyncProcessResource, RequestsResource
from pandatx.resources.job import JobResource
from pandatx.resources.pandatx_group import PandatxResource
from pandatx.resources.pilot import PilotResource
from pandatx.resources.system import SystemResource
from pandatx.store.database import Database

RESOURCES: Final[tuple[type, ...]] = (
    SystemResource,
    PilotResource,
    JobResource,
    PandatxResource,
    AsyncProcessResource,
    RequestsResource,
)
"""Their classes, for those that ask what is declared without a server: the document, and tests."""


@frozen(kw_only=True)
class Serving:
    """What resources are made of. ``database`` serves requests."""

    config: Config
    clock: Clock
    core: Core
    database: Database


def make_resources(serving: Serving) -> list[object]:
    """One of each class of ``RESOURCES``."""
    core, http = serving.core, serving.config.http
    return [
        SystemResource(),
        PilotResource(core.dispatch, core.heartbeats, core.jobs, core.news, core.facts.queue, core.counters.count),
        JobResource(core.jobs, core.submission, core.killing),
        PandatxResource(core.jobs, core.datasets, core.board),
        AsyncProcessResource(core.requests.asking),
        RequestsResource(core.requests.asking, cache_url(http)),
    ]


def cache_url(http: HttpSettings) -> str:
    """Where clients find what lies in cache_dir, without a certificate."""
    return f"http://{http.url_host_http or http.url_host}:{http.url_http_port}/cache"
