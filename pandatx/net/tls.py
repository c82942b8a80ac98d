"""TLS of the HTTPS port: grid certificates asked for but not demanded, proxies taken, no resumption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from attrs import Factory, define, field
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer  # type: ignore[import-untyped]

from pandatx.errors import EXIT_CERTIFICATE, StartFault
from pandatx.identity.callers import NOT_TAKEN, peer_address
from pandatx.identity.names import UNREADABLE, slash_dn
from pandatx.identity.trust import Trust, read_trust, stamp
from pandatx.identity.voms_reader import VomsReader

log = Logger()

HostKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
Own = tuple[list[x509.Certificate], HostKey]
"""The server's own chain and key."""

DEPTH = 10
_LONGEST_NAME = 300
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20"
_NO_CRL_FOUND = 3
_CRL_OF_ANOTHER_TIME = (11, 12)
"""Not valid yet, as where clocks differ, or not any more: what it revokes is revoked in both cases."""
_REASONS = {
    7: "its signature is wrong",
    8: "the signature of the revocation list of its CA is wrong",
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed",
    19: "its CA is not among those in ca_dir",
    20: "its CA is not among those in ca_dir",
    21: "its CA is not among those in ca_dir",
    22: "its chain is longer than 10",
    23: "it is revoked",
    24: "it is no CA, yet it has signed another: a proxy of the legacy Globus kind? Only RFC 3820 proxies are taken",
    38: "it has more proxies below it than it allows",
    40: "it is a proxy, and proxies are not taken",
    66: "its key is too short",
    67: "the key of its CA is too short",
    68: "it is signed with a hash that is not taken any more",
    72: "it is a proxy whose name is not that of its issuer with one CN more",
}
_REASONS[79] = _REASONS[24]
_NO_CA, _FOR_THE_SAME_REASON = (24, 79), (26, 32)
_OPTIONS = SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE


class TLSFiles(Protocol):
    """What of the HTTP settings TLS needs."""

    @property
    def host_cert(self) -> Path: ...

    @property
    def host_key(self) -> Path: ...

    @property
    def ca_dir(self) -> Path | None: ...


@implementer(IOpenSSLServerConnectionCreator)
@define
class ServerTLS:
    """Makes the server side of TLS connections. ``load`` comes first; ``reload`` changes what new connections see, and
    what ``voms``, which judges by the same CAs and revocation lists, says of all of them.

    Tickets and the session cache are off because a resumed session has lost the client's chain, and with it the
    caller's name (reference/stack.md 4). HTTP/2 is not offered.
    """

    _files: TLSFiles
    _voms: VomsReader = Factory(VomsReader)
    _own: Own | None = field(default=None, init=False)
    _trust: Trust | None = field(default=None, init=False)
    _context: SSL.Context | None = field(default=None, init=False)
    _stamp: tuple[tuple[str, int, int], ...] = field(default=(), init=False)
    _reloading: Lock = field(factory=Lock, init=False)

    def load(self) -> None:
        """Read key, certificate, CAs and CRLs. StartFault (exit 4) with one clear line if the server's own cannot be
        read."""
        self._stamp = self._mark()
        own = read_host(Path(self._files.host_cert), Path(self._files.host_key))
        self._renew(own, self._read_trust())

    def reload(self) -> bool:
        """Read everything again, for connections to come.

        False, with a log line, if the server's own certificate or key cannot be used; then the old ones remain, beside
        the new CAs and CRLs: a server that has given up root may no longer read its key. It takes a while: call it in a
        thread.
        """
        with self._reloading:
            try:
                self.load()
            except StartFault as fault:
                log.error("the host certificate is not reread, the old one remains: {fault}", fault=str(fault))
                if self._own is not None:
                    self._renew(self._own, self._read_trust())
                return False
            return True

    def reload_if_changed(self) -> bool:
        """Reload when a file has changed since the last time, or could not be read then; the caller asks once a minute
        (rule R13)."""
        return (bool(self._voms.trust.held) or self._mark() != self._stamp) and self.reload()

    def _renew(self, own: Own, trust: Trust) -> None:
        """Another context, unless it would be like the one that there is: hundreds of lists are put together for it."""
        if trust is not self._trust or self._own is None or not _are_the_same(own, self._own):
            self._context, self._trust = make_context(*own, trust), trust
        self._own = own

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        if self._context is None:
            raise RuntimeError("ServerTLS.load() comes before connections")
        return SSL.Connection(self._context, None)

    def _mark(self) -> tuple[tuple[str, int, int], ...]:
        places = [self._files.host_cert, self._files.host_key, self._files.ca_dir]
        return stamp([None if place is None else Path(place) for place in places]) + self._voms.mark()

    def _read_trust(self) -> Trust:
        place = None if self._files.ca_dir is None else Path(self._files.ca_dir)
        try:
            trust = read_trust(place, self._voms.trust)
        except OSError as fault:
            trust = Trust()
            log.warn("the CA directory {place} cannot be read: {fault}", place=str(place), fault=fault.strerror)
        if not trust.authorities:
            log.warn("no CA is trusted, so that every client certificate is refused (ca_dir {place})", place=str(place))
        self._voms.renew(trust)
        return trust


def _are_the_same(one: Own, other: Own) -> bool:
    return one[0] == other[0] and one[1].public_key() == other[1].public_key()


def read_host(cert_file: Path, key_file: Path) -> Own:
    """The server's own chain and key. StartFault (exit 4) names the file and the reason."""
    try:
        certs = x509.load_pem_x509_certificates(_read(cert_file, "host_cert"))
        public_key = certs[0].public_key()
    except UNREADABLE:
        raise StartFault(EXIT_CERTIFICATE, f"host_cert {cert_file} holds no certificate in PEM form") from None
    key_pem = _read(key_file, "host_key")
    try:
        key = serialization.load_pem_private_key(_only_key(key_pem), password=None)
    except TypeError:
        raise StartFault(EXIT_CERTIFICATE, f"host_key {key_file} is protected by a passphrase") from None
    except UNREADABLE:
        raise StartFault(EXIT_CERTIFICATE, f"host_key {key_file} holds no private key in PEM form") from None
    if key.public_key() != public_key:
        raise StartFault(EXIT_CERTIFICATE, f"host_key {key_file} is not the key of the certificate in {cert_file}")
    if not isinstance(key, HostKey):
        raise StartFault(EXIT_CERTIFICATE, f"host_key {key_file} is of a kind that TLS cannot use")
    return certs, key


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        raise StartFault(EXIT_CERTIFICATE, f"{what} {path} cannot be read: {fault.strerror}") from None


def _only_key(pem: bytes) -> bytes:
    """A key file may hold the certificate before the key, as grid files do."""
    at = pem.find(b"PRIVATE KEY-----")
    return pem[pem.rfind(b"-----BEGIN", 0, at) :] if at > 0 else pem


def make_context(certs: list[x509.Certificate], key: HostKey, trust: Trust) -> SSL.Context:
    """A context, complete: pyOpenSSL forbids changes once a connection was made from it."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(_OPTIONS)
    context.set_cipher_list(_CIPHERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"pandatx")
    try:
        context.use_certificate(certs[0])
        for cert in certs[1:]:
            context.add_extra_chain_cert(cert)
        context.use_privatekey(key)
        context.check_privatekey()
    except (SSL.Error, crypto.Error) as fault:
        raise StartFault(EXIT_CERTIFICATE, f"OpenSSL refuses the host certificate: {_reason(fault)}") from None
    context.set_verify(SSL.VERIFY_PEER, _judge(bool(trust.crls)))
    context.set_verify_depth(DEPTH)
    store = context.get_cert_store()
    if store is None:
        raise RuntimeError("the TLS context has no certificate store")
    trust.fill(store)
    context.set_alpn_select_callback(_http_1_1)
    return context


def _judge(lists: bool) -> Callable[[SSL.Connection, crypto.X509, int, int, int], bool]:
    """What OpenSSL asks at each step. A CA without a list, where ``lists`` are kept, is trusted; what a list past its
    time means is decided with the caller. A certificate that no CA has issued gets a connection on which its holder is
    nobody, to be told of it; any other refusal ends the handshake, and is a log line with the reason."""

    def verdict(connection: SSL.Connection, cert: crypto.X509, errno: int, depth: int, ok: int) -> bool:
        if ok or errno in _CRL_OF_ANOTHER_TIME or (errno == _NO_CRL_FOUND and lists):
            return True
        protocol = connection.get_app_data()  # Twisted leaves the transport there
        if errno in _FOR_THE_SAME_REASON and hasattr(protocol, NOT_TAKEN):
            return True
        why = _REASONS.get(errno, f"OpenSSL's error {errno}")
        dn = _name(cert)
        address = "" if protocol is None else peer_address(protocol.getPeer())
        log.info("{address}: the certificate of {dn} is refused: {why}", address=address, dn=dn, why=why)
        if errno in _NO_CA and protocol is not None:
            setattr(protocol, NOT_TAKEN, f"the certificate of {dn} is refused: {why}")
            return True
        return False

    return verdict


def _name(cert: crypto.X509) -> str:
    """Of a certificate that anybody may have made."""
    try:
        return slash_dn(cert.to_cryptography())[:_LONGEST_NAME]
    except UNREADABLE:
        return "somebody whose certificate cannot be read"


def _http_1_1(connection: SSL.Connection, offered: list[bytes]) -> Any:
    return b"http/1.1" if b"http/1.1" in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _reason(fault: SSL.Error | crypto.Error) -> str:
    return "; ".join(part for error in (fault.args[0] if fault.args else ()) for part in error[2:] if part)
