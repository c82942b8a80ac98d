"""What is served on the ports: the operations of the resources, the static trees, and the health pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.threads import deferToThread

from pandatx.clock import Clock
from pandatx.config import Config
from pandatx.identity.callers import Callers
from pandatx.identity.networks import Networks
from pandatx.metrics import REQUEST_SECONDS, REQUESTS
from pandatx.resources.api import collect
from pandatx.resources.bodies import BodyReader
from pandatx.resources.edge import Edge
from pandatx.resources.router import Root
from pandatx.resources.static import Auth, Cache, Static, Trees


def make_site(
    config: Config,
    clock: Clock,
    document: Callable[[str], bytes | None],
    resources: tuple[object, ...],
    pages: dict[bytes, Any],
) -> tuple[Root, Trees]:
    """The roots of the main ports and of the cache port (rule R32)."""
    trees: dict[bytes, Any] = {
        b"cache": Cache(config.files.cache_dir, config.files.schedconfig_cache_dir, document),
        b"trf": Static(config.files.trf_dir),
        b"cric": Static(config.files.cric_dir),
        b"auth": Auth(config.files.auth_dir),
    }
    callers = Callers(config.identity, clock, Networks(config.http.trusted_proxies))
    edge = Edge(callers.of_request, BodyReader(_in_thread), clock.reactor, _measured)
    return Root(edge, collect(*resources), trees, pages), Trees({b"cache": trees[b"cache"]})


def _in_thread(work: Callable[[], Any]) -> Awaitable[Any]:
    return deferToThread(work)


def _measured(operation: str, dialect: str, status: int, seconds: float) -> None:
    REQUESTS.labels(operation, dialect, status).inc()
    REQUEST_SECONDS.labels(operation).observe(seconds)
