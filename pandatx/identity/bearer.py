"""From a request with an Authorization header to its caller: what may bring a token, and what a certificate beside it
means."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

from attrs import evolve, field, frozen
from twisted.logger import Logger

from pandatx.domain.caller import Caller
from pandatx.errors import TokenRejected
from pandatx.identity.callers import peer_address
from pandatx.identity.networks import Networks
from pandatx.identity.policies import printable
from pandatx.identity.tokens import Judge

log = Logger()

_CACHE: Final = "_pandatx_bearer"


@frozen
class Bearers:
    """Makes the caller of a request that brings a token; in plain HTTP only trusted proxies do (rule R24)."""

    _judge: Judge
    _trusted_proxies: Networks = field(factory=Networks)

    def caller_of(self, request: Any, certified: Caller) -> Caller | Awaitable[Caller]:
        """The holder of the token; ``certified`` is who the certificate of the connection makes it.

        With a certificate its DN and roles count, and the token must be good all the same (reference/wire.md 1.5.3).
        """
        header: bytes | None = request.getHeader(b"origin")
        origin = None if header is None else header.decode("latin-1")
        try:
            if not request.isSecure() and peer_address(request.client) not in self._trusted_proxies:
                raise TokenRejected("Tokens are taken over TLS only: use the https port")
            bearer = _bearer(request.requestHeaders.getRawHeaders(b"authorization"))
            found = self._judge.judge(bearer, origin, certified.dn)
        except TokenRejected as why:
            _tell(why, origin, certified)
            raise
        if isinstance(found, Caller):
            return _beside(found, certified, request.transport)
        return _later(found, origin, certified, request.transport)


async def _later(found: Awaitable[Caller], origin: str | None, certified: Caller, transport: Any) -> Caller:
    try:
        return _beside(await found, certified, transport)
    except TokenRejected as why:
        _tell(why, origin, certified)
        raise


def _tell(why: TokenRejected, origin: str | None, certified: Caller) -> None:
    """Operators are asked why pilots are turned away; the access log has the status only."""
    shown = None if origin is None else printable(origin[:100])
    log.info("{why} (Origin {origin} from {address})", why=why, origin=shown, address=certified.address)


def _beside(holder: Caller, certified: Caller, transport: Any) -> Caller:
    """The caller that the two make; the latest one of a connection is kept with what it was made of."""
    kept: tuple[Caller, Caller, Caller] | None = getattr(transport, _CACHE, None)
    if kept is None or kept[0] is not holder or kept[1] is not certified:
        if certified.authenticated:
            caller = evolve(certified, attributes=holder.attributes)
        else:
            caller = evolve(holder, address=certified.address)
        kept = (holder, certified, caller)
        setattr(transport, _CACHE, kept)
    return kept[2]


def _bearer(headers: list[bytes]) -> str:
    words = headers[0].split() if len(headers) == 1 else []
    if len(words) != 2 or words[0].lower() != b"bearer":
        raise TokenRejected('Authorization is not one header of the form "Bearer TOKEN"')
    return words[1].decode("latin-1")
