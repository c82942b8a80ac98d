"""What is served on the ports: the operations of the resources, the static trees, and the health pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.web.resource import IResource

from pandatx.clock import Clock
from pandatx.config import Config
from pandatx.core import Core
from pandatx.identity.callers import Callers
from pandatx.identity.networks import Networks
from pandatx.metrics import REQUEST_SECONDS, REQUESTS
from pandatx.resources.api import collect
from pandatx.resources.bodies import BodyReader
from pandatx.resources.edge import Edge
from pandatx.resources.job import JobResource
from pandatx.resources.pandatx_group import PandatxResource
from pandatx.resources.pilot import PilotResource
from pandatx.resources.router import Root
from pandatx.resources.static import Auth, Cache, Static, Trees
from pandatx.resources.system import SystemResource


def make_site(config: Config, clock: Clock, core: Core, pages: Mapping[bytes, IResource]) -> tuple[Any, Any]:
    """The roots of the main ports and of the cache port (rule R32)."""
    trees: dict[bytes, Any] = {
        b"cache": Cache(config.files.cache_dir, config.files.schedconfig_cache_dir, core.queues.document),
        b"trf": Static(config.files.trf_dir),
        b"cric": Static(config.files.cric_dir),
        b"auth": Auth(config.files.auth_dir),
    }
    callers = Callers(config.identity, clock, Networks(config.http.trusted_proxies))
    edge = Edge(callers.of_request, BodyReader(_in_thread), clock.reactor, _measured)
    operations = collect(
        SystemResource(),
        PilotResource(core.dispatch, core.heartbeats, core.jobs, core.news, core.facts.queue),
        JobResource(core.jobs, core.submission, core.killing),
        PandatxResource(core.jobs, core.datasets),
    )
    return Root(edge, operations, trees, pages), Trees({b"cache": trees[b"cache"]})


def _in_thread(work: Callable[[], Any]) -> Awaitable[Any]:
    return deferToThread(work)


def _measured(operation: str, dialect: str, status: int, seconds: float) -> None:
    REQUESTS.labels(operation, dialect, status).inc()
    REQUEST_SECONDS.labels(operation).observe(seconds)
