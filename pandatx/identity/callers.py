"""From a connection to the Caller behind it: the verified chain is read once per connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any, Protocol

from attrs import Factory, define, evolve, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from twisted.logger import Logger

from pandatx.clock import Clock
from pandatx.domain.caller import Caller
from pandatx.errors import Banned, TokenRejected
from pandatx.identity import names
from pandatx.identity.holders import Holder, NoHolder, credentials, holder
from pandatx.identity.networks import Networks
from pandatx.identity.roles import IdentityLists, Roles
from pandatx.identity.voms_reader import Attributes, VomsReader

log = Logger()

TokenJudge = Callable[[Any, Caller], Caller | Awaitable[Caller]]
"""Makes the caller of a request that brings a token; it is given the one of the connection's certificate too, or the
anonymous one. Raises TokenRejected."""

BANS_HOLD = timedelta(hours=1)
"""How long the last known bans do when they cannot be read again (rule R13)."""
REMEMBERED = 10_000
"""Chains: a pilot comes with the same proxy on one connection after the other."""
_CACHE = "_pandatx_caller"
NOT_TAKEN = "_pandatx_not_taken"
"""What net/tls.py sets on the transport of a client whose certificate does not verify, and who is to be told why."""

LIMITED = "a limited proxy may only ask for jobs and report on them"
STALE = "the revocation list of a CA of the certificate is too old"
UNREADABLE = "the client certificate cannot be read"
DISOWNED = "the CA of the certificate is not trusted any more"
NO_BANS = "nobody knows at the moment who is banned"


class Bans(Protocol):
    """Whose account is disabled, by compact name and by whom such names belong to, and when that was read."""

    @property
    def banned(self) -> frozenset[str]: ...

    @property
    def banned_subjects(self) -> frozenset[str]: ...

    @property
    def read_at(self) -> datetime | None: ...


@frozen
class _NoBans:
    banned: frozenset[str] = frozenset()
    banned_subjects: frozenset[str] = frozenset()
    read_at: datetime | None = None


@frozen
class _Known:
    """Who a connection belongs to, until something of it ends or what judges it changes."""

    caller: Caller
    generation: int
    until: datetime | None = None


@define(eq=False)
class Callers:
    """Makes the Caller of a request.

    ``voms`` reads what the VOMS attributes of a chain grant, ``bans`` gives the latest reading, ``tokens`` judges
    bearer tokens; without it every one is refused.
    """

    _lists: IdentityLists
    _clock: Clock
    _trusted_proxies: Networks = field(factory=Networks)
    _voms: VomsReader = Factory(VomsReader)
    _bans: Callable[[], Bans] = _NoBans
    _tokens: TokenJudge | None = None
    _named: set[str] = field(factory=set, init=False)
    _chains: dict[tuple[bytes, ...], _Known] = field(factory=dict, init=False)

    def of_request(self, request: Any) -> Caller | Awaitable[Caller]:
        """The caller of a twisted.web request, from its token or its connection; the access log learns the name.

        It is there at once but for a token or VOMS attributes that were not seen before. Raises TokenRejected, and
        Banned for a disabled account.
        """
        header = request.getHeader(b"authorization")
        if header is not None and (self._tokens is None or len(header.split()) < 2):
            raise TokenRejected(_why_no_token(header))
        caller = self._behind(request)
        if not isinstance(caller, Caller):
            return self._later(request, caller, header is not None)
        if header is None:
            return self._admitted(request, caller)
        judged = self._tokens(request, caller) if self._tokens is not None else caller
        return self._admitted(request, judged) if isinstance(judged, Caller) else self._later(request, judged, False)

    async def _later(self, request: Any, waited: Awaitable[Caller], token: bool) -> Caller:
        caller = await waited
        if token and self._tokens is not None:
            judged = self._tokens(request, caller)
            caller = judged if isinstance(judged, Caller) else await judged
        return self._admitted(request, caller)

    def _admitted(self, request: Any, caller: Caller) -> Caller:
        request.caller_name = caller.name
        if caller.dn is not None:
            caller = self._judged(caller)
        if caller.address in self._trusted_proxies:
            return evolve(caller, address=_forwarded(request, self._trusted_proxies) or caller.address)
        return caller

    def _judged(self, caller: Caller) -> Caller:
        """Refuse a banned one. When nobody knows any more who is banned there are reports and no secure calls."""
        bans = self._bans()
        if caller.name in bans.banned or (bans.banned_subjects and caller.identity in bans.banned_subjects):
            raise Banned(caller.name)
        if bans.read_at is not None and self._clock.now() > bans.read_at + BANS_HOLD:
            return evolve(caller, limited=True, why_not_secure=NO_BANS)
        return caller

    def _behind(self, request: Any) -> Caller | Awaitable[Caller]:
        """Whose connection it is. That is found once, and again when certificates end or what judges them changes."""
        transport, now = request.transport, self._clock.now()
        known: _Known | None = getattr(transport, _CACHE, None)
        if known is not None and self._holds(known, now):
            return known.caller
        address, generation = peer_address(request.client), self._voms.generation
        try:
            if not_taken := getattr(transport, NOT_TAKEN, ""):
                raise NoHolder(not_taken)
            found = self._of_chain(_verified_chain(transport), now)
        except NoHolder as nobody:
            return _keep(transport, _Known(Caller(why_not_secure=str(nobody)), generation=generation), address)
        except names.UNREADABLE as fault:
            log.warn("{address}: a client certificate cannot be read: {fault}", address=address, fault=str(fault))
            return _keep(transport, _Known(Caller(why_not_secure=UNREADABLE), generation=generation), address)
        if isinstance(found, _Known):
            return _keep(transport, found, address)

        async def wait(found: Awaitable[_Known]) -> Caller:
            return _keep(transport, await found, address)

        return wait(found)

    def _holds(self, known: _Known, now: datetime) -> bool:
        return known.generation == self._voms.generation and (known.until is None or now < known.until)

    def _of_chain(self, chain: Sequence[x509.Certificate], now: datetime) -> _Known | Awaitable[_Known]:
        """The caller of a chain, remembered for connections to come. Raises NoHolder, and UNREADABLE."""
        key = tuple(cert.fingerprint(hashes.SHA256()) for cert in chain)
        known = self._chains.get(key)
        if known is not None and self._holds(known, now):
            return known
        found, generation = holder(chain, now), self._voms.generation
        trust = self._voms.trust
        if trust.disowns(key[-1]):
            raise NoHolder(DISOWNED)
        # Revocation lists know nothing of proxies.
        standing = trust.standing(chain[chain.index(found.cert) :], now)
        if standing.revoked:
            log.warn("the certificate of {dn} was revoked", dn=standing.revoked)
            raise NoHolder(f"{standing.revoked} is revoked")

        own = tuple(credentials(chain, found))

        def judged(attributes: Attributes) -> _Known:
            ends = [end for end in (found.until, standing.until, attributes.until) if end is not None]
            caller = self._of_holder(found, attributes)
            if standing.stale:
                # The list cannot say whether the caller was revoked: no secure calls then, but reports (rule R13).
                caller = evolve(caller, limited=True, why_not_secure=STALE)
            caller = evolve(caller, voms=(*own, *attributes.words))
            if len(self._chains) >= REMEMBERED:
                del self._chains[next(iter(self._chains))]
            self._chains[key] = known = _Known(caller, generation, min(ends))
            return known

        async def wait(attributes: Awaitable[Attributes]) -> _Known:
            return judged(await attributes)

        attributes = self._voms.read(chain, found.cert, now)
        return judged(attributes) if isinstance(attributes, Attributes) else wait(attributes)

    def _of_holder(self, found: Holder, attributes: Attributes) -> Caller:
        name, fqans = names.compact_name(found.dn), attributes.fqans
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
            why_not_secure=LIMITED if found.limited else "",
            why_no_role=attributes.why,
            by_name=granted.by_name,
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


def _keep(transport: Any, known: _Known, address: str) -> Caller:
    """Remember who it is, at the address that the connection comes from."""
    caller = evolve(known.caller, address=address)
    setattr(transport, _CACHE, _Known(caller, known.generation, known.until))
    return caller


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
