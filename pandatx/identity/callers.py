"""From a connection to the Caller behind it: the verified chain is read once per connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any, Protocol

from attrs import define, evolve, field, frozen
from cryptography import x509
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.errors import Banned, TokenRejected
from pandatx.identity import names, proxies
from pandatx.identity.networks import Networks
from pandatx.identity.roles import IdentityLists, Roles

log = Logger()

FqanReader = Callable[[Sequence[x509.Certificate]], tuple[str, ...]]

BANS_HOLD = timedelta(hours=1)
"""How long the last known bans do when they cannot be read again (rule R13)."""
_CACHE = "_pandatx_caller"
STALE_CRL = "_pandatx_stale_crl"
"""What net/tls.py sets on the transport of a client whose chain was checked with a revocation list that is too old."""


def no_fqans(chain: Sequence[x509.Certificate]) -> tuple[str, ...]:
    """An attribute certificate that nobody verified grants nothing."""
    return ()


class Bans(Protocol):
    """Whose account is disabled, by compact name, and when that was read."""

    @property
    def banned(self) -> frozenset[str]: ...

    @property
    def read_at(self) -> datetime | None: ...


@frozen
class _NoBans:
    banned: frozenset[str] = frozenset()
    read_at: datetime | None = None


@frozen
class _Known:
    """Who a connection belongs to, until its shortest-lived certificate ends."""

    caller: Caller
    until: datetime | None


@frozen
class Holder:
    """The end entity of a chain: its DN, whether a limited proxy speaks for it, and when the chain ends."""

    dn: str
    limited: bool
    until: datetime


def holder(chain: Sequence[x509.Certificate]) -> Holder | None:
    """The first certificate, leaf first, that is not a proxy; None when the chain has none that can be read."""
    limited = False
    until: datetime | None = None
    for cert in chain:
        until = min(until or cert.not_valid_after_utc, cert.not_valid_after_utc)
        try:
            info = proxies.proxy_info(cert)
        except ValueError as fault:
            log.warn("a client certificate cannot be read: {fault}", fault=str(fault))
            return None
        if info is None:
            return Holder(dn=names.slash_dn(cert), limited=limited, until=until)
        limited = limited or proxies.is_limited(cert, info)
    return None


@define
class Callers:
    """Makes the Caller of a request. ``fqans`` reads the *verified* FQANs of a chain; without one there are none.

    ``bans`` gives the latest reading.
    """

    _lists: IdentityLists
    _clock: Clock
    _trusted_proxies: Networks = field(factory=Networks)
    _fqans: FqanReader = no_fqans
    _bans: Callable[[], Bans] = _NoBans
    _named: set[str] = field(factory=set, init=False)

    def of_chain(self, chain: Sequence[x509.Certificate], address: str = "") -> Caller:
        """The caller of a chain that OpenSSL has verified, leaf first; anonymous when there is none."""
        found = holder(chain) if chain else None
        return Caller(address=address) if found is None else self._of_holder(found, chain, address)

    def of_request(self, request: Any) -> Caller:
        """The caller of a twisted.web request, from its connection; the access log learns the name.

        Raises TokenRejected for any Authorization header, Banned for a disabled account.
        """
        if request.requestHeaders.hasHeader(b"authorization"):
            raise TokenRejected(_why_no_token(request.getHeader(b"authorization")))
        transport = request.transport
        known: _Known | None = getattr(transport, _CACHE, None)
        if known is None:
            known = self._of_connection(transport, peer_address(request.client))
            setattr(transport, _CACHE, known)
        caller = known.caller
        request.caller_name = caller.name
        if known.until is not None and known.until <= self._clock.now():
            caller = Caller(address=caller.address)
        if caller.dn is not None:
            caller = self._judged(caller)
        if caller.address in self._trusted_proxies:
            return evolve(caller, address=_forwarded(request, self._trusted_proxies) or caller.address)
        return caller

    def _judged(self, caller: Caller) -> Caller:
        """Refuse a banned one. When nobody knows any more who is banned there are reports and no secure calls."""
        bans = self._bans()
        if caller.name in bans.banned:
            raise Banned(caller.name)
        if bans.read_at is not None and self._clock.now() > bans.read_at + BANS_HOLD:
            return evolve(caller, limited=True)
        return caller

    def _of_connection(self, transport: Any, address: str) -> _Known:
        chain = _verified_chain(transport)
        found = holder(chain) if chain else None
        if found is None:
            return _Known(Caller(address=address), None)
        if getattr(transport, STALE_CRL, False):
            # The list cannot say whether the caller was revoked: no secure calls then, but reports (rule R13).
            found = evolve(found, limited=True)
        return _Known(self._of_holder(found, chain, address), found.until)

    def _of_holder(self, found: Holder, chain: Sequence[x509.Certificate], address: str) -> Caller:
        name = names.compact_name(found.dn)
        fqans = self._fqans(chain)
        granted = Roles(self._lists).of_certificate(found.dn, name, fqans)
        self._name_loose(granted.loosely, found.dn)
        return Caller(
            dn=found.dn,
            name=name,
            fqans=fqans,
            how="x509",
            limited=found.limited,
            production=granted.production,
            pilot=granted.pilot,
            working_groups=granted.working_groups,
            address=address,
        )

    def _name_loose(self, entries: Iterable[str], dn: str) -> None:
        for entry in entries:
            if entry not in self._named:
                self._named.add(entry)
                log.warn(
                    "{entry!r} matches {dn} only by the older, looser reading and grants nothing: write the whole "
                    "name, the whole DN or whole parts of it, or set [pandatx] loose_dn_match = True",
                    entry=entry,
                    dn=dn,
                )


def peer_address(peer: Any) -> str:
    """The host of a Twisted address, an IPv4 one that came through an IPv6 socket in its own form."""
    host: str = getattr(peer, "host", None) or ""
    return host.removeprefix("::ffff:") if "." in host else host


def _verified_chain(transport: Any) -> list[x509.Certificate]:
    read = getattr(getattr(transport, "getHandle", _nothing)(), "get_verified_chain", None)
    return (read(as_cryptography=True) or []) if read is not None else []


def _nothing() -> None:
    return None


def _forwarded(request: Any, trusted: Networks) -> str | None:
    """The last address in X-Forwarded-For that is not one of our own proxies."""
    header = ",".join(request.requestHeaders.getRawHeaders("x-forwarded-for", []))
    for part in reversed(header.split(",")):
        word = part.strip()
        if word in trusted:
            continue
        try:
            return str(ip_address(word))
        except ValueError:
            return None
    return None


def _why_no_token(header: bytes | str) -> str:
    if len(header.split()) < 2:
        return "The Authorization header has no token"
    return "This server takes no tokens, only X.509 certificates"
