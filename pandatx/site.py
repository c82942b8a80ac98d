"""What is served on the ports: the operations of the resources, the static trees, and the health pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, Final

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.threads import deferToThread
from twisted.web.resource import IResource

from pandatx.config import HttpSettings
from pandatx.errors import EXIT_CONFIGURATION, StartFault
from pandatx.identity.bearer import Bearers
from pandatx.identity.callers import Callers
from pandatx.identity.networks import Networks
from pandatx.metrics import REQUEST_SECONDS, REQUESTS
from pandatx.resources.api import Table, collect
from pandatx.resources.bodies import BodyReader
from pandatx.resources.docs_page import api_pages
from pandatx.resources.edge import Edge
from pandatx.resources.multipart_files import UploadRoom
from pandatx.resources.openapi import document
from pandatx.resources.router import Root
from pandatx.resources.static import Auth, Cache, Static, Trees
from pandatx.resources.throttle import Throttle, with_limits
from pandatx.serving import RESOURCES, Serving, make_resources
from pandatx.store.cache_folder import INCOMING

LARGE_FOR_ROLES: Final = 4
"""How many times as many large bodies who has a role may have: one name stands for many pilots."""
UPLOADS_AT_ONCE: Final = 4
"""Threads that write what comes in."""


def make_site(serving: Serving, pages: Mapping[bytes, IResource]) -> tuple[Any, Any]:
    """The roots of the main ports and of the cache port (rule R32), where the default URLs of transforms point too."""
    config, core = serving.config, serving.core
    trees: dict[bytes, Any] = {
        b"cache": Cache(
            config.files.cache_dir,
            config.files.schedconfig_cache_dir,
            core.queues.document,
            core.files.elsewhere,
        ),
        b"trf": Static(config.files.trf_dir),
        b"cric": Static(config.files.cric_dir),
        b"auth": Auth(config.identity.auth_dir),
    }
    proxies = Networks(config.http.trusted_proxies)
    judge = core.tokens.judge
    bearers = Bearers(judge, proxies) if judge is not None else None
    callers = Callers(
        config.identity,
        serving.clock,
        proxies,
        voms=serving.voms,
        bans=lambda: core.facts.known,
        tokens=bearers.caller_of if bearers is not None else None,
    )
    http = config.http
    edge = Edge(
        callers.of_request,
        BodyReader(_in_thread),
        serving.clock.reactor,
        measuring(),
        frozenset(own_origins(http)),
        throttle=Throttle(http.requests_per_caller, http.requests_per_role),
        large=Throttle(http.large_bodies_per_caller, LARGE_FOR_ROLES * http.large_bodies_per_caller),
        patience=http.request_timeout,
        admission=core.owners.admission,
        uploads=UploadRoom(config.files.cache_dir / INCOMING, _to_disk()),
    )
    operations = limited(collect(*make_resources(serving)), http)
    public = {name: trees[name] for name in (b"cache", b"trf", b"cric")}
    return Root(edge, operations, trees, {**pages, **described()}), Trees(public, pages)


@cache
def described() -> Mapping[bytes, Any]:
    """The API document and its page: what is declared, the same on every server of this release."""
    return api_pages(document(collect(*RESOURCES), version("pandatx")))


def limited(table: Table, http: HttpSettings) -> Table:
    """The table with the limits that an operator has set. StartFault for an operation that is not served."""
    try:
        return with_limits(table, http.of_operations)
    except KeyError as fault:
        raise StartFault(EXIT_CONFIGURATION, f"[pandatx] operation_limits: no operation is called {fault}") from None


def own_origins(http: HttpSettings) -> Iterator[str]:
    """How an Origin header names us by the URLs that we give away (rule R23); a default port is not in it."""
    for host, port, default in (
        (http.url_host, http.url_https_port, 443),
        (http.url_host_http or http.url_host, http.url_http_port, 80),
    ):
        yield (host if port == default else f"{host}:{port}").lower()


def _to_disk() -> Callable[[Callable[[], Any]], Awaitable[Any]]:
    """Threads for files that come in; only so many, since others need threads too."""
    tokens = DeferredSemaphore(UPLOADS_AT_ONCE)
    return lambda work: tokens.run(deferToThread, work)


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
