"""The operators' port: /metrics, and health in detail (rule R26)."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Site

from pandatx.errors import EXIT_PORT, StartFault
from pandatx.ops.health import Health, Livez, Readyz

log = Logger()


class MetricsResource(Resource):
    """All that was counted, in the text form of Prometheus."""

    isLeaf = True

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._registry = registry

    def render_GET(self, request: Any) -> bytes:
        request.setHeader(b"content-type", CONTENT_TYPE_LATEST.encode())
        return generate_latest(self._registry)


def operators_pages(health: Health) -> Any:
    """/metrics, /livez, /readyz with details."""
    root: Any = Resource()  # type: ignore[no-untyped-call]
    root.putChild(b"metrics", MetricsResource())
    root.putChild(b"livez", Livez())  # type: ignore[no-untyped-call]
    root.putChild(b"readyz", Readyz(health, detailed=True))
    return root


@define(eq=False)
class OperatorsPort:
    """Serves ``pages`` on ``address``. The first process of a state directory has that port, others take a free one."""

    _reactor: Any
    _address: tuple[str, int]
    _pages: Any
    _first: bool = True
    _port: Any = field(default=None, init=False)

    def start(self) -> int:
        """The port that it got; StartFault (exit 5) if the first process cannot have its own."""
        host, number = self._address
        site = Site(self._pages)  # type: ignore[no-untyped-call]
        site.displayTracebacks = False
        site.log = lambda request: None  # type: ignore[method-assign]  # asked every few seconds, for ever
        site.noisy = False
        try:
            self._port = self._reactor.listenTCP(number if self._first else 0, site, interface=host)
        except CannotListenError as fault:
            raise StartFault(EXIT_PORT, f"[pandatx] metrics_address {host}:{number}: {fault.socketError}") from None
        got: int = self._port.getHost().port
        log.info("metrics on http://{host}:{port}/metrics", host=host, port=got)
        return got

    async def stop(self) -> None:
        """Close the port."""
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
            self._port = None
