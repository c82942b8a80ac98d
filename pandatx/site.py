"""What is served on the ports: the operations of the resources, the static trees, and the health pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.web.resource import IResource

from pandatx.config import HttpSettings
from pandatx.identity.callers import Callers
from pandatx.identity.networks import Networks
from pandatx.metrics import REQUEST_SECONDS, REQUESTS
from pandatx.resources.api import collect
from pandatx.resources.bodies import BodyReader
from pandatx.resources.edge import Edge
from pandatx.resources.router import Root
from pandatx.resources.static import Auth, Cache, Static, Trees
from pandatx.serving import Serving, make_resources


def make_site(serving: Serving, pages: Mapping[bytes, IResource]) -> tuple[Any, Any]:
    """The roots of the main ports and of the cache port (rule R32), where the default URLs of transforms point too."""
    config, core = serving.config, serving.core
    trees: dict[bytes, Any] = {
        b"cache": Cache(config.files.cache_dir, config.files.schedconfig_cache_dir, core.queues.document),
        b"trf": Static(config.files.trf_dir),
        b"cric": Static(config.files.cric_dir),
        b"auth": Auth(config.files.auth_dir),
    }
    callers = Callers(
        config.identity, serving.clock, Networks(config.http.trusted_proxies), bans=lambda: core.facts.known
    )
    origins = frozenset(own_origins(config.http))
    edge = Edge(callers.of_request, BodyReader(_in_thread), serving.clock.reactor, measuring(), origins)
    operations = collect(*make_resources(serving))
    public = {name: trees[name] for name in (b"cache", b"trf", b"cric")}
    return Root(edge, operations, trees, pages), Trees(public, pages)


def own_origins(http: HttpSettings) -> Iterator[str]:
    """How an Origin header names us by the URLs that we give away (rule R23); a default port is not in it."""
    for host, port, default in (
        (http.url_host, http.url_https_port, 443),
        (http.url_host_http or http.url_host, http.url_http_port, 80),
    ):
        yield (host if port == default else f"{host}:{port}").lower()


def _in_thread(work: Callable[[], Any]) -> Awaitable[Any]:
    return deferToThread(work)


def measuring() -> Callable[[str, str, int, float], None]:
    """Counts requests; what belongs to some labels is looked up once, since that takes longer than to count."""
    known: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def measured(operation: str, dialect: str, status: int, seconds: float) -> None:
        found = known.get(key := (operation, dialect, status))
        if found is None:
            found = known[key] = (REQUESTS.labels(*key), REQUEST_SECONDS.labels(operation))
        found[0].inc()
        found[1].observe(seconds)

    return measured
