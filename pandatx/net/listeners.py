"""The listeners: HTTP, HTTPS and the cache port of one process, their start, their reload and their end."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from pandatx.errors import EXIT_PORT, StartFault
from pandatx.identity.callers import peer_address
from pandatx.identity.networks import Networks
from pandatx.net.connections import Connections, Counters
from pandatx.net.descriptors import room_for
from pandatx.net.ports import BACKLOG, Ports
from pandatx.net.site import PandaSite, SiteLimits, Watchers
from pandatx.net.tls import ServerTLS

log = Logger()

CERTIFICATE_CHECK = 60.0
FIRST_REQUEST_GRACE = 2.0
DRAIN = 20.0


class ListenerSettings(Protocol):
    """What of the HTTP settings the listeners need."""

    @property
    def http_port(self) -> int: ...

    @property
    def https_port(self) -> int: ...

    @property
    def cache_port(self) -> int | None: ...

    @property
    def max_connections(self) -> int: ...

    @property
    def connections_per_address(self) -> int: ...

    @property
    def trusted_proxies(self) -> tuple[str, ...]: ...

    @property
    def header_timeout(self) -> float: ...

    @property
    def body_timeout(self) -> float: ...

    @property
    def body_rate(self) -> int: ...

    @property
    def answer_timeout(self) -> float: ...

    @property
    def keep_alive(self) -> float: ...

    @property
    def max_headers(self) -> int: ...

    @property
    def max_header_bytes(self) -> int: ...


class TLSFactory(TLSMemoryBIOFactory):
    """TLS around a site; a connection that is one too many is closed before any cryptography."""

    def __init__(self, tls: ServerTLS, site: PandaSite, reactor: Any) -> None:
        super().__init__(tls, False, site, clock=reactor)  # type: ignore[arg-type]
        self._site = site

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if not self._site.connections.admits(peer_address(addr)):
            return None
        return self.protocol(self, self._site.channel(addr))


@define(eq=False, slots=False)
class Listeners(Service):
    """Serves ``resource`` on the HTTP and HTTPS ports, and ``cache`` on the cache port where one is set.

    ``bind`` takes the ports and reads the keys, while the process may still be root; ``startService`` begins to
    serve; ``stopService`` refuses what is new, lets requests finish, and gives a Deferred that ends with the last
    connection, or after ``drain`` seconds, when the rest is cut off.
    """

    _resource: IResource
    _settings: ListenerSettings
    _tls: ServerTLS
    _ports: Ports
    _reactor: Any
    _cache: IResource | None = None
    _watchers: Watchers = field(factory=Watchers)
    _limits: SiteLimits | None = None
    _body_limit: Callable[[bytes], int] | None = None
    _drain: float = DRAIN
    _interface: str = ""
    connections: Connections = field(init=False)
    _bound: dict[str, socket.socket] = field(factory=dict, init=False)
    _numbers: dict[str, int] = field(factory=dict, init=False)
    _serving: list[Any] = field(factory=list, init=False)
    _certificate_check: LoopingCall | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        limits = self._settings
        self.connections = Connections(
            limit=limits.max_connections,
            per_address=limits.connections_per_address,
            unlimited=Networks(limits.trusted_proxies),
        )

    @property
    def counters(self) -> Counters:
        return self.connections.counters

    @property
    def numbers(self) -> dict[str, int]:
        """The ports in use, by "http", "https" and "cache"; what was asked for as 0 by its real number."""
        return dict(self._numbers)

    def bind(self) -> None:
        """Take the ports and read the keys. StartFault: exit 4 for a certificate, 5 for a port.

        There are fewer connections than configured where the process may not have the open files.
        """
        self._tls.load()
        self.connections.limit = room_for(self._settings.max_connections)
        self._ports.lock()
        wanted = {"http": self._settings.http_port, "https": self._settings.https_port}
        if self._settings.cache_port is not None:
            wanted["cache"] = self._settings.cache_port
        try:
            for name, port in wanted.items():
                self._bound[name] = bound = self._ports.bind(port, self._interface)
                self._numbers[name] = bound.getsockname()[1]
        except StartFault:
            self._close()
            raise

    def startService(self) -> None:
        if not self._bound:
            self.bind()
        limits = self._limits or self._site_limits()

        def site(resource: IResource) -> PandaSite:
            return PandaSite(resource, self.connections, self._reactor, limits, self._watchers)

        factories: dict[str, Any] = {
            "http": site(self._resource),
            "https": TLSFactory(self._tls, site(self._resource), self._reactor),
        }
        if "cache" in self._bound:
            factories["cache"] = site(self._cache or self._resource)
        self.connections.draining = False
        for name, factory in factories.items():
            self._serve(name, factory)
        self._watch_certificates()
        super().startService()  # type: ignore[no-untyped-call]

    def _site_limits(self) -> SiteLimits:
        settings = self._settings
        return SiteLimits(
            header_timeout=settings.header_timeout,
            body_timeout=settings.body_timeout,
            body_rate=settings.body_rate,
            answer_timeout=settings.answer_timeout,
            keep_alive=settings.keep_alive,
            max_headers=settings.max_headers,
            max_header_bytes=settings.max_header_bytes,
            upload_dir=self._ports.upload_dir(),
            **({} if self._body_limit is None else {"body_limit": self._body_limit}),
        )

    def reload(self) -> bool:
        """Read certificates, CAs and CRLs again, for connections to come; False if the old ones had to remain."""
        return self._tls.reload()

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._certificate_check is not None and self._certificate_check.running:
            self._certificate_check.stop()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        serving, self._serving = self._serving, []
        for port in serving:
            # What the kernel has accepted already is ours; closing the socket would reset it.
            port.doRead()
            await port.stopListening()
        self.connections.drain()
        grace = self._reactor.callLater(FIRST_REQUEST_GRACE, self.connections.close_idle)
        deadline = self._reactor.callLater(self._drain, self._cut)
        await self.connections.all_closed()
        for call in (grace, deadline):
            if call.active():
                call.cancel()
        self._close()

    def _cut(self) -> None:
        left = self.connections.abort()
        log.warn("{left} connections were cut {seconds} s after the stop", left=left, seconds=self._drain)

    def _serve(self, name: str, factory: Any) -> None:
        bound, number = self._bound[name], self._numbers[name]
        try:
            bound.listen(BACKLOG)
        except OSError as fault:
            self._close()
            raise StartFault(EXIT_PORT, f"port {number} cannot be listened on: {fault.strerror}") from None
        self._ports.note(number)
        self._serving.append(self._reactor.adoptStreamPort(bound.fileno(), bound.family, factory))
        # The reactor has its own copy; with ours open the port would go on listening after the stop.
        del self._bound[name]
        bound.close()
        log.info("serving {name} on port {port}", name=name, port=number)

    def _close(self) -> None:
        for bound in self._bound.values():
            bound.close()
        self._bound.clear()
        self._numbers.clear()
        self._ports.release()

    def _watch_certificates(self) -> None:
        check = LoopingCall(self._check_certificates)
        check.clock = self._reactor
        check.start(CERTIFICATE_CHECK, now=False)
        self._certificate_check = check

    def _check_certificates(self) -> Deferred[Any]:
        """Off the reactor's thread: a grid site's CA directory holds hundreds of files."""
        checked = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._tls.reload_if_changed)
        return checked.addErrback(_logged)


def _logged(failure: Failure) -> None:
    log.failure("certificates could not be looked at", failure)
