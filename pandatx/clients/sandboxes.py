"""Sandboxes in the caches of other servers: looked for and touched over HTTPS."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

import orjson
import treq
from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL, crypto
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed, ResponseNeverReceived
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer  # type: ignore[import-untyped]

from pandatx.metrics import OUTGOING_SECONDS

log = Logger()

CONNECT_LIMIT: Final = 10.0
LIMIT: Final = 20.0
"""Seconds for an answer."""
AT_ONCE: Final = 8
"""Requests to one host at a time."""
_ANSWER_LIMIT: Final = 64 * 1024
_AWAY = (ConnectError, ConnectingCancelledError, ResponseFailed, ResponseNeverReceived, CancelledError, OSError)


class HostAway(Exception):
    """A host that does not answer, or not as a PanDA server does."""


class TLSFiles(Protocol):
    """What of the HTTP settings TLS needs."""

    @property
    def host_cert(self) -> Path: ...

    @property
    def host_key(self) -> Path: ...

    @property
    def ca_dir(self) -> Path: ...


@implementer(IPolicyForHTTPS)
@define(eq=False)
class _Policy:
    """Servers are believed by the CAs of ca_dir; they see this host's certificate where it can be read."""

    _trust: Any
    _own: dict[str, Any]

    @classmethod
    def read(cls, files: TLSFiles) -> _Policy:
        trust = trustRootFromCertificates(_authorities(files.ca_dir))  # type: ignore[no-untyped-call]
        return cls(trust, _pair(files))

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        return optionsForClientTLS(
            hostname.decode("ascii"), trustRoot=self._trust, extraCertificateOptions=self._own or None
        )


def _authorities(place: Path) -> list[Any]:
    """The CA certificates of a directory of a grid site, or of one file; what cannot be read is left out."""
    found: dict[bytes, x509.Certificate] = {}
    paths = sorted(place.iterdir()) if place.is_dir() else [place]
    for path in paths:
        if path.suffix in (".pem", ".crt", ".0") or path == place:
            try:
                for one in x509.load_pem_x509_certificates(path.read_bytes()):
                    found[one.fingerprint(hashes.SHA256())] = one
            except (OSError, ValueError):
                continue
    make: Any = Certificate
    return [make(crypto.X509.from_cryptography(one)) for one in found.values()]


def _pair(files: TLSFiles) -> dict[str, Any]:
    try:
        chain = x509.load_pem_x509_certificates(files.host_cert.read_bytes())
        key = crypto.load_privatekey(crypto.FILETYPE_PEM, files.host_key.read_bytes())
    except (OSError, ValueError, SSL.Error, crypto.Error):
        return {}
    certificates = [crypto.X509.from_cryptography(one) for one in chain]
    return {"certificate": certificates[0], "privateKey": key, "extraCertChain": certificates[1:]}


@define(eq=False)
class Sandboxes:
    """Requests to the caches of other hosts at ``port``. ``open`` comes first, ``close`` at the end of a sweep."""

    _reactor: Any
    _files: TLSFiles
    _port: int
    _client: HTTPClient | None = field(init=False, default=None)
    _pool: Any = field(init=False, default=None)

    async def open(self) -> None:
        """Read the certificates anew."""
        policy = await deferToThread(_Policy.read, self._files)
        self._pool = pool = HTTPConnectionPool(self._reactor, persistent=True)  # type: ignore[no-untyped-call]
        pool.maxPersistentPerHost = AT_ONCE
        agent: Any = Agent(self._reactor, policy, connectTimeout=CONNECT_LIMIT, pool=pool)  # type: ignore[no-untyped-call]
        self._client = HTTPClient(agent)

    async def close(self) -> None:
        pool, self._pool, self._client = self._pool, None, None
        if pool is not None:
            await pool.closeCachedConnections()

    async def exists(self, host: str, name: str) -> bool:
        """Whether a host has a file in its cache: False only where it says so. Raises HostAway."""
        answer = await self._ask("HEAD", f"https://{host}:{self._port}/cache/{quote(name, safe='')}")
        return bool(answer.code != 404)

    async def touch(self, host: str, name: str) -> bool:
        """Have a host count a file of its cache as new; whether it has done so. Raises HostAway."""
        url = f"https://{host}:{self._port}/api/v1/file_server/touch_cache_file"
        body = orjson.dumps({"file_name": name})
        answer = await self._ask("POST", url, data=body, headers={"content-type": "application/json"})
        return answer.code == 200 and await self._succeeded(answer)

    async def _ask(self, verb: str, url: str, **more: Any) -> Any:
        assert self._client is not None
        began = self._reactor.seconds()
        try:
            return await self._client.request(verb, url, timeout=LIMIT, allow_redirects=False, **more)
        except _AWAY as error:
            raise HostAway(str(error) or type(error).__name__) from error
        finally:
            OUTGOING_SECONDS.labels("sandboxes").observe(self._reactor.seconds() - began)

    async def _succeeded(self, answer: Any) -> bool:
        """Whether the envelope says so."""
        if answer.length > _ANSWER_LIMIT:
            return False
        try:
            envelope = orjson.loads(await treq.content(answer))
        except (*_AWAY, ValueError):
            return False
        return isinstance(envelope, dict) and envelope.get("success") is True
