"""From a request with an Authorization header to its caller: what may bring a token, and what a certificate beside it
means."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from attrs import evolve, field, frozen
from twisted.logger import Logger

from pandatx.domain.caller import Caller
from pandatx.errors import TokenRejected
from pandatx.identity.callers import peer_address
from pandatx.identity.networks import Networks
from pandatx.identity.tokens import Judge

log = Logger()


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
        return _beside(found, certified) if isinstance(found, Caller) else _later(found, origin, certified)


async def _later(found: Awaitable[Caller], origin: str | None, certified: Caller) -> Caller:
    try:
        return _beside(await found, certified)
    except TokenRejected as why:
        _tell(why, origin, certified)
        raise


def _tell(why: TokenRejected, origin: str | None, certified: Caller) -> None:
    """Operators are asked why pilots are turned away; the access log has the status only."""
    log.info("{why} (Origin {origin} from {address})", why=why, origin=origin, address=certified.address)


def _beside(holder: Caller, certified: Caller) -> Caller:
    if certified.authenticated:
        return evolve(certified, attributes=holder.attributes)
    return evolve(holder, address=certified.address)


def _bearer(headers: list[bytes]) -> str:
    words = headers[0].split() if len(headers) == 1 else []
    if len(words) != 2 or words[0].lower() != b"bearer":
        raise TokenRejected('Authorization is not one header of the form "Bearer TOKEN"')
    return words[1].decode("latin-1")
