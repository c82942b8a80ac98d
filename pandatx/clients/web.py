"""Outgoing HTTP: whom it trusts, as whom it comes, how long it waits and how much it takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import define, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from treq.client import HTTPClient
from twisted.internet import ssl
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as Overdue
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.error import InfiniteRedirection, PageRedirect, SchemeNotSupported
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer  # type: ignore[import-untyped]

from pandatx.metrics import OUTGOING_SECONDS

MIB: Final = 1024 * 1024
_AWAY = (
    ConnectError,
    ConnectingCancelledError,
    DNSLookupError,
    InfiniteRedirection,
    PageRedirect,
    ResponseFailed,
    ResponseNeverReceived,
    SchemeNotSupported,
)


class Away(Exception):
    """A service that gives no answer at the moment, and why. Its text never carries what was sent."""


class _TooMuch(Exception):
    """The answer is larger than is taken."""


@frozen(kw_only=True)
class Answer:
    """What a service has answered; header names in lower case."""

    code: int
    headers: Mapping[str, str]
    content: bytes


@define(eq=False)
class Web:
    """Asks services. ``ca_dir``, a file or a directory as grid sites have it, is trusted beside the system.

    ``certificate`` is a PEM file with certificate, key and chain, such as a proxy; it is read again for each request.
    ``limit`` is the seconds that a whole exchange may take, ``largest`` the bytes of an answer.
    """

    _reactor: Any
    _ca_dir: Path | None = None
    _certificate: Path | None = None
    limit: float = 60.0
    largest: int = 256 * MIB

    async def get(
        self, url: str, target: str, headers: Mapping[str, str] | None = None, *, follow: bool = True
    ) -> Answer:
        """GET, redirects followed if so wished. ``target`` is the label in the metrics. Raises Away."""
        return await self._ask("GET", url, target, headers, None, follow=follow)

    async def post(
        self, url: str, target: str, headers: Mapping[str, str] | None = None, *, body: bytes | Mapping[str, str]
    ) -> Answer:
        """POST of bytes or of a form. Redirects are not followed: what is posted here is a secret. Raises Away."""
        return await self._ask("POST", url, target, headers, body)

    async def head(self, url: str, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        """HEAD; redirects are not followed. Raises Away."""
        return await self._ask("HEAD", url, target, headers, None)

    async def _ask(
        self,
        verb: str,
        url: str,
        target: str,
        headers: Mapping[str, str] | None,
        body: Any,
        *,
        follow: bool = False,
    ) -> Answer:
        try:
            where = urlsplit(url).hostname or target
        except ValueError as error:
            raise Away(f"{target}: this is no address of a service: {error}") from error
        began = self._reactor.seconds()
        exchange: Deferred[Answer] = Deferred.fromCoroutine(self._exchange(verb, url, headers, body, follow))
        exchange.addTimeout(self.limit, self._reactor)
        try:
            return await exchange
        except _AWAY as error:
            late = self._reactor.seconds() - began >= self.limit
            raise Away(f"{where}: {self._overdue if late else _why(error)}") from error
        except (Overdue, CancelledError) as error:
            raise Away(f"{where}: {self._overdue}") from error
        except _TooMuch as error:
            raise Away(f"{where}: the answer is larger than {self.largest // MIB} MiB") from error
        except (OSError, ValueError, SSL.Error) as error:
            raise Away(f"{where}: {error}") from error
        finally:
            OUTGOING_SECONDS.labels(target).observe(self._reactor.seconds() - began)

    async def opened(self, url: str, target: str, headers: Mapping[str, str], patience: float) -> Any:
        """GET whose body the caller takes from the answer; that must begin within ``patience`` seconds. Raises Away."""
        where = urlsplit(url).hostname or target
        began = self._reactor.seconds()
        policy = _Policy(self._ca_dir, self._certificate)
        agent: Any = Agent(self._reactor, policy, connectTimeout=patience)  # type: ignore[no-untyped-call]
        sent = Headers({name: [value] for name, value in headers.items()})
        asking: Deferred[Any] = agent.request(b"GET", url.encode("ascii"), sent)
        asking.addTimeout(patience, self._reactor)
        try:
            return await asking
        except _AWAY as error:
            raise Away(f"{where}: {_why(error)}") from error
        except (Overdue, CancelledError) as error:
            raise Away(f"{where}: no answer within {patience:g} s") from error
        except (OSError, ValueError, SSL.Error) as error:
            raise Away(f"{where}: {error}") from error
        finally:
            OUTGOING_SECONDS.labels(target).observe(self._reactor.seconds() - began)

    @property
    def _overdue(self) -> str:
        return f"no whole answer within {self.limit:g} s"

    async def _exchange(
        self, verb: str, url: str, headers: Mapping[str, str] | None, body: Any, follow: bool
    ) -> Answer:
        policy = _Policy(self._ca_dir, self._certificate)
        agent: Any = Agent(self._reactor, policy, connectTimeout=self.limit)  # type: ignore[no-untyped-call]
        client: Any = HTTPClient(agent)
        answer = await client.request(
            verb, url, headers=dict(headers or {}), data=body, allow_redirects=follow, unbuffered=True
        )
        content = _Content(self.largest)
        answer.deliverBody(content)
        whole = await content.whole
        found = {
            name.decode("latin-1").lower(): values[-1].decode("latin-1")
            for name, values in answer.headers.getAllRawHeaders()
        }
        return Answer(code=answer.code, headers=found, content=whole)


class _Content(Protocol):
    """The body of an answer. One that is too large, or that nobody waits for any more, keeps no connection open."""

    def __init__(self, largest: int) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self._stop())
        self._pieces: list[bytes] = []
        self._left = largest

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self._pieces.append(data)
        elif not self.whole.called:
            self._stop()
            self.whole.errback(_TooMuch())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if isinstance(reason.value, (ResponseDone, PotentialDataLoss)):
            self.whole.callback(b"".join(self._pieces))
        else:
            self.whole.errback(reason)

    def _stop(self) -> None:
        self._pieces = []
        if self.transport is not None:  # loseConnection would wait for a word of the other side
            self.transport.stopProducing()


def _why(error: Exception) -> str:
    """The first reason inside what Twisted wraps."""
    for failure in getattr(error, "reasons", None) or ():
        error = getattr(failure, "value", failure)
    return str(error) or type(error).__name__


@implementer(IPolicyForHTTPS)
class _Policy:
    """Host names are checked; trust and certificate as ``Web`` says."""

    def __init__(self, ca_dir: Path | None, certificate: Path | None) -> None:
        self._trust = _Trust(ca_dir)
        self._extra = _credential(certificate) if certificate is not None else {}

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        return ssl.optionsForClientTLS(
            hostname.decode("ascii"),
            trustRoot=self._trust,  # type: ignore[arg-type]
            extraCertificateOptions=dict(self._extra),
        )


class _Trust(ssl.OpenSSLDefaultPaths):
    """The system's authorities, and those of a directory or file."""

    def __init__(self, place: Path | None) -> None:
        self._place = place

    def _addCACertsToContext(self, context: SSL.Context) -> None:
        super()._addCACertsToContext(context)  # type: ignore[no-untyped-call]
        if self._place is None or not self._place.exists():
            return
        if not self._place.is_dir():
            context.load_verify_locations(str(self._place))
            return
        context.load_verify_locations(None, str(self._place))
        if not any(self._place.glob("*.0")):
            for path in self._place.glob("*.pem"):
                context.load_verify_locations(str(path))


def _credential(path: Path) -> dict[str, Any]:
    """What Twisted's TLS options need of a PEM file. Raises OSError and ValueError."""
    pem = path.read_bytes()
    start = pem.find(b"-----BEGIN ", pem.find(b"-----END CERTIFICATE-----")) if b"PRIVATE KEY" in pem else -1
    certificates = [crypto.X509.from_cryptography(one) for one in x509.load_pem_x509_certificates(pem)]
    if start < 0:
        raise ValueError(f"{path} has no private key after its certificate")
    key = crypto.PKey.from_cryptography_key(load_pem_private_key(pem[start:], password=None))  # type: ignore[arg-type]
    return {"privateKey": key, "certificate": certificates[0], "extraCertChain": certificates[1:]}
